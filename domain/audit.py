"""The record of every read and write of patient data."""

import datetime as dt
import uuid

from sqlalchemy import Index, Integer, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified


class AuditEvent(Identified):
    """Who did what to which rows, with which outcome. Append-only, partitioned by month of `recorded_at`.

    `action` is written as permissions are (`appointment:book`). `subject_ids` are ids of rows, never their content;
    `person_id` is null for the product's own work (imports, jobs).
    """

    __tablename__ = "audit_event"
    __resource__ = "audit"
    __table_args__ = (
        Index("ix_audit_event_person", "tenant_id", "person_id", "recorded_at"),
        {"postgresql_partition_by": "RANGE (recorded_at)"},
    )

    recorded_at: Mapped[dt.datetime] = mapped_column(
        primary_key=True, server_default=func.clock_timestamp()
    )
    person_id: Mapped[uuid.UUID | None]
    role: Mapped[str | None]
    grant_id: Mapped[uuid.UUID | None]
    action: Mapped[str]
    outcome: Mapped[str]
    clinic_id: Mapped[uuid.UUID | None]
    subject_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    masked: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    purpose: Mapped[str] = mapped_column(server_default="TREAT")
    policy_version: Mapped[str | None]
    tree_version: Mapped[int | None] = mapped_column(Integer)
    request_id: Mapped[uuid.UUID | None]
