"""What is stored of charges, invoices and postings. Amounts are minor units of the tenant's one currency."""

import datetime as dt
import uuid
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKeyConstraint,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
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
    """What an entry of the ledger is. A reversal undoes exactly one posting, at most once.

    A transfer is one of a pair at two accounts of the patient, whose amounts are opposite.
    """

    PAYMENT = "payment"
    ADJUSTMENT = "adjustment"
    TRANSFER = "transfer"
    REVERSAL = "reversal"


class AdjustmentGroup(StrEnum):
    """Who bears an adjustment: X12 claim adjustment group codes, https://x12.org/codes/claim-adjustment-group-codes"""

    CONTRACTUAL = "CO"
    OTHER = "OA"
    PAYER_INITIATED = "PI"
    PATIENT = "PR"


EVERYWHERE = "coalesce(unit_id, '00000000-0000-0000-0000-000000000000'::uuid)"
"""The node of a price; one for the whole health system has none."""


class ChargeMaster(Stamped, Identified):
    """A price for a code, from a date until a date (exclusive) or without end.

    `unit_id`: only at this node of the tree and below; the nearest one counts. Without: everywhere.
    """

    __tablename__ = "charge_master"
    __resource__ = "charge_master"
    __table_args__ = (
        one_of("code_system", CodeSystem),
        CheckConstraint("price_minor >= 0", name="price"),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        ForeignKeyConstraint(
            ["tenant_id", "unit_id"],
            ["org_unit.tenant_id", "org_unit.id"],
            name="fk_charge_master_unit",
        ),
        ExcludeConstraint(
            ("tenant_id", "="),
            ("code_system", "="),
            ("code", "="),
            (text(EVERYWHERE), "="),
            (text("daterange(effective_from, effective_until)"), "&&"),
            name="ex_charge_master_period",
            using="gist",
        ),
        Index("ix_charge_master_code", "tenant_id", "code", "id"),
    )

    unit_id: Mapped[uuid.UUID | None]
    code_system: Mapped[str]
    code: Mapped[str] = mapped_column(Text(collation="C"))
    description: Mapped[str]
    description_key: Mapped[str] = mapped_column(Text(collation="C"))
    price_minor: Mapped[int] = mapped_column(BigInteger)
    effective_from: Mapped[dt.date]
    effective_until: Mapped[dt.date | None]


class ChargeItem(Stamped, OfPatient):
    """Something done that costs, https://hl7.org/fhir/R4/chargeitem.html. Amount = round-half-up(units x price).

    `diagnosis_ids`: conditions of the encounter, the main one first, as CMS-1500 box 24E points to them.
    """

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
    diagnosis_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
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
            CheckConstraint("cardinality(diagnosis_ids) <= 4", name="diagnoses"),
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
            UniqueConstraint("tenant_id", "charge_item_id", name="uq_invoice_line_charge"),
            UniqueConstraint(
                "tenant_id",
                "id",
                "clinic_id",
                "patient_id",
                "amount_minor",
                name="uq_invoice_line_account",
            ),
            Index("ix_invoice_line_invoice", "tenant_id", "invoice_id", "id"),
        )


