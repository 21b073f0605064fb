"""Invoices taken back, and invoices that are balanced: what is owed and what was billed stay true meanwhile."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.billing import (
    Adjustment,
    AdjustmentGroup,
    Allocation,
    ChargeItem,
    Invoice,
    InvoiceLine,
    Posting,
    Share,
    StillAdjusted,
    adjust,
    allocate,
    cancel_invoice,
    issue_invoice,
    record_payment,
    reverse,
    transfer,
)
from domain.billing.cancelling import AppliedElsewhere
from domain.errors import DomainError, IllegalMove, Invalid, StaleVersion
from domain.model import new_id
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage, units
from tests.domain.test_billing import owes
from tests.domain.test_books import proven
from tests.domain.test_ledger import refuses, somebody_else

pytestmark = pytest.mark.anyio
CONTRACT = Adjustment(AdjustmentGroup.CONTRACTUAL, "45")


@pytest.fixture
def at(database: Database) -> Stage:
    made = stage(database)
    made.tree.tenant.currency, made.tree.tenant.currency_digits = "USD", 2
    return made


async def billed(engine: AsyncEngine, database: Database, at: Stage, *minor: int) -> Invoice:
    """An invoice over charges of these amounts."""
    charges = [
        make.charge(at.patient, at.clinic, unit_price_minor=m, amount_minor=m) for m in minor
    ]
    make.save(database, *charges)
    return await again(engine, at)


async def again(engine: AsyncEngine, at: Stage) -> Invoice:
    """An invoice over all that is billable."""
    async with acting(engine, at.tenant_id) as session:
        charges = await session.scalars(select(ChargeItem).where(ChargeItem.state == "billable"))
        return await issue_invoice(session, at.agent, at.clinic, at.patient.id, charges.all())


async def paid(engine: AsyncEngine, at: Stage, amount: str, **values: Any) -> Posting:
    async with acting(engine, at.tenant_id) as session:
        who = (at.clinic, at.patient.id, Decimal(amount), "USD")
        return await record_payment(session, at.agent, *who, **values)


async def now(engine: AsyncEngine, at: Stage, bill: Invoice) -> Invoice:
    """The invoice as it is."""
    async with acting(engine, at.tenant_id) as session:
        return await session.get_one(Invoice, {"tenant_id": at.tenant_id, "id": bill.id})


async def cancelled(engine: AsyncEngine, at: Stage, bill: Invoice, **scopes: str) -> Invoice:
    fresh = await now(engine, at, bill)
    async with acting(engine, at.tenant_id, **scopes) as session:
        return await cancel_invoice(session, at.agent, fresh, fresh.version, "Wrong patient.")


async def adds_up(engine: AsyncEngine, at: Stage) -> None:
    assert (await proven(engine, at)).difference is None


async def test_it_keeps_its_number_and_lines_and_its_charges_are_billed_anew(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    first = await billed(app_engine, database, at, 3_000, 5_000)
    gone = await cancelled(app_engine, at, first)
    assert (gone.state, gone.number, gone.total_minor, gone.version) == ("cancelled", 1, 8_000, 2)
    assert (gone.cancel_reason, gone.cancelled_by) == ("Wrong patient.", at.person.id)
    assert (await owes(app_engine, at))[at.clinic.id].open == 0
    second = await again(app_engine, at)
    assert (second.number, second.total_minor, second.state) == (2, 8_000, "issued")
    async with acting(app_engine, at.tenant_id) as session:
        lines = (await session.scalars(select(InvoiceLine).order_by(InvoiceLine.id))).all()
        assert sorted((line.live, line.amount_minor) for line in lines) == [
            *((False, 3_000), (False, 5_000)),
            *((True, 3_000), (True, 5_000)),
        ]
        events = await audited(session, at.agent)
        assert [action for action, _ in events][-2:] == ["invoice:cancel", "invoice:issue"]
    assert (await owes(app_engine, at))[at.clinic.id].open == 8_000
    await adds_up(app_engine, at)


async def test_what_was_paid_is_credit_and_pays_the_next_invoice(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    first = await billed(app_engine, database, at, 3_000, 5_000)
    payment = await paid(app_engine, at, "80.00", invoice=first)
    assert (await now(app_engine, at, first)).state == "balanced"
    await cancelled(app_engine, at, first)
    assert (await owes(app_engine, at))[at.clinic.id].open == -8_000
    await adds_up(app_engine, at)
    second = await again(app_engine, at)
    async with acting(app_engine, at.tenant_id) as session:
        of = select(InvoiceLine).where(InvoiceLine.invoice_id == second.id)
        shares = [Share(line.id, line.amount_minor) for line in await session.scalars(of)]
        await allocate(session, at.agent, payment, shares)
    assert (await now(app_engine, at, second)).state == "balanced"
    async with acting(app_engine, at.tenant_id) as session:
        await reverse(session, somebody_else(at, database), payment)
    assert (await now(app_engine, at, second)).state == "issued"
    assert (await now(app_engine, at, first)).state == "cancelled"
    assert (await owes(app_engine, at))[at.clinic.id].open == 8_000
    await adds_up(app_engine, at)


async def test_a_payment_that_was_undone_before_is_left_alone(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = await billed(app_engine, database, at, 3_000)
    payment = await paid(app_engine, at, "30.00", invoice=bill)
    async with acting(app_engine, at.tenant_id) as session:
        await reverse(session, somebody_else(at, database), payment)
    await cancelled(app_engine, at, bill)
    async with acting(app_engine, at.tenant_id) as session:
        parts = await session.scalars(select(Allocation.releases_id))
        assert set(parts) == {None}
    await adds_up(app_engine, at)


async def test_what_was_written_off_is_undone_first(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = await billed(app_engine, database, at, 3_000)
    args = (at.tree.tenant, at.clinic, at.patient.id, Decimal(10), "USD", CONTRACT)
    async with acting(app_engine, at.tenant_id) as session:
        less = await adjust(
            session, at.agent, *args
        )  # names no line, and is off this one all the same
    with pytest.raises(StillAdjusted):
        await cancelled(app_engine, at, bill)
    assert (await owes(app_engine, at))[at.clinic.id].open == 2_000
    async with acting(app_engine, at.tenant_id) as session:
        await reverse(session, somebody_else(at, database), less)
    await cancelled(app_engine, at, bill)
    assert (await owes(app_engine, at))[at.clinic.id].open == 0
    await adds_up(app_engine, at)


async def test_who_sees_only_a_part_of_what_is_applied_does_not_cancel(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    who, *sites = make.patient_at(at.tree.tenant, at.ward)
    charge = make.charge(who, at.ward)  # type: ignore[arg-type] # the first is the patient
    make.save(database, who, *sites, charge)
    at.patient = who  # type: ignore[assignment] # likewise
    async with acting(app_engine, at.tenant_id) as session:
        bill = await issue_invoice(session, at.agent, at.ward, at.patient.id, [charge])
    await paid(app_engine, at, "20.00", invoice=bill)  # at the clinic
    ward = units(at.ward)
    narrow = {f"{kind}_posting": ward for kind in ("scope", "write")}
    with pytest.raises(AppliedElsewhere):
        await cancelled(app_engine, at, bill, **narrow)
    assert (await now(app_engine, at, bill)).state == "issued"
    await cancelled(app_engine, at, bill)
    await adds_up(app_engine, at)


async def test_what_cannot_be_cancelled(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = await billed(app_engine, database, at, 3_000)
    wrong: list[tuple[int, str, type[DomainError]]] = [
        (1, " ", Invalid),
        (1, "x" * 1_001, Invalid),
        (2, "why", StaleVersion),
    ]
    for version, reason, error in wrong:
        with pytest.raises(error):
            async with acting(app_engine, at.tenant_id) as session:
                await cancel_invoice(session, at.agent, bill, version, reason)
    gone = await cancelled(app_engine, at, bill)
    with pytest.raises(IllegalMove):
        await cancelled(app_engine, at, gone)
    with pytest.raises(Invalid) as refused:
        await paid(app_engine, at, "1.00", invoice=gone, unapplied=True)
    assert refused.value.code == "NOT_OWED"
    draft = make.invoice(at.patient, at.clinic, state="draft", number=None, issued_at=None)
    make.save(database, draft)
    with pytest.raises(IllegalMove):
        await cancelled(app_engine, at, draft)


async def test_a_cancelled_invoice_is_not_changed_any_more(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    gone = await cancelled(app_engine, at, await billed(app_engine, database, at, 3_000))
    async with acting(app_engine, at.tenant_id) as session:
        values = {"state": "issued", "cancelled_at": None, "cancel_reason": None}
        back = update(Invoice).where(Invoice.id == gone.id).values(**values)
        assert (await session.execute(back)).rowcount == 0  # type: ignore[attr-defined] # of an UPDATE
    second = await again(app_engine, at)
    async with acting(app_engine, at.tenant_id) as session:
        of = select(InvoiceLine).where(InvoiceLine.invoice_id == second.id)
        live = (await session.scalars(of)).one()
    other = make.invoice(at.patient, at.clinic)
    make.save(database, other)
    twice = make.invoice_line(other, charge_item_id=live.charge_item_id)
    refuses(database, "uq_invoice_line_charge", twice)
    with database.owner_engine.begin() as owner, pytest.raises(DBAPIError, match="fk_invoice_line"):
        owner.execute(text("update invoice_line set live = false where live"))


async def test_a_part_is_released_by_its_exact_opposite_once(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = make.invoice(at.patient, at.clinic)
    line, payment = make.invoice_line(bill), make.posting(at.patient, at.clinic)
    part = make.allocation(payment, line)
    make.save(database, bill, line, payment, part)

    def release(amount: int = -5_000, of: Any = part, **values: Any) -> Allocation:
        return make.allocation(payment, line, amount_minor=amount, releases_id=of.id, **values)

    refuses(database, "fk_allocation_releases", release(-4_999))
    refuses(database, "ck_allocation_posting", release(5_000))
    refuses(database, "ck_allocation_posting", release(-5_001))
    refuses(database, "fk_allocation_releases", make.allocation(payment, line, amount_minor=-5_000,
            releases_id=new_id()))  # fmt: skip
    first = release()
    make.save(database, first)
    refuses(database, "uq_allocation_releases", release())
    refuses(database, "ck_allocation_posting", release(5_000, of=first))


async def test_an_invoice_that_asks_for_nothing_is_balanced_at_once(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = await billed(app_engine, database, at, 0)
    assert bill.state == "balanced"
    await cancelled(app_engine, at, bill)
    await adds_up(app_engine, at)


async def test_credit_from_elsewhere_is_taken_back_from_the_lines_whichever_end_is_undone(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = await billed(app_engine, database, at, 3_000)
    make.save(database, make.site(at.patient, at.elsewhere))
    async with acting(app_engine, at.tenant_id) as session:
        who = (at.elsewhere, at.patient.id, Decimal(30), "USD")
        await record_payment(session, at.agent, *who, unapplied=True)
        places = (at.tree.tenant, at.elsewhere, at.clinic, at.patient.id)
        given = await transfer(session, at.agent, *places, Decimal(30), "USD")
        line = (await session.scalars(select(InvoiceLine))).one()
        await allocate(session, at.agent, given, [Share(line.id, 3_000)])
    assert (await now(app_engine, at, bill)).state == "balanced"
    key = {"tenant_id": at.tenant_id, "id": given.counterpart_id}
    async with acting(app_engine, at.tenant_id) as session:
        taken = await session.get_one(Posting, key)
        await reverse(session, somebody_else(at, database), taken)
    assert (await now(app_engine, at, bill)).state == "issued"
    assert (await owes(app_engine, at))[at.clinic.id].open == 3_000
    await adds_up(app_engine, at)


async def test_a_payment_and_a_cancelling_at_one_moment(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    """Whoever comes first: the money is on the account once, the line is settled or the invoice is gone."""
    for _ in range(5):
        bill = await billed(app_engine, database, at, 3_000)

        async def pay(bill: Invoice = bill) -> str:
            try:
                whole = str(Decimal(bill.total_minor).scaleb(-2))
                await paid(app_engine, at, whole, invoice=bill, unapplied=True)
            except Invalid as refused:
                return refused.code
            return "paid"

        async def cancel(bill: Invoice = bill) -> str:
            try:
                async with acting(app_engine, at.tenant_id) as session:
                    await cancel_invoice(session, at.agent, bill, bill.version, "why")
            except StaleVersion as refused:
                return refused.code
            return "cancelled"

        ended = set(await asyncio.gather(pay(), cancel()))
        assert ended in ({"paid", "STALE_VERSION"}, {"NOT_OWED", "cancelled"})
        await adds_up(app_engine, at)
        if "cancelled" not in ended:
            await cancelled(app_engine, at, bill)


async def test_of_two_who_cancel_at_once_one_does(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    bill = await billed(app_engine, database, at, 3_000)
    await paid(app_engine, at, "10.00", invoice=bill)

    async def one(n: int) -> str:
        agent = replace(at.agent, now=at.at(minutes=n).now)
        try:
            async with acting(app_engine, at.tenant_id) as session:
                await cancel_invoice(session, agent, bill, bill.version, "why")
        except StaleVersion as refused:
            return refused.code
        return "cancelled"

    assert sorted(await asyncio.gather(*map(one, range(4)))) == ["STALE_VERSION"] * 3 + [
        "cancelled"
    ]
    assert (await owes(app_engine, at))[at.clinic.id].open == -1_000
    await adds_up(app_engine, at)
