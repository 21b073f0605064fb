"""Operators of the platform, the realm in which they log in, and what they order: part of the control plane.

An order is what becomes of a health system as a whole. It is written down before anything is done, carried out in steps
that a crash leaves to be finished, and never deleted: orders are the platform's own audit trail.
"""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.control import REALM_NAME, ControlBase, IdentityCluster
from domain.model import new_id, one_of


class OrderKind(StrEnum):
    """What is ordered."""

    CREATE = "create"
    SUSPEND = "suspend"
    RESUME = "resume"
    UPGRADE = "upgrade"
    SETUP_LINK = "setup_link"
    SETUP_END = "setup_end"
    EXPORT = "export"
    ERASE = "erase"


class OrderState(StrEnum):
    """REQUESTED waits for a second operator; APPROVED is carried out, again and again until it is DONE or FAILED."""

    REQUESTED = "requested"
    APPROVED = "approved"
    DONE = "done"
    FAILED = "failed"
    DECLINED = "declined"


class OperatorRealm(ControlBase):
    """The one realm in which operators log in. `id` stands in its tokens where a health system's id stands elsewhere."""

    __tablename__ = "operator_realm"
    __table_args__ = (
        CheckConstraint("single", name="single"),
        CheckConstraint(f"realm ~ '{REALM_NAME}'", name="realm_is_opaque"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=lambda: new_id())
    single: Mapped[bool] = mapped_column(unique=True, default=True, server_default="true")
    identity_cluster_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(IdentityCluster.id))
    realm: Mapped[str]
    issuer: Mapped[str]


class Operator(ControlBase):
    """Somebody who runs the platform. They belong to no health system. `subject` is the `sub` of their tokens."""

    __tablename__ = "operator"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=lambda: new_id())
    user_name: Mapped[str] = mapped_column(unique=True)
    given_name: Mapped[str]
    family_name: Mapped[str]
    subject: Mapped[str | None] = mapped_column(unique=True)
    active: Mapped[bool] = mapped_column(default=True, server_default="true")
    tokens_valid_from: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class LifecycleOrder(ControlBase):
    """Something that an operator ordered for the health system of a slug; empty for all.

    `requested_by` is empty where the command line did. `key` makes a repeat by the same operator harmless. Nothing is done before `not_before`. `step` is where it stands,
    `failure` the last failure in one sentence, `report` what came of it; none of them has a secret or a patient. `sealed`: first passwords of a new health system, until a setup link has them.
    """

    __tablename__ = "lifecycle_order"
    __table_args__ = (
        one_of("kind", OrderKind),
        one_of("state", OrderState),
        CheckConstraint("decided_by <> requested_by", name="two_people"),
        UniqueConstraint("requested_by", "key", name="uq_lifecycle_order_key"),
        Index(
            "ix_lifecycle_order_open",
            "created_at",
            postgresql_where="state in ('requested', 'approved')",
        ),
        Index("ix_lifecycle_order_slug", "slug", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=lambda: new_id())
    kind: Mapped[str]
    slug: Mapped[str]
    key: Mapped[str | None]
    input: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    state: Mapped[str]
    requested_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(Operator.id, name="fk_lifecycle_order_requested_by")
    )
    decided_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(Operator.id, name="fk_lifecycle_order_decided_by")
    )
    decided_at: Mapped[dt.datetime | None]
    not_before: Mapped[dt.datetime | None]
    step: Mapped[str] = mapped_column(default="", server_default="")
    failure: Mapped[str | None]
    report: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    sealed: Mapped[bytes | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
