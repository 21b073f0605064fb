"""What is stored of charges, invoices and postings. Amounts are minor units of the tenant's one currency."""

import datetime as dt
import uuid
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, OfPatient, Stamped, one_of, sorted_by


class CodeSystem(StrEnum):
    """Whose codes a charge master entry uses. No CPT descriptor is shipped: they need a licence."""

    CPT = "CPT"
    HCPCS = "HCPCS"
    INTERNAL = "INTERNAL"


class ChargeState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-chargeitem-status.html"""

    PLANNED = "planned"
    BILLABLE = "billable"
    NOT_BILLABLE = "not-billable"
    ABORTED = "aborted"
    BILLED = "billed"
    ENTERED_IN_ERROR = "entered-in-error"
    UNKNOWN = "unknown"


class InvoiceState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-invoice-status.html"""

    DRAFT = "draft"
    ISSUED = "issued"
    BALANCED = "balanced"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"


class PostingKind(StrEnum):
    """What an entry of the ledger is. A reversal undoes exactly one posting, at most once."""

    PAYMENT = "payment"
    ADJUSTMENT = "adjustment"
    TRANSFER = "transfer"
    REVERSAL = "reversal"


class ChargeMaster(Stamped, Identified):
    """A price for a code, from a date until a date (exclusive) or without end."""

    __tablename__ = "charge_master"
    __resource__ = "charge_master"
    __table_args__ = (
        one_of("code_system", CodeSystem),
        CheckConstraint("price_minor >= 0", name="price"),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        ExcludeConstraint(
            ("tenant_id", "="),
            ("code_system", "="),
            ("code", "="),
            (text("daterange(effective_from, effective_until)"), "&&"),
            name="ex_charge_master_period",
            using="gist",
        ),
        Index("ix_charge_master_code", "tenant_id", "code", "id"),
    )

    code_system: Mapped[str]
    code: Mapped[str] = mapped_column(Text(collation="C"))
    description: Mapped[str]
    description_key: Mapped[str] = mapped_column(Text(collation="C"))
    price_minor: Mapped[int] = mapped_column(BigInteger)
    effective_from: Mapped[dt.date]
    effective_until: Mapped[dt.date | None]


class ChargeItem(Stamped, OfPatient):
    """Something done that costs, https://hl7.org/fhir/R4/chargeitem.html. Amount = round-half-up(units x price)."""

    __tablename__ = "charge_item"
    __resource__ = "charge"

    encounter_id: Mapped[uuid.UUID | None]
    charge_master_id: Mapped[uuid.UUID | None]
    state: Mapped[str]
    code_system: Mapped[str]
    code: Mapped[str]
    description: Mapped[str]
    units: Mapped[Decimal] = mapped_column(Numeric(9, 3), server_default="1")
    modifiers: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    unit_price_minor: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    occurred_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("state", ChargeState),
            CheckConstraint("units > 0", name="units"),
            CheckConstraint("amount_minor = round(units * unit_price_minor)", name="amount"),
            CheckConstraint("cardinality(modifiers) <= 4", name="modifiers"),
            ForeignKeyConstraint(
                ["tenant_id", "encounter_id"], ["encounter.tenant_id", "encounter.id"]
            ),
            ForeignKeyConstraint(
                ["tenant_id", "charge_master_id"], ["charge_master.tenant_id", "charge_master.id"]
            ),
            *sorted_by(name, "occurred_at"),
            Index("ix_charge_item_patient", "tenant_id", "patient_id", "occurred_at", "id"),
            Index("ix_charge_item_encounter", "tenant_id", "encounter_id"),
        )


class Invoice(Stamped, OfPatient):
    """A bill for one patient at one place. Numbers are gapless per tenant; lines never change once it is issued."""

    __tablename__ = "invoice"
    __resource__ = "invoice"

    number: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    issued_at: Mapped[dt.datetime | None]
    total_minor: Mapped[int] = mapped_column(BigInteger)

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("state", InvoiceState),
            CheckConstraint("(number is null) = (issued_at is null)", name="numbered"),
            CheckConstraint("state <> 'draft' or number is null", name="draft"),
            CheckConstraint("total_minor >= 0", name="total"),
            UniqueConstraint("tenant_id", "number", name="uq_invoice_number"),
            UniqueConstraint(
                "tenant_id", "id", "clinic_id", "unit_id", "patient_id", name="uq_invoice_place"
            ),
            *sorted_by(name, "issued_at"),
            Index("ix_invoice_patient", "tenant_id", "patient_id", "issued_at", "id"),
        )


class InvoiceLine(OfPatient):
    """A line of an invoice, copied from its charge when the invoice was issued."""

    __tablename__ = "invoice_line"
    __resource__ = "invoice"

    invoice_id: Mapped[uuid.UUID]
    charge_item_id: Mapped[uuid.UUID | None]
    code: Mapped[str]
    description: Mapped[str]
    units: Mapped[Decimal] = mapped_column(Numeric(9, 3))
    unit_price_minor: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - no ordered index of its own
        return (
            ForeignKeyConstraint(
                ["tenant_id", "invoice_id", "clinic_id", "unit_id", "patient_id"],
                [f"invoice.{c}" for c in ("tenant_id", "id", "clinic_id", "unit_id", "patient_id")],
                name="fk_invoice_line_invoice",
            ),
            ForeignKeyConstraint(
                ["tenant_id", "charge_item_id"], ["charge_item.tenant_id", "charge_item.id"]
            ),
            Index("ix_invoice_line_invoice", "tenant_id", "invoice_id", "id"),
        )


class Posting(OfPatient):
    """An entry of the ledger, append-only. A positive amount lowers what the patient owes."""

    __tablename__ = "posting"
    __resource__ = "posting"

    kind: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    invoice_id: Mapped[uuid.UUID | None]
    method: Mapped[str | None]
    reference: Mapped[str | None]
    group_code: Mapped[str | None]
    reason_code: Mapped[str | None]
    reverses_id: Mapped[uuid.UUID | None]
    posted_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("kind", PostingKind),
            CheckConstraint("amount_minor <> 0", name="amount"),
            CheckConstraint("kind <> 'payment' or amount_minor > 0", name="payment"),
            CheckConstraint("(kind = 'reversal') = (reverses_id is not null)", name="reversal"),
            UniqueConstraint("tenant_id", "reverses_id", name="uq_posting_reverses"),
            ForeignKeyConstraint(
                ["tenant_id", "reverses_id"],
                ["posting.tenant_id", "posting.id"],
                name="fk_posting_reverses",
            ),
            ForeignKeyConstraint(["tenant_id", "invoice_id"], ["invoice.tenant_id", "invoice.id"]),
            *sorted_by(name, "posted_at"),
            Index("ix_posting_patient", "tenant_id", "patient_id", "posted_at", "id"),
            Index("ix_posting_invoice", "tenant_id", "invoice_id"),
        )
