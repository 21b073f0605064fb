"""Who waits is offered a hold, accepts or declines it, and waits again once it has lapsed."""

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.appointments import Appointment, SlotTaken
from domain.appointments.waitlist import (
    WaitlistEntry,
    accept,
    decline,
    join_waitlist,
    offer,
    withdraw,
)
from domain.errors import IllegalMove, Invalid, NotFound, StaleVersion
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage
from tests.domain.test_reserving import done

pytestmark = pytest.mark.anyio

THEN = make.NOW + dt.timedelta(days=3)
DAYS = dt.date(2026, 3, 3), dt.date(2026, 3, 20)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


async def waits(engine: AsyncEngine, at: Stage, **values: Any) -> Any:
    asked: dict[str, Any] = {"minutes": 30, "days": DAYS, "place": at.clinic, **values}
    place, minutes, days = asked.pop("place"), asked.pop("minutes"), asked.pop("days")
    return await done(engine, at, join_waitlist, place, at.patient.id, minutes, *days, **asked)


async def fresh(engine: AsyncEngine, at: Stage) -> WaitlistEntry:
    async with acting(engine, at.tenant_id) as session:
        return (await session.scalars(select(WaitlistEntry))).one()


async def held(engine: AsyncEngine, at: Stage, entry: WaitlistEntry) -> Appointment:
    async with acting(engine, at.tenant_id) as session:
        return await session.get_one(Appointment, (at.tenant_id, entry.offered_id))


async def offered(engine: AsyncEngine, at: Stage, **more: Any) -> Any:
    entry = await fresh(engine, at)
    given = entry, entry.version, at.practitioner.id, THEN, more.pop("hours", 24)
    return await done(engine, at, offer, at.clinic, *given, **more)


async def test_an_offer_is_accepted(at: Stage, app_engine: AsyncEngine) -> None:
    await waits(app_engine, at, reason="Sooner", priority=5)
    hold = await offered(app_engine, at)
    assert (hold.state, hold.expires_at) == ("pending", make.NOW + dt.timedelta(hours=24))
    entry = await fresh(app_engine, at)
    assert (entry.state, entry.offered_id, entry.version) == ("offered", hold.id, 2)
    assert isinstance(await offered(app_engine, at), IllegalMove)
    booked = await done(app_engine, at, accept, entry, 2)
    assert (booked.state, booked.version) == ("booked", 3)
    assert (await held(app_engine, at, booked)).state == "booked"
    async with acting(app_engine, at.tenant_id) as session:
        told = [action for action, _ in await audited(session, at.agent)]
        assert told == ["appointment:wait", "appointment:offer", "appointment:accept"]


async def test_a_declined_offer_frees_the_time_and_the_patient_waits_on(
    at: Stage, app_engine: AsyncEngine
) -> None:
    await waits(app_engine, at)
    await offered(app_engine, at)
    entry = await fresh(app_engine, at)
    assert (await done(app_engine, at, decline, entry, 2)).state == "waiting"
    assert (await held(app_engine, at, entry)).state == "cancelled"
    assert (await offered(app_engine, at)).state == "pending"


async def test_a_lapsed_offer_is_offered_again_but_not_accepted(
    at: Stage, app_engine: AsyncEngine
) -> None:
    await waits(app_engine, at)
    await offered(app_engine, at, hours=1)
    late = at.at(hours=1)
    entry = await fresh(app_engine, at)
    refused = await done(app_engine, at, accept, entry, 2, agent=late)
    assert refused.code == "OFFER_LAPSED"
    again = await offered(app_engine, at, agent=late)
    assert (again.state, (await fresh(app_engine, at)).offered_id) == ("pending", again.id)


async def test_leaving_takes_the_offer_back(at: Stage, app_engine: AsyncEngine) -> None:
    await waits(app_engine, at)
    await offered(app_engine, at)
    entry = await fresh(app_engine, at)
    assert isinstance(await done(app_engine, at, withdraw, entry, 1), StaleVersion)
    assert (await held(app_engine, at, entry)).state == "pending"
    gone = await done(app_engine, at, withdraw, entry, 2)
    assert (gone.state, (await held(app_engine, at, gone)).state) == ("withdrawn", "cancelled")
    for command in (accept, decline, withdraw):
        assert isinstance(await done(app_engine, at, command, gone, 3), IllegalMove)
    assert isinstance(await offered(app_engine, at), IllegalMove)


async def test_a_taken_time_is_not_offered(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    taken = make.appointment(at.patient, at.clinic, at.practitioner, starts_at=THEN)
    make.save(database, taken, make.block(taken))
    await waits(app_engine, at)
    assert isinstance(await offered(app_engine, at), SlotTaken)
    assert (await fresh(app_engine, at)).state == "waiting"


@pytest.mark.parametrize(
    ("values", "code", "path"),
    [
        ({"minutes": 4}, "INVALID", "minutes"),
        ({"priority": 10}, "INVALID", "priority"),
        ({"days": DAYS[::-1]}, "REVERSED_PERIOD", "latestOn"),
        ({"days": (dt.date(2026, 1, 1), dt.date(2026, 2, 1))}, "IN_THE_PAST", "latestOn"),
        ({"days": (DAYS[0], dt.date(2029, 1, 1))}, "INVALID", "latestOn"),
    ],
)
async def test_what_nobody_can_wait_for(
    at: Stage, app_engine: AsyncEngine, values: dict[str, Any], code: str, path: str
) -> None:
    refused = await waits(app_engine, at, **values)
    assert isinstance(refused, Invalid)
    assert (refused.code, refused.path) == (code, (path,))


async def test_who_is_not_seen_there_does_not_wait(at: Stage, app_engine: AsyncEngine) -> None:
    assert isinstance(await waits(app_engine, at, place=at.elsewhere), NotFound)
    elsewhere = await waits(app_engine, at, practitioner_id=at.colleague.id)
    assert elsewhere.code == "NOT_BOOKABLE_HERE"
    await waits(app_engine, at)
    for hours in (0, 73):
        assert isinstance(await offered(app_engine, at, hours=hours), Invalid)
