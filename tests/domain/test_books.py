"""Whatever is done to accounts in whatever order, at once or cut off in the middle: no minor unit comes or goes."""

import asyncio
import datetime as dt
import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.billing import (
    Adjustment,
    AdjustmentGroup,
    ChargeItem,
    Charging,
    Claim,
    Invoice,
    ItemAnswer,
    Posting,
    Share,
    adjudicate,
    adjust,
    allocate,
    cancel_invoice,
    close_day,
    create_claim,
    file_claim,
    issue_invoice,
    queue_claim,
    record_charge,
    record_payment,
    reverse,
    settle,
    transfer,
)
from domain.billing.adjudication import items_of
from domain.billing.allocations import open_lines
from domain.billing.postings import owed_at
from domain.billing.proof import Proof, auditor, prove
from domain.billing.reconciliation import take_payment
from domain.database import engine
from domain.errors import DomainError
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, stage

Command = Callable[[AsyncSession, Agent], Awaitable[dict[int, int]]]
"""Carries something out; answers what it changes about what is owed at the clinics 0 and 1, in minor units."""
CLINICS = st.sampled_from((0, 1))
AMOUNTS = st.integers(1, 30_000)
PICK = st.integers(0, 10**6)


class CutOff(Exception):
    """The process dies before the commit."""


class Accounts(RuleBasedStateMachine):
    """A patient with accounts at two clinics, and what is owed there by plain addition."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.runner = asyncio.Runner()
        self.engine: AsyncEngine = engine(database.app_url, application="books", size=3)
        self.owed = {0: 0, 1: 0}

    @initialize()
    def open(self) -> None:
        """A health system of its own."""
        self.at = at = stage(self.database)
        at.tree.tenant.currency, at.tree.tenant.currency_digits = "USD", 2
        other, self.payer = make.person(at.tree.tenant), make.payer(at.tree.tenant)
        self.agents = [at.agent, replace(at.agent, person_id=other.id)]
        self.visits = [make.encounter(at.patient, clinic) for clinic in at.tree.clinics]
        findings = [make.condition(visit) for visit in self.visits]
        self.pointers = [(finding.id,) for finding in findings]
        self.covers = [make.coverage(at.patient, clinic, self.payer) for clinic in at.tree.clinics]
        prices = [make.price(at.tree.tenant, code=c, price_minor=m) for c, m in CODES.items()]
        rows = [other, self.payer, *self.visits, *findings, *self.covers, *prices]
        make.save(self.database, make.site(at.patient, at.elsewhere), *rows)

    def teardown(self) -> None:
        """The proof itself, at the end of each history."""
        try:
            if hasattr(self, "at"):
                proof = self.runner.run(proven(self.engine, self.at))
                assert proof.difference is None
                told = proof.charged - proof.paid - proof.adjusted - proof.transferred
                assert told == sum(self.owed.values())
        finally:
            self.runner.run(self.engine.dispose())
            self.runner.close()

    # -- carrying out ---------------------------------------------------------------------------

    async def once(self, command: Command, who: int, *, dies: bool = False) -> dict[int, int]:
        """What a command changed: nothing where it was refused or cut off."""
        try:
            async with acting(self.engine, self.at.tenant_id) as session:
                changed = await command(session, self.agents[who])
                if dies:
                    raise CutOff
        except (DomainError, CutOff):
            return {}
        return changed

    def count(self, *changes: dict[int, int]) -> None:
        for change in changes:
            for clinic, amount in change.items():
                self.owed[clinic] += amount

    @rule(data=st.data(), who=CLINICS, dies=st.booleans())
    def alone(self, data: Any, who: int, dies: bool) -> None:
        self.count(self.runner.run(self.once(data.draw(commands(self)), who, dies=dies)))

    @rule(data=st.data())
    def together(self, data: Any) -> None:
        pair = [data.draw(commands(self)) for _ in range(2)]

        async def both() -> list[dict[int, int]]:
            return await asyncio.gather(*(self.once(c, i) for i, c in enumerate(pair)))

        self.count(*self.runner.run(both()))

    @rule(data=st.data(), who=CLINICS)
    def the_same_twice_at_once(self, data: Any, who: int) -> None:
        command = data.draw(commands(self))

        async def both() -> list[dict[int, int]]:
            return await asyncio.gather(*(self.once(command, who) for _ in range(2)))

        self.count(*self.runner.run(both()))

    @invariant()
    def what_is_told_is_what_was_done(self) -> None:
        if not hasattr(self, "at"):
            return

        async def told() -> tuple[list[int], int]:
            async with acting(self.engine, self.at.tenant_id) as session:
                owed = [
                    await owed_at(session, self.at.agent, clinic.id, self.at.patient.id)
                    for clinic in self.at.tree.clinics
                ]
                return owed, await session.scalar(text(LYING), {"t": self.at.tenant_id}) or 0

        assert self.runner.run(told()) == (list(self.owed.values()), 0)


LYING = """\
select count(*) from invoice i cross join lateral (
    select coalesce(sum(a.amount_minor), 0) as applied from invoice_line l
    join allocation a on a.tenant_id = l.tenant_id and a.invoice_line_id = l.id
    where l.tenant_id = i.tenant_id and l.invoice_id = i.id) s
