"""The proof of balances: every account added up from its rows, and compared with what the product answers.

Reads all of a health system, patients in batches; names the first account that differs. What a constraint holds is
asked again: rows may come from elsewhere.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import ARRAY, BigInteger, Uuid, column, func, literal, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.billing.accounts import OWED, Balance, balances
from domain.billing.claim_record import Claim, ClaimItem, ClaimStep
from domain.billing.closing import DailyClose, day_sums
from domain.billing.money import line_amount
from domain.billing.posting_record import Allocation, Posting, PostingKind
from domain.billing.record import (
    ChargeItem,
    ChargeState,
    Invoice,
    InvoiceLine,
    InvoiceState,
)

T = TypeVar("T")
BATCH = 500
"""Patients at once."""
Account = tuple[uuid.UUID, uuid.UUID]
"""(clinic, patient)"""


@dataclass(frozen=True)
class Difference:
    """What does not add up, and where: ids only."""

    what: str
    clinic_id: uuid.UUID | None = None
    patient_id: uuid.UUID | None = None
    row_id: uuid.UUID | None = None


@dataclass
class Proof:
    """How far the proof came: accounts added up, their sums in minor units, the first difference."""

    accounts: int = 0
    patients: int = 0
    charged: int = 0
    paid: int = 0
    adjusted: int = 0
    transferred: int = 0
    difference: Difference | None = None

    def add(self, balance: Balance) -> None:
        """Count an account."""
        self.accounts += 1
        self.charged += balance.charged
        self.paid += balance.paid
        self.adjusted += balance.adjusted
        self.transferred += balance.transferred


@dataclass
class Books:
    """All rows of some patients that have to do with money."""

    invoices: list[Invoice] = field(default_factory=list)
    lines: list[InvoiceLine] = field(default_factory=list)
    charges: list[ChargeItem] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    parts: list[Allocation] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    items: list[ClaimItem] = field(default_factory=list)
    steps: list[ClaimStep] = field(default_factory=list)


async def prove(
    session: AsyncSession, agent: Agent, progress: Callable[[Proof], None] = lambda _: None
) -> Proof:
    """Add up every account of the agent's health system, as far as the session shows it: it should show all.

    `open_balance` is asked, so the session's write scope of postings must be open; nothing is written.
    """
    proof = Proof()
    after: uuid.UUID | None = None
    while patients := await _patients(session, agent, after):
        books = await _books(session, agent, patients)
        proof.difference = await _differing(session, agent, books, proof)
        proof.patients += len(patients)
        progress(proof)
        if proof.difference is not None:
            return proof
        session.expunge_all()
        after = patients[-1]
    proof.difference = await _numbers(session, agent) or await _closes(session, agent)
    if proof.difference is None and proof.transferred:
        proof.difference = Difference("transfers do not cancel out")
    return proof


async def _patients(
    session: AsyncSession, agent: Agent, after: uuid.UUID | None
) -> list[uuid.UUID]:
    """The next patients with a row about money, by id."""

    def of(model: Any) -> Any:
        asked = select(model.patient_id).where(model.tenant_id == agent.tenant_id)
        if after is not None:
            asked = asked.where(model.patient_id > after)
        return asked.distinct().order_by(model.patient_id).limit(BATCH)

    every = union(*(of(m).subquery().select() for m in (Invoice, Posting, ChargeItem, Claim)))
    found = every.subquery()
    return list(await session.scalars(select(found.c[0]).order_by(found.c[0]).limit(BATCH)))


async def _books(session: AsyncSession, agent: Agent, patients: Sequence[uuid.UUID]) -> Books:
    async def of(model: type[T]) -> list[T]:
        table: Any = model
        wanted = literal(list(patients), ARRAY(Uuid()))
        asked = select(model).where(
            table.tenant_id == agent.tenant_id, table.patient_id == func.any(wanted)
        )
        return list(await session.scalars(asked))

    return Books(
        await of(Invoice),
        await of(InvoiceLine),
        await of(ChargeItem),
        await of(Posting),
        await of(Allocation),
        await of(Claim),
        await of(ClaimItem),
        await of(ClaimStep),
    )


async def _differing(
    session: AsyncSession, agent: Agent, books: Books, proof: Proof
) -> Difference | None:
    """The first difference of these accounts."""
    checks = (bills, billed, reversals, transfers, applied, claims)
    found = next((d for check in checks for d in check(books)), None)
    if found is not None:
        return found
    sums = account_sums(books)
    told = await _told(session, agent, list(sums))
    for (clinic_id, patient_id), balance in sorted(sums.items(), key=lambda item: item[0]):
        if told.get((clinic_id, patient_id)) != balance.open:
            return Difference("the balance that is told differs", clinic_id, patient_id)
        proof.add(balance)
    return None


def account_sums(books: Books) -> dict[Account, Balance]:
    """Each account's balance by arithmetic."""
    of: dict[uuid.UUID, tuple[list[Invoice], list[Posting]]] = defaultdict(lambda: ([], []))
    for invoice in books.invoices:
        of[invoice.patient_id][0].append(invoice)
    for posting in books.postings:
        of[posting.patient_id][1].append(posting)
    return {
        (clinic_id, patient_id): balance
        for patient_id, (invoices, postings) in of.items()
        for clinic_id, balance in balances(invoices, postings).items()
    }


