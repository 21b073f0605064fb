"""What is stored of money that payers sent, claim by claim, https://hl7.org/fhir/R4/paymentreconciliation.html"""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.billing.claim_record import of_claim
from domain.model import OfPatient


class ClaimReceipt(OfPatient):
    """A part of a payer's payment that came for a claim, append-only. Below zero: the payer took it back.

    The parts of one payment share `remittance_id`; `sequence` is their order in it, from 1.
    """

    __tablename__ = "claim_receipt"
    __resource__ = "claim"

    claim_id: Mapped[uuid.UUID]
    remittance_id: Mapped[uuid.UUID]
    sequence: Mapped[int]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str | None]
    paid_on: Mapped[dt.date]
    received_at: Mapped[dt.datetime]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            CheckConstraint("amount_minor <> 0", name="amount"),
            CheckConstraint("sequence >= 1", name="sequence"),
            of_claim(name),
            UniqueConstraint(
                "tenant_id", "remittance_id", "sequence", name="uq_claim_receipt_sequence"
            ),
            Index("ix_claim_receipt_claim", "tenant_id", "claim_id", "id"),
        )
