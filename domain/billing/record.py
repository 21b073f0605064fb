"""What is stored of prices, charges and invoices. Amounts are minor units of the tenant's one currency."""

import datetime as dt
import uuid
from collections.abc import Mapping
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

from domain.errors import IllegalMove
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


MOVES: Mapping[InvoiceState, frozenset[InvoiceState]] = {
    InvoiceState.ISSUED: frozenset({InvoiceState.BALANCED, InvoiceState.CANCELLED}),
    InvoiceState.BALANCED: frozenset({InvoiceState.ISSUED, InvoiceState.CANCELLED}),
}
"""An invoice is born issued. `settle_invoices` (migration 0026) moves it between issued and balanced."""


def move(present: str, wanted: InvoiceState) -> str:
    """The wanted state, if it may follow the present one. Raises IllegalMove."""
    if wanted not in MOVES.get(InvoiceState(present), ()):
        raise IllegalMove("invoice", present, wanted.value)
    return wanted.value


LIVE = "state <> 'cancelled'::text and state <> 'entered-in-error'::text"
"""The condition that an invoice still stands."""


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
    """A bill for one patient at one place. Numbers are gapless per tenant; lines never change once it is issued.

    Balanced while all of its lines is settled. `live` until it is cancelled; that is written on its lines too.
    """

    __tablename__ = "invoice"
    __resource__ = "invoice"

    number: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    issued_at: Mapped[dt.datetime | None]
    total_minor: Mapped[int] = mapped_column(BigInteger)
    cancelled_at: Mapped[dt.datetime | None]
    cancelled_by: Mapped[uuid.UUID | None]
    cancel_reason: Mapped[str | None]
    live: Mapped[bool] = mapped_column(Computed(LIVE, persisted=True))

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        live = ("tenant_id", "id", "clinic_id", "unit_id", "patient_id", "live")
        return (
            one_of("state", InvoiceState),
            CheckConstraint("(number is null) = (issued_at is null)", name="numbered"),
            CheckConstraint("state <> 'draft' or number is null", name="draft"),
            CheckConstraint("total_minor >= 0", name="total"),
            UniqueConstraint("tenant_id", "number", name="uq_invoice_number"),
            CheckConstraint(
                "(state = 'cancelled') = (cancelled_at is not null)"
                " and (cancelled_at is null) = (cancel_reason is null)",
                name="cancelled",
            ),
            UniqueConstraint(*live, name="uq_invoice_live"),
            *sorted_by(name, "issued_at"),
            Index(
                "ix_invoice_cancelled",
                "tenant_id",
                "clinic_id",
                "cancelled_at",
                postgresql_where=text("cancelled_at is not null"),
            ),
            Index("ix_invoice_patient", "tenant_id", "patient_id", "issued_at", "id"),
        )


class InvoiceLine(OfPatient):
    """A line of an invoice, copied from its charge when the invoice was issued.

    `live` is the invoice's, by foreign key: of one charge there is one live line at the most.
    """

    __tablename__ = "invoice_line"
    __resource__ = "invoice"

    invoice_id: Mapped[uuid.UUID]
    charge_item_id: Mapped[uuid.UUID | None]
    code: Mapped[str]
    description: Mapped[str]
    units: Mapped[Decimal] = mapped_column(Numeric(9, 3))
    unit_price_minor: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    live: Mapped[bool] = mapped_column(default=True, server_default="true")

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - no ordered index of its own
        invoice = ("clinic_id", "unit_id", "patient_id", "live")
        return (
            ForeignKeyConstraint(
                ["tenant_id", "invoice_id", *invoice],
                [f"invoice.{c}" for c in ("tenant_id", "id", *invoice)],
                name="fk_invoice_line_invoice",
                onupdate="CASCADE",
            ),
            ForeignKeyConstraint(
                ["tenant_id", "charge_item_id"], ["charge_item.tenant_id", "charge_item.id"]
            ),
            Index(
                "uq_invoice_line_charge",
                "tenant_id",
                "charge_item_id",
                unique=True,
                postgresql_where=text("live"),
            ),
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