async def _told(
    session: AsyncSession, agent: Agent, accounts: Sequence[Account]
) -> dict[Account, int | None]:
    """What `open_balance` answers for each account."""
    asked = func.unnest(
        literal([clinic for clinic, _ in accounts], ARRAY(Uuid())),
        literal([patient for _, patient in accounts], ARRAY(Uuid())),
    ).table_valued(column("clinic", Uuid()), column("patient", Uuid()), name="a")
    asked = asked.render_derived()
    owed = func.open_balance(agent.tenant_id, asked.c.clinic, asked.c.patient, type_=BigInteger())
    rows = await session.execute(select(asked.c.clinic, asked.c.patient, owed))
    return {(clinic, patient): balance for clinic, patient, balance in rows}


def at(row: Any, what: str) -> Difference:
    """A difference at a row."""
    return Difference(what, row.clinic_id, row.patient_id, row.id)


def bills(books: Books) -> Iterable[Difference]:
    """Lines are units times price and stand as long as their invoice; an invoice is its lines."""
    sums: dict[uuid.UUID, int] = defaultdict(int)
    live = {invoice.id: invoice.live for invoice in books.invoices}
    for line in books.lines:
        sums[line.invoice_id] += line.amount_minor
        if line.amount_minor != line_amount(line.units, line.unit_price_minor):
            yield at(line, "a line is not units times price")
        if line.live != live[line.invoice_id]:
            yield at(line, "a line does not follow its invoice")
    for invoice in books.invoices:
        if invoice.state != InvoiceState.DRAFT and invoice.total_minor != sums[invoice.id]:
            yield at(invoice, "an invoice is not the sum of its lines")


def billed(books: Books) -> Iterable[Difference]:
    """A billed charge is one line of a standing invoice, as it was; no other charge is."""
    charges = {charge.id: charge for charge in books.charges}
    found: set[uuid.UUID] = set()
    for line in books.lines:
        charge = charges.get(line.charge_item_id) if line.charge_item_id else None
        if charge is None or not line.live:
            continue
        if charge.id in found or charge.state != ChargeState.BILLED:
            yield at(line, "a charge is billed twice, or not said to be billed")
        if charge.amount_minor != line.amount_minor or charge.clinic_id != line.clinic_id:
            yield at(line, "a line is not as its charge")
        found.add(charge.id)
    for charge in books.charges:
        if charge.state == ChargeState.BILLED and charge.id not in found:
            yield at(charge, "a charge is said to be billed and is not")


def reversals(books: Books) -> Iterable[Difference]:
    """A reversal is the exact opposite of one posting, once."""
    known = {posting.id: posting for posting in books.postings}
    undone: set[uuid.UUID] = set()
    for posting in books.postings:
        if posting.reverses_id is None:
            continue
        origin = known.get(posting.reverses_id)
        if (
            origin is None
            or origin.kind == PostingKind.REVERSAL
            or origin.id in undone
            or (origin.clinic_id, origin.unit_id) != (posting.clinic_id, posting.unit_id)
            or origin.amount_minor != -posting.amount_minor
        ):
            yield at(posting, "a reversal is not the exact opposite of one posting")
        undone.add(posting.reverses_id)


