"""What a guarded session writes: rows of an opened permission, at its places, and nothing else."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from authz.guard import Forbidden, GuardedSession, NotFound, Reason, Unguarded, guarded_session
from domain.appointments import Appointment, AppointmentBlock
from domain.audit import AuditEvent
from domain.billing import Posting
from domain.encounters import Encounter
from domain.keys import Counter, IdempotencyKey
from domain.model import new_id
from domain.notes import Note
from domain.organization import OrgUnit, Tenant
from domain.patients import Patient, PatientSite
from domain.people import Person, RoleGrant
from tests import make
from tests.authz.world import World, actor, world
from tests.database import Database

Open = Callable[..., GuardedSession]


@pytest.fixture(scope="module")
def here(database: Database) -> World:
    made = world(41)
    make.save(database, *made.all)
    return made


@pytest.fixture
async def held(here: World, app_engine: AsyncEngine) -> AsyncIterator[Open]:
    """Opens a session of somebody who holds these roles; everything is rolled back at the end."""
    sessions = []

    def session(*roles: tuple[str, OrgUnit], person: Person | None = None) -> GuardedSession:
        grants = [(role, node.id) for role, node in roles]
        asker = actor(here.tree, *grants, person_id=(person or here.people[0]).id)
        sessions.append(guarded_session(app_engine, asker))
        return sessions[-1]

    yield session
    for each in sessions:
        await each.rollback()
        await each.close()


def seen_at(here: World, node: OrgUnit, *, sensitivity: int = 0) -> Patient:
    """A patient of that sensitivity with a row at the place."""
    sites = {s.patient_id for s in here.of(PatientSite) if s.unit_id == node.id}
    found: Patient = next(
        p for p in here.of(Patient) if p.id in sites and p.sensitivity == sensitivity
    )
    return found


def visit_at(here: World, node: OrgUnit) -> Encounter:
    found: Encounter = next(
        e for e in here.of(Encounter) if e.unit_id == node.id and e.sensitivity == 0
    )
    return found


async def load(session: GuardedSession, row: Any) -> Any:
    """The session's own instance of a row."""
    key = {"tenant_id": row.tenant_id, "id": row.id}
    return await session.get(type(row), key)


@pytest.mark.anyio
async def test_require_says_not_found_forbidden_or_by_which_grant(here: World, held: Open) -> None:
    clinic, other = here.made.clinics[:2]
    session = held(("nurse", clinic))
    visit = visit_at(here, clinic)

    grant = await session.require("encounter:progress", visit)
    assert grant is not None
    assert grant.role == "nurse"
    with pytest.raises(Forbidden) as refused:
        await session.require("encounter:finish", visit)
    assert refused.value.reason is Reason.NO_ROLE
    with pytest.raises(NotFound):
        await session.require("encounter:progress", visit_at(here, other))
    with pytest.raises(NotFound):
        await session.require("encounter:progress", None)


@pytest.mark.anyio
async def test_a_write_that_nobody_checked_is_refused(here: World, held: Open) -> None:
    session = held(("provider", here.made.clinics[0]))
    visit = await load(session, visit_at(here, here.made.clinics[0]))
    visit.reason = "headache"
    with pytest.raises(Unguarded):
        await session.flush()
    session.expunge_all()
    session.add(make.encounter(seen_at(here, here.made.clinics[0]), here.made.clinics[0]))
    with pytest.raises(Unguarded):
        await session.flush()
    for statement in (
        update(Encounter).values(reason="x"),
        delete(Encounter),
        insert(Encounter).values(tenant_id=here.tenant_id),
    ):
        with pytest.raises(Unguarded):
            await session.execute(statement)


@pytest.mark.anyio
async def test_an_opened_write_is_written_where_it_was_opened(here: World, held: Open) -> None:
    clinic, other = here.made.clinics[:2]
    session = held(("provider", clinic))
    await session.allow("encounter:start")
    session.add(make.encounter(seen_at(here, clinic), clinic))
    await session.flush()
    session.add(make.encounter(seen_at(here, other), other))
    with pytest.raises(Unguarded):
        await session.flush()


