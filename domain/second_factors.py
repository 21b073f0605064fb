"""Who needs a second factor and which kinds count: what a health system says, and devices that are reset."""

import datetime as dt
import uuid
from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.errors import Invalid
from domain.model import Identified, Stamped, one_of

LONGEST_GRACE = 90
RESET_LAPSES = dt.timedelta(days=1)
"""How long a reset can be approved."""


class MfaMethod(StrEnum):
    """A kind of second factor: an app's one-time codes (RFC 6238), a passkey (WebAuthn), codes kept for an emergency."""

    TOTP = "totp"
    PASSKEY = "passkey"
    RECOVERY = "recovery"


ENROLLED = (MfaMethod.TOTP, MfaMethod.PASSKEY)
"""The kinds that a login can have somebody set up."""
EVERY_METHOD = tuple(MfaMethod)


def methods_of(given: Iterable[str]) -> tuple[MfaMethod, ...]:
    """The kinds in their order: the first one that a login can have people set up is set up by it.

    Raises Invalid (MFA_METHODS) for a kind twice, and where nobody could set one up.
    """
    methods = tuple(MfaMethod(one) for one in given)
    if len(set(methods)) < len(methods) or not set(methods) & set(ENROLLED):
        raise Invalid(
            "Each kind stands once, and an app or a passkey is among them.",
            path=("methods",),
            code="MFA_METHODS",
        )
    return methods


def enrolled_first(methods: Iterable[MfaMethod]) -> MfaMethod:
    """The kind that a login has people set up who own none."""
    return next(one for one in methods if one in ENROLLED)


class ResetState(StrEnum):
    """A reset is decided once."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"


class DeviceReset(Stamped, Identified):
    """Somebody has lost what they log in with: one administrator asks, another one approves.

    Nobody asks or approves for themselves. After `lapses_at` it cannot be approved any more.
    """

    __tablename__ = "device_reset"
    __resource__ = "tenant"
    __table_args__ = (
        one_of("state", ResetState),
        CheckConstraint(
            "(state = 'pending') = (decided_by is null) and (decided_by is null) = (decided_at is null)",
            name="decided",
        ),
        CheckConstraint("requested_by <> person_id", name="not_for_oneself"),
        CheckConstraint(
            "state <> 'approved' or decided_by not in (requested_by, person_id)", name="two_people"
        ),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "requested_by"],
            ["person.tenant_id", "person.id"],
            name="fk_device_reset_requested_by",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "decided_by"],
            ["person.tenant_id", "person.id"],
            name="fk_device_reset_decided_by",
        ),
        Index(
            "uq_device_reset_pending",
            *("tenant_id", "person_id"),
            unique=True,
            postgresql_where="state = 'pending'",
        ),
        Index("ix_device_reset_tenant_created", "tenant_id", "created_at", "id"),
    )

    person_id: Mapped[uuid.UUID]
    reason: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    requested_by: Mapped[uuid.UUID]
    lapses_at: Mapped[dt.datetime]
    decided_by: Mapped[uuid.UUID | None]
    decided_at: Mapped[dt.datetime | None]