def transfers(books: Books) -> Iterable[Difference]:
    """The two parts of a transfer, and of its reversal, name each other and cancel out."""
    known = {posting.id: posting for posting in books.postings}
    undone = {posting.reverses_id for posting in books.postings}
    for posting in books.postings:
        if posting.counterpart_id is None:
            continue
        other = known.get(posting.counterpart_id)
        if other is None or other.counterpart_id != posting.id:
            yield at(posting, "a transfer has one part")
        elif other.amount_minor != -posting.amount_minor:
            yield at(posting, "the parts of a transfer do not cancel out")
        elif (posting.id in undone) != (other.id in undone):
            yield at(posting, "one part of a transfer is undone")


def applied(books: Books) -> Iterable[Difference]:
    """What is applied lies within its posting and its line; what an undone posting applied is taken back."""
    origin = {posting.id: posting.reverses_id or posting.id for posting in books.postings}
    of_posting: dict[uuid.UUID, int] = defaultdict(int)
    of_line: dict[uuid.UUID, int] = defaultdict(int)
    for part in books.parts:
        of_posting[origin[part.posting_id]] += part.amount_minor
        of_line[part.invoice_line_id] += part.amount_minor
    undone = {posting.reverses_id for posting in books.postings}
    for posting in books.postings:
        most = 0 if posting.id in undone else max(posting.amount_minor, 0)
        if posting.reverses_id is None and not 0 <= of_posting[posting.id] <= most:
            yield at(posting, "more is applied than the posting has")
    of_invoice: dict[uuid.UUID, int] = defaultdict(int)
    for line in books.lines:
        of_invoice[line.invoice_id] += of_line[line.id]
        if not 0 <= of_line[line.id] <= (line.amount_minor if line.live else 0):
            yield at(line, "more is applied than the line has")
    for invoice in books.invoices:
        balanced = of_invoice[invoice.id] == invoice.total_minor
        if invoice.state in OWED and (invoice.state == InvoiceState.BALANCED) != balanced:
            yield at(invoice, "an invoice is balanced and is not, or the other way round")


def claims(books: Books) -> Iterable[Difference]:
    """A claim is its items, answered as they are, and lies where its last step brought it."""
    items: dict[uuid.UUID, list[ClaimItem]] = defaultdict(list)
    for item in books.items:
        items[item.claim_id].append(item)
    ordered = sorted(books.steps, key=lambda step: step.step)
    last = {step.claim_id: (step.step, step.queue) for step in ordered}
    for claim in books.claims:
        mine = items[claim.id]
        if claim.total_minor != sum(item.total_minor for item in mine):
            yield at(claim, "a claim is not the sum of its items")
        answer = sum(item.paid_minor or 0 for item in mine)
        if claim.paid_minor is not None and claim.paid_minor != answer:
            yield at(claim, "a claim's answer is not that of its items")
        if last.get(claim.id) != (claim.step, claim.queue):
            yield at(claim, "a claim does not lie where its last step brought it")


async def _numbers(session: AsyncSession, agent: Agent) -> Difference | None:
    """Invoice numbers run from 1 without a gap."""
    row = (
        await session.execute(
            select(func.count(Invoice.number), func.min(Invoice.number), func.max(Invoice.number))
            .where(Invoice.tenant_id == agent.tenant_id)
        )
    ).one()  # fmt: skip
    count, least, most = row
    return None if count == 0 or (least, most) == (1, count) else Difference("invoice numbers gap")


async def _closes(session: AsyncSession, agent: Agent) -> Difference | None:
    """Each closed day still has the sums that were written down."""
    rows = await session.scalars(
        select(DailyClose).where(DailyClose.tenant_id == agent.tenant_id).order_by(DailyClose.day)
    )
    for close in rows.all():
        now = await day_sums(session, agent, close.clinic_id, close.day)
        told = (close.charged_minor, close.paid_minor, close.adjusted_minor)
        sums = (*told, close.transferred_minor)
        if (now.charged, now.paid, now.adjusted, now.transferred) != sums:
            return Difference(f"a closed day changed: {close.day}", close.clinic_id, None, close.id)
    return None


def auditor(tenant_id: uuid.UUID) -> Agent:
    """Who proves: nobody of the health system; nothing is written."""
    return Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
