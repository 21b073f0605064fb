"""A health system is made once, however often and however brokenly it is asked for; suspended, nobody is let in."""

import asyncio
import time
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import AuditEvent
from domain.control import IdentityCluster, ServiceAccount, TenantEntry
from domain.errors import Invalid, NotFound
from domain.organization import MfaPolicy, OrgUnit, Tenant
from domain.people import Person, RoleGrant
from identity.drift import drift
from identity.errors import NotAdmitted, Unauthenticated
from identity.keycloak import Account
from identity.keycloak_failures import Denied, KeycloakFailure
from identity.lifecycle import resume_tenant, suspend_tenant
from identity.realms import SERVICE_ACCOUNTS, RealmPlan, RealmTaken, provision
from identity.sync import cell_session
from identity.tenants import NoRoom, Platform, TenantOrder, create_tenant
from tests.identity.browser import Browser, LoginFailed, next_second
from tests.identity.conftest import CALLBACK, PASSWORD, KeycloakServer, World, order

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]

STEPS = ["registry", "keys", "cell", "realm", "people", "active"]


class Crash(Exception):
    """Stands for a kill between two steps."""


async def contents(world: World, slug: str) -> dict[str, object]:
    """Everything that making a health system leaves behind, but for instants."""
    async with AsyncSession(world.platform.control) as session:
        entry = (await session.scalars(select(TenantEntry).where(TenantEntry.slug == slug))).one()
        secrets = (
            await session.execute(
                select(ServiceAccount.client_id, ServiceAccount.secret_sealed)
                .where(ServiceAccount.tenant_id == entry.id)
                .order_by(ServiceAccount.client_id)
            )
        ).all()
    async with cell_session(world.platform.cell, entry.id) as session:
        tenant = (await session.scalars(select(Tenant))).one()
        units = (await session.execute(select(OrgUnit.id, OrgUnit.level, OrgUnit.name))).all()
        people = (
            await session.execute(
                select(Person.id, Person.user_name, Person.subject, Person.version).order_by(
                    Person.user_name
                )
            )
        ).all()
        grants = (await session.execute(select(RoleGrant.role, RoleGrant.unit_id))).all()
        events = await session.scalar(select(func.count()).select_from(AuditEvent))
    return {
        "entry": (entry.id, entry.realm, entry.issuer, entry.state, entry.epoch),
        "secrets": secrets,
        "tenant": (tenant.name, tenant.state, tenant.mfa_policy, tenant.version),
        "units": units,
        "people": people,
        "grants": grants,
        "events": events,
    }


async def test_a_health_system_is_ready_to_log_in(world: World) -> None:
    seen: list[str] = []
    started = time.monotonic()
    made = await create_tenant(world.platform, order(mfa=MfaPolicy.ADMINS), seen.append)
    world.made.append(made)
    assert time.monotonic() - started < 60
    assert seen == STEPS
    left = await contents(world, made.slug)
    assert left["entry"][3] == "active"  # type: ignore[index]  # a tuple
    assert [level for _, level, _ in left["units"]] == ["system"]  # type: ignore[attr-defined]  # rows
    assert sorted(role for role, _ in left["grants"]) == ["privacy_officer", "system_admin"]  # type: ignore[attr-defined]  # rows
    async with Browser(made.issuer, CALLBACK) as admin:
        assert await admin.login("admin", PASSWORD)
    # No clinic's name, no slug: the realm is opaque, to Keycloak's own log too.
    assert made.slug not in made.issuer


async def test_a_second_call_changes_nothing(world: World) -> None:
    wanted = order(mfa=MfaPolicy.ALL)
    made = await create_tenant(world.platform, wanted)
    world.made.append(made)
    await world.work()
    before = await contents(world, made.slug)
    again = await create_tenant(world.platform, wanted)
    await world.work()
    assert (again.tenant_id, again.realm, again.root_unit_id) == (
        made.tenant_id,
        made.realm,
        made.root_unit_id,
    )
    assert again.passwords == {}
    assert await contents(world, made.slug) == before


@pytest.mark.parametrize("step", STEPS)
async def test_after_a_crash_the_same_call_finishes(world: World, step: str) -> None:
    wanted = order(admin_login=None)

    def crash(at: str) -> None:
        if at == step:
            raise Crash

    with pytest.raises(Crash):
        await create_tenant(world.platform, wanted, crash)
    made = await create_tenant(world.platform, wanted)
    world.made.append(made)
    await world.work()
    left = await contents(world, made.slug)
    assert left["entry"][3:] == ("active", 2)  # type: ignore[index]  # a tuple
    assert left["events"] == 5  # the root, two people, two grants: each once
    async with Browser(made.issuer, CALLBACK) as admin:
        await admin.login("admin", made.passwords["admin"])


async def test_a_crash_within_the_realm_is_mended(world: World) -> None:
    """The realm is there, but the run died before it was trimmed."""
    wanted = order(mfa=MfaPolicy.ALL)
    made = await create_tenant(world.platform, wanted)
    world.made.append(made)
    realm = await world.master(made)
    account = next(c for c in await realm.clients() if c["clientId"] == "account-console")
    await realm.update_client({**account, "enabled": True})
    role = f"default-roles-{made.realm}"
    await realm.remove_composites(role, await realm.composites(role))
    await realm.add_composites(role, [await realm.role("offline_access")])
    plan = await world.plan(made)
    assert len(await drift(realm, plan)) == 2
    await create_tenant(world.platform, wanted)
    assert await drift(realm, await world.plan(made, MfaPolicy.ALL)) == []