@pytest.mark.anyio
async def test_an_update_reaches_the_rows_of_the_permission_only(here: World, held: Open) -> None:
    clinic = here.made.clinics[0]
    session = held(("provider", clinic))
    await session.allow("encounter:finish")
    changed = update(Encounter).values(reason="seen").returning(Encounter.id)
    rows = set(await session.scalars(changed, execution_options={"synchronize_session": False}))
    predicate = session.actor.predicate("encounter", "finish")

    assert rows == {e.id for e in here.of(Encounter) if predicate.allows(e)}
    assert rows


@pytest.mark.anyio
async def test_writing_needs_reading(here: World, held: Open) -> None:
    """A draft of somebody else is invisible, so nobody marks it as an error."""
    clinic = here.made.clinics[0]
    session = held(("provider", clinic), person=make.person(here.made.tenant))
    await session.allow("note:mark_entered_in_error")
    marked = update(Note).values(state="entered-in-error").returning(Note.id)
    rows = set(await session.scalars(marked, execution_options={"synchronize_session": False}))

    assert rows == {
        n.id
        for n in here.of(Note)
        if n.clinic_id == clinic.id and n.sensitivity == 0 and n.state != "draft"
    }


@pytest.mark.anyio
async def test_keys_places_and_deciding_columns_stay(here: World, held: Open) -> None:
    clinic, other = here.made.clinics[:2]
    session = held(("system_admin", here.made.root))
    await session.allow("note:sign")
    await session.allow("encounter:finish")
    await session.allow("grant:revoke")
    for statement in (
        update(Encounter).values(clinic_id=other.id),
        update(Encounter).values({Encounter.sensitivity: 0}),
        update(Note).values(author_id=session.actor.person_id),
        update(RoleGrant).values(role="nurse"),
        update(AuditEvent).values(outcome="done"),
    ):
        with pytest.raises(Unguarded):
            await session.execute(statement)
    visit = await load(session, visit_at(here, clinic))
    visit.unit_id = here.made.departments[0][0].id
    with pytest.raises(Unguarded):
        await session.flush()


@pytest.mark.anyio
async def test_a_move_is_judged_at_both_places(here: World, held: Open) -> None:
    mine, other = here.made.regions
    clinic = next(c for c in here.made.clinics if c.parent_id == mine.id)
    session = held(("regional_director", mine))
    await session.allow("org_unit:move")
    move = update(OrgUnit).where(OrgUnit.id == clinic.id)
    with pytest.raises(Unguarded):
        await session.execute(move.values(parent_id=other.id))
    with pytest.raises(Unguarded):
        await session.execute(move.values(parent_id=OrgUnit.id))
    foreign = next(c for c in here.made.clinics if c.parent_id == other.id)
    taken = update(OrgUnit).where(OrgUnit.id == foreign.id).values(parent_id=mine.id)
    options = {"synchronize_session": False}
    assert not list(await session.scalars(taken.returning(OrgUnit.id), execution_options=options))
    kept = move.values(parent_id=mine.id).returning(OrgUnit.id)
    assert list(await session.scalars(kept, execution_options=options)) == [clinic.id]


@pytest.mark.anyio
async def test_changed_rows_are_judged_as_they_were_and_will_be(here: World, held: Open) -> None:
    region, other = here.made.regions
    session = held(("regional_director", region))
    await session.allow("org_unit:move")
    clinic = await load(session, next(c for c in here.made.clinics if c.parent_id == region.id))
    clinic.parent_id = other.id
    with pytest.raises(Unguarded):
        await session.flush()
    await session.rollback()
    await session.allow("org_unit:move")
    foreign = await load(session, next(c for c in here.made.clinics if c.parent_id == other.id))
    foreign.parent_id = region.id
    with pytest.raises(Unguarded):
        await session.flush()
    await session.rollback()
    await session.allow("org_unit:close")
    clinic = await load(session, next(c for c in here.made.clinics if c.parent_id == region.id))
    clinic.active = False
    await session.flush()


