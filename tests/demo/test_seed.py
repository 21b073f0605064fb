"""The whole demo world on a real Keycloak: as `make up` makes it, twice."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dev.demo import cast
from dev.demo.logins import kept
from dev.demo.places import SYSTEMS
from dev.demo.seed import Links, seed
from dev.state import State
from domain.tables import load
from identity.jobs import Resources, work_off
from identity.realms import MARKER, SVC_IDENTITY
from identity.tenants import Platform, register_cluster
from tests.database import Database
from tests.identity.conftest import KeycloakServer, drop_realm, keycloak, platform

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak, pytest.mark.slow]
__all__ = ["keycloak", "platform"]


async def users(platform: Platform, tenant_id: Any, names: set[str]) -> dict[str, dict[str, Any]]:
    """Keycloak's users by name: enabled, kinds of credentials, whether they bear the marker themselves."""
    realm = await platform.accounts.realm(tenant_id, SVC_IDENTITY)
    found = {}
    for name in sorted(names):
        user = await realm.find_user(name)
        assert user is not None, name
        roles = {role["name"] for role in await realm.roles_of(user["id"])}
        kinds = {c["type"] for c in await realm.credentials(user["id"])}
        found[name] = {"on": user["enabled"], "kinds": kinds, "marked": MARKER in roles}
    return found


async def test_both_health_systems(
    platform: Platform, keycloak: KeycloakServer, database: Database, tmp_path: Path
) -> None:
    load()
    state = State(tmp_path / "state.json")
    links = Links(platform, database.owner_url)
    await register_cluster(platform.control, "default", region="local", url=keycloak.url)
    told: list[str] = []
    first = await seed(links, state, lambda what, done, of: told.append(f"{what} {done}/{of}"))
    try:
        await work_off(
            database.worker_url, Resources(platform.cell, platform.accounts, platform.keys)
        )
        assert set(first.issuers) == {"mercy", "lakeside"}
        assert first.people == len(cast.CAST)
        assert "mercy: patients 2500/2500" in told
        before = counts(database, first.tenants)
        assert [before[s.slug]["patient"] for s in SYSTEMS] == [s.patients for s in SYSTEMS]
        again = await seed(links, state)
        assert again.issuers == first.issuers
        assert counts(database, again.tenants) == before
        await check_logins(platform, state, first.tenants)
    finally:
        for issuer in first.issuers.values():
            await drop_realm(platform, keycloak.url, issuer.rpartition("/")[2])


def counts(database: Database, tenants: dict[str, Any]) -> dict[str, dict[str, int]]:
    tables = ("patient", "appointment", "invoice", "note", "person", "role_grant", "audit_event")
    with database.owner_engine.connect() as connection:
        return {
            slug: {
                table: connection.execute(
                    text(f"select count(*) from {table} where tenant_id = :t"), {"t": tenant_id}
                ).scalar_one()
                for table in tables
            }
            for slug, tenant_id in tenants.items()
        }


async def check_logins(platform: Platform, state: State, tenants: dict[str, Any]) -> None:
    """Everybody has a password; a second factor is preset for those who are asked for one."""
    for slug, tenant_id in tenants.items():
        found = await users(platform, tenant_id, {m.login for m in cast.of(slug)})
        for login, user in found.items():
            assert user["on"] is cast.member(login).active
            preset = kept(state, login)
            assert user["kinds"] == ({"password", "otp"} if preset.totp_secret else {"password"})
    mercy = await users(platform, tenants["mercy"], {"nurse.oak", "clinic_admin.oak"})
    assert mercy["clinic_admin.oak"] == {"on": True, "kinds": {"password", "otp"}, "marked": True}
    assert mercy["nurse.oak"] == {"on": True, "kinds": {"password"}, "marked": False}
    lakeside = await users(platform, tenants["lakeside"], {"nurse.harbor"})
    assert lakeside["nurse.harbor"]["kinds"] == {"password", "otp"}