class Posting(OfPatient):
    """An entry of the ledger, append-only. A positive amount lowers what the patient owes.

    `opposite_minor` lets foreign keys say what must cancel out: a reversal is the exact opposite of what it
    reverses, at the same account, and the two parts of a transfer are each other's opposite.
    """

    __tablename__ = "posting"
    __resource__ = "posting"
    # Who takes payments does not read them, so an INSERT must not return anything.
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy's own name

    kind: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    opposite_minor: Mapped[int] = mapped_column(
        BigInteger, Computed("- amount_minor", persisted=True)
    )
    invoice_id: Mapped[uuid.UUID | None]
    claim_id: Mapped[uuid.UUID | None]
    method: Mapped[str | None]
    reference: Mapped[str | None]
    group_code: Mapped[str | None]
    reason_code: Mapped[str | None]
    reverses_id: Mapped[uuid.UUID | None]
    counterpart_id: Mapped[uuid.UUID | None]
    posted_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        exact = ("id", "clinic_id", "unit_id", "patient_id", "amount_minor")
        undone = ("reverses_id", "clinic_id", "unit_id", "patient_id", "opposite_minor")
        other = ("counterpart_id", "patient_id", "opposite_minor")
        return (
            one_of("kind", PostingKind),
            one_of("group_code", AdjustmentGroup),
            CheckConstraint("amount_minor <> 0", name="amount"),
            CheckConstraint("kind <> 'payment' or amount_minor > 0", name="payment"),
            CheckConstraint(
                "kind <> 'adjustment' or (group_code is not null and reason_code is not null)",
                name="adjustment",
            ),
            CheckConstraint("kind <> 'transfer' or counterpart_id is not null", name="transfer"),
            CheckConstraint(
                "counterpart_id is null or kind in ('transfer', 'reversal')", name="counterpart"
            ),
            CheckConstraint("(kind = 'reversal') = (reverses_id is not null)", name="reversal"),
            UniqueConstraint("tenant_id", *exact, name="uq_posting_exact"),
            UniqueConstraint(
                "tenant_id", "id", "patient_id", "amount_minor", name="uq_posting_amount"
            ),
            UniqueConstraint("tenant_id", "reverses_id", name="uq_posting_reverses"),
            UniqueConstraint("tenant_id", "counterpart_id", name="uq_posting_counterpart"),
            ForeignKeyConstraint(
                ["tenant_id", *undone],
                ["posting.tenant_id", *(f"posting.{c}" for c in exact)],
                name="fk_posting_reverses",
            ),
            ForeignKeyConstraint(
                ["tenant_id", *other],
                [f"posting.{c}" for c in ("tenant_id", "id", "patient_id", "amount_minor")],
                name="fk_posting_counterpart",
                deferrable=True,
                initially="DEFERRED",
            ),
            ForeignKeyConstraint(["tenant_id", "invoice_id"], ["invoice.tenant_id", "invoice.id"]),
            ForeignKeyConstraint(["tenant_id", "claim_id"], ["claim.tenant_id", "claim.id"]),
            *sorted_by(name, "posted_at"),
            Index("ix_posting_patient", "tenant_id", "patient_id", "posted_at", "id"),
            Index("ix_posting_invoice", "tenant_id", "invoice_id"),
            Index("ix_posting_claim", "tenant_id", "claim_id"),
        )


class Allocation(OfPatient):
    """How much of a posting is applied to a line of an invoice, append-only, at the posting's place.

    A reversal takes back what its posting applied: negative amounts. Never more than the posting or the line has.
    """

    __tablename__ = "allocation"
    __resource__ = "posting"

    posting_id: Mapped[uuid.UUID]
    posting_minor: Mapped[int] = mapped_column(BigInteger)
    invoice_line_id: Mapped[uuid.UUID]
    line_minor: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    allocated_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - no ordered index of its own
        posting = ("clinic_id", "unit_id", "patient_id")
        return (
            CheckConstraint(
                "amount_minor between 1 and posting_minor or amount_minor between posting_minor and -1",
                name="posting",
            ),
            CheckConstraint("abs(amount_minor) <= line_minor", name="line"),
            ForeignKeyConstraint(
                ["tenant_id", "posting_id", *posting, "posting_minor"],
                [f"posting.{c}" for c in ("tenant_id", "id", *posting, "amount_minor")],
                name="fk_allocation_posting",
            ),
            ForeignKeyConstraint(
                ["tenant_id", "invoice_line_id", "clinic_id", "patient_id", "line_minor"],
                [
                    f"invoice_line.{c}"
                    for c in ("tenant_id", "id", "clinic_id", "patient_id", "amount_minor")
                ],
                name="fk_allocation_invoice_line",
            ),
            Index("ix_allocation_posting", "tenant_id", "posting_id", "id"),
            Index("ix_allocation_invoice_line", "tenant_id", "invoice_line_id", "id"),
            Index("ix_allocation_account", "tenant_id", "clinic_id", "patient_id", "id"),
        )
