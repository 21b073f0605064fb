"""People and grants: each command raises the version, leaves one audit event and defers its work, or nothing at all."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.errors import DomainError, Invalid, NotFound
from domain.people import Person, RoleGrant
from identity.administrators import LastAdministrator
from identity.grants import (
    GrantDraft,
    GrantOverlaps,
    RoleDoesNotFit,
    RolesConflict,
    UnknownRole,
    give_grant,
    revoke_grant,
)
from identity.provisioning import (
    Oneself,
    PersonDraft,
    UserNameTaken,
    create_person,
    deactivate_person,
    reactivate_person,
)
from identity.revocation import revoke_session, revoke_sessions
from identity.sync import cell_session
from tests import make
from tests.database import Database

pytestmark = pytest.mark.anyio

Job = tuple[str, str | None, dict[str, str], dt.datetime | None]


@dataclass
class Office:
    """A health system with one administrator and a nurse, over the application's own database role."""

    tree: make.Tree
    admin: Person
    admin_grant: RoleGrant
    nurse: Person
    app: AsyncEngine
    owner: AsyncEngine

    @property
    def tenant_id(self) -> UUID:
        return self.tree.tenant.tenant_id

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[tuple[AsyncSession, Agent]]:
        """A command's transaction, carried out by the administrator now."""
        agent = Agent(
            tenant_id=self.tenant_id, now=dt.datetime.now(dt.UTC), person_id=self.admin.id
        )
        async with cell_session(self.app, self.tenant_id) as session:
            yield session, agent

    async def jobs(self) -> list[Job]:
        """This health system's jobs: task, lock, ids besides the tenant's, when."""
        rows = await self.read(
            "select task_name, lock, args, scheduled_at from procrastinate_jobs"
            " where args ->> 'tenant_id' = :t order by id"
        )
        return [
            (task, lock, {k: v for k, v in args.items() if k != "tenant_id"}, at)
            for task, lock, args, at in rows
        ]

    async def events(self) -> list[tuple[str, list[UUID], UUID]]:
        rows = await self.read(
            "select action, subject_ids, person_id from audit_event where tenant_id = :t order by id"
        )
        return [(action, subjects, person) for action, subjects, person in rows]

    async def version(self, person: Person) -> int:
        rows = await self.read(
            f"select version from person where tenant_id = :t and id = '{person.id}'"
        )
        return int(rows[0][0])

    async def read(self, sql: str) -> list[tuple[Any, ...]]:
        async with self.owner.connect() as connection:
            rows = await connection.execute(text(sql), {"t": str(self.tenant_id)})
            return [tuple(row) for row in rows]


@pytest.fixture
async def office(database: Database, app_engine: AsyncEngine, owner_engine: AsyncEngine) -> Office:
    tree = make.tree()
    admin, nurse = make.person(tree.tenant), make.person(tree.tenant)
    grant = make.grant(admin, "system_admin", tree.root)
    make.save(database, *tree.rows, admin, nurse, grant)
    return Office(tree, admin, grant, nurse, app_engine, owner_engine)


async def test_a_new_person_is_written_with_their_event_and_their_job(office: Office) -> None:
    async with office.at_work() as (session, agent):
        draft = PersonDraft(" Mia.Mueller@Mercy.example ", " Mia ", "Müller", "")
        person = await create_person(session, agent, draft)
    assert person.user_name == "mia.mueller@mercy.example"
    assert (person.given_name, person.email, person.active) == ("Mia", None, True)
    assert await office.events() == [("person:create", [person.id], office.admin.id)]
    lock = f"{office.tenant_id}:{person.id}"
    assert await office.jobs() == [
        ("identity:sync_person", lock, {"person_id": str(person.id)}, None)
    ]


@pytest.mark.parametrize(
    "draft",
    [
        PersonDraft("", "A", "B"),
        PersonDraft("x", "A", "B"),
        PersonDraft("-dash", "A", "B"),
        PersonDraft("white space", "A", "B"),
        PersonDraft("umlaut-ü", "A", "B"),
        PersonDraft("a" * 201, "A", "B"),
        PersonDraft("ann", "", "B"),
        PersonDraft("ann", "A", "7"),
    ],
)
async def test_what_is_no_person(office: Office, draft: PersonDraft) -> None:
    with pytest.raises(Invalid):
        async with office.at_work() as (session, agent):
            await create_person(session, agent, draft)
    assert await office.jobs() == []


async def test_a_user_name_is_given_once(office: Office) -> None:
    with pytest.raises(UserNameTaken):
        async with office.at_work() as (session, agent):
            await create_person(session, agent, PersonDraft(office.nurse.user_name, "A", "B"))


