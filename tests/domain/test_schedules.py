"""Opening hours: what rules, closures and buffers mean for bookings, also on days on which the clocks change."""

import datetime as dt
import random
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.appointments import AppointmentBlock, Booking, SlotTaken, book
from domain.errors import DomainError, Invalid
from domain.patients import Patient, PatientSite
from domain.practitioners import BookableResource
from domain.schedules import (
    Hours,
    ScheduleClosure,
    ScheduleRule,
    Slot,
    Weekday,
    Window,
    add_rule,
    change_rule,
    close,
    kept_blocks,
    open_slots,
    reopen,
    require_open,
)
from domain.schedules.free_times import SQL, FreeTimes, parameters, read
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, stage

pytestmark = pytest.mark.anyio

CHICAGO = ZoneInfo("America/Chicago")
MONDAY = dt.date(2026, 3, 9)
FORWARD, BACK = dt.date(2026, 3, 8), dt.date(2026, 11, 1)
"""Sundays of Chicago: 2 o'clock is skipped, one o'clock comes twice."""
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


def local(day: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour, minute), CHICAGO)


async def try_to_book(
    engine: AsyncEngine, at: Stage, starts_at: dt.datetime, minutes: int = 30, **more: Any
) -> str:
    """DONE, or the code of the refusal and the field it names."""
    visit = Booking(at.patient.id, at.practitioner.id, starts_at, minutes, **more)
    rows = select(PatientSite).where(PatientSite.tenant_id == at.tenant_id)
    async with acting(engine, at.tenant_id) as session:
        try:
            await book(session, at.agent, at.clinic, visit, rows)
        except DomainError as refused:
            await session.rollback()
            return f"{refused.code} {'.'.join(refused.path)}"
    return "DONE"


async def free(
    session: AsyncSession, at: Stage, first: dt.date, days: int = 1, **more: Any
) -> FreeTimes:
    last = first + dt.timedelta(days=days - 1)
    values = parameters(
        at.tenant_id,
        more.get("unit", at.clinic).id,
        more.get("resources"),
        more.get("service"),
        (first, last),
        at.agent.now,
    )
    raw = await (await session.connection()).get_raw_connection()
    connection: Any = raw.driver_connection
    cursor = psycopg.AsyncRawCursor(connection)
    row = await (await cursor.execute(SQL.encode(), values)).fetchone()
    assert row is not None
    return read(orjson.loads(row[0]))


def begins(slots: list[Slot]) -> list[str]:
    return [dt.datetime.fromtimestamp(slot.begins, CHICAGO).strftime("%H:%M %z") for slot in slots]


async def test_without_any_rule_every_free_time_is_booked(
    at: Stage, app_engine: AsyncEngine
) -> None:
    assert await try_to_book(app_engine, at, local(MONDAY, 3, 17), 25) == "DONE"
    async with acting(app_engine, at.tenant_id) as session:
        found = (await free(session, at, MONDAY)).resources[at.practitioner.id]
    assert (found.ruled, found.windows) == (False, ())


@pytest.mark.parametrize(
    ("hour", "minute", "minutes", "told"),
    [
        (9, 0, 30, "DONE"),
        (16, 30, 30, "DONE"),
        (9, 0, 480, "DONE"),
        (8, 30, 30, "OUTSIDE_HOURS startsAt"),
        (17, 0, 30, "OUTSIDE_HOURS startsAt"),
        (16, 30, 60, "DURATION_DOES_NOT_FIT minutes"),
        (9, 0, 45, "DURATION_DOES_NOT_FIT minutes"),
        (9, 10, 30, "START_NOT_OFFERED startsAt"),
    ],
)
async def test_a_rule_says_when_and_how_long(
    at: Stage,
    app_engine: AsyncEngine,
    database: Database,
    hour: int,
    minute: int,
    minutes: int,
    told: str,
) -> None:
    make.save(database, make.rule(at.clinic, at.practitioner))
    assert await try_to_book(app_engine, at, local(MONDAY, hour, minute), minutes) == told


