"""When reminders come due: by the rule that counts, outside of quiet hours, once, and never for what was known too late.

The clinic's clocks are Chicago's: six hours behind UTC in March 2026 until Sunday the 8th, five afterwards.
"""

import asyncio
import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Connection, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.appointments import Appointment
from domain.audit import Agent
from domain.organization import OrgUnit
from domain.reminders import Reminder, ReminderRule, ReminderWatch, look, watch
from tests import make, reminders
from tests.database import Database
from tests.domain.acting import Stage, acting, stage

pytestmark = pytest.mark.anyio

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
LONG_AGO = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
START = dt.datetime(2026, 3, 2, 0, 0, tzinfo=dt.UTC)


def utc(text_: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text_).replace(tzinfo=dt.UTC)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


def visit(database: Database, at: Stage, starts_at: dt.datetime, **values: Any) -> Appointment:
    """A booked visit at the clinic; saved."""
    node = values.pop("node", at.clinic)
    times = {"starts_at": starts_at, "ends_at": starts_at + HOUR, "created_at": LONG_AGO}
    made = make.appointment(
        values.pop("patient", at.patient), node, at.practitioner, **times | values
    )
    make.save(database, made)
    return made


def ruled(database: Database, node: OrgUnit, **values: Any) -> ReminderRule:
    made = reminders.rule(node, **values)
    make.save(database, made)
    return made


async def looks(
    engine: AsyncEngine, at: Stage, since: dt.datetime, until: dt.datetime
) -> list[Reminder]:
    """Everything that is written down when the calendar is looked through from one moment to another."""
    async with acting(engine, at.tenant_id) as session:
        await watch(session, Agent(at.tenant_id, since))
    again_at: dt.datetime | None = since
    while again_at is not None and again_at <= until:
        async with acting(engine, at.tenant_id) as session:
            looked = await look(session, Agent(at.tenant_id, until))
        assert looked is not None
        again_at = looked.again_at
    return await written(engine, at)


async def written(engine: AsyncEngine, at: Stage) -> list[Reminder]:
    async with acting(engine, at.tenant_id) as session:
        found = await session.scalars(select(Reminder).order_by(Reminder.due_at, Reminder.id))
        return list(found)


# -- one reading of quiet hours -----------------------------------------------------------------

NIGHT = ("21:00", "08:00")
TIMES = [
    # visit, minutes before, zone, quiet hours, known at -> when
    ("2026-03-04 18:00", 1440, "America/Chicago", NIGHT, "2026-01-01 00:00", "2026-03-03 18:00"),
    # 06:00 in Chicago: half an hour before the evening's nine
    ("2026-03-04 12:00", 1440, "America/Chicago", NIGHT, "2026-01-01 00:00", "2026-03-03 02:30"),
    # booked in that night: at eight in the morning
    ("2026-03-04 12:00", 1440, "America/Chicago", NIGHT, "2026-03-03 04:00", "2026-03-03 14:00"),
    # two hours before eight, booked in the night: the night ends as the visit begins
    ("2026-03-04 14:00", 120, "America/Chicago", NIGHT, "2026-03-04 04:00", None),
    ("2026-03-04 14:00", 120, "America/Chicago", NIGHT, "2026-03-03 20:00", "2026-03-04 02:30"),
    # booked later than that
    ("2026-03-04 18:00", 1440, "America/Chicago", NIGHT, "2026-03-03 18:00", None),
    # the edges: nine is quiet, eight is not
    ("2026-03-05 03:00", 1440, "America/Chicago", NIGHT, "2026-01-01 00:00", "2026-03-04 02:30"),
    ("2026-03-05 14:00", 1440, "America/Chicago", NIGHT, "2026-01-01 00:00", "2026-03-04 14:00"),
    # the same moment by other clocks
    ("2026-03-04 12:00", 1440, "Europe/Berlin", NIGHT, "2026-01-01 00:00", "2026-03-03 12:00"),
    # no quiet hours, and some in the middle of a day
    ("2026-03-04 12:00", 1440, "America/Chicago", ("00:00", "00:00"), "2026-01-01 00:00", "2026-03-03 12:00"),
    ("2026-03-04 19:00", 1440, "America/Chicago", ("12:00", "14:00"), "2026-01-01 00:00", "2026-03-03 17:30"),
    # the night in which the clocks go forward ends an hour earlier by UTC
    ("2026-03-09 10:00", 1440, "America/Chicago", NIGHT, "2026-03-08 04:00", "2026-03-08 13:00"),
    ("2026-03-09 13:00", 1440, "America/Chicago", NIGHT, "2026-01-01 00:00", "2026-03-08 13:00"),
    # quiet until a time that is skipped: three by the new clocks
    ("2026-03-09 07:30", 1440, "America/Chicago", ("22:00", "02:30"), "2026-03-08 05:00", "2026-03-08 08:30"),
    # the night in which they go back: 01:30 comes twice, both are quiet
    ("2026-11-02 06:30", 1440, "America/Chicago", NIGHT, "2026-01-01 00:00", "2026-11-01 01:30"),
    ("2026-11-02 07:30", 1440, "America/Chicago", NIGHT, "2026-01-01 00:00", "2026-11-01 01:30"),
    # begun before the clocks went back, quiet from a time that comes twice
    ("2026-11-02 06:45", 1440, "America/Chicago", ("01:30", "08:00"), "2026-01-01 00:00", "2026-11-01 06:15"),
]  # fmt: skip


