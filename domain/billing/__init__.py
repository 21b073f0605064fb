"""Charges, invoices, postings, claims. Amounts are minor units of the tenant's one currency, never floats."""

from domain.billing.accounts import Balance, account, balances, check_totals
from domain.billing.adjudication import ItemAnswer, adjudicate, settle
from domain.billing.allocations import AboveOpen, Share
from domain.billing.cancelling import StillAdjusted, applied_to, cancel_invoice
from domain.billing.charges import Charging, point_to, record_charge, void_charge
from domain.billing.claim_record import Claim, ClaimItem, ClaimKind, ClaimQueue, ClaimStep
from domain.billing.claims import (
    ClaimExists,
    cancel_claim,
    create_claim,
    file_claim,
    queue_claim,
    recode_claim,
    reject_claim,
)
from domain.billing.closing import DailyClose, DayClosed, close_day, day_sums
from domain.billing.commands import PaymentMethod, issue_invoice, own_tenant, record_payment
from domain.billing.coverage import (
    CoverageOverlaps,
    CoverageTerms,
    PayerTaken,
    add_payer,
    change_coverage,
    change_payer,
    record_coverage,
)
from domain.billing.coverage_record import Coverage, FinancialState, Payer, Relationship
from domain.billing.money import amount_of, line_amount, minor_units
from domain.billing.posting_record import AdjustmentGroup, Allocation, Posting, PostingKind
from domain.billing.postings import (
    AboveBalance,
    Adjustment,
    AlreadyReversed,
    NoCredit,
    OwnEntry,
    adjust,
    allocate,
    counterpart,
    reverse,
    transfer,
)
from domain.billing.prices import PriceOverlaps, end_price, price_at, set_price
from domain.billing.record import (
    ChargeItem,
    ChargeMaster,
    ChargeState,
    CodeSystem,
    Invoice,
    InvoiceLine,
    InvoiceState,
)
from domain.billing.remittance_record import ClaimReceipt

__all__ = [
    "AboveBalance",
    "AboveOpen",
    "Adjustment",
    "AdjustmentGroup",
    "Allocation",
    "AlreadyReversed",
    "Balance",
    "ChargeItem",
    "ChargeMaster",
    "ChargeState",
    "Charging",
    "Claim",
    "ClaimExists",
    "ClaimItem",
    "ClaimKind",
    "ClaimQueue",
    "ClaimReceipt",
    "ClaimStep",
    "CodeSystem",
    "Coverage",
    "CoverageOverlaps",
    "CoverageTerms",
    "DailyClose",
    "DayClosed",
    "FinancialState",
    "Invoice",
    "InvoiceLine",
    "InvoiceState",
    "ItemAnswer",
    "NoCredit",
    "OwnEntry",
    "Payer",
    "PayerTaken",
    "PaymentMethod",
    "Posting",
    "PostingKind",
    "PriceOverlaps",
    "Relationship",
    "Share",
    "StillAdjusted",
    "account",
    "add_payer",
    "adjudicate",
    "adjust",
    "allocate",
    "amount_of",
    "applied_to",
    "balances",
    "cancel_claim",
    "cancel_invoice",
    "change_coverage",
    "change_payer",
    "check_totals",
    "close_day",
    "counterpart",
    "create_claim",
    "day_sums",
    "end_price",
    "file_claim",
    "issue_invoice",
    "line_amount",
    "minor_units",
    "own_tenant",
    "point_to",
    "price_at",
    "queue_claim",
    "recode_claim",
    "record_charge",
    "record_coverage",
    "record_payment",
    "reject_claim",
    "reverse",
    "set_price",
    "settle",
    "transfer",
    "void_charge",
]
