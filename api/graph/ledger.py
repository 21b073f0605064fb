"""What a patient owes, as SQL over what the asker may read."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    case,
    cast,
    func,
    literal_column,
    select,
    union_all,
)

from api.graph.relay import money
from api.plan.compile import Compiler
from api.plan.mapping import Row, attribute
from domain.billing import Allocation, Posting
from domain.billing import Invoice as Invoices

ZERO: ColumnElement[Any] = literal_column("0")
ISSUED = ("issued", "balanced")


def ledger(patient: Row, c: Compiler) -> Select[Any]:
    """What was charged, paid and adjusted for a patient, by clinic, of what the asker may read."""
    invoice = c.alias(Invoices)
    posting = c.alias(Posting)
    undone = c.alias(Posting)
    charged = select(
        invoice.clinic_id,
        invoice.total_minor.label("charged"),
        ZERO.label("paid"),
        ZERO.label("adjusted"),
        ZERO.label("transferred"),
    ).where(*owed(patient, invoice, c))
    # A reversal counts as what it undoes. That lies at the same place (`fk_posting_reverses`), so who reads the one
    # reads the other; the policy stands here all the same, as at every alias.
    kind = func.coalesce(undone.kind, posting.kind)
    is_payment = kind == literal_column("'payment'")
    is_transfer = kind == literal_column("'transfer'")
    posted = (
        select(
            posting.clinic_id,
            ZERO.label("charged"),
            case((is_payment, posting.amount_minor), else_=ZERO).label("paid"),
            case((is_payment | is_transfer, ZERO), else_=posting.amount_minor).label("adjusted"),
            case((is_transfer, posting.amount_minor), else_=ZERO).label("transferred"),
        )
        .outerjoin(
            undone,
            (undone.tenant_id == c.tenant())
            & (undone.id == posting.reverses_id)
            & c.policy(undone, "posting"),
        )
        .where(*posted_for(patient, posting, c))
    )
    rows = union_all(charged.correlate(patient), posted.correlate(patient)).subquery(
        f"e{c.label()}"
    )
    sums = [
        cast(func.sum(rows.c[name]), BigInteger).label(name)
        for name in ("charged", "paid", "adjusted", "transferred")
    ]
    return select(rows.c.clinic_id, *sums).group_by(rows.c.clinic_id)


def owed(patient: Row, invoice: Row, c: Compiler) -> list[ColumnElement[bool]]:
    """The patient's invoices that count."""
    return [
        invoice.patient_id == attribute(patient, "id"),
        invoice.state.in_([literal_column(f"'{s}'") for s in ISSUED]),
        c.policy(invoice, "invoice"),
    ]


def posted_for(patient: Row, posting: Row, c: Compiler) -> list[ColumnElement[bool]]:
    """The patient's postings."""
    return [posting.patient_id == attribute(patient, "id"), c.policy(posting, "posting")]


def total(which: str) -> Any:
    """A Money: one sum over all clinics of the ledger, zero where there is nothing."""

    def build(patient: Row, c: Compiler) -> ColumnElement[Any]:
        rows = ledger(patient, c).subquery(f"s{c.label()}")
        return select(func.coalesce(func.sum(rows.c[which]), ZERO)).scalar_subquery()

    return money(build, always=True)


def outstanding(patient: Row, c: Compiler) -> ColumnElement[Any]:
    """What is charged and not posted yet, in minor units: every kind of posting counts, so none is told apart."""
    invoice = c.alias(Invoices)
    posting = c.alias(Posting)
    charged = select(func.coalesce(func.sum(invoice.total_minor), ZERO))
    posted = select(func.coalesce(func.sum(posting.amount_minor), ZERO))
    return (
        charged.where(*owed(patient, invoice, c)).correlate(patient).scalar_subquery()
        - posted.where(*posted_for(patient, posting, c)).correlate(patient).scalar_subquery()
    )


def unapplied(side: str, *, live: bool = False) -> Any:
    """A Money: what of a row no allocation takes up. `side` is the column of an allocation that names the row.

    `live`: of a row that is not, nothing.
    """

    def build(row: Row, c: Compiler) -> ColumnElement[Any]:
        part = c.alias(Allocation)
        applied = (
            select(func.coalesce(func.sum(part.amount_minor), ZERO))
            .where(getattr(part, side) == attribute(row, "id"), c.policy(part, "posting"))
            .correlate(row)
            .scalar_subquery()
        )
        left = attribute(row, "amount_minor") - applied
        return case((attribute(row, "live"), left), else_=ZERO) if live else left

    return money(build, always=True)
