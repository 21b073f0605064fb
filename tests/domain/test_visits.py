"""Encounters and what is documented at them."""

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain import conditions, encounters, notes, observations
from domain.appointments import Appointment
from domain.audit import Agent
from domain.encounters import Encounter, EncounterState
from domain.errors import DomainError, IllegalMove, Invalid, NotAllowed, NotFound, StaleVersion
from domain.notes import Note, NoteKind, NotTheAuthor, Text
from domain.practitioners import NotAPractitioner, Practitioner
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, sites, stage, units
from tests.domain.test_chart import HYPERTENSION, PULSE
from tests.domain.test_patients import SEALER

pytestmark = pytest.mark.anyio


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


@pytest.fixture
def visit(at: Stage, database: Database) -> Encounter:
    """A visit that is going on, since two hours."""
    made = make.encounter(at.patient, at.clinic, started_at=make.NOW - dt.timedelta(hours=2))
    made.version = 1
    make.save(database, made)
    return made


@pytest.fixture
def stranger(at: Stage, database: Database) -> Agent:
    """An agent who is no practitioner."""
    person = make.person(at.tree.tenant)
    make.save(database, person)
    return Agent(at.tenant_id, make.NOW, person_id=person.id)


async def test_somebody_walks_in(at: Stage, app_engine: AsyncEngine) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        begun = await encounters.start(
            session, at.agent, at.ward, at.patient.id, reason=" Fell off a ladder "
        )
        assert (begun.state, begun.kind, begun.started_at) == ("in-progress", "AMB", make.NOW)
        assert (begun.clinic_id, begun.unit_id) == (at.clinic.id, at.ward.id)
        assert (begun.practitioner_id, begun.version) == (at.practitioner.id, 1)
        assert begun.reason == "Fell off a ladder"
        assert [s.unit_id for s in await sites(session, at.patient)] == [at.clinic.id, at.ward.id]
        assert await audited(session, at.agent) == [("encounter:start", "done")]


