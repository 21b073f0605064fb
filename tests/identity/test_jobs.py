"""The worker brings Keycloak to what the cell says: in order, as often as needed, and again after it died."""

import datetime as dt
from uuid import UUID, uuid4

import pytest
from procrastinate.jobs import Job
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.organization import MfaPolicy
from domain.people import Person
from identity.accounts import Accounts
from identity.deferral import SYNC_PERSON, defer_sync
from identity.grants import GrantDraft, give_grant
from identity.jobs import Backoff, Resources, make_app, work_off
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Invalid, Unavailable
from identity.provisioning import (
    PersonDraft,
    create_person,
    deactivate_person,
    reactivate_person,
)
from identity.realms import MARKER, SVC_IDENTITY
from identity.revocation import revoke_session, revoke_sessions
from identity.sync import FirstLogin, UserTaken, cell_session, set_first_login, sync_person
from identity.tenants import MadeTenant
from tests.identity.browser import Browser, LoginFailed
from tests.identity.conftest import CALLBACK, PASSWORD, KeycloakServer, World

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]


def agent(made: MadeTenant) -> Agent:
    return Agent(tenant_id=made.tenant_id, now=dt.datetime.now(dt.UTC))


async def new_person(world: World, made: MadeTenant, name: str = "nora") -> UUID:
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        person = await create_person(
            session, agent(made), PersonDraft(name, "Nóra", "Ñurse", "nora@clinic.example")
        )
    return person.id


async def identity(world: World, made: MadeTenant) -> Realm:
    return await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)


async def user(world: World, made: MadeTenant, name: str = "nora") -> Json | None:
    return await (await identity(world, made)).find_user(name)


async def waiting(owner: AsyncEngine, made: MadeTenant) -> list[str]:
    """The health system's jobs that are not done."""
    async with owner.connect() as connection:
        rows = await connection.scalars(
            text(
                "select status::text from procrastinate_jobs where args ->> 'tenant_id' = :t order by id"
            ),
            {"t": str(made.tenant_id)},
        )
        return list(rows)


async def test_a_person_gets_a_user_and_keeps_it(world: World, owner_engine: AsyncEngine) -> None:
    made = await world.tenant()
    person_id = await new_person(world, made)
    assert await user(world, made) is None
    await world.work()
    made_user = await user(world, made)
    assert made_user is not None
    assert made_user["firstName"] == "Nóra"
    assert made_user["attributes"] == {"person_id": [str(person_id)]}
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        assert (
            await session.scalar(select(Person.subject).where(Person.id == person_id))
            == (made_user["id"])
        )
        # A changed name arrives as well, and nothing else of the user is lost by it.
        await session.execute(
            update(Person).where(Person.id == person_id).values(family_name="Öther", email=None)
        )
        await defer_sync(session, made.tenant_id, [person_id])
        await defer_sync(session, made.tenant_id, [])
    await world.work()
    changed = await user(world, made)
    assert changed is not None
    assert (changed["id"], changed["lastName"]) == (made_user["id"], "Öther")
    assert changed["attributes"] == {"person_id": [str(person_id)]}
    assert not changed.get("email")
    assert await waiting(owner_engine, made) == []


async def test_running_twice_changes_nothing(world: World) -> None:
    made = await world.tenant(MfaPolicy.ADMINS)
    realm = await identity(world, made)
    admin = await user(world, made, "admin")
    assert admin is not None
    held = sorted(role["name"] for role in await realm.roles_of(admin["id"]))
    person_id = UUID(admin["attributes"]["person_id"][0])
    for _ in range(2):
        assert (
            await sync_person(world.platform.cell, realm, made.tenant_id, person_id)
            == (admin["id"])
        )
    assert await user(world, made, "admin") == admin
    assert sorted(role["name"] for role in await realm.roles_of(admin["id"])) == held
    assert MARKER in held


async def test_a_lost_subject_is_found_again(world: World) -> None:
    """The worker died between making the user and writing its id down."""
    made = await world.tenant()
    person_id = await new_person(world, made)
    await world.work()
    before = await user(world, made)
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await session.execute(update(Person).where(Person.id == person_id).values(subject=None))
    realm = await identity(world, made)
    found = await sync_person(world.platform.cell, realm, made.tenant_id, person_id)
    assert before is not None
    assert found == before["id"]


async def test_a_user_removed_by_hand_is_made_anew(world: World) -> None:
    made = await world.tenant()
    person_id = await new_person(world, made)
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await session.execute(
            update(Person).where(Person.id == person_id).values(subject=str(uuid4()))
        )
    await world.work()
    again = await user(world, made)
    assert again is not None
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        subject = await session.scalar(select(Person.subject).where(Person.id == person_id))
    assert subject == again["id"]


async def test_somebody_elses_user_is_never_taken_over(world: World) -> None:
    made = await world.tenant()
    realm = await identity(world, made)
    await realm.create_user({"username": "nora", "enabled": True})
    person_id = await new_person(world, made)
    with pytest.raises(UserTaken):
        await sync_person(world.platform.cell, realm, made.tenant_id, person_id)


