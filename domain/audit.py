"""The record of every read and write of patient data."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, Integer, Text, Uuid, func, insert
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, new_id


class Outcome(StrEnum):
    """How it ended: carried out, refused by policy, or refused by the subject's own rules."""

    DONE = "done"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True)
class Agent:
    """Who carries out a command, when and by which right: all that a command and its audit event need to know.

    `person_id` is null for the product's own work (imports, jobs), `practitioner_id` for people who are none.
    `now` is the command's moment, aware and in UTC; `role` and `grant_id` are what allowed it. `outside_request_id` is
    what the system that asked (a directory) calls the request: an id of a machine, never a value of a person.
    """

    tenant_id: uuid.UUID
    now: dt.datetime
    person_id: uuid.UUID | None = None
    practitioner_id: uuid.UUID | None = None
    role: str | None = None
    grant_id: uuid.UUID | None = None
    request_id: uuid.UUID | None = None
    outside_request_id: str | None = None
    purpose: str = "TREAT"
    policy_version: str | None = None
    tree_version: int | None = None


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
    outside_request_id: Mapped[str | None]


def record(
    session: AsyncSession,
    agent: Agent,
    action: str,
    *subject_ids: uuid.UUID,
    clinic_id: uuid.UUID | None = None,
    outcome: Outcome = Outcome.DONE,
) -> None:
    """Add the command's one audit event to its transaction. `subject_ids` are ids of the rows concerned.

    Every column is given here, so that the insert returns nothing: who may write the record need not read it.
    """
    session.add(AuditEvent(**_event(agent, action, subject_ids, clinic_id, outcome)))


async def record_each(
    session: AsyncSession, agent: Agent, action: str, subjects: Sequence[Sequence[uuid.UUID]]
) -> None:
    """As `record`, one event for each of these lists of ids, written together."""
    if subjects:
        events = [_event(agent, action, ids, None, Outcome.DONE) for ids in subjects]
        await session.execute(insert(AuditEvent), events)


def _event(
    agent: Agent,
    action: str,
    subject_ids: Sequence[uuid.UUID],
    clinic_id: uuid.UUID | None,
    outcome: Outcome,
) -> dict[str, Any]:
    return {
        "tenant_id": agent.tenant_id,
        "id": new_id(),
        "recorded_at": agent.now,
        "person_id": agent.person_id,
        "role": agent.role,
        "grant_id": agent.grant_id,
        "action": action,
        "outcome": outcome.value,
        "clinic_id": clinic_id,
        "subject_ids": list(subject_ids),
        "masked": [],
        "purpose": agent.purpose,
        "policy_version": agent.policy_version,
        "tree_version": agent.tree_version,
        "request_id": agent.request_id,
        "outside_request_id": agent.outside_request_id,
    }
