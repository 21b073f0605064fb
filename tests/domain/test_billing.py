"""Payments, invoices and balances: nothing is rounded twice, counted twice or paid twice."""

import asyncio
import uuid
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.billing import (
    AboveBalance,
    AlreadyReversed,
    Balance,
    ChargeItem,
    ChargeState,
    Invoice,
    InvoiceLine,
    OwnEntry,
    Posting,
    PostingKind,
    account,
    amount_of,
    balances,
    check_totals,
    issue_invoice,
    line_amount,
    minor_units,
    record_payment,
    reverse,
)
from domain.errors import Invalid, NotFound
from domain.model import new_id
from domain.organization import Tenant
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage, units

asyncio_only = pytest.mark.anyio
CLINICS = [uuid.UUID(int=n) for n in range(1, 4)]
# Other tests run on the same cores: how long an example takes says nothing.
steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MONEY = st.integers(min_value=1, max_value=10**12)


def usd(digits: int = 2, currency: str = "USD") -> Tenant:
    return Tenant(currency=currency, currency_digits=digits)


@pytest.fixture
def at(database: Database) -> Stage:
    made = stage(database)
    made.tree.tenant.currency, made.tree.tenant.currency_digits = "USD", 2
    return made


async def pay(session: AsyncSession, at: Stage, amount: str, **values: Any) -> Posting:
    asked: dict[str, Any] = {"currency": "USD"} | values
    place = asked.pop("place", at.clinic)
    return await record_payment(
        session, asked.pop("agent", at.agent), place, at.patient.id, Decimal(amount), **asked
    )


async def owes(engine: AsyncEngine, at: Stage) -> dict[uuid.UUID, Balance]:
    """The account by the SQL question, proven equal to the one by arithmetic."""
    async with acting(engine, at.tenant_id) as session:
        asked = [
            select(model).where(model.tenant_id == at.tenant_id)
            for model in (Invoice, Posting, ChargeItem)
        ]
        rows = (await session.execute(account(asked[0], asked[1], asked[2]))).all()
        by_sql = {row[0]: Balance(*row[1:]) for row in rows}
        by_hand = balances(
            list(await session.scalars(asked[0])),
            list(await session.scalars(asked[1])),
            list(await session.scalars(asked[2])),
        )
        assert by_sql == by_hand
        assert (await session.scalars(check_totals(asked[0]))).all() == []
        return by_sql


