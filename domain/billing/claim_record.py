"""What is stored of claims, https://hl7.org/fhir/R4/claim.html, and which queue may follow which."""

import datetime as dt
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKeyConstraint,
    Index,
    Numeric,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from domain.billing.coverage_record import FinancialState
from domain.model import OfPatient, Stamped, one_of, sorted_by
from domain.state_tables import StateTable


class ClaimKind(StrEnum):
    """https://hl7.org/fhir/R4/valueset-claim-type.html"""

    INSTITUTIONAL = "institutional"
    ORAL = "oral"
    PHARMACY = "pharmacy"
    PROFESSIONAL = "professional"
    VISION = "vision"


class ClaimQueue(StrEnum):
    """On whose desk a claim lies."""

    NEEDS_CODING = "needs-coding"
    QUEUED = "queued"
    FILED = "filed"
    REJECTED = "rejected"
    ADJUDICATED = "adjudicated"
    PATIENT_BALANCE = "patient-balance"
    ZERO_BALANCE = "zero-balance"


Q = ClaimQueue
MOVES: Mapping[ClaimQueue, frozenset[ClaimQueue]] = {
    Q.NEEDS_CODING: frozenset({Q.QUEUED}),
    Q.QUEUED: frozenset({Q.NEEDS_CODING, Q.FILED}),
    Q.FILED: frozenset({Q.REJECTED, Q.ADJUDICATED}),
    Q.REJECTED: frozenset({Q.NEEDS_CODING, Q.QUEUED}),
    Q.ADJUDICATED: frozenset({Q.PATIENT_BALANCE, Q.ZERO_BALANCE}),
    Q.PATIENT_BALANCE: frozenset({Q.ZERO_BALANCE}),
    Q.ZERO_BALANCE: frozenset({Q.PATIENT_BALANCE}),
}
"""Where a claim may go from where. The database has the same table as a check of `claim_step`."""
CANCELLABLE = (Q.NEEDS_CODING, Q.QUEUED, Q.REJECTED)
"""A claim that lies with the payer or was answered is not taken back here."""


QUEUES = StateTable("claim", MOVES, "queue")
move = QUEUES.move


def legal_moves() -> str:
    """The table of moves as a condition over the columns `from_queue` and `queue`."""
    return f"step = 0 or (from_queue, queue) in ({QUEUES.steps()})"


def listed(queues: tuple[ClaimQueue, ...]) -> str:
    return ", ".join(f"'{queue}'" for queue in queues)


def answered() -> CheckConstraint:
    """Either no answer at all, or one that adds up."""
    return CheckConstraint(
        "num_nulls(paid_minor, adjusted_minor, patient_minor) in (0, 3)"
        " and paid_minor >= 0 and patient_minor >= 0"
        " and paid_minor + adjusted_minor + patient_minor = total_minor",
        name="answer",
    )


def of_claim(name: str) -> ForeignKeyConstraint:
    """The foreign key that keeps a part of a claim at its place."""
    columns = ("clinic_id", "unit_id", "patient_id")
    return ForeignKeyConstraint(
        ["tenant_id", "claim_id", *columns],
        [f"claim.{c}" for c in ("tenant_id", "id", *columns)],
        name=f"fk_{name}_claim",
    )


