"""What a payer answers to a claim, and what that posts: payments and adjustments, applied to the lines of its charges."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.audit import Agent
from domain.billing.allocations import OpenLine, Share, apply, open_lines, settle_invoices
from domain.billing.claim_record import Claim, ClaimItem, ClaimQueue, move
from domain.billing.claims import Step, advance
from domain.billing.ledger import LOCK, enter
from domain.billing.posting_record import AdjustmentGroup, Posting, PostingKind
from domain.billing.postings import posting_at
from domain.billing.record import InvoiceLine
from domain.errors import Invalid
from domain.locks import hold
from domain.plain_text import line, optional_identifier

PAID_BY_PAYER = "payer"
"""The method of a payer's payment."""


@dataclass(frozen=True)
class ItemAnswer:
    """The answer about one item, in minor units: paid, and every adjustment as (group, reason code, amount)."""

    sequence: int
    paid_minor: int
    adjustments: Sequence[tuple[AdjustmentGroup, str, int]] = ()

    @property
    def patient_minor(self) -> int:
        """What is left to the patient."""
        return sum(a for group, _, a in self.adjustments if group is AdjustmentGroup.PATIENT)

    @property
    def adjusted_minor(self) -> int:
        """What nobody owes any more."""
        return sum(a for group, _, a in self.adjustments if group is not AdjustmentGroup.PATIENT)


async def items_of(session: AsyncSession, agent: Agent, claim: Claim) -> Sequence[ClaimItem]:
    """The items of a claim in their order."""
    found = await session.scalars(
        select(ClaimItem)
        .where(ClaimItem.tenant_id == agent.tenant_id, ClaimItem.claim_id == claim.id)
        .order_by(ClaimItem.sequence)
    )
    return found.all()


async def adjudicate(
    session: AsyncSession,
    agent: Agent,
    claim: Claim,
    version: int,
    answers: Sequence[ItemAnswer],
    *,
    reference: str | None = None,
) -> Claim:
    """Take the payer's answer to a filed claim, for every item, and post it.

    Of each item paid and adjusted amounts explain the whole amount (X12 835 balancing). What no open line takes up
    stays unapplied on the account: the money is there all the same. What has come of it already (`reconciliation.py`)
    is not posted again. Raises Invalid (NOT_BALANCED), IllegalMove, StaleVersion. Writes claim, claim_item, claim_step, posting, allocation.
    """
    move(claim.queue, ClaimQueue.ADJUDICATED)
    items = await items_of(session, agent, claim)
    told = optional_identifier(reference, "reference", maximum=80)
    _check(items, answers)
    by_item = {answer.sequence: answer for answer in answers}
    (at,) = await enter(session, agent, claim.patient_id, claim.clinic_id)
    for item in items:
        answer = by_item[item.sequence]
        await session.execute(
            update(ClaimItem)
            .where(ClaimItem.tenant_id == agent.tenant_id, ClaimItem.id == item.id)
            .values(
                paid_minor=answer.paid_minor,
                adjusted_minor=answer.adjusted_minor,
                patient_minor=answer.patient_minor,
            ),
            execution_options={"synchronize_session": False},
        )
    lines = await open_lines(session, agent, claim.clinic_id, claim.patient_id)
    targets = await lines_of(session, agent, items)
    book = Book(session, at, claim, lines, targets, told)
    await book.post(by_item, await paid_for(session, agent, claim))
    await settle_invoices(session, agent, claim.clinic_id, claim.patient_id)
    return await advance(
        session,
        agent,
        claim,
        version,
        Step(ClaimQueue.ADJUDICATED, "claim:adjudicate", subjects=tuple(book.posted)),
        paid_minor=sum(answer.paid_minor for answer in answers),
        adjusted_minor=sum(answer.adjusted_minor for answer in answers),
        patient_minor=sum(answer.patient_minor for answer in answers),
        payer_reference=told,
        adjudicated_at=agent.now,
    )


def _check(items: Sequence[ClaimItem], answers: Sequence[ItemAnswer]) -> None:
    """Raises Invalid unless each item has one answer that explains its amount."""
    totals = {item.sequence: item.total_minor for item in items}
    if sorted(answer.sequence for answer in answers) != sorted(totals):
        raise Invalid("Each item of the claim has one answer.", path=("items",))
    for answer in answers:
        if answer.paid_minor < 0 or answer.patient_minor < 0:
            raise Invalid("What was paid is not below zero.", path=("items",))
        explained = answer.paid_minor + answer.adjusted_minor + answer.patient_minor
        if explained != totals[answer.sequence]:
            raise Invalid(
                "Paid and adjusted amounts do not add up to what was claimed.",
                path=("items",),
                code="NOT_BALANCED",
            )
        for _, code, _ in answer.adjustments:
            line(code, "items", maximum=10)


