"""Cancelling an invoice: it keeps its number and its lines, is owed no more, and its charges can be billed again."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.audit import Agent, record
from domain.billing.allocations import open_lines, released
from domain.billing.ledger import enter
from domain.billing.posting_record import Allocation, Posting, PostingKind
from domain.billing.record import ChargeItem, ChargeState, Invoice, InvoiceLine, InvoiceState, move
from domain.errors import Invalid, unchanged
from domain.plain_text import passage
from domain.versions import change

REASON = 1_000


class StillAdjusted(Invalid):
    """Something of the invoice was written off. That is no money, so it is undone first, by somebody else."""

    def __init__(self) -> None:
        text = "Undo first what was written off of this invoice."
        super().__init__(text, path=("id",), code="STILL_ADJUSTED")


class AppliedElsewhere(Invalid):
    """Something is applied to it that the asker does not see."""

    def __init__(self) -> None:
        text = "Something of another place is applied to this invoice; somebody of the clinic cancels it."
        super().__init__(text, path=("id",), code="APPLIED_ELSEWHERE")


async def applied_to(session: AsyncSession, agent: Agent, invoice: Invoice) -> Sequence[Posting]:
    """The postings that are applied to an invoice's lines and not undone, as far as the session shows them."""
    parts = await standing(session, agent, invoice)
    found = await session.scalars(
        select(Posting)
        .where(Posting.tenant_id == agent.tenant_id, Posting.id.in_({p.posting_id for p in parts}))
        .order_by(Posting.id)
    )
    return found.all()


async def standing(session: AsyncSession, agent: Agent, invoice: Invoice) -> Sequence[Allocation]:
    """What is applied to an invoice's lines, neither released nor taken back by a reversal."""
    release, undone = aliased(Allocation), aliased(Posting)
    found = await session.scalars(
        select(Allocation)
        .join(
            InvoiceLine,
            (InvoiceLine.tenant_id == Allocation.tenant_id)
            & (InvoiceLine.id == Allocation.invoice_line_id),
        )
        .outerjoin(
            release,
            (release.tenant_id == Allocation.tenant_id) & (release.releases_id == Allocation.id),
        )
        .outerjoin(
            undone,
            (undone.tenant_id == Allocation.tenant_id)
            & (undone.reverses_id == Allocation.posting_id),
        )
        .where(
            Allocation.tenant_id == agent.tenant_id,
            InvoiceLine.invoice_id == invoice.id,
            Allocation.amount_minor > 0,
            release.id.is_(None),
            undone.id.is_(None),
        )
        .order_by(Allocation.id)
    )
    return found.all()


async def cancel_invoice(
    session: AsyncSession, agent: Agent, invoice: Invoice, version: int, reason: str
) -> Invoice:
    """Take back an issued invoice. Money that was applied to it is credit of the account again.

    Raises Invalid without a reason, IllegalMove, StaleVersion, StillAdjusted, AppliedElsewhere. Writes invoice,
    charge_item, allocation; `live` of its lines follows by foreign key.
    """
    why = passage(reason, "reason", maximum=REASON)
    (at,) = await enter(session, agent, invoice.patient_id, invoice.clinic_id)
    here = (Invoice.tenant_id == agent.tenant_id, Invoice.id == invoice.id)
    current = await session.scalar(select(Invoice.version).where(*here))
    if current != version:  # what is applied to it is read of no other one
        raise unchanged(current, version)
    state = move(invoice.state, InvoiceState.CANCELLED)
    parts = await _all_of(session, agent, invoice)
    values = {"cancelled_at": at.now, "cancelled_by": agent.person_id, "cancel_reason": why}
    cancelled = await change(session, agent, invoice, version, state=state, **values)
    session.add_all(released(at, part) for part in parts)
    await _unbill(session, agent, cancelled)
    record(
        session,
        agent,
        "invoice:cancel",
        *(cancelled.id, cancelled.patient_id),
        *{part.posting_id for part in parts},
        clinic_id=cancelled.clinic_id,
    )
    return cancelled


async def _all_of(session: AsyncSession, agent: Agent, invoice: Invoice) -> Sequence[Allocation]:
    """All that is applied to the invoice. Raises StillAdjusted, AppliedElsewhere where that is more than is shown."""
    parts = await standing(session, agent, invoice)
    if any(p.kind == PostingKind.ADJUSTMENT for p in await applied_to(session, agent, invoice)):
        raise StillAdjusted()
    lines = await open_lines(session, agent, invoice.clinic_id, invoice.patient_id)
    open_ = sum(line.open_minor for line in lines.values() if line.invoice_id == invoice.id)
    if open_ + sum(part.amount_minor for part in parts) != invoice.total_minor:
        raise AppliedElsewhere()
    return parts


async def _unbill(session: AsyncSession, agent: Agent, invoice: Invoice) -> None:
    """Its charges can be billed again."""
    await session.flush()
    lines = select(InvoiceLine.charge_item_id).where(
        InvoiceLine.tenant_id == agent.tenant_id, InvoiceLine.invoice_id == invoice.id
    )
    charges = {id_ for id_ in await session.scalars(lines) if id_ is not None}
    await session.execute(
        update(ChargeItem)
        .where(
            ChargeItem.tenant_id == agent.tenant_id,
            ChargeItem.id.in_(charges),
            ChargeItem.state == ChargeState.BILLED.value,
        )
        .values(
            state=ChargeState.BILLABLE.value,
            version=ChargeItem.version + 1,
            updated_at=agent.now,
        ),
        execution_options={"synchronize_session": False},
    )
