"""Charges, invoices and postings. Amounts are minor units of the tenant's one currency, never floats."""

from domain.billing.accounts import Balance, account, balances, check_totals
from domain.billing.claim_record import Claim, ClaimItem, ClaimKind, ClaimQueue, ClaimStep
from domain.billing.closing import DailyClose
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
from domain.billing.coverage_record import Coverage, FinancialState, Payer, Relationship
from domain.billing.money import amount_of, line_amount, minor_units
from domain.billing.record import (
    AdjustmentGroup,
    Allocation,
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
    "AdjustmentGroup",
    "Allocation",
    "AlreadyReversed",
    "Balance",
    "ChargeItem",
    "ChargeMaster",
    "ChargeState",
    "Claim",
    "ClaimItem",
    "ClaimKind",
    "ClaimQueue",
    "ClaimStep",
    "CodeSystem",
    "Coverage",
    "DailyClose",
    "FinancialState",
    "Invoice",
    "InvoiceLine",
    "InvoiceState",
    "OwnEntry",
    "Payer",
    "PaymentMethod",
    "Posting",
    "PostingKind",
    "Relationship",
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
