"""What is stored of payers and of what they cover, https://hl7.org/fhir/R4/coverage.html"""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, OfPatient, Stamped, one_of


class FinancialState(StrEnum):
    """Of coverages and claims, https://hl7.org/fhir/R4/valueset-fm-status.html"""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    DRAFT = "draft"
    ENTERED_IN_ERROR = "entered-in-error"


class Relationship(StrEnum):
    """What the patient is to the subscriber, https://hl7.org/fhir/R4/valueset-subscriber-relationship.html"""

    SELF = "self"
    SPOUSE = "spouse"
    CHILD = "child"
    PARENT = "parent"
    COMMON = "common"
    OTHER = "other"
    INJURED = "injured"


class Payer(Stamped, Identified):
    """Who pays claims: an insurance company or a programme. `identifier` is the payer id of its `identifier_system`."""

    __tablename__ = "payer"
    __resource__ = "payer"
    __table_args__ = (
        CheckConstraint("(identifier is null) = (identifier_system is null)", name="identifier"),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        UniqueConstraint(
            "tenant_id", "identifier_system", "identifier", name="uq_payer_identifier"
        ),
        Index("ix_payer_name", "tenant_id", "name_key", "id"),
    )

    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(Text(collation="C"))
    identifier_system: Mapped[str | None]
    identifier: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")


class Coverage(Stamped, OfPatient):
    """A payer pays for a patient from a day to a day (inclusive). `priority` 1 is asked first.

    It lies where it was recorded, and serves claims of that clinic (docs/decisions/billing.md).
    """

    __tablename__ = "coverage"
    __resource__ = "coverage"

    payer_id: Mapped[uuid.UUID]
    priority: Mapped[int] = mapped_column(SmallInteger)
    member_id: Mapped[str]
    group_number: Mapped[str | None]
    relationship: Mapped[str] = mapped_column(server_default="self")
    state: Mapped[str] = mapped_column(server_default="active")
    starts_on: Mapped[dt.date | None]
    ends_on: Mapped[dt.date | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - no ordered index of its own
        return (
            one_of("relationship", Relationship),
            one_of("state", FinancialState),
            CheckConstraint("priority between 1 and 9", name="priority"),
            CheckConstraint("ends_on >= starts_on", name="period"),
            ForeignKeyConstraint(["tenant_id", "payer_id"], ["payer.tenant_id", "payer.id"]),
            UniqueConstraint(
                "tenant_id", "id", "clinic_id", "patient_id", name="uq_coverage_account"
            ),
            ExcludeConstraint(
                ("tenant_id", "="),
                ("clinic_id", "="),
                ("patient_id", "="),
                ("priority", "="),
                (text("daterange(starts_on, ends_on, '[]')"), "&&"),
                # Of one whose beginning nobody knows (imported) it cannot be said what it overlaps.
                where=text("state = 'active' and starts_on is not null"),
                name="ex_coverage_priority",
                using="gist",
            ),
            Index("ix_coverage_patient", "tenant_id", "patient_id", "priority", "id"),
        )