async def lines_of(
    session: AsyncSession, agent: Agent, items: Iterable[ClaimItem]
) -> Mapping[int, uuid.UUID]:
    """Sequence of the item -> the invoice line of its charge, where it is billed (and that was not cancelled)."""
    wanted = {item.charge_item_id: item.sequence for item in items}
    rows = await session.execute(
        select(InvoiceLine.charge_item_id, InvoiceLine.id).where(
            InvoiceLine.tenant_id == agent.tenant_id,
            InvoiceLine.charge_item_id.in_(wanted),
            InvoiceLine.live,
        )
    )
    return {wanted[charge_id]: line_id for charge_id, line_id in rows if charge_id in wanted}


async def paid_for(session: AsyncSession, agent: Agent, claim: Claim) -> int:
    """What was posted of the payer's money for a claim, less what was undone, in minor units."""
    undone = aliased(Posting)
    kind = func.coalesce(undone.kind, Posting.kind)
    paid = await session.scalar(
        select(func.coalesce(func.sum(Posting.amount_minor), 0))
        .outerjoin(
            undone, (undone.tenant_id == Posting.tenant_id) & (undone.id == Posting.reverses_id)
        )
        .where(
            Posting.tenant_id == agent.tenant_id,
            Posting.claim_id == claim.id,
            kind == PostingKind.PAYMENT.value,
        )
    )
    return int(paid or 0)


class Book:
    """Posts an answer: one payment, one adjustment a reason, each applied to the lines of its items."""

    def __init__(
        self,
        session: AsyncSession,
        agent: Agent,
        claim: Claim,
        lines: dict[uuid.UUID, OpenLine],
        targets: Mapping[int, uuid.UUID],
        reference: str | None,
    ) -> None:
        self.session, self.agent, self.claim = session, agent, claim
        self.lines, self.targets, self.reference = lines, targets, reference
        self.posted: list[uuid.UUID] = []

    async def post(self, answers: Mapping[int, ItemAnswer], received: int) -> None:
        """The whole answer, of whose payment so much was posted when it came."""
        payment = {}
        for sequence, answer in answers.items():
            payment[sequence] = max(0, answer.paid_minor - received)
            received -= min(received, answer.paid_minor)
        await self.pay(payment)
        reasons: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for sequence, answer in answers.items():
            for group, code, amount in answer.adjustments:
                if group is not AdjustmentGroup.PATIENT:
                    reasons[group.value, code][sequence] += amount
        for (group_code, reason_code), parts in sorted(reasons.items()):
            kind = PostingKind.ADJUSTMENT.value
            await self._entry(parts, kind=kind, group_code=group_code, reason_code=reason_code)

    async def pay(self, parts: Mapping[int, int]) -> None:
        """The payer's money, by item."""
        values = {"kind": PostingKind.PAYMENT.value, "method": PAID_BY_PAYER}
        await self._entry(parts, **values, reference=self.reference)

    async def _entry(self, parts: Mapping[int, int], **values: str | None) -> None:
        """One posting of the parts by item; none where they cancel out."""
        total = sum(parts.values())
        if total == 0:
            return
        posting = posting_at(
            self.agent, self.claim, claim_id=self.claim.id, amount_minor=total, **values
        )
        self.session.add(posting)
        await self.session.flush()
        self.posted.append(posting.id)
        if total > 0:
            shares = self._shares(parts, total)
            apply(self.session, self.agent, posting, shares, self.lines, left=total)
            for share in shares:
                self._settled(share)
            await self.session.flush()

    def _shares(self, parts: Mapping[int, int], total: int) -> list[Share]:
        """What the lines of the items take up, within the posting."""
        shares = []
        for sequence, amount in parts.items():
            open_ = self.lines.get(self.targets.get(sequence, self.claim.id))
            part = min(amount, total, open_.open_minor) if open_ else 0
            if open_ is not None and part > 0:
                shares.append(Share(open_.line_id, part))
                total -= part
        return shares

    def _settled(self, share: Share) -> None:
        before = self.lines[share.line_id]
        left = before.open_minor - share.amount_minor
        self.lines[share.line_id] = OpenLine(
            before.line_id, before.invoice_id, before.line_minor, left
        )


async def settle(session: AsyncSession, agent: Agent, claim: Claim, version: int) -> Claim:
    """Put an answered claim where it belongs now: zero-balance where nothing of its charges is open, else
    patient-balance. Raises IllegalMove where it lies there already, StaleVersion.
    """
    items = await items_of(session, agent, claim)
    await hold(session, LOCK, agent.tenant_id, claim.clinic_id, claim.patient_id)
    lines = await open_lines(session, agent, claim.clinic_id, claim.patient_id)
    targets = await lines_of(session, agent, items)
    # A charge that no invoice holds yet is owed as far as the payer left it to the patient.
    owed = [
        lines[targets[item.sequence]].open_minor
        if targets.get(item.sequence) in lines
        else item.patient_minor
        for item in items
    ]
    nothing = not any(owed)
    to = ClaimQueue.ZERO_BALANCE if nothing else ClaimQueue.PATIENT_BALANCE
    return await advance(session, agent, claim, version, Step(to, "claim:settle"))