where i.tenant_id = :t and i.state <> case
    when i.cancelled_at is not null and s.applied = 0 then 'cancelled'
    when s.applied = i.total_minor then 'balanced' else 'issued' end"""
"""How many invoices say another state than what is applied to their lines."""
CODES = {"A-1": 333, "B-2": 12_000, "C-3": 1}


async def rows(session: AsyncSession, model: Any, clinic: uuid.UUID, *where: Any) -> list[Any]:
    """The rows at a clinic in the order of their ids."""
    asked = select(model).where(model.clinic_id == clinic, *where).order_by(model.id)
    return list(await session.scalars(asked))


@st.composite
def commands(draw: Any, machine: Accounts) -> Command:
    """Anything that may be asked of the ledger."""
    at, n, pick = machine.at, draw(CLINICS), draw(PICK)
    clinic, amount = at.tree.clinics[n], draw(AMOUNTS)
    money = Decimal(amount).scaleb(-2)
    kind = draw(st.sampled_from(sorted(KINDS)))
    return KINDS[kind](machine, at, n, clinic, money, amount, pick)


def charge(machine: Accounts, at: Stage, n: int, clinic: Any, *rest: Any) -> Command:
    code = sorted(CODES)[rest[-1] % 3]
    units = Decimal(rest[-1] % 4_000 + 1).scaleb(-3)

    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        asked = Charging("INTERNAL", code, units, diagnosis_ids=machine.pointers[n])
        await record_charge(session, agent, machine.visits[n], asked)
        return {}

    return run


def bill(machine: Accounts, at: Stage, n: int, clinic: Any, *_: Any) -> Command:
    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        charges = await rows(session, ChargeItem, clinic.id, ChargeItem.state == "billable")
        made = await issue_invoice(session, agent, clinic, at.patient.id, charges)
        return {n: made.total_minor}

    return run


async def some_shares(
    session: AsyncSession, agent: Agent, at: Stage, clinic: Any, amount: int, pick: int
) -> list[Share]:
    lines = list((await open_lines(session, agent, clinic.id, at.patient.id)).values())
    if not lines or pick % 3 == 0:
        return []
    return [Share(lines[pick % len(lines)].line_id, amount // (pick % 2 + 1) or 1)]


def pay(
    machine: Accounts, at: Stage, n: int, clinic: Any, money: Decimal, amount: int, pick: int
) -> Command:
    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        shares = await some_shares(session, agent, at, clinic, amount, pick)
        loose = pick % 2 == 0
        who = (clinic, at.patient.id, money, "USD")
        await record_payment(session, agent, *who, unapplied=loose, shares=shares)
        return {n: -amount}

    return run


def lower(
    machine: Accounts, at: Stage, n: int, clinic: Any, money: Decimal, amount: int, pick: int
) -> Command:
    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        shares = await some_shares(session, agent, at, clinic, amount, pick)
        why = Adjustment(AdjustmentGroup.CONTRACTUAL, "45")
        who = (at.tree.tenant, clinic, at.patient.id, money, "USD", why)
        await adjust(session, agent, *who, shares=shares)
        return {n: -amount}

    return run


def move(
    machine: Accounts, at: Stage, n: int, clinic: Any, money: Decimal, amount: int, pick: int
) -> Command:
    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        places = (clinic, at.tree.clinics[1 - n])
        await transfer(session, agent, at.tree.tenant, *places, at.patient.id, money, "USD")
        return {n: amount, 1 - n: -amount}

    return run


def undo(machine: Accounts, at: Stage, n: int, clinic: Any, *rest: Any) -> Command:
    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        posted = await rows(session, Posting, clinic.id)
        if not posted:
            return {}
        posting = posted[rest[-1] % len(posted)]
        undone = await reverse(session, agent, posting)
        there = {1 - n: undone.amount_minor} if posting.counterpart_id else {}
        return {n: -undone.amount_minor} | there

    return run


def apply_rest(machine: Accounts, at: Stage, n: int, clinic: Any, *rest: Any) -> Command:
    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        posted = await rows(session, Posting, clinic.id)
        shares = await some_shares(session, agent, at, clinic, rest[-2], rest[-1])
        if posted:
            await allocate(session, agent, posted[rest[-1] % len(posted)], shares)
        return {}

    return run


def cancel(machine: Accounts, at: Stage, n: int, clinic: Any, *rest: Any) -> Command:
    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        issued = await rows(session, Invoice, clinic.id, Invoice.live)
        if not issued:
            return {}
        bill_ = issued[rest[-1] % len(issued)]
        gone = await cancel_invoice(session, agent, bill_, bill_.version, "why")
        return {n: -gone.total_minor}

    return run


def remit(
    machine: Accounts, at: Stage, n: int, clinic: Any, money: Decimal, amount: int, pick: int
) -> Command:
    """The payer sends money for a claim, or takes some back: of all that was posted of it, or a part."""

    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        found = await rows(session, Claim, clinic.id)
        before = await owed_at(session, agent, clinic.id, at.patient.id)
        cents = -amount if pick % 3 == 0 else amount
        value = {"value": cents / 100, "currency": "USD"}
        sent = {
            "resourceType": "PaymentReconciliation",
            "status": "active",
            "identifier": [{"system": "urn:payer", "value": f"{clinic.id} {pick}"}],
            "paymentDate": "2026-03-02",
            "paymentAmount": value,
            "detail": [
                {"request": {"reference": f"Claim/{found[0].id}"}, "amount": value}
            ] if found else [],
        }  # fmt: skip
        nobody = replace(agent, person_id=None)
        await take_payment(session, nobody, at.tree.tenant, json.dumps(sent).encode())
        return {n: await owed_at(session, agent, clinic.id, at.patient.id) - before}

    return run


def close(machine: Accounts, at: Stage, n: int, clinic: Any, *rest: Any) -> Command:
    """What comes afterwards counts on a later day: no command here is of a later moment."""
    days = rest[-1] % 3

    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        later = replace(agent, now=at.at(days=days + 1).now)
        await close_day(session, later, clinic, later.now.date() - dt.timedelta(days=1))
        return {}

    return run


def claim(machine: Accounts, at: Stage, n: int, clinic: Any, *rest: Any) -> Command:
    """The next step of the clinic's claim."""

    async def run(session: AsyncSession, agent: Agent) -> dict[int, int]:
        found = await rows(session, Claim, clinic.id)
        if not found:
            await create_claim(session, agent, machine.visits[n], machine.covers[n])
            return {}
        asked = found[0]
        step: Any = {"needs-coding": queue_claim, "queued": file_claim}.get(asked.queue)
        if step is not None:
            await step(session, agent, asked, asked.version)
        elif asked.queue != "filed":
            await settle(session, agent, asked, asked.version)
        else:
            return {n: -await answer(session, agent, asked, rest[-1])}
        return {}

    return run