@pytest.mark.anyio
async def test_a_patient_is_made_with_the_sites(here: World, held: Open) -> None:
    clinic, other = here.made.clinics[:2]
    session = held(("front_desk", clinic))
    who, site = make.patient_at(here.made.tenant, clinic)
    await session.allow("patient:create")
    assert isinstance(who, Patient)
    assert isinstance(site, PatientSite)
    session.add(who)
    with pytest.raises(Unguarded):
        await session.flush()  # without any site it is nowhere
    session.expunge_all()
    columns = {c.key: getattr(site, c.key) for c in PatientSite.__table__.columns}
    await session.execute(upsert(PatientSite).values([columns]).on_conflict_do_nothing())
    who, _ = make.patient_at(here.made.tenant, clinic, id=columns["patient_id"])
    session.add(who)
    await session.flush()
    elsewhere = columns | {"clinic_id": other.id, "unit_id": other.id}
    with pytest.raises(Unguarded):
        await session.execute(upsert(PatientSite).values([elsewhere]))


@pytest.mark.anyio
async def test_nobody_makes_a_patient_that_is_nowhere(here: World, held: Open) -> None:
    session = held(("system_admin", here.made.root))
    await session.allow("patient:create")
    session.add(make.patient(here.made.tenant))
    with pytest.raises(Unguarded):
        await session.flush()


@pytest.mark.anyio
async def test_a_known_patient_is_changed_with_the_sites_or_by_statement(
    here: World, held: Open
) -> None:
    clinic = here.made.clinics[0]
    session = held(("front_desk", clinic))
    patient = await load(session, seen_at(here, clinic))
    await session.allow("patient:update")
    patient.city = "Oslo"
    with pytest.raises(Unguarded):
        await session.flush()
    await session.rollback()
    patient = await load(session, seen_at(here, clinic))
    _, sites = here.target(patient)
    await session.require("patient:update", (patient, sites))
    patient.city = "Oslo"
    await session.flush()
    by_statement = update(Patient).values(city="Bergen").returning(Patient.id)
    rows = set(
        await session.scalars(by_statement, execution_options={"synchronize_session": False})
    )
    predicate = session.actor.predicate("patient", "update")
    assert rows == {p.id for p in here.of(Patient) if predicate.allows(here.target(p))}


@pytest.mark.anyio
async def test_a_command_may_write_sites_with_an_encounter(here: World, held: Open) -> None:
    clinic = here.made.clinics[0]
    ward, other = here.made.departments[0]
    patient = next(
        p
        for p in here.of(Patient)
        if p.sensitivity == 0
        and {s.unit_id for s in here.target(p)[1]} & {clinic.id}
        and not {s.unit_id for s in here.target(p)[1]} & {ward.id}
    )
    session = held(("nurse", clinic))
    await session.allow("encounter:start", also=("patient",))
    site = {c.key: getattr(make.site(patient, ward), c.key) for c in PatientSite.__table__.columns}
    await session.execute(upsert(PatientSite).values([site]).on_conflict_do_nothing())
    session.add(make.encounter(patient, ward))
    await session.flush()

    lonely = held(("nurse", ward))
    await lonely.allow("encounter:start", also=("patient",))
    beside = site | {"unit_id": other.id}
    with pytest.raises(Unguarded):
        await lonely.execute(upsert(PatientSite).values([beside]).on_conflict_do_nothing())


@pytest.mark.anyio
async def test_blocks_are_written_with_their_appointment(here: World, held: Open) -> None:
    clinic = here.made.clinics[0]
    old: Appointment = next(
        a for a in here.of(Appointment) if a.clinic_id == clinic.id and a.sensitivity == 0
    )
    starts = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)
    session = held(("front_desk", clinic))
    await session.allow("appointment:book")
    doctor = SimpleNamespace(id=old.practitioner_id)
    visit = make.appointment(seen_at(here, clinic), clinic, doctor, starts_at=starts)  # type: ignore[arg-type] # its id is all that counts
    block = make.block(visit)
    session.add_all([block, visit])
    await session.flush()

    alone = held(("front_desk", clinic))
    await alone.allow("appointment:book")
    alone.add(make.block(visit))
    with pytest.raises(Unguarded):
        await alone.flush()
    assert list(await session.scalars(select(AppointmentBlock))) == [block], (
        "it is read with its visit"
    )


