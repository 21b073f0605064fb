"""The end of a clinic's day: nothing that counts on it is missing from it, nothing comes to it afterwards."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.billing import (
    Adjustment,
    AdjustmentGroup,
    DailyClose,
    Invoice,
    Posting,
    adjust,
    cancel_invoice,
    close_day,
    issue_invoice,
    record_payment,
    reverse,
    transfer,
)
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, stage
from tests.domain.test_books import proven

pytestmark = pytest.mark.anyio
DAY = make.NOW.date()
"""NOW is 03:00 of it in Chicago, where the clinics are."""
NEXT = dt.datetime(DAY.year, DAY.month, DAY.day, 6, tzinfo=dt.UTC) + dt.timedelta(days=1)
"""When the next day begins there, six hours behind."""


@pytest.fixture
def at(database: Database) -> Stage:
    made = stage(database)
    made.tree.tenant.currency, made.tree.tenant.currency_digits = "USD", 2
    make.save(database, make.site(made.patient, made.elsewhere))
    return made


async def pay(session: AsyncSession, at: Stage, agent: Agent | None = None) -> Posting:
    who = (at.clinic, at.patient.id, Decimal(50), "USD")
    return await record_payment(session, agent or at.agent, *who, unapplied=True)


async def close(engine: AsyncEngine, at: Stage, days: int = 0) -> DailyClose:
    async with acting(engine, at.tenant_id) as session:
        day = DAY + dt.timedelta(days=days)
        return await close_day(session, at.at(days=2 + days), at.clinic, day)


async def somebody_waits(database: Database) -> None:
    """As soon as a transaction waits for a lock that is nobody's row."""
    asked = text(
        "select count(*) from pg_locks l join pg_stat_activity a on a.pid = l.pid"
        " where not l.granted and l.locktype = 'advisory' and a.datname = current_database()"
    )
    for _ in range(500):
        with database.owner_engine.connect() as owner:
            if owner.scalar(asked):
                return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_a_close_waits_for_entries_that_are_under_way(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        posting = await pay(session, at)
        closing = asyncio.create_task(close(app_engine, at))
        await somebody_waits(database)
    closed = await closing
    assert posting.posted_at == make.NOW
    assert closed.paid_minor == 5_000
    assert (await proven(app_engine, at)).difference is None


async def test_who_enters_waits_for_a_close_and_counts_on_the_next_day(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    async def late() -> Posting:
        async with acting(app_engine, at.tenant_id) as session:
            return await pay(session, at)

    async with acting(app_engine, at.tenant_id) as session:
        await close_day(session, at.at(days=2), at.clinic, DAY)
        paying = asyncio.create_task(late())
        await somebody_waits(database)
    assert (await paying).posted_at == NEXT
    assert (await close(app_engine, at, 1)).paid_minor == 5_000
    assert (await proven(app_engine, at)).difference is None


Entry = Callable[[AsyncSession, Stage, Any], Awaitable[Any]]


async def issued(session: AsyncSession, at: Stage, case: Any) -> dt.datetime | None:
    made = await issue_invoice(session, at.agent, at.clinic, at.patient.id, [case.charge])
    return made.issued_at


async def adjusted(session: AsyncSession, at: Stage, case: Any) -> dt.datetime:
    why = Adjustment(AdjustmentGroup.CONTRACTUAL, "45")
    args = (at.tree.tenant, at.clinic, at.patient.id, Decimal(1), "USD", why)
    return (await adjust(session, at.agent, *args)).posted_at


async def moved(session: AsyncSession, at: Stage, case: Any) -> dt.datetime:
    """From a closed day to a clinic whose day is open: each end by its own clinic."""
    other = {"tenant_id": at.tenant_id}
    places = (at.tree.tenant, at.clinic, at.elsewhere, at.patient.id)
    given = await transfer(session, at.agent, *places, Decimal(1), "USD")
    assert given.posted_at == make.NOW
    return (await session.get_one(Posting, other | {"id": given.counterpart_id})).posted_at


async def undone(session: AsyncSession, at: Stage, case: Any) -> dt.datetime:
    return (await reverse(session, at.agent, case.payment)).posted_at


async def cancelled(session: AsyncSession, at: Stage, case: Any) -> dt.datetime | None:
    found = await cancel_invoice(session, at.agent, case.bill, 1, "why")
    return found.cancelled_at


class Case:
    """An account with a bill of 120.00; with credit, a payment of 200.00 as well. All of the day before."""

    def __init__(self, at: Stage, *, credit: bool) -> None:
        self.charge = make.charge(at.patient, at.clinic)
        before = make.NOW - dt.timedelta(days=1)
        self.bill = make.invoice(at.patient, at.clinic, number=1, issued_at=before)
        self.payment = make.posting(
            at.patient, at.clinic, amount_minor=20_000, posted_at=before, recorded_by=None
        )
        self.rows = [self.charge, self.bill, make.invoice_line(self.bill)]
        self.rows += [self.payment] if credit else []


@pytest.mark.parametrize(
    ("entry", "credit", "sums"),
    [
        (issued, False, (12_000, 0, 0, 0)),
        (adjusted, False, (0, 0, 100, 0)),
        (moved, True, (0, 0, 0, -100)),
        (undone, True, (0, -20_000, 0, 0)),
        (cancelled, False, (-12_000, 0, 0, 0)),
    ],
)
async def test_every_late_entry_counts_on_the_next_open_day(
    at: Stage,
    app_engine: AsyncEngine,
    database: Database,
    entry: Entry,
    credit: bool,
    sums: tuple[int, ...],
) -> None:
    case = Case(at, credit=credit)
    make.save(database, *case.rows)
    if entry is issued:
        with database.owner_engine.begin() as owner:
            owner.execute(
                text("insert into counter values (:t, 'invoice', 1)"), {"t": at.tenant_id}
            )
    first = await close(app_engine, at)
    second = await close(app_engine, at, 1)
    async with acting(app_engine, at.tenant_id) as session:
        assert await entry(session, at, case) == NEXT + dt.timedelta(days=1)
    assert (first.charged_minor, second.charged_minor) == (0, 0)
    assert (await proven(app_engine, at)).difference is None
    third = await close(app_engine, at, 2)
    told = (third.charged_minor, third.paid_minor, third.adjusted_minor, third.transferred_minor)
    assert told == sums


async def test_an_open_day_between_closed_ones_takes_what_is_late(
    at: Stage, app_engine: AsyncEngine
) -> None:
    await close(app_engine, at)
    await close(app_engine, at, 2)
    async with acting(app_engine, at.tenant_id) as session:
        assert (await pay(session, at)).posted_at == NEXT
        later = at.at(days=2)  # on the third day, which is closed
        assert (await pay(session, at, later)).posted_at == NEXT + dt.timedelta(days=2)


async def test_a_closed_day_stays_as_it_was_when_its_invoice_is_cancelled(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = make.invoice(at.patient, at.clinic, number=1)
    make.save(database, bill, make.invoice_line(bill))
    assert (await close(app_engine, at)).charged_minor == 12_000
    async with acting(app_engine, at.tenant_id) as session:
        fresh = await session.get_one(Invoice, {"tenant_id": at.tenant_id, "id": bill.id})
        await cancel_invoice(session, at.at(days=1), fresh, fresh.version, "why")
    assert (await close(app_engine, at, 1)).charged_minor == -12_000
    assert (await proven(app_engine, at)).difference is None


async def test_another_health_systems_days_are_not_told(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    await close(app_engine, at)
    there = make.tree(clinics=1)
    make.save(database, *there.rows)
    asked = text("select open_moment(:t, :c, :m)")
    values = {"t": at.tenant_id, "c": at.clinic.id, "m": make.NOW}
    async with acting(app_engine, there.tenant.tenant_id) as session:
        assert await session.scalar(asked, values) is None
    async with acting(app_engine, at.tenant_id) as session:
        assert await session.scalar(asked, values) == NEXT
        assert await session.scalar(select(DailyClose.id)) is not None