@pytest.mark.parametrize(("starts", "minutes", "zone", "quiet", "known", "expected"), TIMES)
def test_when(
    app: Connection,
    starts: str,
    minutes: int,
    zone: str,
    quiet: tuple[str, str],
    known: str,
    expected: str | None,
) -> None:
    asked = text("select reminder_at(:s, :m, :z, cast(:f as time), cast(:u as time), :k)")
    given = {
        "s": utc(starts),
        "m": minutes,
        "z": zone,
        "f": quiet[0],
        "u": quiet[1],
        "k": utc(known),
    }
    assert app.scalar(asked, given) == (utc(expected) if expected else None)


def test_nothing_goes_out_in_quiet_hours_or_after_the_visit(app: Connection) -> None:
    """Every quarter of an hour around both changes of the clocks, with rules of several lengths."""
    asked = text(
        "select count(*), count(a) filter (where quiet_span(a, z, f, u) is not null),"
        " count(a) filter (where a >= s), count(a) filter (where a <= k), count(a) filter (where a > s - m * interval '1 minute' + interval '17 hours')"
        " from unnest(cast(:days as timestamptz[])) day,"
        " generate_series(day - interval '2 days', day + interval '2 days', interval '15 minutes') s,"
        " unnest(array[15, 60, 600, 1440, 10080]) m, unnest(array['America/Chicago', 'Europe/Berlin', 'Pacific/Apia']) z,"
        " (values ('21:00'::time, '08:00'::time), ('01:30', '03:00'), ('16:00', '08:00'), ('12:00', '12:00')) q (f, u),"
        " unnest(array[interval '30 days', interval '20 hours', interval '90 minutes']) known,"
        " lateral (select s - known) l (k), lateral (select reminder_at(s, m, z, f, u, k)) r (a)"
    )
    days = [utc("2026-03-08 08:00"), utc("2026-03-29 01:00"), utc("2026-11-01 07:00")]
    total, quiet, late, early, shifted = app.execute(asked, {"days": days}).one()
    assert total > 100_000
    assert (quiet, late, early, shifted) == (0, 0, 0, 0)


# -- looking through the calendar ---------------------------------------------------------------


async def test_a_visit_is_reminded_of_once(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root)
    booked = visit(database, at, utc("2026-03-03 18:02"))
    visit(database, at, utc("2026-03-03 18:00"), state="cancelled")
    visit(
        database, at, utc("2026-03-03 18:00"), state="pending", expires_at=utc("2026-03-03 17:00")
    )
    (one,) = await looks(app_engine, at, utc("2026-03-02 17:30"), utc("2026-03-02 17:58"))
    assert (one.appointment_id, one.due_at) == (booked.id, utc("2026-03-02 18:02"))
    assert (one.state, one.channel, one.attempts) == ("due", "email", 0)
    # It is written down before it is due, so that it goes out in time.
    assert one.created_at <= one.due_at


async def test_each_of_a_series_is_reminded_of(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root, minutes_before=3 * 1440)
    visits = [visit(database, at, utc("2026-03-05 18:00") + n * DAY) for n in range(3)]
    found = await looks(app_engine, at, utc("2026-03-02 17:00"), utc("2026-03-04 19:00"))
    assert [r.appointment_id for r in found] == [v.id for v in visits]


