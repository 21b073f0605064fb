"""Closing a clinic's day: what was posted on it, written down once and compared ever after."""

import datetime as dt
import uuid
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    ForeignKeyConstraint,
    Index,
    Select,
    UniqueConstraint,
    false,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent, record
from domain.billing.accounts import COLUMNS, Balance, account
from domain.billing.charges import zone_of
from domain.billing.ledger import DAY
from domain.billing.posting_record import Posting
from domain.billing.record import ChargeItem, Invoice
from domain.constraints import refusals
from domain.errors import DomainError, Invalid
from domain.locks import hold
from domain.model import Identified, Wall, new_id
from domain.organization import Level, OrgUnit


class DailyClose(Identified):
    """The sums of a clinic's day, in the clinic's zone, in minor units. Append-only, once a day."""

    __tablename__ = "daily_close"
    __resource__ = "daily_close"
    __wall__ = Wall.PLACED
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "clinic_id"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
            name="fk_daily_close_unit",
        ),
        UniqueConstraint("tenant_id", "unit_id", "day", name="uq_daily_close_day"),
        Index("ix_daily_close_tenant_day", "tenant_id", "day", "id"),
        Index("ix_daily_close_clinic_day", "tenant_id", "clinic_id", "day", "id"),
    )

    clinic_id: Mapped[uuid.UUID] = mapped_column(sort_order=-98)
    unit_id: Mapped[uuid.UUID] = mapped_column(sort_order=-97)
    day: Mapped[dt.date]
    charged_minor: Mapped[int] = mapped_column(BigInteger)
    paid_minor: Mapped[int] = mapped_column(BigInteger)
    adjusted_minor: Mapped[int] = mapped_column(BigInteger)
    transferred_minor: Mapped[int] = mapped_column(BigInteger)
    closed_at: Mapped[dt.datetime]
    closed_by: Mapped[uuid.UUID | None]


class DayClosed(DomainError):
    """The clinic's day was closed before."""

    code = "DAY_CLOSED"
    constraints = ("uq_daily_close_day",)

    def __init__(self) -> None:
        super().__init__("This day is closed already.", path=("day",))


def midnights(day: dt.date, zone: ZoneInfo, path: str = "day") -> tuple[dt.datetime, dt.datetime]:
    """The instants at which a day begins and ends there: 23 to 25 hours apart. Raises Invalid at the ends of time."""
    try:
        days = day, day + dt.timedelta(days=1)
        begin, end = (dt.datetime.combine(d, dt.time(), zone).astimezone(dt.UTC) for d in days)
    except OverflowError:
        raise Invalid("The day is out of range.", path=(path,)) from None
    return begin, end


async def day_sums(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, day: dt.date
) -> Balance:
    """What was billed and posted at a clinic on a day of its own, in minor units, as far as the session shows it.

    Billed is what was issued on the day less what was cancelled on it: neither changes what another day was.
    """
    begin, end = midnights(day, await zone_of(session, agent, clinic_id))

    def rows(model: Any, at: Any) -> Select[Any]:
        here = (model.tenant_id == agent.tenant_id, model.clinic_id == clinic_id)
        return select(model).where(*here, at >= begin, at < end)

    def total(at: Any) -> Any:
        issued = rows(Invoice, at).where(Invoice.issued_at.is_not(None))
        sums = issued.with_only_columns(func.coalesce(func.sum(Invoice.total_minor), 0))
        return sums.scalar_subquery()

    billed = total(Invoice.issued_at) - total(Invoice.cancelled_at)
    charged = int(await session.scalar(select(billed)) or 0)
    nothing = (select(model).where(false()) for model in (Invoice, ChargeItem))
    invoices, charges = nothing  # what is not billed is no part of a day's ledger
    posted = account(invoices, rows(Posting, Posting.posted_at), charges)
    row = (await session.execute(posted)).one_or_none()
    sums = {name: getattr(row, name) for name in COLUMNS} if row else {}
    return Balance(**sums | {"charged": charged})


async def close_day(
    session: AsyncSession,
    agent: Agent,
    clinic: OrgUnit,
    day: dt.date,
    *,
    close_id: uuid.UUID | None = None,
) -> DailyClose:
    """Write down a clinic's sums of a day that is over. Raises Invalid, DayClosed. Writes daily_close.

    It waits for entries that are under way; later ones count on the next open day (`ledger.enter`).
    """
    if clinic.level != Level.CLINIC:
        raise Invalid("A clinic's day is closed.", path=("clinic",), code="NOT_A_CLINIC")
    _, end = midnights(day, await zone_of(session, agent, clinic.id))
    if end > agent.now:
        raise Invalid("The day is not over yet.", path=("day",), code="DAY_NOT_OVER")
    await hold(session, DAY, agent.tenant_id, clinic.id)
    sums = await day_sums(session, agent, clinic.id, day)
    close = DailyClose(
        tenant_id=agent.tenant_id,
        id=close_id or new_id(),
        clinic_id=clinic.id,
        unit_id=clinic.id,
        day=day,
        charged_minor=sums.charged,
        paid_minor=sums.paid,
        adjusted_minor=sums.adjusted,
        transferred_minor=sums.transferred,
        closed_at=agent.now,
        closed_by=agent.person_id,
    )
    session.add(close)
    with refusals():
        await session.flush()
    record(session, agent, "daily_close:close", close.id, clinic_id=clinic.id)
    return close
