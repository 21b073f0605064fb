"""Recurring visits: all or none, by the clock on the wall, every conflict told; one, or one and all that follow."""

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.appointments import (
    Appointment,
    AppointmentBlock,
    AppointmentSeries,
    Booking,
    Frequency,
    NotBookableHere,
    Recurrence,
    SeriesTaken,
    book_series,
    cancel_following,
    move_following,
    reschedule,
)
from domain.appointments.series import beginnings
from domain.errors import IllegalMove, Invalid, StaleVersion
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage
from tests.domain.test_reserving import done

pytestmark = pytest.mark.anyio

CHICAGO = ZoneInfo("America/Chicago")
FIRST = dt.datetime(2026, 10, 21, 9, 0, tzinfo=CHICAGO)
"""A Wednesday; eleven days later the clocks go back."""
WEEK = dt.timedelta(days=7)
WEEKLY = Recurrence(Frequency.WEEKLY, 1, 4)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


def visit(at: Stage, **values: Any) -> Booking:
    asked: dict[str, Any] = {"starts_at": FIRST, "minutes": 30, "reason": "Dressing"}
    return Booking(at.patient.id, at.practitioner.id, **asked | values)


async def visits(engine: AsyncEngine, at: Stage, state: str = "booked") -> list[Appointment]:
    async with acting(engine, at.tenant_id) as session:
        rows = select(Appointment).where(Appointment.state == state)
        return list(await session.scalars(rows.order_by(Appointment.starts_at)))


async def test_every_week_is_at_the_same_time_of_the_day_when_the_clocks_change(
    at: Stage, app_engine: AsyncEngine
) -> None:
    series = await done(app_engine, at, book_series, at.clinic, visit(at), WEEKLY)
    made = await visits(app_engine, at)
    walls = [v.starts_at.astimezone(CHICAGO) for v in made]
    assert [(w.isoweekday(), w.hour, w.minute) for w in walls] == [(3, 9, 0)] * 4
    assert walls[2].utcoffset() != walls[0].utcoffset()
    assert {v.series_id for v in made} == {series.id}
    async with acting(app_engine, at.tenant_id) as session:
        kept = (await session.scalars(select(AppointmentBlock))).all()
        assert len(kept) == 4
        assert await audited(session, at.agent) == [("appointment:book_series", "done")]


@pytest.mark.parametrize(
    ("frequency", "every", "days"),
    [
        (Frequency.DAILY, 2, [21, 23, 25]),
        (Frequency.WEEKLY, 2, [21, 4, 18]),
        (Frequency.MONTHLY, 1, [21, 21, 21]),
    ],
)
def test_beginnings(frequency: Frequency, every: int, days: list[int]) -> None:
    found = beginnings(FIRST, Recurrence(frequency, every, 3), CHICAGO)
    assert [b.astimezone(CHICAGO).day for b in found] == days


def test_a_skipped_hour_is_the_later_one() -> None:
    spring = dt.datetime(2026, 3, 1, 2, 30, tzinfo=CHICAGO)
    found = beginnings(spring, Recurrence(Frequency.WEEKLY, 1, 2), CHICAGO)
    assert found[1] == dt.datetime(2026, 3, 8, 3, 30, tzinfo=CHICAGO)


@pytest.mark.parametrize(
    ("recurrence", "path"),
    [
        (Recurrence(Frequency.WEEKLY, 1, 1), "visits"),
        (Recurrence(Frequency.WEEKLY, 1, 53), "visits"),
        (Recurrence(Frequency.WEEKLY, 0, 3), "every"),
        (Recurrence(Frequency.WEEKLY, 13, 3), "every"),
        (Recurrence(Frequency.MONTHLY, 12, 4), "startsAt"),
    ],
)
async def test_what_is_no_series(
    at: Stage, app_engine: AsyncEngine, recurrence: Recurrence, path: str
) -> None:
    refused = await done(app_engine, at, book_series, at.clinic, visit(at), recurrence)
    assert isinstance(refused, Invalid)
    assert refused.path == (path,)
    assert await visits(app_engine, at) == []


