"""Grants that wait for a second person: asked for by one administrator, approved or declined by another."""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.errors import Invalid
from domain.model import Identified, Stamped, one_of
from domain.people import Role

LAPSES = dt.timedelta(days=14)
"""How long a request can be approved."""


class RequestState(StrEnum):
    """A request is decided once."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"


class GrantRequest(Stamped, Identified):
    """A grant that somebody asked for: nothing that counts grants looks here. Approving makes the grant `grant_id`.

    `valid_from` null: from the approval on. After `lapses_at` it cannot be approved any more.
    """

    __tablename__ = "grant_request"
    __resource__ = "grant"
    __table_args__ = (
        one_of("role", Role),
        one_of("state", RequestState),
        CheckConstraint("valid_until > valid_from", name="period"),
        CheckConstraint(
            "(state = 'pending') = (decided_by is null) and (decided_by is null) = (decided_at is null)",
            name="decided",
        ),
        CheckConstraint("(state = 'approved') = (grant_id is not null)", name="granted"),
        CheckConstraint(
            "state <> 'approved' or decided_by not in (requested_by, person_id)", name="two_people"
        ),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        ForeignKeyConstraint(["tenant_id", "unit_id"], ["org_unit.tenant_id", "org_unit.id"]),
        ForeignKeyConstraint(["tenant_id", "grant_id"], ["role_grant.tenant_id", "role_grant.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "requested_by"],
            ["person.tenant_id", "person.id"],
            name="fk_grant_request_requested_by",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "decided_by"],
            ["person.tenant_id", "person.id"],
            name="fk_grant_request_decided_by",
        ),
        Index(
            "uq_grant_request_pending",
            *("tenant_id", "person_id", "role", "unit_id"),
            unique=True,
            postgresql_where="state = 'pending'",
        ),
        Index("ix_grant_request_tenant_created", "tenant_id", "created_at", "id"),
    )

    person_id: Mapped[uuid.UUID]
    role: Mapped[str]
    unit_id: Mapped[uuid.UUID]
    valid_from: Mapped[dt.datetime | None]
    valid_until: Mapped[dt.datetime | None]
    reason: Mapped[str] = mapped_column(server_default="")
    state: Mapped[str] = mapped_column(server_default="pending")
    requested_by: Mapped[uuid.UUID]
    lapses_at: Mapped[dt.datetime]
    decided_by: Mapped[uuid.UUID | None]
    decided_at: Mapped[dt.datetime | None]
    grant_id: Mapped[uuid.UUID | None]


class AlreadyRequested(Invalid):
    """The same grant waits for approval already."""

    code = "ALREADY_REQUESTED"
    constraints = ("uq_grant_request_pending",)

    def __init__(self) -> None:
        super().__init__("This grant waits for approval already.", code=self.code)
