"""What is applied to lines, adjusted, transferred and undone: nothing twice, nothing lost, by the database where it can."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.billing import (
    AboveBalance,
    AboveOpen,
    Adjustment,
    AdjustmentGroup,
    Allocation,
    AlreadyReversed,
    Balance,
    Invoice,
    InvoiceLine,
    NoCredit,
    OwnEntry,
    Posting,
    Share,
    adjust,
    allocate,
    record_payment,
    reverse,
    transfer,
)
from domain.billing.allocations import open_lines
from domain.errors import Invalid, NotFound
from domain.model import Base
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage, units
from tests.domain.test_billing import owes

pytestmark = pytest.mark.anyio
CONTRACT = Adjustment(AdjustmentGroup.CONTRACTUAL, "45")


@pytest.fixture
def at(database: Database) -> Stage:
    made = stage(database)
    made.tree.tenant.currency, made.tree.tenant.currency_digits = "USD", 2
    return made


def billed(at: Stage, database: Database, *amounts: int) -> tuple[Invoice, list[InvoiceLine]]:
    """An issued invoice with lines of these amounts; saved."""
    bill = make.invoice(at.patient, at.clinic, total_minor=sum(amounts))
    lines = [make.invoice_line(bill, unit_price_minor=a, amount_minor=a) for a in amounts]
    make.save(database, bill, *lines)
    return bill, lines


async def pay(session: AsyncSession, at: Stage, amount: str, **values: Any) -> Posting:
    place = values.pop("place", at.clinic)
    agent = values.pop("agent", at.agent)
    return await record_payment(
        session, agent, place, at.patient.id, Decimal(amount), "USD", **values
    )


async def left(engine: AsyncEngine, at: Stage) -> list[int]:
    """What is open of each line of the account, in their order."""
    async with acting(engine, at.tenant_id) as session:
        lines = await open_lines(session, at.agent, at.clinic.id, at.patient.id)
        return [line.open_minor for line in lines.values()]


def somebody_else(at: Stage, database: Database) -> Any:
    other = make.person(at.tree.tenant)
    make.save(database, other)
    return replace(at.agent, person_id=other.id)


async def test_a_payment_is_applied_to_the_lines_that_it_names(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    _, (one, two) = billed(at, database, 3_000, 5_000)
    async with acting(app_engine, at.tenant_id) as session:
        paid = await pay(session, at, "60.00", shares=[Share(two.id, 5_000), Share(one.id, 500)])
    assert await left(app_engine, at) == [2_500, 0]
    async with acting(app_engine, at.tenant_id) as session:
        await allocate(session, at.agent, paid, [Share(one.id, 500)])
    assert await left(app_engine, at) == [2_000, 0]
    for shares in (
        [Share(one.id, 1)],  # nothing is left of the posting
        [Share(two.id, 1)],  # nor of the line
    ):
        async with acting(app_engine, at.tenant_id) as session:
            with pytest.raises(AboveOpen):
                await allocate(session, at.agent, paid, shares)
    assert (await owes(app_engine, at))[at.clinic.id].open == 2_000


async def test_a_payment_of_an_invoice_goes_to_its_lines_in_their_order(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill, _ = billed(at, database, 3_000, 5_000)
    async with acting(app_engine, at.tenant_id) as session:
        await pay(session, at, "40.00", invoice=bill)
    async with acting(app_engine, at.tenant_id) as session:
        await pay(session, at, "70.00", invoice=bill, unapplied=True)
    assert await left(app_engine, at) == [0, 0]
    assert (await owes(app_engine, at))[at.clinic.id].open == -3_000


@pytest.mark.parametrize("amount", [0, -1])
async def test_shares_are_of_the_account_and_above_nothing(
    at: Stage, app_engine: AsyncEngine, database: Database, amount: int
) -> None:
    _, (mine,) = billed(at, database, 3_000)
    elsewhere = make.invoice(at.patient, at.elsewhere)
    other = make.invoice_line(elsewhere)
    make.save(database, make.site(at.patient, at.elsewhere), elsewhere, other)
    wrong: list[list[Share]] = [
        [Share(mine.id, amount)],
        [Share(other.id, 100)],
        [Share(mine.id, 100), Share(mine.id, 100)],
    ]
    for shares in wrong:
        with pytest.raises(Invalid):
            async with acting(app_engine, at.tenant_id) as session:
                await pay(session, at, "30.00", shares=shares)
    with pytest.raises(AboveOpen):
        async with acting(app_engine, at.tenant_id) as session:
            await pay(session, at, "10.00", shares=[Share(mine.id, 1_001)])
    assert await left(app_engine, at) == [3_000]


async def test_two_at_one_moment_do_not_settle_a_line_twice(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    _, (line,) = billed(at, database, 1_000)
    async with acting(app_engine, at.tenant_id) as session:
        paid = [await pay(session, at, "10.00", unapplied=True) for _ in range(6)]

    async def one(posting: Posting) -> str:
        try:
            async with acting(app_engine, at.tenant_id) as session:
                await allocate(session, at.agent, posting, [Share(line.id, 1_000)])
        except AboveOpen as refused:
            return refused.code
        return "applied"

    ended = await asyncio.gather(*map(one, paid))
    assert sorted(ended) == ["ABOVE_OPEN"] * 5 + ["applied"]


async def test_what_is_open_is_told_inside_the_write_scope_only(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    billed(at, database, 1_000)
    for scopes in ({"write_posting": ""}, {"write_posting": units(at.elsewhere)}):
        async with acting(app_engine, at.tenant_id, **scopes) as session:
            assert await open_lines(session, at.agent, at.clinic.id, at.patient.id) == {}
    ward = {"write_posting": units(at.ward), "scope_invoice": "{}"}
    async with acting(app_engine, at.tenant_id, **ward) as session:
        assert len(await open_lines(session, at.agent, at.clinic.id, at.patient.id)) == 1
    there = make.tree(clinics=1)
    async with acting(app_engine, there.tenant.tenant_id) as session:
        assert await open_lines(session, at.agent, at.clinic.id, at.patient.id) == {}


async def test_an_adjustment_has_a_reason_and_lowers_what_is_owed(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    _, (line,) = billed(at, database, 3_000)
    args = (at.tree.tenant, at.clinic, at.patient.id)
    async with acting(app_engine, at.tenant_id) as session:
        made = await adjust(
            session, at.agent, *args, Decimal(20), "USD", CONTRACT, shares=[Share(line.id, 2_000)]
        )
        assert (made.kind, made.group_code, made.reason_code) == ("adjustment", "CO", "45")
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(3_000, 0, 2_000)
    assert await left(app_engine, at) == [1_000]
    refused: list[tuple[Any, ...]] = [
        (Decimal("10.01"), "USD", CONTRACT, AboveBalance),
        (Decimal(0), "USD", CONTRACT, Invalid),
        (Decimal(1), "EUR", CONTRACT, Invalid),
        (Decimal(1), "USD", Adjustment(AdjustmentGroup.PATIENT, "1"), Invalid),
        (Decimal(1), "USD", Adjustment(AdjustmentGroup.OTHER, " "), Invalid),
    ]
    for *asked, error in refused:
        with pytest.raises(error):
            async with acting(app_engine, at.tenant_id) as session:
                await adjust(session, at.agent, *args, *asked)
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(3_000, 0, 2_000)


async def test_credit_is_transferred_to_another_clinic_and_back(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    make.save(database, make.site(at.patient, at.elsewhere))
    args = (at.tree.tenant, at.clinic, at.elsewhere, at.patient.id)
    async with acting(app_engine, at.tenant_id) as session:
        await pay(session, at, "50.00", unapplied=True)
    async with acting(app_engine, at.tenant_id) as session:
        given = await transfer(session, at.agent, *args, Decimal(30), "USD", reason="wrong clinic")
    found = await owes(app_engine, at)
    assert (found[at.clinic.id].open, found[at.elsewhere.id].open) == (-2_000, -3_000)
    assert found[at.elsewhere.id] == Balance(transferred=3_000)
    for amount, error in (("20.01", NoCredit), ("0", Invalid)):
        with pytest.raises(error):
            async with acting(app_engine, at.tenant_id) as session:
                await transfer(session, at.agent, *args, Decimal(amount), "USD")
    same = (at.tree.tenant, at.clinic, at.clinic, at.patient.id)
    with pytest.raises(Invalid):
        async with acting(app_engine, at.tenant_id) as session:
            await transfer(session, at.agent, *same, Decimal(1), "USD")
    other = somebody_else(at, database)
    async with acting(app_engine, at.tenant_id) as session:
        await reverse(session, other, given)
    found = await owes(app_engine, at)
    assert (found[at.clinic.id].open, found[at.elsewhere.id].open) == (-5_000, 0)
    key = {"tenant_id": at.tenant_id, "id": given.counterpart_id}
    with pytest.raises(AlreadyReversed):
        async with acting(app_engine, at.tenant_id) as session:
            await reverse(session, other, await session.get_one(Posting, key))


async def test_what_was_transferred_is_not_applied_here_as_well(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    make.save(database, make.site(at.patient, at.elsewhere))
    args = (at.tree.tenant, at.clinic, at.elsewhere, at.patient.id)
    async with acting(app_engine, at.tenant_id) as session:
        paid = await pay(session, at, "50.00", unapplied=True)
    async with acting(app_engine, at.tenant_id) as session:
        await transfer(session, at.agent, *args, Decimal(30), "USD")
    _, (line,) = billed(at, database, 5_000)
    for minor, error in ((2_001, AboveOpen), (5_000, AboveOpen)):
        with pytest.raises(error):
            async with acting(app_engine, at.tenant_id) as session:
                await allocate(session, at.agent, paid, [Share(line.id, minor)])
    async with acting(app_engine, at.tenant_id) as session:
        await allocate(session, at.agent, paid, [Share(line.id, 2_000)])
    assert await left(app_engine, at) == [3_000]
    assert (await owes(app_engine, at))[at.clinic.id].open == 3_000


async def test_a_transfer_is_undone_by_who_sees_both_ends(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    make.save(database, make.site(at.patient, at.elsewhere))
    moved = make.transfer(at.patient, at.clinic, at.elsewhere)
    make.save(database, *moved)
    with pytest.raises(NotFound):
        async with acting(app_engine, at.tenant_id, scope_posting=units(at.clinic)) as session:
            await reverse(session, at.agent, moved[0])


async def test_a_reversal_takes_back_what_was_applied(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill, _ = billed(at, database, 3_000)
    async with acting(app_engine, at.tenant_id) as session:
        paid = await pay(session, at, "30.00", invoice=bill)
        with pytest.raises(OwnEntry):
            await reverse(session, at.agent, paid)
    other = somebody_else(at, database)
    async with acting(app_engine, at.tenant_id) as session:
        undone = await reverse(session, other, paid)
    assert await left(app_engine, at) == [3_000]
    for posting, error in ((paid, AlreadyReversed), (undone, Invalid)):
        with pytest.raises(error):
            async with acting(app_engine, at.tenant_id) as session:
                await allocate(session, at.agent, posting, [Share(bill.id, 1)])
    async with acting(app_engine, at.tenant_id) as session:
        total = await session.scalar(select(func.sum(Allocation.amount_minor)))
        assert total == 0
        assert await audited(session, at.agent) == [
            ("payment:record", "done"),
            ("posting:correct", "done"),
        ]


def refuses(database: Database, rule: str, *rows: Base) -> None:
    with pytest.raises(DBAPIError, match=rule):
        make.save(database, *rows)


async def test_the_database_refuses_what_does_not_cancel_out(at: Stage, database: Database) -> None:
    bill, (line,) = billed(at, database, 3_000)
    paid = make.posting(at.patient, at.clinic, amount_minor=2_000)
    make.save(database, make.site(at.patient, at.elsewhere), paid)

    def again(amount: int, node: Any = at.clinic) -> Posting:
        return make.posting(
            at.patient, node, kind="reversal", amount_minor=amount, reverses_id=paid.id
        )

    refuses(database, "fk_posting_reverses", again(-1_999))
    refuses(database, "fk_posting_reverses", again(-2_000, at.elsewhere))
    taken, given = make.transfer(at.patient, at.clinic, at.elsewhere)
    given.amount_minor = 1_999
    refuses(database, "fk_posting_counterpart", taken, given)
    refuses(database, "ck_posting_transfer", make.posting(at.patient, at.clinic, kind="transfer"))
    refuses(
        database, "ck_posting_adjustment", make.posting(at.patient, at.clinic, kind="adjustment")
    )
    refuses(database, "ck_allocation_posting", make.allocation(paid, line, amount_minor=2_001))
    refuses(database, "ck_allocation_posting", make.allocation(paid, line, amount_minor=-1))
    refuses(database, "fk_allocation_posting", make.allocation(paid, line, posting_minor=2_001))
    refuses(database, "fk_allocation_invoice_line", make.allocation(paid, line, line_minor=9_999))
    there = make.invoice(at.patient, at.elsewhere)
    make.save(database, there, make.invoice_line(there))
    foreign = make.invoice_line(there)
    refuses(database, "fk_allocation_invoice_line", make.allocation(paid, foreign))
    charge = make.charge(at.patient, at.clinic)
    make.save(database, charge)
    refuses(
        database,
        "uq_invoice_line_charge",
        make.invoice_line(bill, charge_item_id=charge.id),
        make.invoice_line(bill, charge_item_id=charge.id),
    )
