"""What becomes of appointments after booking, and the state tables of appointments and encounters."""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain import appointments
from domain.appointments import (
    BLOCKING,
    Appointment,
    AppointmentBlock,
    AppointmentState,
    NotBookableHere,
    SlotTaken,
    states,
)
from domain.encounters import Encounter, EncounterState
from domain.errors import IllegalMove, Invalid, StaleVersion
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage

in_database = pytest.mark.anyio
TABLES: list[tuple[Any, Mapping[Any, frozenset[Any]], Any]] = [
    (AppointmentState, appointments.MOVES, states.move),
    (EncounterState, Encounter.__states__.moves, Encounter.__states__.move),
]


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


def booked(at: Stage, database: Database, **values: Any) -> Appointment:
    made = make.appointment(at.patient, at.clinic, at.practitioner, **values)
    make.save(database, made, make.block(made))
    return made


@in_database
async def test_another_time_is_a_new_appointment_and_the_old_one_is_cancelled(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    first = booked(at, database, reason="Cough")
    # The new time overlaps the old one, which is free by then.
    wanted = make.NOW + dt.timedelta(minutes=15)
    async with acting(app_engine, at.tenant_id) as session:
        old = await session.get_one(Appointment, (at.tenant_id, first.id))
        new = await appointments.reschedule(session, at.agent, at.clinic, old, 1, wanted, 45)
        assert (new.rescheduled_from_id, new.reason, new.state) == (first.id, "Cough", "booked")
        assert new.ends_at - new.starts_at == dt.timedelta(minutes=45)
        assert (old.state, old.version) == ("cancelled", 2)
        assert await audited(session, at.agent) == [("appointment:reschedule", "done")]
    async with acting(app_engine, at.tenant_id) as session:
        kept = await session.scalars(
            select(AppointmentBlock).order_by(AppointmentBlock.appointment_id == new.id)
        )
        assert [b.state for b in kept] == ["cancelled", "booked"]
        with pytest.raises(IllegalMove):
            await appointments.reschedule(session, at.agent, at.clinic, old, 2, wanted, 45)


@in_database
async def test_another_time_that_is_taken_changes_nothing(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    first = booked(at, database)
    other = booked(at, database, starts_at=make.NOW + dt.timedelta(hours=1))
    async with acting(app_engine, at.tenant_id) as session:
        old = await session.get_one(Appointment, (at.tenant_id, first.id))
        with pytest.raises(SlotTaken):
            await appointments.reschedule(session, at.agent, at.clinic, old, 1, other.starts_at, 30)
        await session.rollback()
    async with acting(app_engine, at.tenant_id) as session:
        old = await session.get_one(Appointment, (at.tenant_id, first.id))
        assert (old.state, old.version) == ("booked", 1)
        with pytest.raises(StaleVersion):
            await appointments.reschedule(
                session, at.agent, at.clinic, old, 7, make.NOW + dt.timedelta(hours=3), 30
            )
        with pytest.raises(NotBookableHere):
            await appointments.reschedule(
                session,
                at.agent,
                at.clinic,
                old,
                1,
                make.NOW,
                30,
                practitioner_id=at.colleague.id,
            )
        with pytest.raises(Invalid):
            await appointments.reschedule(session, at.agent, at.ward, old, 1, make.NOW, 30)


@in_database
async def test_cancelling_frees_the_time(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    first = booked(at, database)
    async with acting(app_engine, at.tenant_id) as session:
        row = await session.get_one(Appointment, (at.tenant_id, first.id))
        gone = await appointments.cancel(session, at.agent, row, 1, "Patient called")
        assert (gone.state, gone.version, gone.comment) == ("cancelled", 2, "Patient called")
        with pytest.raises(IllegalMove):
            await appointments.check_in(session, at.agent, gone, 2)
        assert await audited(session, at.agent) == [("appointment:cancel", "done")]
    booked(at, database)


@in_database
async def test_checking_in_and_not_coming(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    first = booked(at, database)
    late = booked(at, database, starts_at=make.NOW + dt.timedelta(hours=1))
    async with acting(app_engine, at.tenant_id) as session:
        here = await session.get_one(Appointment, (at.tenant_id, first.id))
        here = await appointments.check_in(session, at.agent, here, 1)
        assert here.state == "checked-in"
        missed = await session.get_one(Appointment, (at.tenant_id, late.id))
        with pytest.raises(Invalid) as refused:
            await appointments.no_show(session, at.agent, missed, 1)
        assert refused.value.code == "TOO_EARLY"
        missed = await appointments.no_show(session, at.at(hours=2), missed, 1)
        assert missed.state == "noshow"
        with pytest.raises(StaleVersion) as stale:
            await appointments.cancel(session, at.agent, here, 1)
        assert stale.value.current == 2


@pytest.mark.parametrize(("kind", "moves", "move"), TABLES)
def test_every_state_has_a_row_and_errors_are_final(kind: Any, moves: Any, move: Any) -> None:
    assert set(moves) == set(kind)
    assert moves[kind.ENTERED_IN_ERROR] == frozenset()
    assert all(kind.ENTERED_IN_ERROR in to for state, to in moves.items() if to)
    assert all(state not in to for state, to in moves.items())


@pytest.mark.parametrize(("kind", "moves", "move"), TABLES)
@settings(deadline=None)
@given(data=st.data())
def test_no_walk_leaves_the_table(kind: Any, moves: Any, move: Any, data: st.DataObject) -> None:
    """Whatever steps somebody tries, the states they pass are joined by moves of the table."""
    state = data.draw(st.sampled_from(list(kind)))
    for wanted in data.draw(st.lists(st.sampled_from(list(kind)), max_size=12)):
        if wanted in moves[state]:
            assert move(state.value, wanted) == wanted.value
            state = wanted
        else:
            with pytest.raises(IllegalMove):
                move(state.value, wanted)


def test_what_is_over_gives_no_time_back_and_what_is_off_does() -> None:
    over = {"fulfilled", "booked", "arrived", "checked-in", "pending"}
    assert set(BLOCKING) == over
    for state in BLOCKING:
        assert AppointmentState.ENTERED_IN_ERROR in appointments.MOVES[AppointmentState(state)]


def test_ids_of_resources_are_locked_in_one_order() -> None:
    ids = [uuid.uuid4() for _ in range(4)]
    asked = [
        appointments.Booking(ids[0], who, make.NOW, 30, room_ids=tuple(i for i in ids if i != who))
        for who in ids
    ]
    assert len({tuple(b.resources) for b in asked}) == 1
