"""Writes claims of other systems: the charges, the invoice that holds them, the claim as it was filed."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from domain.billing import (
    ChargeItem,
    ChargeState,
    Claim,
    ClaimItem,
    ClaimQueue,
    ClaimStep,
    DailyClose,
    FinancialState,
    Invoice,
    InvoiceLine,
    InvoiceState,
)
from domain.billing.ledger import DAY, LOCK
from domain.imports.bills import Bill, Charge
from domain.imports.policies import Policy, covered
from domain.imports.rows import insert_all
from domain.imports.work import Draft, Work
from domain.keys import next_numbers
from domain.locks import hold
from domain.model import new_id

CLOSED = "the clinic has closed that day"
INVOICES = "invoice"
Rows = dict[type[Any], list[dict[str, Any]]]


async def insert_bills(work: Work, bills: Sequence[tuple[Draft, Bill]]) -> None:
    """Store the bills whose days are not closed, each with an invoice of its own."""
    await lock_days(work, (bill.place["clinic_id"] for _, bill in bills))
    closed = await closed_days(work, ((b.place["clinic_id"], b.billed_at) for _, b in bills))
    fresh = []
    for made, bill in bills:
        if (
            bill.place["clinic_id"],
            day_at(work, bill.place["clinic_id"], bill.billed_at),
        ) in closed:
            work.skip(made.entry, CLOSED)
        else:
            fresh.append((made, bill))
    if not fresh:
        return
    await lock_accounts(
        work, ((bill.place["clinic_id"], bill.place["patient_id"]) for _, bill in fresh)
    )
    covers = await covered(
        work, ((b.place["clinic_id"], b.policy) for _, b in fresh if b.policy is not None)
    )
    numbers = await next_numbers(work.session, work.agent, INVOICES, len(fresh))
    rows: Rows = {
        model: [] for model in (Claim, ClaimStep, ChargeItem, ClaimItem, Invoice, InvoiceLine)
    }
    for number, (made, bill) in zip(numbers, fresh, strict=True):
        _rows(work, rows, made.id, bill, number, _cover(covers, bill))
        work.touched += [made.id, rows[Invoice][-1]["id"], *(c.id for c in bill.charges)]
        work.count("taken", made.entry)
    for model, listed in rows.items():
        await insert_all(work, model, listed)


def _cover(covers: dict[tuple[uuid.UUID, Policy], uuid.UUID], bill: Bill) -> uuid.UUID | None:
    return None if bill.policy is None else covers[bill.place["clinic_id"], bill.policy]


def _rows(
    work: Work, rows: Rows, claim_id: uuid.UUID, bill: Bill, number: int, cover: uuid.UUID | None
) -> None:
    place = {name: bill.place[name] for name in ("clinic_id", "unit_id", "patient_id")}
    shared = place | {
        "tenant_id": work.agent.tenant_id,
        "sensitivity": work.sensitivity[place["patient_id"]],
    }
    invoice_id = new_id()
    rows[Claim].append(
        shared
        | {
            "id": claim_id,
            "encounter_id": bill.place["encounter_id"],
            "coverage_id": cover,
            "priority": bill.priority,
            "kind": bill.kind,
            "state": FinancialState.ACTIVE.value,
            "queue": ClaimQueue.FILED.value,
            "step": 0,
            "total_minor": bill.total_minor,
            "filed_at": bill.billed_at,
            "recorded_at": bill.billed_at,
        }
    )
    first = {"claim_id": claim_id, "step": 0, "queue": ClaimQueue.FILED.value}
    rows[ClaimStep].append(shared | {"id": new_id(), "moved_at": bill.billed_at} | first)
    rows[Invoice].append(
        shared
        | {
            "id": invoice_id,
            "number": number,
            "state": (InvoiceState.ISSUED if bill.total_minor else InvoiceState.BALANCED).value,
            "issued_at": bill.billed_at,
            "total_minor": bill.total_minor,
        }
    )
    for charge in bill.charges:
        _charge_rows(rows, shared, charge, bill.place["encounter_id"], claim_id, invoice_id)


def _charge_rows(
    rows: Rows,
    shared: dict[str, Any],
    charge: Charge,
    encounter_id: uuid.UUID,
    claim_id: uuid.UUID,
    invoice_id: uuid.UUID,
) -> None:
    """The charge, as the claim asks for it and as the invoice keeps it."""
    told = {"code": charge.code, "description": charge.description, "units": charge.units}
    priced = {"unit_price_minor": charge.price_minor, "amount_minor": charge.amount_minor}
    own = {
        "id": charge.id,
        "encounter_id": encounter_id,
        "state": ChargeState.BILLED.value,
        "code_system": charge.code_system,
        "modifiers": [],
        "diagnosis_ids": charge.diagnosis_ids,
        "occurred_at": charge.occurred_at,
    }
    rows[ChargeItem].append(shared | told | priced | own)
    asked = {"sequence": charge.sequence, "units": charge.units, "total_minor": charge.amount_minor}
    of = {"charge_item_id": charge.id}
    rows[ClaimItem].append(shared | of | asked | {"id": new_id(), "claim_id": claim_id})
    kept = {"id": new_id(), "invoice_id": invoice_id}
    rows[InvoiceLine].append(shared | told | priced | of | kept)


def day_at(work: Work, clinic_id: uuid.UUID, moment: dt.datetime) -> dt.date:
    """The clinic's day of a moment."""
    return moment.astimezone(ZoneInfo(work.rule.zone(clinic_id))).date()


async def closed_days(
    work: Work, moments: Iterable[tuple[uuid.UUID, dt.datetime]]
) -> set[tuple[uuid.UUID, dt.date]]:
    """The days of clinics that are closed: nothing is added to them any more."""
    days = {(clinic, day_at(work, clinic, moment)) for clinic, moment in moments}
    if not days:
        return set()
    query = select(DailyClose.unit_id, DailyClose.day).where(
        DailyClose.tenant_id == work.agent.tenant_id,
        DailyClose.unit_id.in_({clinic for clinic, _ in days}),
    )
    return {(clinic, day) for clinic, day in await work.session.execute(query)} & days


async def lock_days(work: Work, clinics: Iterable[uuid.UUID]) -> None:
    """Let nobody close a day of these clinics meanwhile. Before the accounts, as `ledger.enter` has it."""
    for clinic in sorted(set(clinics)):
        await hold(work.session, DAY, work.agent.tenant_id, clinic, shared=True)


async def lock_accounts(work: Work, accounts: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Wait for others who write to these accounts: clinic and patient."""
    for clinic, patient in sorted(set(accounts)):
        await hold(work.session, LOCK, work.agent.tenant_id, clinic, patient)