async def test_a_deactivated_person_is_out_everywhere(world: World) -> None:
    made = await world.tenant()
    person_id = await new_person(world, made)
    await world.work()
    realm = await identity(world, made)
    nora = await user(world, made)
    assert nora is not None
    await set_first_login(realm, nora["id"], FirstLogin(PASSWORD, temporary=False))
    async with Browser(made.issuer, CALLBACK) as browser:
        tokens = await browser.login("nora", PASSWORD)
        actor = await world.loader.actor(tokens["access_token"])
        async with cell_session(world.platform.cell, made.tenant_id) as session:
            await deactivate_person(session, agent(made), person_id)
        assert not await world.stands(actor)  # before any job has run
        await world.work()
        disabled = await user(world, made)
        assert disabled is not None
        assert not disabled["enabled"]
        assert await realm.sessions(nora["id"]) == []
        assert (await browser.refresh(tokens["refresh_token"])).is_client_error
        with pytest.raises(LoginFailed):
            await browser.login("nora", PASSWORD)
        async with cell_session(world.platform.cell, made.tenant_id) as session:
            await reactivate_person(session, agent(made), person_id)
        await world.work()
        assert (await browser.refresh(tokens["refresh_token"])).is_client_error
        assert await browser.login("nora", PASSWORD)


async def test_a_person_deactivated_before_the_worker_came_gets_no_user(world: World) -> None:
    made = await world.tenant()
    person_id = await new_person(world, made)
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await deactivate_person(session, agent(made), person_id)
    await world.work()
    assert await user(world, made) is None


async def test_ending_sessions_one_by_one_and_all(world: World) -> None:
    made = await world.tenant()
    realm = await identity(world, made)
    admin = await user(world, made, "admin")
    assert admin is not None
    person_id = UUID(admin["attributes"]["person_id"][0])
    async with Browser(made.issuer, CALLBACK) as one, Browser(made.issuer, CALLBACK) as two:
        first, second = [await b.login("admin", PASSWORD) for b in (one, two)]
        actors = [await world.loader.actor(t["access_token"]) for t in (first, second)]
        async with cell_session(world.platform.cell, made.tenant_id) as session:
            await revoke_session(session, agent(made), person_id, actors[0].session.sid)
            await revoke_session(session, agent(made), person_id, "no-session-of-theirs")
        assert [await world.stands(a) for a in actors] == [False, True]
        await world.work()
        assert [s["id"] for s in await realm.sessions(admin["id"])] == [actors[1].session.sid]
        async with cell_session(world.platform.cell, made.tenant_id) as session:
            await revoke_sessions(session, agent(made), person_id)
        assert not await world.stands(actors[1])
        await world.work()
        assert await realm.sessions(admin["id"]) == []


async def test_a_grant_of_later_marks_later(world: World, owner_engine: AsyncEngine) -> None:
    made = await world.tenant(MfaPolicy.ADMINS)
    person_id = await new_person(world, made)
    now = dt.datetime.now(dt.UTC)
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        later = now + dt.timedelta(hours=1)
        draft = GrantDraft(person_id, "clinic_admin", made.root_unit_id, later)
        await give_grant(session, agent(made), draft)
    await world.work()
    assert await waiting(owner_engine, made) == ["todo"]
    # An hour passes: the grant has begun and its job is due.
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("update role_grant set valid_from = :at where valid_from = :later"),
            {"at": now, "later": later},
        )
        await connection.execute(text("update procrastinate_jobs set scheduled_at = now()"))
    await world.work()
    await world.work()
    nora = await user(world, made)
    assert nora is not None
    roles = await (await identity(world, made)).roles_of(nora["id"])
    assert MARKER in {role["name"] for role in roles}


async def test_a_job_waits_out_an_outage(
    world: World, owner_engine: AsyncEngine, keycloak: KeycloakServer
) -> None:
    made = await world.tenant()
    await new_person(world, made)
    async with owner_engine.begin() as connection:
        down = "update control.identity_cluster set url = 'http://127.0.0.1:9' where name = 'test'"
        await connection.execute(text(down))
    platform = world.platform
    # A worker that has just started: it knows no address yet.
    fresh = Accounts(platform.control, platform.sealer, keycloak.account)
    await work_off(world.worker_url, Resources(platform.cell, fresh, platform.keys))
    await fresh.close()
    assert await waiting(owner_engine, made) == ["todo"]
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("update control.identity_cluster set url = :url where name = 'test'"),
            {"url": world.url(made)},
        )
        await connection.execute(text("update procrastinate_jobs set scheduled_at = now()"))
    await world.work()
    assert await user(world, made) is not None


async def test_what_a_dead_worker_had_begun_is_taken_up_again(
    world: World, owner_engine: AsyncEngine
) -> None:
    made = await world.tenant()
    await new_person(world, made)
    async with owner_engine.begin() as connection:
        await connection.execute(
            text(
                "with dead as (insert into procrastinate_workers (last_heartbeat)"
                " values (now() - interval '1 hour') returning id)"
                " update procrastinate_jobs set status = 'doing', worker_id = (select id from dead)"
                " where args ->> 'tenant_id' = :t"
            ),
            {"t": str(made.tenant_id)},
        )
    async with make_app(world.worker_url).open_async() as app:
        await app.configure_task("identity:retry_stalled", queue="identity").defer_async(
            timestamp=0
        )
    await world.work()
    await world.work()
    assert await user(world, made) is not None


def test_patience_grows_and_ends() -> None:
    def job(attempts: int) -> Job:
        return Job(
            id=1,
            status="doing",
            queue="identity",
            priority=0,
            lock=None,
            queueing_lock=None,
            task_name=SYNC_PERSON,
            attempts=attempts,
        )

    def pause(error: Exception, attempts: int) -> float | None:
        decision = Backoff().get_retry_decision(exception=error, job=job(attempts))
        if decision is None or decision.retry_at is None:
            return None
        return (decision.retry_at - dt.datetime.now(dt.UTC)).total_seconds()

    down = Unavailable("read user", 503)
    pauses = [pause(down, n) or 0 for n in range(10)]
    assert [round(p) for p in pauses] == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert pause(down, 300) is None
    assert pause(Invalid("create user", 400), 2) is not None
    assert pause(Invalid("create user", 400), 3) is None
