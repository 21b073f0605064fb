"""What is stored of the ledger's entries and of what they are applied to. Both are append-only."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import OfPatient, one_of, sorted_by


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

    Never more than the posting or the line has. Negative amounts take back: a reversal what its posting applied, a
    release (`releases_id`) exactly one part, once, so that the posting's money is free again.
    """

    __tablename__ = "allocation"
    __resource__ = "posting"
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy's own name

    posting_id: Mapped[uuid.UUID]
    posting_minor: Mapped[int] = mapped_column(BigInteger)
    invoice_line_id: Mapped[uuid.UUID]
    line_minor: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    opposite_minor: Mapped[int] = mapped_column(
        BigInteger, Computed("- amount_minor", persisted=True)
    )
    releases_id: Mapped[uuid.UUID | None]
    allocated_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - no ordered index of its own
        posting = ("clinic_id", "unit_id", "patient_id")
        exact = ("id", "posting_id", "invoice_line_id", "amount_minor")
        released = ("releases_id", "posting_id", "invoice_line_id", "opposite_minor")
        return (
            CheckConstraint(
                "case when releases_id is null then amount_minor between 1 and posting_minor"
                " or amount_minor between posting_minor and -1"
                " else amount_minor between - posting_minor and -1 end",
                name="posting",
            ),
            UniqueConstraint("tenant_id", *exact, name="uq_allocation_exact"),
            UniqueConstraint("tenant_id", "releases_id", name="uq_allocation_releases"),
            ForeignKeyConstraint(
                ["tenant_id", *released],
                ["allocation.tenant_id", *(f"allocation.{c}" for c in exact)],
                name="fk_allocation_releases",
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