async def test_a_department_starts_visits_of_its_own_patients_only(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    here = {"scope_patient": units(at.ward), "write_encounter": units(at.ward)}
    async with acting(app_engine, at.tenant_id, **here) as session:
        with pytest.raises(NotFound):
            await encounters.start(session, at.agent, at.ward, at.patient.id)
    make.save(database, make.site(at.patient, at.ward))
    async with acting(app_engine, at.tenant_id, **here) as session:
        begun = await encounters.start(session, at.agent, at.ward, at.patient.id)
        assert begun.unit_id == at.ward.id


async def test_a_booked_patient_comes_and_the_appointment_is_fulfilled(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    booked = make.appointment(at.patient, at.clinic, at.practitioner)
    make.save(database, booked, make.block(booked))
    key = (at.tenant_id, booked.id)
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Appointment, key)
        begun = await encounters.start(
            session, at.agent, at.clinic, at.patient.id, appointment=found
        )
        assert (begun.appointment_id, begun.practitioner_id) == (booked.id, at.practitioner.id)
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Appointment, key)
        assert (found.state, found.version) == ("fulfilled", 2)
        with pytest.raises(IllegalMove):
            await encounters.start(session, at.agent, at.clinic, at.patient.id, appointment=found)
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Appointment, key)
        with pytest.raises(Invalid) as refused:
            await encounters.start(session, at.agent, at.ward, at.patient.id, appointment=found)
        assert refused.value.path == ("appointmentId",)
        await session.rollback()


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "WALK"},
        {"started_at": make.NOW + dt.timedelta(minutes=16)},
        {"started_at": dt.datetime(2026, 3, 2)},  # noqa: DTZ001 - a time without offset is the case
        {"practitioner_id": uuid.uuid4()},
        {"state": EncounterState.FINISHED},
        {"reason": "\x00"},
    ],
)
async def test_how_no_visit_begins(
    at: Stage, app_engine: AsyncEngine, values: dict[str, Any]
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises((Invalid, IllegalMove)):
            await encounters.start(session, at.agent, at.clinic, at.patient.id, **values)
        assert (await session.scalars(select(Encounter))).all() == []


async def test_a_visit_from_plan_to_end(at: Stage, app_engine: AsyncEngine) -> None:
    later = at.at(hours=1)
    async with acting(app_engine, at.tenant_id) as session:
        visit = await encounters.start(
            session, at.agent, at.clinic, at.patient.id, state=EncounterState.PLANNED
        )
        visit = await encounters.arrive(session, at.agent, visit, 1)
        for version, state in enumerate(
            (EncounterState.TRIAGED, EncounterState.IN_PROGRESS, EncounterState.ONLEAVE), start=2
        ):
            visit = await encounters.progress(session, at.agent, visit, version, state)
            assert visit.state == state
        visit = await encounters.finish(session, later, visit, 5)
        assert (visit.state, visit.ended_at, visit.version) == ("finished", later.now, 6)
        with pytest.raises(IllegalMove):
            await encounters.cancel(session, later, visit, 6)
        actions = [action for action, _ in await audited(session, at.agent)]
        assert actions == [
            "encounter:start",
            "encounter:arrive",
            *["encounter:progress"] * 3,
            "encounter:finish",
        ]


async def test_a_visit_ends_after_its_start_and_not_in_the_future(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Encounter, (at.tenant_id, visit.id))
        for minutes in (-121, 16):
            ends = make.NOW + dt.timedelta(minutes=minutes)
            with pytest.raises(Invalid):
                await encounters.finish(session, at.agent, found, 1, ends)
        finished = await encounters.finish(session, at.agent, found, 1)
        assert finished.ended_at == make.NOW


async def test_a_stale_version_is_refused_and_says_the_present_one(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async def finish() -> int | None:
        try:
            async with acting(app_engine, at.tenant_id) as session:
                found = await session.get_one(Encounter, (at.tenant_id, visit.id))
                await encounters.finish(session, at.agent, found, 1)
        except StaleVersion as stale:
            return stale.current
        except IllegalMove:
            return 2
        return None

    assert sorted(await asyncio.gather(finish(), finish()), key=str) == [2, None]
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Encounter, (at.tenant_id, visit.id))
        with pytest.raises((StaleVersion, IllegalMove)):
            await encounters.cancel(session, at.agent, found, 1)


async def test_a_note_is_drafted_revised_and_signed_by_its_author(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        draft = await notes.write_draft(
            session, at.agent, SEALER, visit, NoteKind.PROGRESS, Text("S: cough\r\nP: rest")
        )
        assert draft.body_sealed is not None
        assert b"cough" not in draft.body_sealed
        opened = SEALER.seal("note.body_sealed", draft.id, draft.body_sealed)
        assert opened == b"S: cough\nP: rest"
        revised = await notes.revise(session, at.agent, SEALER, draft, 1, Text("S: no cough"))
        signed = await notes.sign(session, at.agent, revised, 2)
        assert (signed.state, signed.signed_at, signed.version) == ("signed", make.NOW, 3)
        for again in (
            notes.sign(session, at.agent, signed, 3),
            notes.revise(session, at.agent, SEALER, signed, 3, Text("other")),
        ):
            with pytest.raises(IllegalMove):
                await again
        actions = [action for action, _ in await audited(session, at.agent)]
        assert actions == ["note:write_draft", "note:write_draft", "note:sign"]


async def test_only_the_author_who_is_an_active_practitioner_signs(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, stranger: Agent, database: Database
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        own = await notes.write_draft(
            session, stranger, SEALER, visit, NoteKind.NURSING, Text("BP taken")
        )
        draft = await notes.write_draft(
            session, at.agent, SEALER, visit, NoteKind.PROGRESS, Text("x")
        )
        assert (own.kind, own.author_id) == ("nursing", stranger.person_id)
    with database.owner_engine.begin() as owner:
        owner.execute(
            update(Practitioner).where(Practitioner.id == at.practitioner.id).values(active=False)
        )
    refused: list[tuple[Any, Note, type[DomainError]]] = [
        (stranger, own, NotAPractitioner),
        (stranger, draft, NotTheAuthor),
        (at.agent, draft, NotAPractitioner),
    ]
    for agent, note, error in refused:
        async with acting(app_engine, at.tenant_id) as session:
            with pytest.raises(error) as said:
                await notes.sign(session, agent, note, 1)
            assert isinstance(said.value, NotAllowed)
    async with acting(app_engine, at.tenant_id) as session:
        assert {n.state for n in await session.scalars(select(Note))} == {"draft"}


async def test_nothing_is_documented_at_a_visit_that_did_not_take_place(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Encounter, (at.tenant_id, visit.id))
        void = await encounters.cancel(session, at.agent, found, 1)
        for document in (
            notes.write_draft(session, at.agent, SEALER, void, NoteKind.PROGRESS, Text("x")),
            observations.record(session, at.agent, void, [PULSE]),
            conditions.record(session, at.agent, void, HYPERTENSION),
        ):
            with pytest.raises(Invalid) as refused:
                await document
            assert refused.value.code == "ENCOUNTER_CLOSED"