@pytest.mark.anyio
async def test_a_payment_is_taken_by_who_cannot_read_the_ledger(here: World, held: Open) -> None:
    clinic, other = here.made.clinics[:2]
    session = held(("front_desk", clinic))
    paid = make.posting(seen_at(here, clinic), clinic)
    await session.require("payment:record", paid)
    session.add(paid)
    await session.flush()
    assert list(await session.scalars(select(Posting))) == []
    with pytest.raises(NotFound):
        await session.require("payment:record", make.posting(seen_at(here, other), other))
    nurse = held(("nurse", clinic))
    with pytest.raises(Forbidden):
        await nurse.require("payment:record", make.posting(seen_at(here, clinic), clinic))


@pytest.mark.anyio
async def test_a_person_is_judged_by_grants_that_the_manager_cannot_see(
    here: World, held: Open, database: Database
) -> None:
    clinic = here.made.clinics[0]
    mine, above = make.person(here.made.tenant), make.person(here.made.tenant)
    make.save(
        database,
        mine,
        above,
        make.grant(mine, "nurse", clinic),
        make.grant(above, "nurse", clinic),
        make.grant(above, "system_admin", here.made.root),
    )
    session = held(("clinic_admin", clinic))
    assert await session.require("person:manage", await load(session, mine))
    told: Any
    for told in (await load(session, above), (await load(session, above), [])):
        with pytest.raises(Forbidden):
            await session.require("person:manage", told)
    with pytest.raises(NotFound):
        await session.require("person:manage", None)


@pytest.mark.anyio
async def test_a_new_person_holds_no_grant(here: World, held: Open) -> None:
    """They are the whole health system's, unless the command gives them a grant to begin with."""
    session = held(("system_admin", here.made.root))
    await session.allow("person:manage")
    session.add(make.person(here.made.tenant))
    await session.flush()
    session.add(make.person(make.tenant()))
    with pytest.raises(Unguarded):
        await session.flush()
    clinic = here.made.clinics[0]
    session, who = held(("clinic_admin", clinic)), make.person(here.made.tenant)
    with pytest.raises(Forbidden):
        await session.require("person:manage", who)
    with pytest.raises(Forbidden):
        await session.require("person:manage", (who, [make.grant(who, "nurse", here.made.root)]))
    await session.require("person:manage", (who, [make.grant(who, "nurse", clinic)]))
    session.add(who)
    await session.flush()


@pytest.mark.anyio
async def test_deleting_is_judged(here: World, held: Open) -> None:
    clinic = here.made.clinics[0]
    session = held(("provider", clinic))
    visit = await load(session, visit_at(here, clinic))
    await session.delete(visit)
    with pytest.raises(Unguarded):
        await session.flush()
    await session.rollback()
    await session.allow("encounter:cancel")
    visit = await load(session, visit_at(here, clinic))
    await session.delete(visit)
    with pytest.raises(ProgrammingError):  # judged and allowed here; the database grants no DELETE
        await session.flush()


@pytest.mark.anyio
async def test_audit_events_are_appended_about_oneself(here: World, held: Open) -> None:
    session = held(("nurse", here.made.clinics[0]))
    mine = {
        "tenant_id": here.tenant_id,
        "id": new_id(),
        "recorded_at": make.now(),
        "action": "x:y",
        "outcome": "done",
        "subject_ids": [],
        "masked": [],
        "purpose": "TREAT",
    }
    session.add(AuditEvent(**mine, person_id=session.actor.person_id))
    await session.flush()
    event = (await session.scalars(select(AuditEvent))).first()
    assert event is not None
    session.add(AuditEvent(**mine | {"id": new_id()}, person_id=here.people[3].id))
    with pytest.raises(Unguarded):
        await session.flush()
    await session.rollback()
    event = (await session.scalars(select(AuditEvent).limit(1))).one()
    event.outcome = "denied"
    with pytest.raises(Unguarded):
        await session.flush()
    await session.rollback()
    event = (await session.scalars(select(AuditEvent))).first()
    await session.delete(event)
    with pytest.raises(Unguarded):
        await session.flush()


