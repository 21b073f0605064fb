"""Posts what payers answered: payment and adjustment of the account, applied to the lines of the claim's invoice."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from domain.billing import (
    AdjustmentGroup,
    Allocation,
    Claim,
    ClaimItem,
    ClaimQueue,
    ClaimStep,
    InvoiceLine,
    Posting,
    PostingKind,
)
from domain.billing.adjudication import PAID_BY_PAYER
from domain.billing.allocations import open_lines, settle_invoices
from domain.imports.answers import Answer, Explained, Parts, explained
from domain.imports.bill_rows import CLOSED, closed_days, day_at, lock_accounts, lock_days
from domain.imports.faults import Fault, Faults
from domain.imports.rows import insert_all, stored, update_all
from domain.imports.work import Draft, Total, Work
from domain.model import new_id

NOT_ALLOWED = "45"
"""CARC 45: the charge exceeds what is allowed, https://x12.org/codes/claim-adjustment-reason-codes"""
LEFT_OUT = "its Claim was left out"
MOVED = "its claim is not waiting for an answer"
OTHERWISE = (
    "It was imported before with other amounts; what was posted is reversed, not overwritten."
)


@dataclass(frozen=True)
class Answered:
    """An answer and the claim that it is about."""

    claim_id: uuid.UUID
    patient_id: uuid.UUID
    answer: Answer
    answered_at: dt.datetime
    reference: str | None


@dataclass(frozen=True)
class Line:
    """An item of a claim and the invoice line of its charge; without one since its invoice was cancelled."""

    item_id: uuid.UUID
    sequence: int
    total_minor: int
    line_id: uuid.UUID | None
    invoice_id: uuid.UUID | None


async def insert_answers(work: Work, drafts: Sequence[tuple[Draft, Answered]]) -> None:
    """Post new answers; one that is there stays as it is. Raises Faults where it would have to change."""
    claims = await stored(
        work.session, Claim, work.agent.tenant_id, {answered.claim_id for _, answered in drafts}
    )
    told = []
    for made, answered in drafts:
        if answered.claim_id in claims:
            told.append((made, answered, claims[answered.claim_id]))
        else:
            work.skip(made.entry, LEFT_OUT)
    if not told:
        return
    accounts = {(claim.clinic_id, claim.patient_id) for _, _, claim in told}
    await lock_days(work, (clinic_id for clinic_id, _ in accounts))
    await lock_accounts(work, accounts)
    book = _Book(work, await _lines(work, set(claims)), await _open(work, accounts))
    book.paid = await _paid(work, set(claims))
    book.closed = await closed_days(work, ((c.clinic_id, a.answered_at) for _, a, c in told))
    faults: list[Fault] = []
    for made, answered, claim in told:
        try:
            book.take(made, answered, claim)
        except Fault as fault:
            faults.append(fault.at(made.entry.index))
    if faults:
        raise Faults(*faults)
    await book.write()
    for clinic_id, patient_id in sorted(accounts):
        await settle_invoices(work.session, work.agent, clinic_id, patient_id)


async def _lines(work: Work, claim_ids: set[uuid.UUID]) -> dict[uuid.UUID, list[Line]]:
    query = (
        select(
            ClaimItem.claim_id,
            ClaimItem.id,
            ClaimItem.sequence,
            ClaimItem.total_minor,
            InvoiceLine.id,
            InvoiceLine.invoice_id,
        )
        .outerjoin(
            InvoiceLine,
            (InvoiceLine.tenant_id == ClaimItem.tenant_id)
            & (InvoiceLine.charge_item_id == ClaimItem.charge_item_id)
            & InvoiceLine.live,
        )
        .where(ClaimItem.tenant_id == work.agent.tenant_id, ClaimItem.claim_id.in_(claim_ids))
        .order_by(ClaimItem.claim_id, ClaimItem.sequence)
    )
    found: dict[uuid.UUID, list[Line]] = {claim_id: [] for claim_id in claim_ids}
    for claim_id, *columns in await work.session.execute(query):
        values: Any = columns
        found[claim_id].append(Line(*values))
    return found


async def _open(
    work: Work, accounts: Iterable[tuple[uuid.UUID, uuid.UUID]]
) -> dict[uuid.UUID, int]:
    """What is open of each line of these accounts: others may have paid since a claim was imported."""
    found: dict[uuid.UUID, int] = {}
    for clinic_id, patient_id in sorted(accounts):
        lines = await open_lines(work.session, work.agent, clinic_id, patient_id)
        found |= {line_id: line.open_minor for line_id, line in lines.items()}
    return found


async def _paid(work: Work, claim_ids: set[uuid.UUID]) -> dict[uuid.UUID, int]:
    """What was posted of the payer's money for these claims when it came; what somebody undid of it stays undone."""
    query = (
        select(Posting.claim_id, func.sum(Posting.amount_minor))
        .where(
            Posting.tenant_id == work.agent.tenant_id,
            Posting.claim_id.in_(claim_ids),
            Posting.kind == PostingKind.PAYMENT.value,
        )
        .group_by(Posting.claim_id)
    )
    rows = await work.session.execute(query)
    return {claim_id: int(amount) for claim_id, amount in rows if claim_id is not None}


