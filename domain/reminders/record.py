"""What is stored of reminders: rules, what they say, and each one that was sent or not.

A rule, settings and a wording lie at a unit of any level and hold for what lies below it; where several speak, the
nearest does (`nearest.py`).
"""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Base, Identified, OfPatient, Stamped, one_of, sorted_by
from domain.patients import Channel as Channel

SOONEST, EARLIEST = 15, 30 * 24 * 60
"""Minutes before a visit at which a rule may remind."""


class ReminderState(StrEnum):
    """Where a reminder stands. `sending`: an attempt has begun, and nobody knows yet how it ended."""

    DUE = "due"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


class Cause(StrEnum):
    """Why a reminder was skipped or has failed."""

    # skipped
    CHANGED = "changed"  # the appointment is no longer booked
    WITHDRAWN = "withdrawn"  # the rule, or the health system, is no longer in force
    OPTED_OUT = "opted-out"
    UNREACHABLE = "unreachable"  # the patient has no address, is deceased, inactive or restricted
    TOO_LATE = "too-late"
    MERGED = "merged"  # another one by the same channel goes out at that time
    # failed
    REFUSED = "refused"  # the receiver will not take it, however often
    EXHAUSTED = "exhausted"  # every attempt failed, or there was no time for another
    NOT_CONFIGURED = "not-configured"


def _at_any_level() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", "unit_id"], ["org_unit.tenant_id", "org_unit.id"])


class ReminderRule(Stamped, Identified):
    """Remind by a channel so many minutes before a visit; without a number: by this channel not at all.

    `since`: nothing that was due before is made up for.
    """

    __tablename__ = "reminder_rule"
    __resource__ = "reminder_rule"
    __table_args__ = (
        _at_any_level(),
        one_of("channel", Channel),
        CheckConstraint(f"minutes_before between {SOONEST} and {EARLIEST}", name="minutes_before"),
        Index(
            "uq_reminder_rule_in_force",
            "tenant_id",
            "unit_id",
            "channel",
            "minutes_before",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("active"),
        ),
    )

    unit_id: Mapped[uuid.UUID]
    channel: Mapped[str]
    minutes_before: Mapped[int | None]
    active: Mapped[bool] = mapped_column(server_default="true")
    since: Mapped[dt.datetime]


class ReminderSetting(Stamped, Identified):
    """How a place reminds. What is null is said by the next unit above, in the end by the defaults of `nearest.py`.

    `quiet_from` equal to `quiet_until`: no quiet hours. `display_name` is what messages call the place.
    """

    __tablename__ = "reminder_setting"
    __resource__ = "reminder_rule"
    __table_args__ = (
        _at_any_level(),
        UniqueConstraint("tenant_id", "unit_id", name="uq_reminder_setting_unit"),
        CheckConstraint("(quiet_from is null) = (quiet_until is null)", name="quiet_hours"),
        CheckConstraint("(webhook_url is null) = (webhook_secret_sealed is null)", name="webhook"),
    )

    unit_id: Mapped[uuid.UUID]
    quiet_from: Mapped[dt.time | None]
    quiet_until: Mapped[dt.time | None]
    display_name: Mapped[str | None]
    phone: Mapped[str | None]
    webhook_url: Mapped[str | None]
    webhook_secret_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)


class ReminderTemplate(Stamped, Identified):
    """The wording of a message in a language (BCP 47); see `wording.py` for what may be put in."""

    __tablename__ = "reminder_template"
    __resource__ = "reminder_rule"
    __table_args__ = (
        _at_any_level(),
        UniqueConstraint("tenant_id", "unit_id", "language", name="uq_reminder_template_language"),
    )

    unit_id: Mapped[uuid.UUID]
    language: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default="true")


class Reminder(OfPatient):
    """One reminder of one appointment by one rule: the unique key is what makes it one.

    `due_at` is when it goes out, quiet hours heeded. An attempt holds it until `held_until`; what was not ended by
    then is taken up again. Read by whoever reads the appointment.
    """

    __tablename__ = "reminder"
    __resource__ = "appointment"

    appointment_id: Mapped[uuid.UUID]
    rule_id: Mapped[uuid.UUID]
    channel: Mapped[str]
    state: Mapped[str]
    cause: Mapped[str | None]
    due_at: Mapped[dt.datetime]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    held_until: Mapped[dt.datetime | None]
    sent_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("channel", Channel),
            one_of("state", ReminderState),
            one_of("cause", Cause),
            CheckConstraint(
                "(state in ('failed', 'skipped')) = (cause is not null)", name="cause_of_state"
            ),
            CheckConstraint("(state = 'sent') = (sent_at is not null)", name="sent_at_of_state"),
            UniqueConstraint("tenant_id", "appointment_id", "rule_id", name="uq_reminder_once"),
            ForeignKeyConstraint(
                ["tenant_id", "appointment_id"], ["appointment.tenant_id", "appointment.id"]
            ),
            ForeignKeyConstraint(
                ["tenant_id", "rule_id"], ["reminder_rule.tenant_id", "reminder_rule.id"]
            ),
            *sorted_by(name, "due_at"),
        )


class ReminderWatch(Base):
    """Up to when a health system's calendar was looked through for what is due, and when that happens next.

    `looks_at` null: no rule is in force, so nobody looks.
    """

    __tablename__ = "reminder_watch"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    checked_until: Mapped[dt.datetime]
    looks_at: Mapped[dt.datetime | None]
