"""A visit that is struck out takes its charges with it, unless they are billed or claimed."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.billing import (
    ChargeItem,
    Charging,
    Claim,
    Invoice,
    cancel_claim,
    cancel_invoice,
    create_claim,
    issue_invoice,
    record_charge,
)
from domain.encounters import Encounter
from domain.entered_in_error import StillBilled, mark_entered_in_error
from domain.errors import Invalid
from tests import make
from tests.database import Database
from tests.domain.acting import acting, stage, units
from tests.domain.test_closing import somebody_waits

pytestmark = pytest.mark.anyio
NO_BILLS = {f"{kind}_{name}": "" for kind in ("scope", "write") for name in ("charge", "claim")}


class Case:
    """A visit with two charges, one of which is struck out already."""

    def __init__(self, database: Database) -> None:
        self.at = at = stage(database)
        at.tree.tenant.currency, at.tree.tenant.currency_digits = "USD", 2
        self.visit = make.encounter(at.patient, at.clinic, state="finished")
        self.payer, finding = make.payer(at.tree.tenant), make.condition(self.visit)
        finding.verification_status = "entered-in-error"
        self.cover = make.coverage(at.patient, at.clinic, self.payer)
        of = {"encounter_id": self.visit.id}
        self.charge = make.charge(at.patient, at.clinic, **of)
        gone = make.charge(at.patient, at.clinic, state="entered-in-error", **of)
        elsewhere = make.charge(at.patient, at.clinic)
        price = make.price(at.tree.tenant, code="A-1")
        rows = (self.visit, self.payer, self.cover, self.charge, gone, elsewhere, price)
        make.save(database, *rows)


@pytest.fixture
def case(database: Database) -> Case:
    return Case(database)


async def struck(engine: AsyncEngine, case: Case, **scopes: str) -> Encounter:
    async with acting(engine, case.at.tenant_id, **scopes) as session:
        key = {"tenant_id": case.at.tenant_id, "id": case.visit.id}
        visit = await session.get_one(Encounter, key)
        agent = case.at.agent
        return await mark_entered_in_error(session, agent, visit, visit.version, "Wrong patient.")


async def states(engine: AsyncEngine, case: Case) -> list[str]:
    async with acting(engine, case.at.tenant_id) as session:
        found = await session.scalars(select(ChargeItem.state).order_by(ChargeItem.id))
        return list(found)


async def test_charges_that_nobody_billed_go_with_it_unseen(
    case: Case, app_engine: AsyncEngine
) -> None:
    assert (await struck(app_engine, case, **NO_BILLS)).state == "entered-in-error"
    assert await states(app_engine, case) == ["entered-in-error", "entered-in-error", "billable"]
    async with acting(app_engine, case.at.tenant_id) as session:
        told = text("select subject_ids from audit_event where tenant_id = :t")
        ids: list[uuid.UUID] | None = await session.scalar(told, {"t": case.at.tenant_id})
        assert ids == [case.visit.id, case.charge.id]


async def test_what_is_billed_or_claimed_is_taken_back_first(
    case: Case, app_engine: AsyncEngine
) -> None:
    at = case.at
    async with acting(app_engine, at.tenant_id) as session:
        charge = await session.get_one(
            ChargeItem, {"tenant_id": at.tenant_id, "id": case.charge.id}
        )
        bill = await issue_invoice(session, at.agent, at.clinic, at.patient.id, [charge])
        claim = await create_claim(session, at.agent, case.visit, case.cover)
    with pytest.raises(StillBilled):
        await struck(app_engine, case, **NO_BILLS)
    async with acting(app_engine, at.tenant_id) as session:
        bill = await session.get_one(Invoice, {"tenant_id": at.tenant_id, "id": bill.id})
        await cancel_invoice(session, at.agent, bill, bill.version, "Wrong patient.")
    with pytest.raises(StillBilled):
        await struck(app_engine, case, **NO_BILLS)
    async with acting(app_engine, at.tenant_id) as session:
        claim = await session.get_one(Claim, {"tenant_id": at.tenant_id, "id": claim.id})
        await cancel_claim(session, at.agent, claim, claim.version)
    await struck(app_engine, case, **NO_BILLS)
    assert (await states(app_engine, case))[0] == "entered-in-error"


async def test_outside_the_write_scope_nothing_is_struck_out(
    case: Case, app_engine: AsyncEngine
) -> None:
    asked = text("select strike_charges(:t, :e)")
    values: dict[str, Any] = {"t": case.at.tenant_id, "e": case.visit.id}
    for scope in ("", units(case.at.elsewhere)):
        async with acting(app_engine, case.at.tenant_id, write_encounter=scope) as session:
            assert await session.scalar(asked, values) is None
    there = make.tree(clinics=1)
    async with acting(app_engine, there.tenant.tenant_id) as session:
        assert await session.scalar(asked, values) is None
    assert (await states(app_engine, case))[0] == "billable"


async def while_it_is_struck_out(
    case: Case, engine: AsyncEngine, database: Database, command: Any
) -> str:
    """What a command answers that comes while the visit is struck out, and waits for it."""

    async def run() -> str:
        try:
            async with acting(engine, case.at.tenant_id) as session:
                await command(session)
        except Invalid as refused:
            return refused.code
        return "done"

    async with acting(engine, case.at.tenant_id) as session:
        key = {"tenant_id": case.at.tenant_id, "id": case.visit.id}
        visit = await session.get_one(Encounter, key)
        await mark_entered_in_error(session, case.at.agent, visit, visit.version, "why")
        task = asyncio.create_task(run())
        await somebody_waits(database)
    return await task


async def test_nobody_charges_claims_or_bills_meanwhile(
    app_engine: AsyncEngine, database: Database
) -> None:
    for n, code in enumerate(("NOT_CHARGEABLE", "NOT_CHARGEABLE", "NOT_BILLABLE")):
        case = Case(database)
        at = case.at
        who = (at.clinic, at.patient.id, [case.charge])
        commands = (
            lambda s, at=at, case=case: record_charge(
                s, at.agent, case.visit, Charging("INTERNAL", "A-1")
            ),
            lambda s, at=at, case=case: create_claim(s, at.agent, case.visit, case.cover),
            lambda s, at=at, who=who: issue_invoice(s, at.agent, *who),
        )
        ended = await while_it_is_struck_out(case, app_engine, database, commands[n])
        assert ended == code
        assert "billable" not in (await states(app_engine, case))[:2]