async def test_a_rule_of_the_place_is_for_practitioners_without_own_rules(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    room = make.bookable(at.tree.tenant)
    make.save(database, room, make.assignment(room, at.clinic), make.rule(at.clinic))
    with_room: dict[str, Any] = {"room_ids": (room.id,)}
    assert await try_to_book(app_engine, at, local(MONDAY, 9), **with_room) == "DONE"
    assert (await try_to_book(app_engine, at, local(MONDAY, 8))).startswith("OUTSIDE_HOURS")
    make.save(database, make.rule(at.clinic, at.practitioner, opens=dt.time(6)))
    assert await try_to_book(app_engine, at, local(MONDAY, 6)) == "DONE"
    make.save(database, make.rule(at.clinic, room, opens=dt.time(12)))
    refused = await try_to_book(app_engine, at, local(MONDAY, 10), **with_room)
    assert refused == "OUTSIDE_HOURS roomIds"


async def test_own_rules_at_a_department_close_the_other_places_of_the_clinic(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    make.save(database, make.rule(at.ward, at.practitioner))
    other = make.unit(at.tree.tenant, at.clinic, "department")
    make.save(database, other)
    async with acting(app_engine, at.tenant_id) as session:
        then = local(MONDAY, 9), local(MONDAY, 9, 30)
        asked = at.practitioner.id, [at.practitioner.id], None
        for place, kept in ((at.ward, 1), (at.clinic, 1), (other, 0)):
            assert len(await kept_blocks(session, at.agent, place, *asked, *then)) == kept


async def test_days_weekdays_and_closures_count(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    days = {"valid_from": MONDAY, "valid_until": MONDAY + dt.timedelta(days=7)}
    lunch = {"from_time": dt.time(12), "until_time": dt.time(13), "resource_id": at.practitioner.id}
    make.save(
        database,
        make.rule(at.clinic, at.practitioner, **days),
        make.closure(at.clinic, MONDAY + dt.timedelta(days=1)),
        make.closure(at.clinic, MONDAY, **lunch),
        make.closure(at.clinic, MONDAY + dt.timedelta(days=2), active=False),
        make.closure(at.clinic, MONDAY, resource_id=at.colleague.id),
    )
    outside = "OUTSIDE_HOURS startsAt"
    for day, hour, told in (
        (-3, 9, outside),  # a Friday before the rule
        (14, 9, outside),  # a Monday behind it
        (5, 9, outside),  # a Saturday
        (1, 9, outside),  # closed
        (0, 12, outside),
        (2, 9, "DONE"),
        (7, 9, "DONE"),
        (0, 13, "DONE"),
    ):
        then = local(MONDAY + dt.timedelta(days=day), hour)
        assert await try_to_book(app_engine, at, then) == told, (day, hour)
    assert await try_to_book(app_engine, at, local(MONDAY, 11, 30)) == "DONE"
    assert await try_to_book(app_engine, at, local(MONDAY, 11), 60) != "DONE"


async def test_a_closure_holds_without_any_rule(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    make.save(database, make.closure(at.clinic, MONDAY))
    assert await try_to_book(app_engine, at, local(MONDAY, 9)) == "OUTSIDE_HOURS startsAt"
    assert await try_to_book(app_engine, at, local(MONDAY + dt.timedelta(days=1), 0)) == "DONE"
    room = make.bookable(at.tree.tenant)
    make.save(database, room, make.assignment(room, at.clinic))
    async with acting(app_engine, at.tenant_id) as session:
        found = await free(session, at, MONDAY)
        assert found.resources[room.id].busy


async def test_buffers_are_kept_and_keep_others_away(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    buffers = {"buffer_before": 10, "buffer_after": 20, "step": 10}
    make.save(database, make.rule(at.clinic, at.practitioner, **buffers))
    assert await try_to_book(app_engine, at, local(MONDAY, 9)) == "DONE"
    async with acting(app_engine, at.tenant_id) as session:
        kept = (await session.scalars(select(AppointmentBlock))).one().block
        assert (kept.lower, kept.upper) == (local(MONDAY, 8, 50), local(MONDAY, 9, 50))
        found = await free(session, at, MONDAY)
    slots = found.slots(found.resources[at.practitioner.id], since=LONG_AGO)
    assert begins(slots)[0] == "10:00 -0500"
    assert (await try_to_book(app_engine, at, local(MONDAY, 9, 50))).startswith("SLOT_TAKEN")
    assert await try_to_book(app_engine, at, local(MONDAY, 10)) == "DONE"


async def test_a_rule_of_a_service_takes_its_visits_only(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    jabs, elsewhere = make.service(at.clinic), make.service(at.elsewhere)
    gone = make.service(at.clinic, active=False)
    make.save(database, jabs, elsewhere, gone)
    make.save(database, make.rule(at.clinic, at.practitioner, service_id=jabs.id))
    then = local(MONDAY, 9)
    assert await try_to_book(app_engine, at, then) == "OUTSIDE_HOURS startsAt"
    for other in (elsewhere, gone):
        told = await try_to_book(app_engine, at, then, service_id=other.id)
        assert told == "SERVICE_UNKNOWN serviceId"
    assert await try_to_book(app_engine, at, then, service_id=jabs.id) == "DONE"


@pytest.mark.parametrize(
    ("day", "opens", "closes", "expected"),
    [
        # One hour of the night is missing: two o'clock is three.
        (FORWARD, (1, 0), (4, 0), ["01:00 -0600", "01:30 -0600", "03:00 -0500", "03:30 -0500"]),
        # A window in the missing hour lies an hour later.
        (FORWARD, (2, 0), (3, 30), ["03:00 -0500"]),
        # Between one and two lie two hours; one o'clock is the second one, after the change.
        (BACK, (0, 30), (1, 30), ["00:30 -0500", "01:00 -0500", "01:30 -0500", "01:00 -0600"]),
        (BACK, (1, 0), (2, 0), ["01:00 -0600", "01:30 -0600"]),
        (BACK, (9, 0), (10, 0), ["09:00 -0600", "09:30 -0600"]),
        (FORWARD, (9, 0), (10, 0), ["09:00 -0500", "09:30 -0500"]),
    ],
)
async def test_windows_follow_the_clocks_on_the_wall(
    at: Stage,
    app_engine: AsyncEngine,
    database: Database,
    day: dt.date,
    opens: tuple[int, int],
    closes: tuple[int, int],
    expected: list[str],
) -> None:
    window = {"weekdays": ["sun"], "opens": dt.time(*opens), "closes": dt.time(*closes)}
    make.save(database, make.rule(at.clinic, at.practitioner, **window))
    async with acting(app_engine, at.tenant_id) as session:
        found = await free(session, at, day)
    assert begins(found.slots(found.resources[at.practitioner.id], since=LONG_AGO)) == expected


@pytest.mark.parametrize("day", [FORWARD, BACK])
async def test_a_night_with_a_change_of_clocks_is_an_hour_shorter_or_longer(
    at: Stage, app_engine: AsyncEngine, database: Database, day: dt.date
) -> None:
    night = {"weekdays": ["sat"], "opens": dt.time(22), "closes": dt.time(6)}
    make.save(database, make.rule(at.clinic, at.practitioner, **night))
    saturday = day - dt.timedelta(days=1)
    async with acting(app_engine, at.tenant_id) as session:
        found = await free(session, at, saturday)
    slots = found.slots(found.resources[at.practitioner.id], since=LONG_AGO)
    assert len(slots) == (14 if day == FORWARD else 18)
    assert await try_to_book(app_engine, at, local(day, 5, 30)) == "DONE"


async def test_what_is_offered_is_what_can_be_booked(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    """The slots of Python and the decision of the database are one, over random rules, closures and visits."""
    pick = random.Random(7)
    rules = [
        make.rule(
            at.clinic,
            at.practitioner,
            weekdays=pick.sample([d.value for d in Weekday], 3),
            opens=dt.time(pick.randrange(24), pick.choice((0, 30))),
            closes=dt.time(pick.randrange(24), pick.choice((0, 45))),
            minutes=pick.choice((10, 15, 30)),
            step=pick.choice((10, 15, 20)),
            buffer_before=pick.choice((0, 5)),
        )
        for _ in range(6)
    ]
    closures = [
        make.closure(
            at.clinic, FORWARD + dt.timedelta(days=n), from_time=dt.time(10), until_time=dt.time(11)
        )
        for n in range(3)
    ]
    make.save(database, *rules, *closures)
    for n in range(8):
        day = FORWARD + dt.timedelta(days=n % 4)
        await try_to_book(app_engine, at, local(day, 8 + n, 30), pick.choice((10, 15, 30)))
    async with acting(app_engine, at.tenant_id) as session:
        found = await free(session, at, FORWARD, 4)
        mine = found.resources[at.practitioner.id]
        offered = {
            minutes: {s.begins for s in found.slots(mine, since=LONG_AGO, minutes=minutes)}
            for minutes in (10, 30, 45)
        }
        assert all(offered.values())
        # The nights of the last day's windows end on the next; those of the day before begin on none of ours.
        first = int(local(FORWARD, 0).timestamp()) + 24 * 3600
        for minutes, starts in offered.items():
            for begin in range(first, first + 2 * 24 * 3600, 300):
                then = dt.datetime.fromtimestamp(begin, dt.UTC)
                until = then + dt.timedelta(minutes=minutes)
                asked = at.practitioner.id, [at.practitioner.id], None
                kept = await kept_blocks(session, at.agent, at.clinic, *asked, then, until)
                block = next(iter(kept.values()), None)
                busy = block is not None and any(
                    b < int(block.upper.timestamp()) and int(block.lower.timestamp()) < e
                    for b, e in mine.busy
                )
                bookable = block is not None and not busy
                assert bookable is (begin in starts), (minutes, then)


async def test_time_at_another_clinic_is_taken_and_nothing_else_is_told(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    """A role at one clinic: the visit at the other one is not readable, that its time is taken is."""
    resource = BookableResource(tenant_id=at.tenant_id, id=at.practitioner.id)
    patient, *sites = make.patient_at(at.tree.tenant, at.elsewhere)
    assert isinstance(patient, Patient)
    visit = make.appointment(patient, at.elsewhere, at.practitioner, starts_at=local(MONDAY, 9))
    make.save(database, make.assignment(resource, at.elsewhere), patient, *sites, visit)
    make.save(database, make.block(visit), make.rule(at.clinic, at.practitioner))
    here = f"{{{at.clinic.id}}}"
    narrow = {"scope_appointment": here, "scope_schedule": here}
    async with acting(app_engine, at.tenant_id, **narrow) as session:
        assert (await session.scalars(select(AppointmentBlock))).all() == []
        found = await free(session, at, MONDAY)
        slots = found.slots(found.resources[at.practitioner.id], since=LONG_AGO)
        assert begins(slots)[0] == "09:30 -0500"
    async with acting(app_engine, at.tenant_id, scope_schedule="{}") as session:
        found = await free(session, at, MONDAY)
        assert not any(resource.busy for resource in found.resources.values())


def test_slots_are_cut_from_what_is_left() -> None:
    window = Window(0, 3600, 0, 10, 10, 0, 0)
    busy = [(1200, 1500), (1500, 1801), (0, 60)]
    assert [s.begins for s in open_slots([window], busy, minutes=None, since=-5)] == [
        600,
        2400,
        3000,
    ]
    assert [s.begins for s in open_slots([window], [], minutes=20, since=601)] == [1200, 1800, 2400]
    assert open_slots([window], [], minutes=25, since=0) == []
    both = [([Window(1200, 2400, 1200, 60, 60, 0, 0)], [(1300, 1400)]), (None, [(2000, 2100)])]
    assert open_slots([window], [], minutes=None, since=0, together=both) == []
    assert len(open_slots([window], [], minutes=None, since=0, together=both[:1])) == 1


def hours(**values: Any) -> Hours:
    asked: dict[str, Any] = {
        "weekdays": (Weekday.MON, Weekday.TUE),
        "opens": dt.time(9),
        "closes": dt.time(17),
        "minutes": 30,
        "step": 15,
        "valid_from": MONDAY,
    }
    return Hours(**asked | values)


@pytest.mark.parametrize(
    ("values", "code", "path"),
    [
        ({"weekdays": ()}, "INVALID", "weekdays"),
        ({"opens": dt.time(9, 0, 1)}, "INVALID", "opens"),
        ({"closes": dt.time(9, tzinfo=dt.UTC)}, "INVALID", "closes"),
        ({"minutes": 4}, "INVALID", "minutes"),
        ({"step": 481}, "INVALID", "step"),
        ({"closes": dt.time(9, 20)}, "DURATION_DOES_NOT_FIT", "minutes"),
        ({"buffer_before": -1}, "INVALID", "bufferBefore"),
        ({"buffer_after": 241}, "INVALID", "bufferAfter"),
        ({"valid_until": MONDAY - dt.timedelta(days=1)}, "REVERSED_PERIOD", "validUntil"),
        (
            {"valid_from": dt.date(2026, 2, 1), "valid_until": dt.date(2026, 3, 1)},
            "IN_THE_PAST",
            "validUntil",
        ),
        ({"valid_from": dt.date(2040, 1, 1)}, "INVALID", "validFrom"),
        ({"service_id": uuid.uuid4()}, "SERVICE_UNKNOWN", "serviceId"),
    ],
)
async def test_terms_that_make_no_rule(
    at: Stage, app_engine: AsyncEngine, values: dict[str, Any], code: str, path: str
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(Invalid) as refused:
            await add_rule(session, at.agent, at.clinic, hours(**values))
        assert (refused.value.code, refused.value.path) == (code, (path,))
        assert (await session.scalars(select(ScheduleRule))).all() == []


async def test_a_rule_is_made_changed_and_withdrawn(at: Stage, app_engine: AsyncEngine) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        made = await add_rule(session, at.agent, at.clinic, hours(), resource_id=at.practitioner.id)
        assert made.weekdays == ["mon", "tue"]
        with pytest.raises(Invalid) as refused:
            await add_rule(session, at.agent, at.clinic, hours(), resource_id=at.colleague.id)
        assert refused.value.code == "NOT_BOOKABLE_HERE"
        changed = await change_rule(session, at.agent, made, 1, hours(opens=dt.time(10)))
        assert (changed.version, changed.opens) == (2, dt.time(10))
        gone = await change_rule(session, at.agent, changed, 2, active=False)
        assert (gone.version, gone.active) == (3, False)
    assert await try_to_book(app_engine, at, local(MONDAY, 3)) == "DONE"


async def test_a_closure_is_made_and_withdrawn(at: Stage, app_engine: AsyncEngine) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        later = MONDAY + dt.timedelta(days=1)
        for given, code in (
            ((later, MONDAY), "REVERSED_PERIOD"),
            ((dt.date(2026, 1, 1), dt.date(2026, 1, 2)), "IN_THE_PAST"),
        ):
            with pytest.raises(Invalid) as refused:
                await close(session, at.agent, at.clinic, *given)
            assert refused.value.code == code
        times: dict[str, Any] = {"from_time": dt.time(12), "until_time": dt.time(12)}
        with pytest.raises(Invalid):
            await close(session, at.agent, at.clinic, MONDAY, MONDAY, **times)
        made = await close(session, at.agent, at.clinic, MONDAY, later, reason="Painters")
        await session.flush()
    assert await try_to_book(app_engine, at, local(MONDAY, 3)) == "OUTSIDE_HOURS startsAt"
    async with acting(app_engine, at.tenant_id) as session:
        kept = (await session.scalars(select(ScheduleClosure))).one()
        await reopen(session, at.agent, kept, made.version)
    assert await try_to_book(app_engine, at, local(MONDAY, 3)) == "DONE"


async def test_an_overbooked_visit_is_no_reason_to_be_outside(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    visit = make.appointment(at.patient, at.clinic, at.practitioner, starts_at=local(MONDAY, 9))
    make.save(database, visit, make.block(visit, lane=1))
    assert await try_to_book(app_engine, at, local(MONDAY, 9)) == "SLOT_TAKEN startsAt"
    async with acting(app_engine, at.tenant_id) as session:
        asked = at.practitioner.id, [at.practitioner.id], None
        then = local(MONDAY, 9), local(MONDAY, 9, 30)
        assert await require_open(session, at.agent, at.clinic, *asked, *then) == {}
    assert SlotTaken.code == "SLOT_TAKEN"