async def test_a_visit_that_is_moved_is_reminded_of_at_its_new_time_only(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root)
    old = visit(database, at, utc("2026-03-03 18:00"), state="cancelled")
    fresh = visit(database, at, utc("2026-03-05 18:00"), rescheduled_from_id=old.id)
    # Moved to tomorrow just now: who moved it was told.
    visit(database, at, utc("2026-03-03 19:00"), created_at=utc("2026-03-02 20:00"))
    found = await looks(app_engine, at, utc("2026-03-02 15:00"), utc("2026-03-04 19:00"))
    assert [r.appointment_id for r in found] == [fresh.id]


async def test_a_booking_that_was_committed_late_is_found(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    """It began before a look and was committed after it: the next one looks back."""
    ruled(database, at.tree.root)
    await looks(app_engine, at, utc("2026-03-02 17:00"), utc("2026-03-02 18:00"))
    late = visit(database, at, utc("2026-03-03 18:01"), created_at=utc("2026-03-02 18:00"))
    async with acting(app_engine, at.tenant_id) as session:
        await look(session, Agent(at.tenant_id, utc("2026-03-02 18:10")))
    assert [r.appointment_id for r in await written(app_engine, at)] == [late.id]


async def test_the_nearest_rules_count(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root)
    ruled(database, at.tree.root, channel="webhook", minutes_before=120)
    ruled(database, at.clinic, minutes_before=180)
    ruled(database, at.clinic, minutes_before=600, active=False)
    ruled(database, at.ward, channel="webhook", minutes_before=None)  # nothing by this channel
    make.save(database, *make.patient_at(at.tree.tenant, at.ward, at.elsewhere))
    starts = utc("2026-03-03 20:00")
    places = {"clinic": at.clinic, "ward": at.ward, "elsewhere": at.elsewhere}
    visits = {}
    for name, node in places.items():
        patient, *sites = make.patient_at(at.tree.tenant, node)
        make.save(database, patient, *sites)
        visits[visit(database, at, starts, node=node, patient=patient).id] = name
    found = await looks(app_engine, at, START, utc("2026-03-03 19:00"))
    told = sorted((visits[r.appointment_id], r.channel, starts - r.due_at) for r in found)
    assert told == [
        ("clinic", "email", 3 * HOUR),
        ("clinic", "webhook", 2 * HOUR),
        ("elsewhere", "email", 24 * HOUR),
        ("elsewhere", "webhook", 2 * HOUR),
        ("ward", "email", 3 * HOUR),
    ]


async def test_quiet_hours_are_the_patients(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root)
    make.save(
        database,
        reminders.setting(at.tree.root, quiet_from=dt.time(20), quiet_until=dt.time(9)),
        reminders.setting(at.clinic, quiet_from=dt.time(22), quiet_until=dt.time(7)),
    )
    starts = utc("2026-03-04 04:30")  # 22:30 in Chicago, 05:30 in Berlin, 18:30 in Honolulu
    visits = {}
    for zone in (None, "Europe/Berlin", "Pacific/Honolulu"):
        patient, *sites = make.patient_at(at.tree.tenant, at.clinic, zone=zone)
        make.save(database, patient, *sites)
        visits[visit(database, at, starts, patient=patient).id] = zone
    found = await looks(app_engine, at, START, utc("2026-03-03 19:00"))
    assert {visits[r.appointment_id]: r.due_at for r in found} == {
        None: utc("2026-03-03 03:30"),
        "Europe/Berlin": utc("2026-03-02 20:30"),
        "Pacific/Honolulu": utc("2026-03-03 04:30"),
    }


async def test_of_two_at_one_time_one_goes_out(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    """Both rules fall into the same night; the one nearer to the visit stays. Other channels are others."""
    near = ruled(database, at.tree.root)
    far = ruled(database, at.tree.root, minutes_before=26 * 60)
    other = ruled(database, at.tree.root, channel="webhook", minutes_before=25 * 60)
    visit(database, at, utc("2026-03-04 12:00"))
    found = await looks(app_engine, at, START, utc("2026-03-03 19:00"))
    assert {(r.rule_id, r.state, r.cause) for r in found} == {
        (near.id, "due", None),
        (far.id, "skipped", "merged"),
        (other.id, "due", None),
    }


async def test_a_new_rule_makes_up_for_nothing(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    begun = utc("2026-03-02 17:00")
    rule = ruled(database, at.tree.root, since=begun)
    visit(database, at, begun + DAY)
    later = visit(database, at, begun + DAY + MINUTE)
    found = await looks(app_engine, at, utc("2026-03-02 15:00"), utc("2026-03-02 20:00"))
    assert [r.appointment_id for r in found] == [later.id]
    # Changed to a shorter time, it does not remind of the same visit again.
    with database.owner_engine.begin() as owner:
        owner.execute(
            update(ReminderRule)
            .where(ReminderRule.id == rule.id)
            .values(minutes_before=120, since=utc("2026-03-02 20:00"))
        )
    found = await looks(app_engine, at, utc("2026-03-02 21:00"), later.starts_at - HOUR)
    assert len([r for r in found if r.appointment_id == later.id]) == 1


async def test_after_an_outage_everything_is_found_in_stretches(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root)
    begun = utc("2026-03-02 15:00")
    visits = [visit(database, at, begun + DAY + n * HOUR) for n in range(1, 7)]
    await looks(app_engine, at, begun, begun)
    back = begun + 5 * HOUR + 30 * MINUTE
    found = 0
    for turn in range(10):
        async with acting(app_engine, at.tenant_id) as session:
            looked = await look(session, Agent(at.tenant_id, back + turn * dt.timedelta(seconds=1)))
        assert looked is not None
        assert looked.again_at is not None
        found += len(looked.due)
        if looked.again_at > back + MINUTE:
            break
    assert found == len(await written(app_engine, at)) == 5
    assert turn == 5
    assert visits[5].id not in {r.appointment_id for r in await written(app_engine, at)}


async def test_closed_places_and_suspended_rules_remind_nobody(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root)
    visit(database, at, utc("2026-03-03 18:00"))
    with database.owner_engine.begin() as owner:
        owner.execute(update(OrgUnit).where(OrgUnit.id == at.clinic.id).values(active=False))
    assert await looks(app_engine, at, utc("2026-03-02 17:00"), utc("2026-03-02 19:00")) == []


async def test_without_a_rule_nobody_looks_and_a_new_one_wakes(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    now = utc("2026-03-02 17:00")
    async with acting(app_engine, at.tenant_id) as session:
        assert await watch(session, Agent(at.tenant_id, now))
        looked = await look(session, Agent(at.tenant_id, now))
        assert looked is not None
        assert looked.again_at is None
        assert await look(session, Agent(at.tenant_id, now + HOUR)) is None
        # Somebody makes a rule: looked through from then on, and once only.
        assert await watch(session, Agent(at.tenant_id, now + HOUR))
        assert not await watch(session, Agent(at.tenant_id, now + HOUR))
        row = (await session.scalars(select(ReminderWatch))).one()
        assert row.checked_until == row.looks_at == now + HOUR
        # A chain that broke hours ago is begun again where it stood.
        assert await watch(session, Agent(at.tenant_id, now + 3 * HOUR))
        row = (await session.scalars(select(ReminderWatch))).one()
        assert row.checked_until == now + HOUR


async def test_two_who_look_at_once_write_each_reminder_once(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    ruled(database, at.tree.root)
    for n in range(20):
        visit(database, at, utc("2026-03-03 18:00") + n * dt.timedelta(seconds=1))
    now = utc("2026-03-02 17:58")
    async with acting(app_engine, at.tenant_id) as session:
        await watch(session, Agent(at.tenant_id, now))

    async def one() -> int:
        async with acting(app_engine, at.tenant_id) as session:
            looked = await look(session, Agent(at.tenant_id, now))
        return -1 if looked is None else len(looked.due)

    assert sorted(await asyncio.gather(*(one() for _ in range(4)))) == [-1, -1, -1, 20]
    assert len(await written(app_engine, at)) == 20


async def test_another_health_system_is_not_looked_at(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    other = stage(database)
    ruled(database, at.tree.root)
    ruled(database, other.tree.root)
    mine = visit(database, at, utc("2026-03-03 18:00"))
    theirs = visit(database, other, utc("2026-03-03 18:00"))
    found = await looks(app_engine, at, utc("2026-03-02 17:00"), utc("2026-03-02 19:00"))
    assert [r.appointment_id for r in found] == [mine.id]
    assert await written(app_engine, other) == []
    assert theirs.tenant_id != mine.tenant_id
