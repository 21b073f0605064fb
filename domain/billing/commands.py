"""What is done in billing: taking payments, issuing invoices."""

import uuid
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.billing.accounts import OWED
from domain.billing.allocations import Share, apply, open_lines, settle_invoices, spread
from domain.billing.ledger import enter
from domain.billing.money import LARGEST, minor_units
from domain.billing.posting_record import Posting, PostingKind
from domain.billing.postings import AboveBalance, owed_at, posting_at
from domain.billing.record import (
    ChargeItem,
    ChargeState,
    Invoice,
    InvoiceLine,
    InvoiceState,
)
from domain.errors import Invalid, NotFound
from domain.keys import next_number
from domain.model import new_id
from domain.organization import Place, Tenant, clinic_of
from domain.patients import seen_at
from domain.plain_text import optional_identifier


class PaymentMethod(StrEnum):
    """How it was paid."""

    CASH = "cash"
    CARD = "card"
    CHECK = "check"
    TRANSFER = "transfer"
    OTHER = "other"


async def record_payment(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    patient_id: uuid.UUID,
    amount: Decimal,
    currency: str,
    *,
    method: PaymentMethod = PaymentMethod.CARD,
    reference: str | None = None,
    unapplied: bool = False,
    invoice: Invoice | None = None,
    shares: Sequence[Share] = (),
    posting_id: uuid.UUID | None = None,
) -> Posting:
    """Post a payment of the patient at `place`. Above what is owed at the clinic only as `unapplied`.

    What is owed is asked of `open_balance` (migration 0008), within the write scope of posting, since who takes
    payments need not read bills; payments of one patient at one clinic wait for each other. It is applied to the
    lines of `shares`, else to those of `invoice` in their order, as far as they are open; the rest stays on the account.
    `reference` is the terminal's or the check's number, never a card's. Raises Invalid, NotFound (patient),
    AboveBalance, AboveOpen. Writes posting, allocation; patient_site at a department's first.
    """
    paid = minor_units(amount, currency, await own_tenant(session, agent))
    if paid <= 0:
        raise Invalid("A payment is more than nothing.", path=("amount",))
    site = await seen_at(session, agent, patient_id, place)
    if invoice is not None and (invoice.patient_id, invoice.clinic_id) != (
        patient_id,
        site.clinic_id,
    ):
        raise Invalid("The invoice is another account's.", path=("invoice",))
    (at,) = await enter(session, agent, patient_id, site.clinic_id)
    if invoice is not None and not await counts(session, agent, invoice):
        raise Invalid("The invoice is cancelled.", path=("invoice",), code="NOT_OWED")
    if paid > await owed_at(session, agent, site.clinic_id, patient_id) and not unapplied:
        raise AboveBalance()
    posting = posting_at(
        at,
        site,
        id=posting_id or new_id(),
        kind=PostingKind.PAYMENT.value,
        amount_minor=paid,
        invoice_id=invoice.id if invoice else None,
        method=method.value,
        reference=optional_identifier(reference, "reference", maximum=80),
    )
    session.add(posting)
    await session.flush()
    if shares or invoice is not None:
        lines = await open_lines(session, agent, site.clinic_id, patient_id)
        if not shares and invoice is not None:
            shares = spread(paid, (o for o in lines.values() if o.invoice_id == invoice.id))
        apply(session, at, posting, shares, lines, left=paid)
        await settle_invoices(session, agent, site.clinic_id, patient_id)
    record(session, agent, "payment:record", posting.id, patient_id, clinic_id=posting.clinic_id)
    return posting


async def counts(session: AsyncSession, agent: Agent, invoice: Invoice) -> bool:
    """Whether an invoice is owed as of now, whatever it was when it was read."""
    here = (Invoice.tenant_id == agent.tenant_id, Invoice.id == invoice.id)
    state = await session.scalar(select(Invoice.state).where(*here))
    return state in OWED


async def issue_invoice(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    patient_id: uuid.UUID,
    charges: Sequence[ChargeItem],
    *,
    invoice_id: uuid.UUID | None = None,
) -> Invoice:
    """Bill billable charges of one patient at one clinic. Lines are copied and never change; the number is gapless.

    Charges of a department may be billed by the department or by its clinic. Raises Invalid (also for a charge
    billed meanwhile), NotFound. Writes invoice, invoice_line, charge_item, counter.
    """
    if not charges:
        raise Invalid("An invoice has at least one charge.", path=("charges",))
    clinic_id = clinic_of(place)
    site = await seen_at(session, agent, patient_id, place)
    for charge in charges:
        here = charge.unit_id == place.id or (place.id == clinic_id == charge.clinic_id)
        if charge.patient_id != patient_id or not here:
            raise Invalid("A charge is of another patient or place.", path=("charges",))
    total = sum(charge.amount_minor for charge in charges)
    if total > LARGEST:
        raise Invalid("This amount is too large.", path=("charges",))
    (at,) = await enter(session, agent, patient_id, site.clinic_id)
    await bill(session, agent, charges)
    invoice = Invoice(
        tenant_id=agent.tenant_id,
        id=invoice_id or new_id(),
        clinic_id=site.clinic_id,
        unit_id=site.unit_id,
        patient_id=patient_id,
        sensitivity=site.sensitivity,
        number=await next_number(session, agent, "invoice"),
        # Of one that asks for nothing, nothing is left to settle.
        state=(InvoiceState.ISSUED if total else InvoiceState.BALANCED).value,
        issued_at=at.now,
        total_minor=total,
        cancelled_at=None,
        cancelled_by=None,
        cancel_reason=None,
    )
    session.add(invoice)
    await session.flush()
    session.add_all(line_of(invoice, charge) for charge in charges)
    await session.flush()
    record(session, agent, "invoice:issue", invoice.id, patient_id, clinic_id=invoice.clinic_id)
    return invoice


async def bill(session: AsyncSession, agent: Agent, charges: Sequence[ChargeItem]) -> None:
    """Take the charges for an invoice. Raises Invalid unless every one of them was still billable."""
    ids = {charge.id for charge in charges}
    taken = await session.scalars(
        update(ChargeItem)
        .where(
            ChargeItem.tenant_id == agent.tenant_id,
            ChargeItem.id.in_(ids),
            ChargeItem.state == ChargeState.BILLABLE.value,
        )
        .values(
            state=ChargeState.BILLED.value,
            version=ChargeItem.version + 1,
            updated_at=agent.now,
        )
        .returning(ChargeItem),
        execution_options={"populate_existing": True, "synchronize_session": False},
    )
    if len(ids) != len(charges) or len(taken.all()) != len(charges):
        raise Invalid(
            "A charge is not billable (any more).", path=("charges",), code="NOT_BILLABLE"
        )


def line_of(invoice: Invoice, charge: ChargeItem) -> InvoiceLine:
    """The charge as the invoice keeps it."""
    return InvoiceLine(
        tenant_id=invoice.tenant_id,
        id=new_id(),
        clinic_id=invoice.clinic_id,
        unit_id=invoice.unit_id,
        patient_id=invoice.patient_id,
        sensitivity=invoice.sensitivity,
        invoice_id=invoice.id,
        charge_item_id=charge.id,
        code=charge.code,
        description=charge.description,
        units=charge.units,
        unit_price_minor=charge.unit_price_minor,
        amount_minor=charge.amount_minor,
    )


async def own_tenant(session: AsyncSession, agent: Agent) -> Tenant:
    """The agent's health system. Raises NotFound."""
    tenant = await session.get(Tenant, agent.tenant_id)
    if tenant is None:
        raise NotFound()
    return tenant