async def answer(session: AsyncSession, agent: Agent, asked: Claim, pick: int) -> int:
    """What the payer's answer takes off the account."""
    answers, taken = [], 0
    for item in await items_of(session, agent, asked):
        paid = pick % (item.total_minor + 1)
        less = (item.total_minor - paid) // 2
        rest = item.total_minor - paid - less
        reasons = [(AdjustmentGroup.CONTRACTUAL, "45", less), (AdjustmentGroup.PATIENT, "2", rest)]
        answers.append(ItemAnswer(item.sequence, paid, reasons))
        taken += paid + less
    await adjudicate(session, agent, asked, asked.version, answers)
    return taken


KINDS: dict[str, Callable[..., Command]] = {
    "adjust": lower,
    "allocate": apply_rest,
    "bill": bill,
    "cancel": cancel,
    "charge": charge,
    "claim": claim,
    "close": close,
    "pay": pay,
    "remit": remit,
    "reverse": undo,
    "transfer": move,
}


async def proven(app: AsyncEngine, at: Stage) -> Proof:
    async with acting(app, at.tenant_id) as session:
        return await prove(session, auditor(at.tenant_id))


@pytest.mark.slow
def test_no_history_makes_a_balance_differ(database: Database) -> None:
    class OnThisDatabase(Accounts):
        def __init__(self) -> None:
            super().__init__(database)

    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