async def test_two_calls_at_once_make_one(world: World) -> None:
    wanted = order()
    results = await asyncio.gather(
        *(create_tenant(world.platform, wanted) for _ in range(2)), return_exceptions=True
    )
    made = [r for r in results if not isinstance(r, BaseException)]
    assert made, results
    world.made.append(made[0])
    finished = await create_tenant(world.platform, wanted)
    assert {m.tenant_id for m in made} == {finished.tenant_id}
    async with Browser(finished.issuer, CALLBACK) as admin:
        assert await admin.login("admin", PASSWORD)


async def test_a_realm_of_another_health_system_is_left_alone(world: World) -> None:
    made = await world.tenant()
    realm = await world.master(made)
    plan = await world.plan(made)
    other = RealmPlan(**{**plan.__dict__, "tenant_id": uuid4(), "mfa": MfaPolicy.ALL})
    with pytest.raises(RealmTaken):
        await provision(realm, other)
    assert await drift(realm, plan) == []


@pytest.mark.parametrize(
    "name", ["master", "mercy", "o", "oshort", "Oaaaaaaaaaaaaa", "oaaaaaaaaaaaa/..", "o" * 12 + "-"]
)
async def test_realm_names_are_opaque(name: str) -> None:
    with pytest.raises(ValueError, match="realm"):
        RealmPlan(name, uuid4(), MfaPolicy.NONE, ("x",), ("x",), "x", {})


async def test_a_cluster_takes_so_many_realms_and_no_more(world: World) -> None:
    async with world.platform.control.begin() as connection:
        await connection.execute(update(IdentityCluster).values(realm_cap=1))
    try:
        world.made.append(await create_tenant(world.platform, order()))
        with pytest.raises(NoRoom):
            await create_tenant(world.platform, order())
    except NoRoom:
        pass  # other tests' health systems count as well
    finally:
        async with world.platform.control.begin() as connection:
            await connection.execute(update(IdentityCluster).values(realm_cap=150))
    with pytest.raises(NoRoom):
        await create_tenant(world.platform, order(region="moon"))


async def test_slugs_are_plain(world: World) -> None:
    for slug in ("", "A", "ab", "-ab", "ab-", "a b", "a" * 41, "mercy/../x"):
        with pytest.raises(Invalid):
            await create_tenant(world.platform, order(slug=slug))


async def test_a_wrong_secret_is_denied_and_says_nothing(
    world: World, keycloak: KeycloakServer
) -> None:
    made = await world.tenant()
    realm = await world.platform.accounts.cluster(keycloak.url).realm(
        made.realm, Account("svc-identity", "guessed-secret")
    )
    with pytest.raises(Denied) as denied:
        await realm.read()
    assert "guessed-secret" not in str(denied.value)
    assert denied.value.__cause__ is None


async def test_a_suspended_health_system_is_cut_off_at_once(world: World) -> None:
    made = await world.tenant()
    async with Browser(made.issuer, CALLBACK) as admin:
        tokens = await admin.login("admin", PASSWORD)
        actor = await world.loader.actor(tokens["access_token"])
        assert await world.stands(actor)
        await suspend_tenant(world.platform, made.slug)
        assert not await world.stands(actor)
        with pytest.raises(NotAdmitted):
            await world.loader.actor(tokens["access_token"], fresh=True)
        assert (await admin.refresh(tokens["refresh_token"])).is_client_error
        with pytest.raises(LoginFailed):
            await admin.login("admin", PASSWORD)
        await suspend_tenant(world.platform, made.slug)  # again: no error, no change
        await resume_tenant(world.platform, made.slug)
        await world.work()
        # Nothing of before comes to life again.
        assert (await admin.refresh(tokens["refresh_token"])).is_client_error
        with pytest.raises(Unauthenticated):
            await world.loader.actor(tokens["access_token"], fresh=True)
    await next_second()
    async with Browser(made.issuer, CALLBACK) as admin:
        tokens = await admin.login("admin", PASSWORD)
        assert await world.loader.actor(tokens["access_token"])


async def test_suspension_does_not_wait_for_keycloak(world: World, platform: Platform) -> None:
    made = await world.tenant()
    async with Browser(made.issuer, CALLBACK) as admin:
        tokens = await admin.login("admin", PASSWORD)
    actor = await world.loader.actor(tokens["access_token"])
    async with platform.control.begin() as connection:
        cluster = await connection.execute(
            update(IdentityCluster)
            .where(IdentityCluster.name == "test")
            .values(url="http://127.0.0.1:9")
            .returning(IdentityCluster.id)
        )
        assert cluster.one()
    with pytest.raises(KeycloakFailure):
        await suspend_tenant(platform, made.slug)
    assert not await world.stands(actor)


async def test_what_is_not_there_is_not_suspended(world: World) -> None:
    with pytest.raises(NotFound):
        await suspend_tenant(world.platform, "nowhere")


async def test_service_accounts_may_do_their_own_work_only(world: World) -> None:
    made = await world.tenant()
    accounts = world.platform.accounts
    identity, policy = [await accounts.realm(made.tenant_id, c) for c in SERVICE_ACCOUNTS]
    with pytest.raises(Denied):
        await identity.update({"displayName": "mine"})
    with pytest.raises(Denied):
        await policy.create_user({"username": "smuggled"})
    other = await world.tenant()
    stranger = await accounts.cluster(world.url(made)).realm(
        other.realm, Account("svc-identity", (await world.secrets(made))["svc-identity"])
    )
    with pytest.raises(Denied):
        await stranger.read()


async def test_an_order_has_no_secret_in_its_text() -> None:
    assert PASSWORD not in repr(TenantOrder(**order().__dict__))
