"""Keeping time in other ways than plain booking: holds, overbooking, moving visits of several resources."""

import asyncio
import datetime as dt
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.appointments import (
    HOLDS,
    Appointment,
    AppointmentBlock,
    Booking,
    HoldExpired,
    SlotTaken,
    TooManyHolds,
    cancel,
    confirm,
    hold_time,
    no_show,
    overbook,
    release_expired,
    reschedule,
)
from domain.errors import DomainError, IllegalMove, Invalid, NotFound, StaleVersion
from domain.practitioners import BookableResource
from domain.schedules import OutsideHours
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage

pytestmark = pytest.mark.anyio

LATER = make.NOW + dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


@pytest.fixture
def rooms(database: Database, at: Stage) -> list[BookableResource]:
    made = [make.bookable(at.tree.tenant) for _ in range(2)]
    make.save(database, *made, *(make.assignment(room, at.clinic) for room in made))
    return made


def visit(at: Stage, **values: Any) -> Booking:
    asked: dict[str, Any] = {"starts_at": LATER, "minutes": 30, "reason": "Cough"}
    return Booking(at.patient.id, at.practitioner.id, **asked | values)


async def done(engine: AsyncEngine, at: Stage, command: Any, *args: Any, **more: Any) -> Any:
    """The outcome of a command in a transaction of its own; a refusal leaves nothing."""
    agent = more.pop("agent", at.agent)
    async with acting(engine, at.tenant_id) as session:
        try:
            return await command(session, agent, *args, **more)
        except DomainError as refused:
            await session.rollback()
            return refused


async def blocks(engine: AsyncEngine, at: Stage) -> list[tuple[Any, int, str]]:
    async with acting(engine, at.tenant_id) as session:
        rows = await session.scalars(select(AppointmentBlock).order_by(AppointmentBlock.id))
        return [(row.resource_id, row.lane, row.state) for row in rows]


async def test_a_hold_keeps_the_time_until_it_expires_and_not_a_second_longer(
    at: Stage, app_engine: AsyncEngine
) -> None:
    held = await done(app_engine, at, hold_time, at.clinic, visit(at), 10)
    assert (held.state, held.expires_at) == ("pending", make.NOW + dt.timedelta(minutes=10))
    taken = await done(app_engine, at, hold_time, at.clinic, visit(at), 10, agent=at.at(minutes=9))
    assert isinstance(taken, SlotTaken)
    later = at.at(minutes=10)
    again = await done(app_engine, at, hold_time, at.clinic, visit(at), 10, agent=later)
    assert again.state == "pending"
    assert [state for _, _, state in await blocks(app_engine, at)] == ["cancelled", "pending"]
    gone = await done(app_engine, at, confirm, held, held.version, agent=later)
    assert isinstance(gone, HoldExpired)


async def test_a_hold_is_confirmed_in_time(at: Stage, app_engine: AsyncEngine) -> None:
    held = await done(app_engine, at, hold_time, at.clinic, visit(at), 10)
    late = await done(app_engine, at, confirm, held, 1, agent=at.at(minutes=10))
    assert isinstance(late, HoldExpired)
    assert isinstance(await done(app_engine, at, confirm, held, 7), StaleVersion)
    booked = await done(app_engine, at, confirm, held, 1, agent=at.at(minutes=9))
    assert (booked.state, booked.version, booked.expires_at) == ("booked", 2, None)
    assert isinstance(await done(app_engine, at, confirm, booked, 2), IllegalMove)
    async with acting(app_engine, at.tenant_id) as session:
        assert await release_expired(session, at.at(days=1)) == 0
        told = [action for action, _ in await audited(session, at.agent)]
        assert told == ["appointment:hold", "appointment:confirm"]


