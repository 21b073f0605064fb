"""The types of billing beyond charges and invoices, as the schema describes them, over plain rows."""

from collections.abc import Callable
from typing import Any

from tests.oracle.rules import Sight
from tests.oracle.shapes import (
    Leaf,
    Many,
    One,
    Struct,
    Type,
    as_money,
    columns,
    enums,
    money,
    one,
    texts,
)

PATIENT = one("Patient", "patient", "patient_id")
CLINIC = one("OrgUnit", "org_unit", "clinic_id")
ENCOUNTER = one("Encounter", "encounter", "encounter_id")


def of(table: str, column: str) -> Any:
    """The rows of a table that name this one."""
    return lambda sight, row: sight.rows.where(table, column, row.id)


def less_applied(column: str, counts: Callable[[Any], bool] = lambda _: True) -> Struct:
    """An amount less what is applied, as far as one may read it; zero of what counts no more."""

    def value(sight: Sight, row: Any) -> Any:
        if not counts(row):
            return as_money(sight, 0)
        parts = sight.rows.where("allocation", column, row.id)
        seen = sum(part.amount_minor for part in parts if sight.may("posting:read", part))
        return as_money(sight, row.amount_minor - seen)

    return Struct(value)


def _received(sight: Sight, claim: Any) -> Any:
    parts = sight.rows.where("claim_receipt", "claim_id", claim.id)
    return as_money(sight, sum(p.amount_minor for p in parts if sight.may("claim:read", p)))


def pointed_to(sight: Sight, charge: Any) -> list[Any]:
    """The conditions of a charge in their order."""
    found = [sight.rows.get("condition", id_) for id_ in charge.diagnosis_ids]
    return [row for row in found if row is not None]


def _queue(column: str) -> Leaf:
    def value(_: Sight, row: Any) -> str | None:
        said = getattr(row, column)
        return None if said is None else str(said).replace("-", "_").upper()

    return Leaf(value)


ANSWER = {
    "total": money("total_minor"),
    "paid": money("paid_minor"),
    "adjusted": money("adjusted_minor"),
    "patientPart": money("patient_minor"),
}
CHARGE_MORE: dict[str, Any] = {
    **columns("modifiers version"),
    "patient": PATIENT,
    "clinic": CLINIC,
    "encounter": ENCOUNTER,
    "diagnoses": Many("Condition", pointed_to, (), 4, "CLINICAL"),
}
AGES = (("days0To30", 0, 30), ("days31To60", 31, 60), ("days61To90", 61, 90))
BILLS = (
    Type(
        "Payer",
        "payer",
        "payer:read",
        columns("name identifierSystem identifier active version"),
    ),
    Type(
        "Coverage",
        "coverage",
        "coverage:read",
        {
            **columns("priority memberId groupNumber startsOn endsOn version"),
            **enums("relationship state"),
            "payer": one("Payer", "payer", "payer_id"),
            "patient": PATIENT,
            "clinic": CLINIC,
        },
    ),
    Type(
        "Claim",
        "claim",
        "claim:read",
        {
            **columns("priority payerReference recordedAt filedAt adjudicatedAt version"),
            **enums("kind state queue"),
            **ANSWER,
            "received": Struct(_received),
            "encounter": ENCOUNTER,
            "coverage": one("Coverage", "coverage", "coverage_id"),
            "patient": PATIENT,
            "clinic": CLINIC,
            "items": Many("ClaimItem", of("claim_item", "claim_id"), ("sequence",), 100),
            "steps": Many("ClaimStep", of("claim_step", "claim_id"), ("step",), 100),
            "postings": Many("Posting", of("posting", "claim_id"), ("posted_at", "id"), 100),
        },
    ),
    Type(
        "ClaimItem",
        "claim_item",
        "claim:read",
        {
            **columns("sequence"),
            **texts("units"),
            **ANSWER,
            "charge": one("ChargeItem", "charge_item", "charge_item_id"),
        },
    ),
    Type(
        "ClaimStep",
        "claim_step",
        "claim:read",
        {
            **columns("step reason movedAt"),
            "fromQueue": _queue("from_queue"),
            "queue": _queue("queue"),
        },
    ),
    Type(
        "Posting",
        "posting",
        "posting:read",
        {
            **columns("method reference groupCode reasonCode postedAt"),
            **enums("kind"),
            "amount": money("amount_minor"),
            "unapplied": less_applied("posting_id"),
            "patient": PATIENT,
            "clinic": CLINIC,
            "invoice": one("Invoice", "invoice", "invoice_id"),
            "allocations": Many("Allocation", of("allocation", "posting_id"), ("id",), 100),
        },
    ),
    Type(
        "Allocation",
        "allocation",
        "posting:read",
        {
            **columns("allocatedAt"),
            "amount": money("amount_minor"),
            "line": one("InvoiceLine", "invoice_line", "invoice_line_id"),
        },
    ),
    Type(
        "DailyClose",
        "daily_close",
        "daily_close:read",
        {
            **columns("day closedAt"),
            "charges": money("charged_minor"),
            "payments": money("paid_minor"),
            "adjustments": money("adjusted_minor"),
            "transfers": money("transferred_minor"),
            "clinic": CLINIC,
        },
    ),
    Type(
        "PatientReceivables",
        None,
        None,
        {
            "patient": One("Patient", lambda _, row: row.patient),
            "receivables": One("Receivables", lambda _, row: row.receivables),
        },
    ),
    Type(
        "Receivables",
        None,
        None,
        {
            name: money(name)
            for name in (*(name for name, *_ in AGES), "over90Days", "unapplied", "total")
        },
    ),
)
