"""Charges, invoices and postings. Amounts are minor units of the tenant's one currency, never floats."""

from domain.billing.accounts import Balance, account, balances, check_totals
from domain.billing.commands import (
    AboveBalance,
    AlreadyReversed,
    OwnEntry,
    PaymentMethod,
    issue_invoice,
    own_tenant,
    record_payment,
    reverse,
)
from domain.billing.money import amount_of, line_amount, minor_units
from domain.billing.record import (
    ChargeItem,
    ChargeMaster,
    ChargeState,
    CodeSystem,
    Invoice,
    InvoiceLine,
    InvoiceState,
    Posting,
    PostingKind,
)

__all__ = [
    "AboveBalance",
    "AlreadyReversed",
    "Balance",
    "ChargeItem",
    "ChargeMaster",
    "ChargeState",
    "CodeSystem",
    "Invoice",
    "InvoiceLine",
    "InvoiceState",
    "OwnEntry",
    "PaymentMethod",
    "Posting",
    "PostingKind",
    "account",
    "amount_of",
    "balances",
    "check_totals",
    "issue_invoice",
    "line_amount",
    "minor_units",
    "own_tenant",
    "record_payment",
    "reverse",
]