async def test_the_sweep_ends_what_has_expired_and_nothing_else(
    at: Stage, app_engine: AsyncEngine
) -> None:
    first = await done(app_engine, at, hold_time, at.clinic, visit(at), 1)
    other = visit(at, starts_at=LATER + HOUR)
    second = await done(app_engine, at, hold_time, at.clinic, other, 60)
    async with acting(app_engine, at.tenant_id, write_appointment="{}") as session:
        assert await release_expired(session, at.at(hours=2)) == 0  # no command that books
    async with acting(app_engine, at.tenant_id) as session:
        assert await release_expired(session, at.at(seconds=59)) == 0
        assert await release_expired(session, at.at(minutes=2), [at.colleague.id]) == 0
        assert await release_expired(session, at.at(minutes=2)) == 1
        assert (await session.get_one(Appointment, (at.tenant_id, first.id))).state == "cancelled"
        assert (await session.get_one(Appointment, (at.tenant_id, second.id))).state == "pending"


@pytest.mark.parametrize("minutes", [0, 61, -5])
async def test_a_hold_lasts_minutes(at: Stage, app_engine: AsyncEngine, minutes: int) -> None:
    refused = await done(app_engine, at, hold_time, at.clinic, visit(at), minutes)
    assert isinstance(refused, Invalid)
    assert refused.path == ("holdMinutes",)
    assert await blocks(app_engine, at) == []


async def test_overbooking_takes_lanes_beside_and_frees_none_of_them_for_others(
    at: Stage, app_engine: AsyncEngine
) -> None:
    whose = at.practitioner.id
    made = [await done(app_engine, at, overbook, at.clinic, visit(at)) for _ in range(3)]
    assert await blocks(app_engine, at) == [(whose, lane, "booked") for lane in (0, 1, 2)]
    await done(app_engine, at, cancel, made[0], 1)
    # The ordinary lane is free, the practitioner is not.
    assert isinstance(await done(app_engine, at, hold_time, at.clinic, visit(at), 5), SlotTaken)
    again = await done(app_engine, at, overbook, at.clinic, visit(at))
    assert [lane for _, lane, state in await blocks(app_engine, at) if state == "booked"] == [
        1,
        2,
        0,
    ]
    for one in (*made[1:], again):
        await done(app_engine, at, cancel, one, 1)
    assert (await done(app_engine, at, hold_time, at.clinic, visit(at), 5)).state == "pending"
    async with acting(app_engine, at.tenant_id) as session:
        told = [action for action, _ in await audited(session, at.agent)]
        assert told.count("appointment:overbook") == 4


async def test_overbooking_has_an_end(at: Stage, app_engine: AsyncEngine) -> None:
    for _ in range(10):
        assert (await done(app_engine, at, overbook, at.clinic, visit(at))).state == "booked"
    assert isinstance(await done(app_engine, at, overbook, at.clinic, visit(at)), SlotTaken)


