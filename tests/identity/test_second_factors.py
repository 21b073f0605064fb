"""Kinds of second factor, time for setting one up, and lost devices, at a real Keycloak and at the API's own check."""

import datetime as dt
from uuid import UUID

import pytest
from sqlalchemy import select, text

from authz.actor import Actor
from domain.audit import Agent, AuditEvent
from domain.organization import MfaPolicy
from domain.people import Person
from domain.second_factors import MfaMethod
from identity.approvals import OwnRequest
from identity.device_resets import DEVICES, approve_reset, request_reset, reset_devices
from identity.errors import MfaRequired, NotAdmitted
from identity.realms import SVC_IDENTITY
from identity.second_factors import defer_ended_grace
from identity.sync import cell_session
from identity.tenants import MadeTenant
from identity.upgrades import drift_of
from tests.database import Database
from tests.identity.browser import Browser
from tests.identity.conftest import CALLBACK, PASSWORD, World
from tests.identity.test_logins import browser, hire, set_policy

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
PASSKEYS = (MfaMethod.PASSKEY, MfaMethod.RECOVERY)
DAY = dt.timedelta(days=1)


async def comes(world: World, tokens: dict[str, str]) -> Actor:
    return await world.loader.actor(tokens["access_token"], fresh=True)


async def anew(person: Browser, name: str) -> dict[str, str]:
    """A whole login, though there is a session: Keycloak counts `max_age` in whole seconds, so not at once."""
    for _ in range(100):
        tokens = await person.login(name, PASSWORD, acr_values="mfa", max_age="0")
        if person.trail:
            return tokens
    raise AssertionError("nobody was asked again")


def agent_of(made: MadeTenant, person_id: UUID | None = None) -> Agent:
    return Agent(tenant_id=made.tenant_id, now=dt.datetime.now(dt.UTC), person_id=person_id)


def aged(database: Database, made: MadeTenant, days: int) -> None:
    """Let what was said and who came be so many days older."""
    with database.owner_engine.begin() as owner:
        for statement in (
            "update tenant set mfa_all_since = mfa_all_since - make_interval(days => :d),"
            " mfa_admins_since = mfa_admins_since - make_interval(days => :d), version = version + 1",
            "update person set created_at = created_at - make_interval(days => :d)",
            "update role_grant set valid_from = valid_from - make_interval(days => :d)",
        ):
            owner.execute(
                text(f"{statement} where tenant_id = :t"), {"d": days, "t": made.tenant_id}
            )