@asyncio_only
async def test_a_payment_up_to_the_balance_is_posted_and_above_it_refused(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = make.invoice(at.patient, at.clinic)
    elsewhere = make.posting(at.patient, at.clinic, amount_minor=2_000)
    make.save(database, bill, make.invoice_line(bill), elsewhere)
    async with acting(app_engine, at.tenant_id) as session:
        posted = await pay(session, at, "100.00", invoice=bill, reference="T-1")
        assert (posted.amount_minor, posted.kind, posted.method) == (10_000, "payment", "card")
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(AboveBalance):
            await pay(session, at, "0.01")
    async with acting(app_engine, at.tenant_id) as session:
        await pay(session, at, "0.01", unapplied=True)
        assert await audited(session, at.agent) == [("payment:record", "done")] * 2
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(12_000, 12_001, 0, 0)


@asyncio_only
async def test_the_balance_of_another_clinic_does_not_count(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = make.invoice(at.patient, at.elsewhere)
    site = make.site(at.patient, at.elsewhere)
    make.save(database, site, bill, make.invoice_line(bill))
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(AboveBalance):
            await pay(session, at, "1.00")
        with pytest.raises(Invalid):
            await pay(session, at, "1.00", invoice=bill)


@asyncio_only
async def test_who_may_not_read_bills_takes_payments_where_they_may(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = make.invoice(at.patient, at.clinic)
    make.save(database, bill, make.invoice_line(bill))
    desk = {"scope_invoice": "{}", "scope_posting": "{}", "write_posting": units(at.clinic)}
    async with acting(app_engine, at.tenant_id, **desk) as session:
        await pay(session, at, "120.00")
        with pytest.raises(AboveBalance):
            await pay(session, at, "120.00")
        assert (await session.scalars(select(Posting))).all() == []
    async with acting(app_engine, at.tenant_id, write_posting=units(at.elsewhere)) as session:
        with pytest.raises(NotFound):
            await pay(session, at, "1.00", unapplied=True)
    async with acting(app_engine, at.tenant_id, write_posting="") as session:
        owed = select(func.open_balance(at.tenant_id, at.clinic.id, at.patient.id))
        assert await session.scalar(owed) is None
    other = make.tree(clinics=1)
    async with acting(app_engine, other.tenant.tenant_id) as session:
        assert await session.scalar(owed) is None


@asyncio_only
async def test_payments_at_one_moment_do_not_pay_twice(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = make.invoice(at.patient, at.clinic)
    make.save(database, bill, make.invoice_line(bill))

    async def request() -> str:
        try:
            async with acting(app_engine, at.tenant_id) as session:
                await pay(session, at, "50.00")
        except AboveBalance as refused:
            return refused.code
        return "paid"

    ended = await asyncio.gather(*(request() for _ in range(8)))
    assert sorted(ended) == ["ABOVE_BALANCE"] * 6 + ["paid"] * 2


@asyncio_only
@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        ("0", "USD", "INVALID"),
        ("-5", "USD", "INVALID"),
        ("1.005", "USD", "INVALID"),
        ("NaN", "USD", "INVALID"),
        ("1e40", "USD", "INVALID"),
        ("10000000000000.01", "USD", "INVALID"),
        ("1", "EUR", "WRONG_CURRENCY"),
    ],
)
async def test_what_is_no_payment(
    at: Stage, app_engine: AsyncEngine, amount: str, currency: str, code: str
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(Invalid) as refused:
            await pay(session, at, amount, currency=currency, unapplied=True)
    assert refused.value.code == code


@asyncio_only
async def test_an_invoice_copies_its_charges_once_under_the_next_number(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    charges = [make.charge(at.patient, at.clinic) for _ in range(3)]
    make.save(database, *charges)
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(unbilled=36_000)
    async with acting(app_engine, at.tenant_id) as session:
        one = await issue_invoice(session, at.agent, at.clinic, at.patient.id, charges[:2])
        two = await issue_invoice(session, at.agent, at.clinic, at.patient.id, charges[2:])
        assert (one.number, one.total_minor, two.number) == (1, 24_000, 2)
        lines = await session.scalars(select(InvoiceLine).where(InvoiceLine.invoice_id == one.id))
        assert [line.amount_minor for line in lines] == [12_000, 12_000]
        assert await audited(session, at.agent) == [("invoice:issue", "done")] * 2
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(charged=36_000)
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(Invalid) as refused:
            await issue_invoice(session, at.agent, at.clinic, at.patient.id, charges[:1])
        await session.rollback()
    assert refused.value.code == "NOT_BILLABLE"


@asyncio_only
async def test_numbers_have_no_gaps_whatever_fails_and_whoever_comes_at_once(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    charges = [make.charge(at.patient, at.clinic) for _ in range(6)]
    make.save(database, *charges)

    async def issue(number: int) -> None:
        async with acting(app_engine, at.tenant_id) as session:
            await issue_invoice(session, at.agent, at.clinic, at.patient.id, [charges[number]])
            if number % 3 == 0:
                await session.rollback()

    await asyncio.gather(*(issue(n) for n in range(6)))
    async with acting(app_engine, at.tenant_id) as session:
        numbers = await session.scalars(select(Invoice.number).order_by(Invoice.number))
        assert numbers.all() == [1, 2, 3, 4]


@asyncio_only
async def test_a_clinic_bills_its_departments_and_a_department_only_itself(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    of_ward, of_clinic = make.charge(at.patient, at.ward), make.charge(at.patient, at.clinic)
    make.save(database, make.site(at.patient, at.ward), of_ward, of_clinic)
    async with acting(app_engine, at.tenant_id) as session:
        for charges in ([of_clinic], []):
            with pytest.raises(Invalid):
                await issue_invoice(session, at.agent, at.ward, at.patient.id, charges)
        both = [of_ward, of_clinic]
        issued = await issue_invoice(session, at.agent, at.clinic, at.patient.id, both)
        assert issued.unit_id == at.clinic.id


@asyncio_only
async def test_a_posting_is_undone_once_and_by_somebody_else(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    other = make.person(at.tree.tenant)
    make.save(database, other)
    biller = replace(at.agent, person_id=other.id)
    async with acting(app_engine, at.tenant_id) as session:
        paid = await pay(session, at, "20", unapplied=True)
        with pytest.raises(OwnEntry):
            await reverse(session, at.agent, paid)
        undone = await reverse(session, biller, paid, "typing error")
        assert (undone.amount_minor, undone.reverses_id) == (-2_000, paid.id)
        with pytest.raises(Invalid):
            await reverse(session, at.agent, undone)
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(AlreadyReversed):
            await reverse(session, biller, paid)
        await session.rollback()
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(0, 0, 0, 0)


@asyncio_only
async def test_the_ledger_is_append_only_for_the_application(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        paid = await pay(session, at, "20", unapplied=True)
        paid.amount_minor = 1
        with pytest.raises(DBAPIError, match="permission denied"):
            await session.flush()
        await session.rollback()


def entries() -> st.SearchStrategy[tuple[list[Invoice], list[Posting]]]:
    """Ledgers: invoices of any state, postings of any kind at any clinic, some of them reversed."""
    states = st.sampled_from(["draft", "issued", "balanced", "cancelled", "entered-in-error"])
    invoice = st.builds(
        lambda clinic, state, total: Invoice(clinic_id=clinic, state=state, total_minor=total),
        st.sampled_from(CLINICS),
        states,
        MONEY,
    )
    kinds = st.sampled_from([PostingKind.PAYMENT, PostingKind.ADJUSTMENT, PostingKind.TRANSFER])
    posting = st.builds(
        lambda clinic, kind, amount, sign: Posting(
            id=new_id(),
            clinic_id=clinic,
            kind=kind.value,
            amount_minor=amount if kind is PostingKind.PAYMENT else amount * sign,
        ),
        st.sampled_from(CLINICS),
        kinds,
        MONEY,
        st.sampled_from([-1, 1]),
    )
    return st.tuples(st.lists(invoice), st.lists(posting))


def opposite(posting: Posting) -> Posting:
    return Posting(
        id=new_id(),
        clinic_id=posting.clinic_id,
        kind=PostingKind.REVERSAL.value,
        amount_minor=-posting.amount_minor,
        reverses_id=posting.id,
    )


@steady
@given(entries())
def test_a_balance_is_what_was_issued_less_what_was_posted(
    ledger: tuple[list[Invoice], list[Posting]],
) -> None:
    invoices, postings = ledger
    plain: dict[uuid.UUID, int] = defaultdict(int)
    for invoice in invoices:
        plain[invoice.clinic_id] += (
            invoice.total_minor if invoice.state in ("issued", "balanced") else 0
        )
    for posting in postings:
        plain[posting.clinic_id] -= posting.amount_minor
    found = balances(invoices, postings)
    assert {clinic: plain[clinic] for clinic in found} == {c: b.open for c, b in found.items()}


@steady
@given(entries())
def test_reversing_every_posting_leaves_nothing_paid_and_nothing_adjusted(
    ledger: tuple[list[Invoice], list[Posting]],
) -> None:
    invoices, postings = ledger
    found = balances(invoices, [*postings, *map(opposite, postings)])
    assert all((b.paid, b.adjusted) == (0, 0) for b in found.values())


@steady
@given(entries(), st.randoms())
def test_the_order_of_entries_does_not_matter(
    ledger: tuple[list[Invoice], list[Posting]], random: Any
) -> None:
    invoices, postings = ledger
    every = [*postings, *map(opposite, postings[::2])]
    shuffled = random.sample(every, len(every))
    assert balances(invoices, every) == balances(invoices[::-1], shuffled)


@steady
@given(st.integers(-(10**12), 10**12), st.sampled_from([("USD", 2), ("JPY", 0), ("KWD", 3)]))
def test_minor_units_and_amounts_are_each_other_s_inverse(
    minor: int, money: tuple[str, int]
) -> None:
    currency, digits = money
    tenant = usd(digits, currency)
    assert minor_units(amount_of(minor, tenant), currency, tenant) == minor
    assert amount_of(minor, tenant) == round(amount_of(minor, tenant), digits)


@steady
@given(st.decimals(min_value="0.001", max_value="999999.999", places=3), st.integers(0, 10**9))
def test_a_line_is_rounded_once_and_half_up(units_: Decimal, price: int) -> None:
    assert line_amount(units_, price) == int(units_ * price + Decimal("0.5"))


@asyncio_only
async def test_postgresql_rounds_a_line_as_python_does(owner_session: AsyncSession) -> None:
    for units_, price in (("0.5", 1), ("1.5", 1), ("2.5", 3), ("0.333", 10_000), ("1.005", 1_000)):
        rounded = await owner_session.scalar(select(func.round(Decimal(units_) * price)))
        assert rounded == line_amount(Decimal(units_), price)


def test_states_that_count_as_unbilled() -> None:
    charges = [
        ChargeItem(clinic_id=CLINICS[0], state=state.value, amount_minor=1) for state in ChargeState
    ]
    assert balances([], [], charges) == {CLINICS[0]: Balance(unbilled=1)}