class _Book:
    """Gathers the rows of many answers. `open_`: by line."""

    def __init__(
        self, work: Work, lines: dict[uuid.UUID, list[Line]], open_: dict[uuid.UUID, int]
    ) -> None:
        self._work = work
        self._lines = lines
        self._open = open_
        self._answered: set[uuid.UUID] = set()
        self.closed: set[tuple[uuid.UUID, dt.date]] = set()
        self.paid: dict[uuid.UUID, int] = {}
        self._steps: list[dict[str, Any]] = []
        self._postings: list[dict[str, Any]] = []
        self._allocations: list[dict[str, Any]] = []
        self._claims: list[dict[str, Any]] = []
        self._items: list[dict[str, Any]] = []

    def take(self, made: Draft, told: Answered, claim: Claim) -> None:
        """An answer, unless it is there already. Raises Fault."""
        work, resource, lines = self._work, made.entry.resource, self._lines[claim.id]
        if claim.patient_id != told.patient_id:
            raise resource.fault("claim", "The claim is another patient's.")
        found = explained(told.answer, {line.sequence: line.total_minor for line in lines})
        fresh = work.is_new(made.entry)
        if not fresh:
            if (claim.paid_minor, claim.adjusted_minor) != (
                found.whole.paid,
                found.whole.adjusted,
            ):
                raise resource.fault("payment", OTHERWISE)
            work.count("unchanged", made.entry)
        elif claim.queue != ClaimQueue.FILED or claim.id in self._answered:
            work.skip(made.entry, MOVED)
            return
        elif (claim.clinic_id, day_at(work, claim.clinic_id, told.answered_at)) in self.closed:
            work.skip(made.entry, CLOSED)
            return
        else:
            self._enter(claim, lines, told, found)
            work.count("taken", made.entry)
        work.totals.append(Total("paid", claim.id, found.whole.paid, told.answer.paid, fresh))

    def _enter(self, claim: Claim, lines: list[Line], told: Answered, found: Explained) -> None:
        """The rows of one answer."""
        self._answered.add(claim.id)
        key = {"tenant_id": claim.tenant_id}
        place = {
            name: getattr(claim, name)
            for name in ("clinic_id", "unit_id", "patient_id", "sensitivity")
        }
        rest = ClaimQueue.PATIENT_BALANCE if found.whole.patient else ClaimQueue.ZERO_BALANCE
        way = (ClaimQueue.FILED, ClaimQueue.ADJUDICATED, rest)
        for i, queue in enumerate(way[1:], 1):
            moved = {"step": claim.step + i, "from_queue": way[i - 1].value, "queue": queue.value}
            of = {"id": new_id(), "claim_id": claim.id, "moved_at": told.answered_at}
            self._steps.append(key | place | of | moved)
        where = {"queue": rest.value, "step": claim.step + 2, "version": claim.version + 1}
        when = {"adjudicated_at": told.answered_at, "payer_reference": told.reference}
        self._claims.append({"id": claim.id} | where | when | _columns(found.whole))
        for line in lines:
            if (parts := found.items.get(line.sequence)) is not None:
                self._items.append({"id": line.item_id} | _columns(parts))
        payment = {"kind": PostingKind.PAYMENT.value, "method": PAID_BY_PAYER}
        adjustment = {
            "kind": PostingKind.ADJUSTMENT.value,
            "group_code": AdjustmentGroup.CONTRACTUAL.value,
            "reason_code": NOT_ALLOWED,
        }
        billed = {line.line_id: line for line in lines if line.line_id is not None}
        invoice_id = next((line.invoice_id for line in billed.values()), None)
        shared = key | place | {"claim_id": claim.id, "invoice_id": invoice_id}
        shared |= {"reference": told.reference, "posted_at": told.answered_at}
        amounts = {id_: line.total_minor for id_, line in billed.items()}
        left = {id_: self._open.get(id_, 0) for id_ in billed}
        by_line = {id_: found.items.get(line.sequence) for id_, line in billed.items()}
        paid = {i: parts.paid for i, parts in by_line.items() if parts}
        adjusted = {i: parts.adjusted for i, parts in by_line.items() if parts}
        fresh = max(0, found.whole.paid - self.paid.get(claim.id, 0))
        self._post(shared | payment, fresh, paid or left, amounts, left)
        self._post(shared | adjustment, found.whole.adjusted, adjusted or left, amounts, left)
        self._open |= left

    def _post(
        self,
        values: dict[str, Any],
        amount: int,
        wanted: dict[uuid.UUID, int],
        amounts: dict[uuid.UUID, int],
        left: dict[uuid.UUID, int],
    ) -> None:
        """A posting, applied to the lines as wanted and as far as they are open; the rest of it stays unapplied."""
        if amount == 0:
            return
        posting = values | {"id": new_id(), "amount_minor": amount}
        self._postings.append(posting)
        self._work.touched.append(posting["id"])
        rest = amount
        for line_id, part in wanted.items():
            share = min(part, left[line_id], rest)
            if share > 0:
                left[line_id] -= share
                rest -= share
                self._allocations.append(_allocation(posting, line_id, amounts[line_id], share))

    async def write(self) -> None:
        """Insert and update all."""
        work = self._work
        await insert_all(work, ClaimStep, self._steps)
        await insert_all(work, Posting, self._postings)
        await insert_all(work, Allocation, self._allocations)
        await update_all(work, ClaimItem, self._items)
        await update_all(work, Claim, self._claims)


def _columns(parts: Parts) -> dict[str, int]:
    return {
        "paid_minor": parts.paid,
        "adjusted_minor": parts.adjusted,
        "patient_minor": parts.patient,
    }


def _allocation(
    posting: dict[str, Any], line_id: uuid.UUID, line_minor: int, share: int
) -> dict[str, Any]:
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    return {name: posting[name] for name in names} | {
        "id": new_id(),
        "posting_id": posting["id"],
        "posting_minor": posting["amount_minor"],
        "invoice_line_id": line_id,
        "line_minor": line_minor,
        "amount_minor": share,
        "allocated_at": posting["posted_at"],
    }