async def test_all_conflicts_are_told_and_nothing_is_booked(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    third = FIRST + 2 * WEEK
    taken = make.appointment(at.patient, at.clinic, at.practitioner, starts_at=third)
    days = make.closure(at.clinic, (FIRST + WEEK).date())
    make.save(database, taken, make.block(taken), days)
    refused = await done(app_engine, at, book_series, at.clinic, visit(at), WEEKLY)
    assert isinstance(refused, SeriesTaken)
    assert [(start, why.code) for start, why in refused.conflicts] == [
        (FIRST + WEEK, "OUTSIDE_HOURS"),
        (third, "SLOT_TAKEN"),
    ]
    assert [v.id for v in await visits(app_engine, at)] == [taken.id]
    async with acting(app_engine, at.tenant_id) as session:
        assert (await session.scalars(select(AppointmentSeries))).all() == []


async def test_who_is_never_to_be_booked_there_is_told_as_such_and_not_as_taken_times(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    gone, room = make.practitioner(at.tree.tenant), make.bookable(at.tree.tenant)
    left = make.bookable(gone)
    make.save(database, gone, left, room)
    over = {"valid_until": make.NOW - WEEK}
    make.save(database, make.assignment(left, at.clinic, **over))
    for practitioner, rooms, path in (
        (uuid.UUID(int=1), (), "practitionerId"),
        (gone.id, (), "practitionerId"),
        (at.practitioner.id, (room.id,), "roomIds"),
    ):
        asked = replace(visit(at), practitioner_id=practitioner, room_ids=rooms)
        refused = await done(app_engine, at, book_series, at.clinic, asked, WEEKLY)
        assert isinstance(refused, NotBookableHere)
        assert refused.path == (path,)
    assert await visits(app_engine, at) == []
    made = await following(app_engine, at)
    moved = move_following, at.clinic, made[1], 1, made[1].starts_at + WEEK, 30
    refused = await done(app_engine, at, *moved, practitioner_id=gone.id)
    assert isinstance(refused, NotBookableHere)
    assert [v.id for v in await visits(app_engine, at)] == [v.id for v in made]


async def test_who_is_there_for_some_of_the_visits_only_is_told_for_each_of_the_others(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    doctor = make.practitioner(at.tree.tenant)
    resource = make.bookable(doctor)
    make.save(database, doctor, resource)
    make.save(database, make.assignment(resource, at.clinic, valid_until=FIRST + 2 * WEEK))
    asked = replace(visit(at), practitioner_id=doctor.id)
    refused = await done(app_engine, at, book_series, at.clinic, asked, WEEKLY)
    assert isinstance(refused, SeriesTaken)
    assert [(start, why.code) for start, why in refused.conflicts] == [
        (FIRST + n * WEEK, "NOT_BOOKABLE_HERE") for n in (2, 3)
    ]


async def following(engine: AsyncEngine, at: Stage) -> list[Appointment]:
    await done(engine, at, book_series, at.clinic, visit(at), WEEKLY)
    return await visits(engine, at)


async def test_cancelling_this_and_following_leaves_what_was_before(
    at: Stage, app_engine: AsyncEngine
) -> None:
    made = await following(app_engine, at)
    assert isinstance(await done(app_engine, at, cancel_following, made[2], 7), StaleVersion)
    gone = await done(app_engine, at, cancel_following, made[2], 1)
    assert gone.id == made[2].id
    assert [v.id for v in await visits(app_engine, at)] == [v.id for v in made[:2]]
    assert [v.id for v in await visits(app_engine, at, "cancelled")] == [v.id for v in made[2:]]
    assert isinstance(await done(app_engine, at, cancel_following, gone, 2), IllegalMove)


async def test_moving_this_and_following_by_days_and_hours(
    at: Stage, app_engine: AsyncEngine
) -> None:
    made = await following(app_engine, at)
    wanted = dt.datetime(2026, 10, 29, 14, 30, tzinfo=CHICAGO)  # a Thursday, before the change
    moved = await done(app_engine, at, move_following, at.clinic, made[1], 1, wanted, 45)
    assert moved.rescheduled_from_id == made[1].id
    left = await visits(app_engine, at)
    walls = [v.starts_at.astimezone(CHICAGO) for v in left]
    assert [(w.isoweekday(), w.hour, w.minute) for w in walls] == [(3, 9, 0)] + [(4, 14, 30)] * 3
    assert {v.series_id for v in left} == {made[0].series_id}
    assert [v.rescheduled_from_id for v in left[1:]] == [v.id for v in made[1:]]


async def test_moving_into_its_own_old_times_is_possible(
    at: Stage, app_engine: AsyncEngine
) -> None:
    made = await following(app_engine, at)
    moved = await done(app_engine, at, move_following, at.clinic, made[0], 1, FIRST + WEEK, 30)
    assert moved.starts_at == FIRST + WEEK
    assert len(await visits(app_engine, at)) == 4


async def test_a_move_with_a_conflict_moves_nothing(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    made = await following(app_engine, at)
    last = made[3].starts_at + dt.timedelta(hours=3)
    other = make.appointment(at.patient, at.clinic, at.practitioner, starts_at=last)
    make.save(database, other, make.block(other))
    wanted = made[1].starts_at + dt.timedelta(hours=3)
    refused = await done(app_engine, at, move_following, at.clinic, made[1], 1, wanted, 30)
    assert isinstance(refused, SeriesTaken)
    assert [start for start, _ in refused.conflicts] == [last]
    assert {v.id for v in await visits(app_engine, at)} == {other.id, *(v.id for v in made)}


async def test_one_visit_alone_is_moved_and_stays_in_its_series(
    at: Stage, app_engine: AsyncEngine
) -> None:
    made = await following(app_engine, at)
    later = made[1].starts_at + dt.timedelta(hours=2)
    moved = await done(app_engine, at, reschedule, at.clinic, made[1], 1, later, 30)
    assert moved.series_id == made[1].series_id
    assert len(await visits(app_engine, at)) == 4
    alone = make.appointment(at.patient, at.clinic, at.practitioner)
    alone.version, alone.series_id = 1, None
    refused = await done(app_engine, at, cancel_following, alone, 1)
    assert (refused.code, refused.path) == ("NO_SERIES", ("id",))
