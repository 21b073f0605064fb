"""A payer's payment spread over claims, from FHIR R4 PaymentReconciliation.

https://hl7.org/fhir/R4/paymentreconciliation.html. An answer (ClaimResponse) says what is paid for a claim, a payment
brings it; either may come first. What is posted for a claim follows whichever is ahead, so nothing is posted twice.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.audit import Agent, record
from domain.billing.adjudication import PAID_BY_PAYER, items_of, lines_of, paid_for
from domain.billing.allocations import apply, open_lines, settle_invoices, spread
from domain.billing.claim_record import Claim, ClaimQueue
from domain.billing.coverage_record import FinancialState
from domain.billing.ledger import enter_all
from domain.billing.posting_record import Posting, PostingKind
from domain.billing.postings import posting_at, reverse
from domain.billing.remittance_record import ClaimReceipt
from domain.billing.remittances import (
    Json,
    claim_named,
    identity,
    minor,
    parsed,
    part,
    parts,
    take,
    taken,
)
from domain.errors import DomainError, Invalid, NotFound, Several
from domain.errors import part as within
from domain.model import new_id
from domain.organization import Tenant
from domain.plain_text import identifier

KIND = "PaymentReconciliation"
RECOVERED = "WO"
"""X12 provider adjustment reason code: overpayment recovery."""
WITH_THE_PAYER = frozenset(ClaimQueue) - {ClaimQueue.NEEDS_CODING, ClaimQueue.QUEUED}
"""A claim that was never filed is not paid."""


@dataclass(frozen=True)
class Detail:
    """A part of the payment: for a claim, in minor units, below zero where the payer takes back. `sequence` from 1."""

    sequence: int
    claim: Claim
    amount_minor: int


@dataclass(frozen=True)
class Remittance:
    """A payment that was taken: its id, of how many claims, how much in all (minor units)."""

    id: uuid.UUID
    claims: int = 0
    amount_minor: int = 0


async def take_payment(
    session: AsyncSession, agent: Agent, tenant: Tenant, raw: bytes
) -> tuple[Remittance, bool]:
    """Take a payer's PaymentReconciliation, whole or not at all; says whether anything was changed.

    The same again changes nothing. Raises Several with the path of each entry that cannot be taken, Invalid (also
    where the entries do not add up to the payment: NOT_BALANCED). Writes claim_receipt, posting, allocation.
    """
    payment = parsed(raw, KIND)
    source, value = identity(payment)
    earlier = await taken(session, agent, KIND, source, value)
    if earlier is not None:
        return Remittance(earlier), False
    if payment.get("status") != "active":
        raise Invalid("It is not active.", path=("status",))
    if payment.get("outcome", "complete") not in ("complete", "partial"):
        raise Invalid("The payer has not paid.", path=("outcome",))
    reference, day = _reference(payment, value), _day(payment)
    total = minor(payment, "paymentAmount", tenant, "paymentAmount")
    details = await _details(session, agent, tenant, payment)
    if sum(detail.amount_minor for detail in details) != total:
        message = "The entries do not add up to the payment."
        raise Invalid(message, path=("paymentAmount",), code="NOT_BALANCED")
    made = Remittance(new_id(), len({d.claim.id for d in details}), total)
    claims = {detail.claim.id: detail.claim for detail in details}
    accounts = sorted({(claim.clinic_id, claim.patient_id) for claim in claims.values()})
    agents = await enter_all(session, agent, accounts)
    for detail in details:
        if detail.amount_minor:
            at = agents[detail.claim.clinic_id]
            with within("detail"), within(str(detail.sequence - 1)):
                await _enter(session, agent, at, detail, reference)
            session.add(_receipt(agent, made.id, detail, reference, day))
    for clinic_id, patient_id in accounts:
        await settle_invoices(session, agent, clinic_id, patient_id)
    await take(session, agent, KIND, source, value, made.id)
    record(session, agent, "claim:remit", made.id, *claims)
    return made, True


def _reference(payment: Json, value: str) -> str:
    """The number of the cheque or transfer; else the payment's own."""
    told = part(payment, "paymentIdentifier").get("value") or value
    return identifier(str(told), "paymentIdentifier", maximum=80)


def _day(payment: Json) -> dt.date:
    try:
        return dt.date.fromisoformat(str(payment.get("paymentDate")))
    except ValueError:
        raise Invalid("The day of the payment is missing.", path=("paymentDate",)) from None