class Claim(Stamped, OfPatient):
    """What a payer is asked to pay for an encounter. One for each payer order; a pharmacy's, one a prescription.

    `queue` and `step` are those of the latest `ClaimStep`, held by foreign key. Once answered, what was paid, what was
    adjusted and what is left to the patient add up to the total.
    """

    __tablename__ = "claim"
    __resource__ = "claim"

    encounter_id: Mapped[uuid.UUID]
    coverage_id: Mapped[uuid.UUID | None]  # none: imported without one
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    kind: Mapped[str] = mapped_column(server_default="professional")
    state: Mapped[str] = mapped_column(server_default="draft")
    queue: Mapped[str]
    step: Mapped[int] = mapped_column(server_default="0")
    total_minor: Mapped[int] = mapped_column(BigInteger)
    paid_minor: Mapped[int | None] = mapped_column(BigInteger)
    adjusted_minor: Mapped[int | None] = mapped_column(BigInteger)
    patient_minor: Mapped[int | None] = mapped_column(BigInteger)
    payer_reference: Mapped[str | None]
    filed_at: Mapped[dt.datetime | None]
    adjudicated_at: Mapped[dt.datetime | None]
    recorded_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        account = ("clinic_id", "patient_id")
        return (
            one_of("kind", ClaimKind),
            one_of("state", FinancialState),
            one_of("queue", ClaimQueue),
            CheckConstraint(
                f"case state when 'draft' then queue = 'needs-coding'"
                f" when 'active' then queue <> 'needs-coding'"
                f" when 'cancelled' then queue in ({listed(CANCELLABLE)}) else true end",
                name="state_of_queue",
            ),
            CheckConstraint("priority between 1 and 9", name="priority"),
            CheckConstraint("total_minor >= 0", name="total"),
            answered(),
            ForeignKeyConstraint(
                ["tenant_id", "encounter_id"], ["encounter.tenant_id", "encounter.id"]
            ),
            ForeignKeyConstraint(
                ["tenant_id", "coverage_id", *account],
                [f"coverage.{c}" for c in ("tenant_id", "id", *account)],
                name="fk_claim_coverage",
            ),
            ForeignKeyConstraint(
                ["tenant_id", "id", "step", "queue"],
                [f"claim_step.{c}" for c in ("tenant_id", "claim_id", "step", "queue")],
                name="fk_claim_step",
                deferrable=True,
                initially="DEFERRED",
                use_alter=True,
            ),
            UniqueConstraint(
                "tenant_id", "id", "clinic_id", "unit_id", "patient_id", name="uq_claim_place"
            ),
            Index(
                "uq_claim_of_encounter",
                "tenant_id",
                "encounter_id",
                "priority",
                unique=True,
                postgresql_where=text("state in ('draft', 'active') and kind <> 'pharmacy'"),
            ),
            *sorted_by(name, "recorded_at"),
            Index("ix_claim_queue", "tenant_id", "clinic_id", "queue", "recorded_at", "id"),
            Index("ix_claim_patient", "tenant_id", "patient_id", "recorded_at", "id"),
            Index("ix_claim_encounter", "tenant_id", "encounter_id", "id"),
        )


class ClaimItem(OfPatient):
    """A charge on a claim and what the payer answered about it."""

    __tablename__ = "claim_item"
    __resource__ = "claim"

    claim_id: Mapped[uuid.UUID]
    charge_item_id: Mapped[uuid.UUID]
    sequence: Mapped[int] = mapped_column(SmallInteger)
    units: Mapped[Any] = mapped_column(Numeric(9, 3), server_default="1")
    total_minor: Mapped[int] = mapped_column(BigInteger)
    paid_minor: Mapped[int | None] = mapped_column(BigInteger)
    adjusted_minor: Mapped[int | None] = mapped_column(BigInteger)
    patient_minor: Mapped[int | None] = mapped_column(BigInteger)

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            CheckConstraint("sequence >= 1", name="sequence"),
            CheckConstraint("total_minor >= 0", name="total"),
            answered(),
            of_claim(name),
            ForeignKeyConstraint(
                ["tenant_id", "charge_item_id"], ["charge_item.tenant_id", "charge_item.id"]
            ),
            UniqueConstraint("tenant_id", "claim_id", "sequence", name="uq_claim_item_sequence"),
            UniqueConstraint(
                "tenant_id", "claim_id", "charge_item_id", name="uq_claim_item_charge"
            ),
            Index("ix_claim_item_charge", "tenant_id", "charge_item_id", "claim_id"),
        )


class ClaimStep(OfPatient):
    """A claim came to a queue, append-only. Each step but the first continues the one before, by foreign key."""

    __tablename__ = "claim_step"
    __resource__ = "claim"
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy's own name

    claim_id: Mapped[uuid.UUID]
    step: Mapped[int]
    step_before: Mapped[int] = mapped_column(Computed("step - 1", persisted=True))
    from_queue: Mapped[str | None]
    queue: Mapped[str]
    reason: Mapped[str | None]
    moved_at: Mapped[dt.datetime]
    moved_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("queue", ClaimQueue),
            CheckConstraint(legal_moves(), name="move"),
            CheckConstraint("step >= 0 and (step = 0) = (from_queue is null)", name="first"),
            of_claim(name),
            UniqueConstraint("tenant_id", "claim_id", "step", "queue", name="uq_claim_step_queue"),
            UniqueConstraint("tenant_id", "claim_id", "step", name="uq_claim_step_step"),
            ForeignKeyConstraint(
                ["tenant_id", "claim_id", "step_before", "from_queue"],
                [f"claim_step.{c}" for c in ("tenant_id", "claim_id", "step", "queue")],
                name="fk_claim_step_before",
            ),
        )