async def test_overbooking_steps_over_the_rules_and_holding_does_not(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    make.save(database, make.rule(at.clinic, at.practitioner, weekdays=["sun"]))
    assert isinstance(await done(app_engine, at, hold_time, at.clinic, visit(at), 5), OutsideHours)
    assert (await done(app_engine, at, overbook, at.clinic, visit(at))).state == "booked"


async def test_a_visit_of_several_resources_keeps_all_or_none(
    at: Stage, app_engine: AsyncEngine, rooms: list[BookableResource]
) -> None:
    ids = tuple(room.id for room in rooms)
    await done(app_engine, at, hold_time, at.clinic, visit(at, room_ids=ids[1:]), 5)
    before = await blocks(app_engine, at)
    assert len(before) == 2
    both = visit(at, starts_at=LATER + HOUR / 4, room_ids=ids)
    assert isinstance(await done(app_engine, at, hold_time, at.clinic, both, 5), SlotTaken)
    assert await blocks(app_engine, at) == before
    many = visit(at, room_ids=ids * 5)
    assert isinstance(await done(app_engine, at, hold_time, at.clinic, many, 5), Invalid)


async def test_moving_keeps_the_rooms_unless_others_are_named(
    at: Stage, app_engine: AsyncEngine, rooms: list[BookableResource]
) -> None:
    first = await done(app_engine, at, overbook, at.clinic, visit(at, room_ids=(rooms[0].id,)))
    moved = await done(app_engine, at, reschedule, at.clinic, first, 1, LATER + HOUR, 60)
    assert (moved.rescheduled_from_id, moved.state) == (first.id, "booked")
    kept = {(r, s) for r, _, s in await blocks(app_engine, at)}
    assert (rooms[0].id, "booked") in kept
    again = await done(
        app_engine, at, reschedule, at.clinic, moved, 1, LATER, 30, room_ids=[rooms[1].id]
    )
    kept = {(r, s) for r, _, s in await blocks(app_engine, at)}
    assert (rooms[1].id, "booked") in kept
    assert (rooms[0].id, "booked") not in kept
    async with acting(app_engine, at.tenant_id) as session:
        first = await session.get_one(Appointment, (at.tenant_id, first.id))
    over = await done(app_engine, at, reschedule, at.clinic, first, 2, LATER, 30)
    assert isinstance(over, IllegalMove)
    alone = await done(app_engine, at, reschedule, at.clinic, again, 1, LATER, 30, room_ids=[])
    async with acting(app_engine, at.tenant_id) as session:
        held = select(AppointmentBlock).where(AppointmentBlock.appointment_id == alone.id)
        assert [b.resource_id for b in await session.scalars(held)] == [at.practitioner.id]


async def test_a_moved_hold_stays_a_hold_and_an_expired_one_stays_where_it_is(
    at: Stage, app_engine: AsyncEngine
) -> None:
    held = await done(app_engine, at, hold_time, at.clinic, visit(at), 10)
    moved = await done(app_engine, at, reschedule, at.clinic, held, 1, LATER + HOUR, 30)
    assert (moved.state, moved.expires_at) == ("pending", held.expires_at)
    late = at.at(minutes=11)
    refused = await done(app_engine, at, reschedule, at.clinic, moved, 1, LATER, 30, agent=late)
    assert isinstance(refused, HoldExpired)


async def test_nobody_is_held_for_whom_the_asker_does_not_see(
    at: Stage, app_engine: AsyncEngine
) -> None:
    refused = await done(app_engine, at, hold_time, at.elsewhere, visit(at), 5)
    assert isinstance(refused, NotFound)
    assert await blocks(app_engine, at) == []


async def test_who_did_not_come_is_known_after_the_beginning(
    at: Stage, app_engine: AsyncEngine
) -> None:
    booked = await done(app_engine, at, overbook, at.clinic, visit(at))
    early = await done(app_engine, at, no_show, booked, 1)
    assert (early.code, early.path) == ("TOO_EARLY", ("id",))
    gone = await done(app_engine, at, no_show, booked, 1, agent=at.at(days=1, minutes=1))
    assert gone.state == "noshow"
    assert [s for _, _, s in await blocks(app_engine, at)] == ["noshow"]


async def test_one_person_holds_so_many_times_at_once_and_no_more(
    at: Stage, app_engine: AsyncEngine
) -> None:
    times = [LATER + n * HOUR for n in range(HOLDS + 15)]
    wanted = (done(app_engine, at, hold_time, at.clinic, visit(at, starts_at=t), 10) for t in times)
    ended = Counter(getattr(one, "code", "held") for one in await asyncio.gather(*wanted))
    assert ended == {"held": HOLDS, "TOO_MANY_HOLDS": 15}
    far = visit(at, starts_at=LATER + 99 * HOUR)
    later = at.at(minutes=10)  # all have expired, and nobody has swept
    first = await done(app_engine, at, hold_time, at.clinic, far, 10, agent=later)
    assert first.state == "pending"


async def test_what_is_confirmed_or_cancelled_is_held_no_more(
    at: Stage, app_engine: AsyncEngine
) -> None:
    held = [
        await done(app_engine, at, hold_time, at.clinic, visit(at, starts_at=LATER + n * HOUR), 10)
        for n in range(HOLDS)
    ]
    more = visit(at, starts_at=LATER + 99 * HOUR)
    for free, one in ((confirm, held[0]), (cancel, held[1])):
        refused = await done(app_engine, at, hold_time, at.clinic, more, 10)
        assert isinstance(refused, TooManyHolds)
        await done(app_engine, at, free, one, 1)
        assert (await done(app_engine, at, hold_time, at.clinic, more, 10)).state == "pending"
        more = visit(at, starts_at=more.starts_at + HOUR)
    assert (await done(app_engine, at, overbook, at.clinic, more)).state == "booked"
