"""What a patient owes, by clinic: issued invoices less postings; what no invoice holds yet is told apart."""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
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
from sqlalchemy.orm import aliased

from domain.billing.posting_record import Posting, PostingKind
from domain.billing.record import ChargeItem, ChargeState, Invoice, InvoiceLine, InvoiceState

OWED = (InvoiceState.ISSUED.value, InvoiceState.BALANCED.value)
"""The invoices that count. A cancelled one is owed no more."""
ZERO: ColumnElement[int] = literal_column("0")


@dataclass(frozen=True)
class Balance:
    """A patient's account at one clinic in minor units. `open` is what is owed; below zero is credit."""

    charged: int = 0
    paid: int = 0
    adjusted: int = 0
    unbilled: int = 0
    transferred: int = 0

    @property
    def open(self) -> int:
        return self.charged - self.paid - self.adjusted - self.transferred


COLUMN = {PostingKind.PAYMENT: "paid", PostingKind.TRANSFER: "transferred"}
"""What a posting adds to; the others are adjustments."""


def balances(
    invoices: Iterable[Invoice], postings: Iterable[Posting], charges: Iterable[ChargeItem] = ()
) -> dict[uuid.UUID, Balance]:
    """The balance at each clinic that has a row. A reversal counts as what it undoes, also when that is not given."""
    sums: dict[uuid.UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    listed = list(postings)
    kinds = {posting.id: posting.kind for posting in listed}
    for invoice in invoices:
        if invoice.state in OWED:
            sums[invoice.clinic_id]["charged"] += invoice.total_minor
    for posting in listed:
        kind = PostingKind(kinds.get(posting.reverses_id or posting.id, PostingKind.ADJUSTMENT))
        sums[posting.clinic_id][COLUMN.get(kind, "adjusted")] += posting.amount_minor
    for charge in charges:
        if charge.state == ChargeState.BILLABLE:
            sums[charge.clinic_id]["unbilled"] += charge.amount_minor
    return {clinic_id: Balance(**columns) for clinic_id, columns in sums.items()}


def account(
    invoices: Select[Any], postings: Select[Any], charges: Select[Any]
) -> Select[uuid.UUID, int, int, int, int, int]:
    """As `balances`, in SQL: clinic_id and COLUMNS (minor units), one row a clinic.

    Each argument selects the whole rows that the asker may read as billing.
    """
    i, o, c = invoices.subquery(), postings.subquery(), charges.subquery()
    undone = aliased(Posting)
    kind = func.coalesce(undone.kind, o.c.kind)
    payment = kind == literal_column(f"'{PostingKind.PAYMENT}'")
    transfer = kind == literal_column(f"'{PostingKind.TRANSFER}'")
    parts = union_all(
        _row(i.c.clinic_id, charged=i.c.total_minor).where(i.c.state.in_(OWED)),
        _row(
            o.c.clinic_id,
            paid=case((payment, o.c.amount_minor), else_=ZERO),
            adjusted=case((payment | transfer, ZERO), else_=o.c.amount_minor),
            transferred=case((transfer, o.c.amount_minor), else_=ZERO),
        ).outerjoin(undone, (undone.tenant_id == o.c.tenant_id) & (undone.id == o.c.reverses_id)),
        _row(c.c.clinic_id, unbilled=c.c.amount_minor).where(c.c.state == ChargeState.BILLABLE),
    ).subquery()
    return select(
        parts.c.clinic_id,
        *(cast(func.sum(parts.c[name]), BigInteger).label(name) for name in COLUMNS),
    ).group_by(parts.c.clinic_id)


COLUMNS = ("charged", "paid", "adjusted", "unbilled", "transferred")


def _row(clinic_id: Any, **given: Any) -> Select[Any]:
    """A row of the ledger: what is not given is zero."""
    return select(clinic_id, *(given.get(name, ZERO).label(name) for name in COLUMNS))


def check_totals(invoices: Select[Any]) -> Select[uuid.UUID]:
    """The ids of invoices whose total is not the sum of their lines. Empty unless something wrote around `issue`."""
    i = invoices.subquery()
    lines = (
        select(func.coalesce(func.sum(InvoiceLine.amount_minor), ZERO))
        .where(InvoiceLine.tenant_id == i.c.tenant_id, InvoiceLine.invoice_id == i.c.id)
        .scalar_subquery()
    )
    return select(i.c.id).where(i.c.total_minor != lines)