async def test_only_the_kinds_that_a_health_system_allows(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    async with browser(made) as nora, browser(made) as admin:
        await hire(world, made, "nora", "nurse")
        await nora.login("nora", PASSWORD, acr_values="mfa")
        assert nora.trail == ["password", "enrol"]
        app = await admin.login("admin", PASSWORD)
        shown = await nora.login("nora", PASSWORD, prompt="login")
        assert nora.trail == ["password", "otp"]
        assert (await comes(world, shown)).session.mfa
        # The app counts no more: for the API from now on, for the realm from the next login on.
        await set_policy(world, made, MfaPolicy.ALL, methods=PASSKEYS)
        assert await drift_of(world.platform, made.slug) == []
        for tokens in (shown, app):
            with pytest.raises(MfaRequired):
                await comes(world, tokens)
        with pytest.raises(MfaRequired) as asked:
            await comes(world, await nora.login("nora", PASSWORD, prompt="login"))
        assert nora.trail == ["password", "enrol passkey"]
        assert asked.value.max_age is None, "she is not at the level yet: to be asked will do"
        tokens = await nora.login("nora", PASSWORD, prompt="login", acr_values="mfa")
        assert nora.trail == ["password", "passkey"]
        assert (await comes(world, tokens)).session.mfa
        # One who sets up on request is at the level without having shown it: only a whole new login is asked for more.
        with pytest.raises(MfaRequired) as asked:
            await comes(world, await admin.login("admin", PASSWORD, acr_values="mfa"))
        assert admin.trail == ["enrol passkey"]
        assert asked.value.max_age == 0
        tokens = await anew(admin, "admin")
        assert admin.trail == ["password", "passkey"]
        assert (await comes(world, tokens)).session.mfa
    # And back.
    await set_policy(world, made, MfaPolicy.ALL)
    assert await drift_of(world.platform, made.slug) == []


async def test_time_for_setting_one_up(world: World, database: Database) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    await hire(world, made, "nora", "nurse")
    await set_policy(world, made, MfaPolicy.ALL, grace=7)
    async with browser(made) as nora, browser(made) as admin:
        tokens = await nora.login("nora", PASSWORD)
        assert nora.trail == ["password"]
        actor = await comes(world, tokens)
        assert not actor.session.mfa
        until = actor.session.enrol_by
        assert until is not None
        assert 6 * DAY < until - dt.datetime.now(dt.UTC) <= 7 * DAY
        # Who has set one up has no time left: the password alone opens nothing any more, here and at the realm.
        await admin.login("admin", PASSWORD)
        weak = await admin.login("admin", PASSWORD, prompt="login")
        assert (await comes(world, weak)).session.enrol_by is not None
        strong = await admin.login("admin", PASSWORD, acr_values="mfa")
        assert (await comes(world, strong)).session.enrol_by is None
        with pytest.raises(MfaRequired):
            await comes(world, weak)
        # For whoever comes later it begins when they come, for the others it ends, whatever is said anew.
        aged(database, made, 8)
        await hire(world, made, "nina", "nurse")
        await set_policy(world, made, MfaPolicy.ALL, grace=7)
        with pytest.raises(MfaRequired):
            await comes(world, tokens)
        async with browser(made) as nina:
            assert (await comes(world, await nina.login("nina", PASSWORD))).session.enrol_by
        async with cell_session(world.cell, made.tenant_id) as session:
            await defer_ended_grace(session, agent_of(made), dt.datetime.now(dt.UTC) - 3 * DAY)
        await world.work()
        await nora.login("nora", PASSWORD, prompt="login")
        assert nora.trail == ["password", "enrol"]


async def test_a_lost_device_is_reset_by_two(world: World) -> None:
    made = await world.tenant(MfaPolicy.ALL)
    second = await hire(world, made, "second", "system_admin")
    nora = await hire(world, made, "nora", "nurse")
    async with browser(made) as phone:
        await phone.login("nora", PASSWORD)
        tokens = await phone.login("nora", PASSWORD, acr_values="mfa")
        await comes(world, tokens)
        async with cell_session(world.cell, made.tenant_id) as session:
            first = await session.scalar(select(Person.id).where(Person.user_name == "admin"))
            person = await session.get_one(Person, (made.tenant_id, nora))
            reset = await request_reset(session, agent_of(made, first), person, "lost on the bus")
        assert await comes(world, tokens), "asking alone changes nothing"
        async with cell_session(world.cell, made.tenant_id) as session:
            with pytest.raises(OwnRequest):
                await approve_reset(session, agent_of(made, first), reset, 1)
        async with cell_session(world.cell, made.tenant_id) as session:
            await approve_reset(session, agent_of(made, second), reset, 1)
        with pytest.raises(NotAdmitted):
            await comes(world, tokens)
        await world.work()
        assert (await phone.refresh(tokens["refresh_token"])).is_client_error
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    user = await realm.find_user("nora")
    assert user
    assert {c["type"] for c in await realm.credentials(user["id"])} == {"password"}
    async with browser(made) as phone:
        await phone.login("nora", PASSWORD)
        assert phone.trail == ["password", "enrol"]
        # The platform resets where nobody else is left to approve.
        async with cell_session(world.platform.cell, made.tenant_id) as session:
            await reset_devices(session, agent_of(made), nora)
        await world.work()
    assert not DEVICES & {c["type"] for c in await realm.credentials(user["id"])}
    async with cell_session(world.cell, made.tenant_id) as session:
        events = await session.scalars(
            select(AuditEvent.action).where(AuditEvent.action.like("person:%reset%"))
        )
        assert sorted(events) == [
            *("person:request_reset", "person:reset_devices", "person:reset_devices")
        ]


async def test_a_step_up_proves_anew(world: World) -> None:
    """The answer to RFC 9470's challenge, as the API gives it for sensitive actions."""
    made = await world.tenant(MfaPolicy.NONE)
    async with Browser(made.issuer, CALLBACK) as admin:
        weak = await comes(world, await admin.login("admin", PASSWORD))
        assert weak.session.proven_at is None
        await admin.login("admin", PASSWORD, acr_values="mfa")
        first = await comes(world, await admin.login("admin", PASSWORD, acr_values="mfa"))
        assert admin.trail == []
        again = await comes(world, await anew(admin, "admin"))
        assert admin.trail == ["password", "otp"]
        assert first.session.proven_at is not None
        assert again.session.proven_at is not None
        assert again.session.sid == first.session.sid
        assert again.session.proven_at > first.session.proven_at