WRONG = (
    ("update invoice set total_minor = total_minor + 1 where tenant_id = :t", "sum of its lines"),
    (
        "update charge_item set unit_price_minor = 13000, amount_minor = 13000 where tenant_id = :t",
        "not as its charge",
    ),
    ("update charge_item set state = 'billable' where tenant_id = :t", "billed twice"),
    (
        "update invoice set state = 'balanced' where tenant_id = :t",
        "balanced and is not",
    ),
    (
        "update invoice set state = 'cancelled', cancelled_at = issued_at, cancel_reason = 'x'"
        " where tenant_id = :t",
        "said to be billed and is not",
    ),
    ("update invoice set number = 7 where tenant_id = :t", "numbers"),
    ("update claim set total_minor = 12001 where tenant_id = :t", "sum of its items"),
    ("update claim set step = 0, queue = 'queued' where tenant_id = :t", "last step"),
    ("update daily_close set paid_minor = 1 where tenant_id = :t", "closed day"),
    (
        "insert into allocation select tenant_id, gen_random_uuid(), clinic_id, unit_id, patient_id,"
        " sensitivity, posting_id, posting_minor, invoice_line_id, line_minor, amount_minor,"
        " allocated_at from allocation where tenant_id = :t",
        "more is applied",
    ),
)


@pytest.mark.anyio
@pytest.mark.parametrize(("change", "what"), WRONG)
async def test_the_first_account_that_differs_is_named(
    database: Database, app_engine: AsyncEngine, change: str, what: str
) -> None:
    at = stage(database)
    visit, payer = make.encounter(at.patient, at.clinic), make.payer(at.tree.tenant)
    cover = make.coverage(at.patient, at.clinic, payer)
    done = make.charge(at.patient, at.clinic, encounter_id=visit.id, state="billed")
    bill_ = make.invoice(at.patient, at.clinic, number=1)
    line = make.invoice_line(bill_, charge_item_id=done.id)
    paid = make.posting(at.patient, at.clinic)
    asked = make.claim(visit, cover, queue="filed", step=1)
    steps = [
        make.claim_step(asked, step=0, queue="queued"),
        make.claim_step(asked, from_queue="queued"),
    ]
    day = make.daily_close(at.clinic, charged_minor=12_000, paid_minor=5_000)
    rows_ = [visit, payer, cover, done, bill_, line, paid, asked, *steps, day]
    make.save(database, *rows_, make.claim_item(asked, done), make.allocation(paid, line))
    proof = await proven(app_engine, at)
    assert proof.difference is None
    assert (proof.accounts, proof.charged, proof.paid) == (1, 12_000, 5_000)
    with database.owner_engine.begin() as owner:
        owner.execute(text(change), {"t": at.tenant_id})
    found = (await proven(app_engine, at)).difference
    assert found is not None
    assert what in found.what
    assert found.patient_id in (at.patient.id, None)
