"""What of a posting is applied to which line of an invoice, and what that makes of the invoices."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Integer, Uuid, column, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.billing.posting_record import Allocation, Posting
from domain.errors import DomainError, Invalid
from domain.model import new_id


class AboveOpen(DomainError):
    """More is applied than the line has open, or than the posting has left."""

    code = "ABOVE_OPEN"

    def __init__(self) -> None:
        super().__init__(
            "This is more than the line has open or the posting has left.", path=("allocations",)
        )


@dataclass(frozen=True)
class Share:
    """So much of a posting, in minor units, for a line of an invoice."""

    line_id: uuid.UUID
    amount_minor: int


@dataclass(frozen=True)
class OpenLine:
    """A line of an issued invoice and what is not settled of it, in minor units."""

    line_id: uuid.UUID
    invoice_id: uuid.UUID
    line_minor: int
    open_minor: int


async def open_lines(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, patient_id: uuid.UUID
) -> dict[uuid.UUID, OpenLine]:
    """The account's lines, oldest first, of all departments (migration 0014); none outside the write scope."""
    names = [column("line_id", Uuid()), column("invoice_id", Uuid())]
    amounts = [column("line_minor", BigInteger()), column("open_minor", BigInteger())]
    asked = func.open_lines(agent.tenant_id, clinic_id, patient_id)
    rows = asked.table_valued(*names, *amounts, name="o")
    found = await session.execute(select(*rows.c))
    return {row.line_id: OpenLine(*row) for row in found}


def spread(amount: int, lines: Iterable[OpenLine]) -> list[Share]:
    """As much of the amount as the lines have open, one after another."""
    shares = []
    for line in lines:
        part = min(amount, line.open_minor)
        if part > 0:
            shares.append(Share(line.line_id, part))
            amount -= part
    return shares


def apply(
    session: AsyncSession,
    agent: Agent,
    posting: Posting,
    shares: Sequence[Share],
    lines: dict[uuid.UUID, OpenLine],
    *,
    left: int,
) -> None:
    """Apply parts of a posting, of which `left` is free, to lines. Raises Invalid, AboveOpen. Writes allocation."""
    if len({share.line_id for share in shares}) < len(shares):
        raise Invalid("A line is named twice.", path=("allocations",))
    for share in shares:
        line = lines.get(share.line_id)
        if line is None:
            raise Invalid("This line is not of the account.", path=("allocations",))
        if share.amount_minor <= 0:
            raise Invalid("What is applied is more than nothing.", path=("allocations",))
        if share.amount_minor > line.open_minor:
            raise AboveOpen()
        session.add(allocated(agent, posting, line.line_id, line.line_minor, share.amount_minor))
    if sum(share.amount_minor for share in shares) > left:
        raise AboveOpen()


def allocated(
    agent: Agent, posting: Posting, line_id: uuid.UUID, line_minor: int, amount: int
) -> Allocation:
    """A part of the posting for a line, at the posting's place."""
    return Allocation(
        tenant_id=posting.tenant_id,
        id=new_id(),
        clinic_id=posting.clinic_id,
        unit_id=posting.unit_id,
        patient_id=posting.patient_id,
        sensitivity=posting.sensitivity,
        posting_id=posting.id,
        posting_minor=posting.amount_minor,
        invoice_line_id=line_id,
        line_minor=line_minor,
        amount_minor=amount,
        allocated_at=agent.now,
        recorded_by=agent.person_id,
    )


def released(agent: Agent, part: Allocation) -> Allocation:
    """The exact opposite of a part that was applied: it is free again."""
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    return Allocation(
        **{name: getattr(part, name) for name in names},
        id=new_id(),
        posting_id=part.posting_id,
        posting_minor=part.posting_minor,
        invoice_line_id=part.invoice_line_id,
        line_minor=part.line_minor,
        amount_minor=-part.amount_minor,
        releases_id=part.id,
        allocated_at=agent.now,
        recorded_by=agent.person_id,
    )


async def applied_of(
    session: AsyncSession, agent: Agent, posting: Posting
) -> list[tuple[uuid.UUID, int, int]]:
    """What of a posting is applied: (line, the line's amount, applied to it)."""
    rows = await session.execute(
        select(Allocation.invoice_line_id, Allocation.line_minor, func.sum(Allocation.amount_minor))
        .where(Allocation.tenant_id == agent.tenant_id, Allocation.posting_id == posting.id)
        .group_by(Allocation.invoice_line_id, Allocation.line_minor)
        .having(func.sum(Allocation.amount_minor) != 0)
    )
    return [(line_id, line_minor, int(amount)) for line_id, line_minor, amount in rows]


async def settle_invoices(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, patient_id: uuid.UUID
) -> None:
    """Let the account's invoices be balanced as far as they are (migration 0026), after what is applied has changed.

    Under the account's lock, so that nobody applies anything meanwhile. Writes invoice, for who may not too.
    """
    await session.flush()
    asked = func.settle_invoices(agent.tenant_id, clinic_id, patient_id, type_=Integer())
    await session.execute(select(asked))