async def test_a_failed_transaction_leaves_no_job(office: Office) -> None:
    async def fail() -> None:
        async with office.at_work() as (session, agent):
            await create_person(session, agent, PersonDraft("ann", "A", "B"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await office.jobs() == []
    assert await office.events() == []


async def test_a_grant_raises_the_version_and_is_felt_when_it_begins_and_ends(
    office: Office,
) -> None:
    now = dt.datetime.now(dt.UTC)
    begins, ends = now + dt.timedelta(days=1), now + dt.timedelta(days=2)
    before = await office.version(office.nurse)
    async with office.at_work() as (session, agent):
        grant = await give_grant(
            session,
            agent,
            GrantDraft(office.nurse.id, "clinic_admin", office.tree.clinics[0].id, begins, ends),
        )
    assert await office.version(office.nurse) == before + 1
    assert await office.events() == [("grant:give", [grant.id, office.nurse.id], office.admin.id)]
    ids = {"person_id": str(office.nurse.id)}
    lock = f"{office.tenant_id}:{office.nurse.id}"
    assert await office.jobs() == [
        ("identity:sync_person", lock, ids, None),
        ("identity:sync_person_later", None, ids, begins),
        ("identity:sync_person_later", None, ids, ends),
    ]


async def test_revoking_ends_a_grant_and_keeps_it(office: Office) -> None:
    async with office.at_work() as (session, agent):
        draft = GrantDraft(office.nurse.id, "nurse", office.tree.clinics[0].id)
        grant = await give_grant(session, agent, draft)
    async with office.at_work() as (session, agent):
        revoked = await revoke_grant(session, agent, grant.id)
        assert revoked.valid_until == agent.now
    async with office.at_work() as (session, agent):
        again = await revoke_grant(session, agent, grant.id)
        assert again.valid_until == revoked.valid_until
    # The same grant may be given again; the old one stays as history.
    async with office.at_work() as (session, agent):
        assert (await give_grant(session, agent, draft)).id != grant.id


async def test_a_grant_that_has_not_begun_never_begins(office: Office) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    async with office.at_work() as (session, agent):
        draft = GrantDraft(office.nurse.id, "nurse", office.tree.clinics[0].id, later)
        grant = await give_grant(session, agent, draft)
    async with office.at_work() as (session, agent):
        revoked = await revoke_grant(session, agent, grant.id)
    assert revoked.valid_until == revoked.valid_from


async def give(office: Office, role: str, unit: UUID | None = None, **values: object) -> RoleGrant:
    draft = GrantDraft(office.nurse.id, role, unit or office.tree.root.id, **values)  # type: ignore[arg-type]  # by test
    async with office.at_work() as (session, agent):
        return await give_grant(session, agent, draft)


async def test_overlaps_are_refused_within_one_source_only(office: Office) -> None:
    clinic = office.tree.clinics[0].id
    await give(office, "nurse", clinic)
    with pytest.raises(GrantOverlaps):
        await give(office, "nurse", clinic)
    assert await give(office, "nurse", clinic, source="scim", source_ref="group-1")
    assert await give(office, "nurse", office.tree.clinics[1].id)
    assert await give(office, "provider", clinic)


async def test_a_role_fits_its_level(office: Office) -> None:
    for role, unit in (
        ("system_admin", office.tree.regions[0]),
        ("regional_director", office.tree.clinics[0]),
    ):
        with pytest.raises(RoleDoesNotFit):
            await give(office, role, unit.id)
    with pytest.raises(UnknownRole):
        await give(office, "janitor")
    assert await give(office, "nurse", office.tree.root.id)
    assert await give(office, "nurse", office.tree.departments[0][0].id)


async def test_watchers_are_no_administrators(office: Office) -> None:
    await give(office, "biller", office.tree.clinics[0].id)
    with pytest.raises(RolesConflict):
        await give(office, "auditor")
    await give(office, "privacy_officer")
    for role in ("system_admin", "regional_director", "clinic_admin"):
        with pytest.raises(RolesConflict):
            await give(office, role)
    # Nor later on, as long as the watching has no end.
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=365)
    with pytest.raises(RolesConflict):
        await give(office, "clinic_admin", valid_from=later)


async def test_two_conflicting_grants_at_the_same_moment_become_one(office: Office) -> None:
    given = await asyncio.gather(
        give(office, "auditor"), give(office, "clinic_admin"), return_exceptions=True
    )
    assert sorted(type(g).__name__ for g in given) == ["RoleGrant", "RolesConflict"]


async def test_grants_need_a_person_a_unit_and_a_period(office: Office) -> None:
    now = dt.datetime.now(dt.UTC)
    with pytest.raises(Invalid):
        await give(office, "nurse", valid_from=now, valid_until=now)
    with pytest.raises(NotFound):
        await give(office, "nurse", uuid4())
    with pytest.raises(NotFound):
        async with office.at_work() as (session, agent):
            await give_grant(session, agent, GrantDraft(uuid4(), "nurse", office.tree.root.id))
    with pytest.raises(NotFound):
        async with office.at_work() as (session, agent):
            await revoke_grant(session, agent, uuid4())


async def test_another_health_systems_people_and_units_are_not_found(
    office: Office, database: Database
) -> None:
    other = make.tree()
    stranger = make.person(other.tenant)
    theirs = make.grant(stranger, "nurse", other.root)
    make.save(database, *other.rows, stranger, theirs)
    with pytest.raises(NotFound):
        await give(office, "nurse", other.root.id)
    for command, key in (
        (deactivate_person, stranger.id),
        (reactivate_person, stranger.id),
        (revoke_sessions, stranger.id),
        (revoke_grant, theirs.id),
    ):
        with pytest.raises(NotFound):
            async with office.at_work() as (session, agent):
                await command(session, agent, key)


async def test_deactivating_cuts_tokens_and_can_be_taken_back(office: Office) -> None:
    before = await office.version(office.nurse)
    async with office.at_work() as (session, agent):
        gone = await deactivate_person(session, agent, office.nurse.id)
        assert (gone.active, gone.tokens_valid_from) == (False, agent.now)
    async with office.at_work() as (session, agent):
        back = await reactivate_person(session, agent, office.nurse.id)
        assert back.active
        assert back.tokens_valid_from == gone.tokens_valid_from
    assert await office.version(office.nurse) == before + 2
    assert [action for action, *_ in await office.events()] == [
        "person:deactivate",
        "person:reactivate",
    ]


async def test_the_last_administrator_stays(office: Office) -> None:
    async def deactivate(by: Person = office.nurse) -> None:
        async with office.at_work() as (session, agent):
            somebody = replace(agent, person_id=by.id)
            await deactivate_person(session, somebody, office.admin.id)

    async def revoke() -> None:
        async with office.at_work() as (session, agent):
            await revoke_grant(session, agent, office.admin_grant.id)

    for removal in (deactivate, revoke):
        with pytest.raises(LastAdministrator):
            await removal()
    with pytest.raises(Oneself):
        await deactivate(office.admin)
    expiring = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    await give(office, "system_admin", valid_from=expiring)
    with pytest.raises(LastAdministrator):  # one who is not yet one does not count
        await revoke()


async def test_two_administrators_cannot_remove_each_other_at_once(office: Office) -> None:
    second = await give(office, "system_admin")

    async def revoke(grant_id: UUID) -> None:
        async with office.at_work() as (session, agent):
            await revoke_grant(session, agent, grant_id)

    ends = await asyncio.gather(
        revoke(second.id), revoke(office.admin_grant.id), return_exceptions=True
    )
    refusals = [e for e in ends if isinstance(e, DomainError)]
    assert len(refusals) == 1
    assert isinstance(refusals[0], LastAdministrator)


async def test_a_removal_that_waited_sees_what_it_waited_for(office: Office) -> None:
    """Its own moment lies before the other's, which came first to the lock."""
    second = await give(office, "system_admin")
    async with office.at_work() as (session, agent):
        await revoke_grant(session, agent, second.id)
    waited = replace(agent, now=agent.now - dt.timedelta(seconds=1))
    with pytest.raises(LastAdministrator):
        async with office.at_work() as (session, _):
            await revoke_grant(session, waited, office.admin_grant.id)


async def test_sessions_are_revoked_one_by_one_or_all(office: Office) -> None:
    ids = {"person_id": str(office.nurse.id)}
    lock = f"{office.tenant_id}:{office.nurse.id}"
    for _ in range(2):
        async with office.at_work() as (session, agent):
            await revoke_session(session, agent, office.nurse.id, "sid-1")
    before = await office.version(office.nurse)
    async with office.at_work() as (session, agent):
        await revoke_sessions(session, agent, office.nurse.id)
    assert await office.version(office.nurse) == before + 1
    single = ("identity:end_session", lock, ids | {"sid": "sid-1"}, None)
    assert await office.jobs() == [single, single, ("identity:end_sessions", lock, ids, None)]
    sids = "select sid from revoked_session where tenant_id = :t"
    assert await office.read(sids) == [("sid-1",)]
    # When its tokens have expired for sure, the next revocation sweeps it away.
    later = replace(agent, now=agent.now + dt.timedelta(days=3))
    async with office.at_work() as (session, _):
        await revoke_session(session, later, office.nurse.id, "sid-2")
    assert await office.read(sids) == [("sid-2",)]


async def test_payloads_hold_ids_and_nothing_else(office: Office) -> None:
    async with office.at_work() as (session, agent):
        await create_person(session, agent, PersonDraft("ann.lee", "Ann", "Lee", "ann@lee.example"))
    written = json.dumps([job[2] for job in await office.jobs()])
    assert "ann" not in written.lower()