@pytest.mark.anyio
async def test_bookkeeping_needs_no_permission(here: World, held: Open) -> None:
    session = held(("nurse", here.made.clinics[0]))
    raised = update(Tenant).values(
        version=Tenant.version + 1, tree_version=Tenant.tree_version + 1, updated_at=func.now()
    )
    options = {"synchronize_session": False}
    await session.execute(raised, execution_options=options)
    await session.execute(
        update(Person).values(version=Person.version + 1), None, execution_options=options
    )
    count = upsert(Counter).values(tenant_id=here.tenant_id, name="mrn", value=1)
    await session.execute(
        count.on_conflict_do_update(
            index_elements=["tenant_id", "name"], set_={"value": Counter.value + 1}
        )
    )
    key = IdempotencyKey(
        tenant_id=here.tenant_id,
        person_id=session.actor.person_id,
        operation="x",
        key="k",
        input_hash=b"h",
        result_id=new_id(),
        created_at=make.now(),
    )
    session.add(key)
    await session.flush()
    await session.execute(delete(IdempotencyKey), execution_options=options)
    for statement in (
        update(Tenant).values(state="suspended"),
        update(Person).values(active=False),
        upsert(Counter).values(tenant_id=new_id(), name="mrn", value=1),
    ):
        with pytest.raises(Unguarded):
            await session.execute(statement)


@pytest.mark.anyio
async def test_a_watched_row_is_raised_by_a_flush_too(here: World, held: Open) -> None:
    session = held(("nurse", here.made.clinics[0]))
    tenant = (await session.scalars(select(Tenant))).one()
    tenant.version += 1
    await session.flush()
    tenant.name = "Other"
    with pytest.raises(Unguarded):
        await session.flush()


@pytest.mark.anyio
async def test_statements_that_nobody_can_judge_are_refused(here: World, held: Open) -> None:
    clinic = here.made.clinics[0]
    session = held(("system_admin", here.made.root))
    await session.allow("patient:add_site")
    await session.allow("patient:update")
    site = make.site(seen_at(here, clinic), clinic)
    columns = {c.key: getattr(site, c.key) for c in PatientSite.__table__.columns}
    over = upsert(PatientSite).values(columns)
    refused = (
        (over.on_conflict_do_update(constraint="pk_patient_site", set_={"active": True}), None),
        (insert(PatientSite).from_select(["tenant_id"], select(Patient.tenant_id)), None),
        (insert(PatientSite).values(columns | {"unit_id": func.gen_random_uuid()}), None),
        (insert(PatientSite), [columns | {"tenant_id": new_id()}]),
        (update(Patient), [{"tenant_id": here.tenant_id, "id": new_id(), "city": "x"}]),
    )
    for statement, rows in refused:
        with pytest.raises(Unguarded):
            await session.execute(statement, rows)


@pytest.mark.anyio
async def test_what_was_opened_ends_with_the_transaction(here: World, held: Open) -> None:
    clinic = here.made.clinics[0]
    session = held(("provider", clinic))
    await session.allow("encounter:finish")
    assert await session.scalar(select(func.current_setting("app.write_encounter"))) == (
        "{" + str(clinic.id) + "}"
    )
    await session.rollback()
    assert not await session.scalar(select(func.current_setting("app.write_encounter", True)))
    with pytest.raises(Unguarded):
        await session.execute(update(Encounter).values(reason="x"))
    await session.allow("encounter:finish")
    await session.commit()
    with pytest.raises(Unguarded):
        await session.execute(update(Encounter).values(reason="x"))


@pytest.mark.anyio
async def test_row_level_security_refuses_what_the_session_let_through(
    here: World, held: Open
) -> None:
    """Wall 3 alone: the judging is taken out, the database refuses the row."""
    clinic, other = here.made.clinics[:2]
    session = held(("provider", clinic))
    await session.allow("encounter:start")
    session.sync_session.writes.create = lambda model, row: None  # type: ignore[method-assign] # wall 2 removed
    session.add(make.encounter(seen_at(here, other), other))
    with pytest.raises(ProgrammingError):
        await session.flush()