async def _details(
    session: AsyncSession, agent: Agent, tenant: Tenant, payment: Json
) -> Sequence[Detail]:
    """The entries with their claims. Raises Several."""
    found: list[Detail] = []
    errors: list[DomainError] = []
    for sequence, entry in enumerate(parts(payment, "detail"), 1):
        try:
            with within("detail"), within(str(sequence - 1)):
                amount = minor(entry, "amount", tenant, "amount")
                found.append(Detail(sequence, await _claim(session, agent, entry), amount))
        except DomainError as error:
            errors.append(error)
    if errors:
        raise Several(errors)
    if not found:
        raise Invalid("It has no entries.", path=("detail",))
    return found


async def _claim(session: AsyncSession, agent: Agent, entry: Json) -> Claim:
    """The claim of an entry. Raises Invalid, NotFound."""
    claim = await session.get(Claim, {"tenant_id": agent.tenant_id, "id": claim_named(entry)})
    if claim is None:
        raise NotFound("The claim is not there.", path=("request",))
    if claim.state != FinancialState.ACTIVE or ClaimQueue(claim.queue) not in WITH_THE_PAYER:
        raise Invalid("The claim was not filed.", path=("request",), code="NOT_FILED")
    return claim


async def received_for(session: AsyncSession, agent: Agent, claim: Claim) -> int:
    """What came for a claim and was not taken back, in minor units.

    Never below zero: what is taken back without having come this way was paid before payments were taken here.
    """
    rows = await session.scalars(
        select(ClaimReceipt.amount_minor)
        .where(ClaimReceipt.tenant_id == agent.tenant_id, ClaimReceipt.claim_id == claim.id)
        .order_by(ClaimReceipt.id)
    )
    received = 0
    for amount in rows:
        received = max(0, received + amount)
    return received


async def _enter(
    session: AsyncSession, agent: Agent, at: Agent, detail: Detail, reference: str
) -> None:
    """Post what is not posted yet of money that comes; undo what was posted of money that is taken back."""
    claim, amount = detail.claim, detail.amount_minor
    await session.flush()
    paid = await paid_for(session, agent, claim)
    if amount > 0:
        received = await received_for(session, agent, claim)
        # Not what somebody undid of an earlier payment, which is more than was posted.
        await _pay(session, at, claim, min(amount, received + amount - paid), reference)
    elif -amount > paid:
        message = "More is taken back than was paid for the claim."
        raise Invalid(message, path=("amount",), code="ABOVE_PAID")
    else:
        await _take_back(session, agent, at, claim, -amount, reference)


async def _pay(session: AsyncSession, at: Agent, claim: Claim, amount: int, reference: str) -> None:
    """A payment of the payer, applied to the open lines of the claim's charges; the rest stays on the account."""
    if amount <= 0:
        return
    values = {"kind": PostingKind.PAYMENT.value, "method": PAID_BY_PAYER, "reference": reference}
    posting = posting_at(at, claim, claim_id=claim.id, amount_minor=amount, **values)
    session.add(posting)
    await session.flush()
    items = await items_of(session, at, claim)
    targets = await lines_of(session, at, items)
    lines = await open_lines(session, at, claim.clinic_id, claim.patient_id)
    wanted = (targets.get(item.sequence) for item in items)
    mine = [lines[line_id] for line_id in wanted if line_id in lines]
    apply(session, at, posting, spread(amount, mine), lines, left=amount)
    await session.flush()


async def _take_back(
    session: AsyncSession, agent: Agent, at: Agent, claim: Claim, amount: int, reference: str
) -> None:
    """Reverse the payment of this amount; where there is none, the latest ones, and post again what is too much."""
    undone = aliased(Posting)
    found = await session.scalars(
        select(Posting)
        .outerjoin(
            undone, (undone.tenant_id == Posting.tenant_id) & (undone.reverses_id == Posting.id)
        )
        .where(
            Posting.tenant_id == agent.tenant_id,
            Posting.claim_id == claim.id,
            Posting.kind == PostingKind.PAYMENT.value,
            undone.id.is_(None),
        )
        .order_by(Posting.posted_at.desc(), Posting.id.desc())
    )
    standing = found.all()
    exact = [posting for posting in standing if posting.amount_minor == amount][:1]
    left = amount
    for posting in exact or standing:
        if left > 0:
            await reverse(session, agent, posting, RECOVERED)
            left -= posting.amount_minor
    await _pay(session, at, claim, -left, reference)


def _receipt(
    agent: Agent, remittance_id: uuid.UUID, detail: Detail, reference: str, day: dt.date
) -> ClaimReceipt:
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    return ClaimReceipt(
        **{name: getattr(detail.claim, name) for name in names},
        id=new_id(),
        claim_id=detail.claim.id,
        remittance_id=remittance_id,
        sequence=detail.sequence,
        amount_minor=detail.amount_minor,
        reference=reference,
        paid_on=day,
        received_at=agent.now,
    )
