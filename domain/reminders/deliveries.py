"""Sending one reminder: judged anew when its time has come, held while an attempt is under way, ended or put off.

The row is the lock: whoever begins an attempt holds it until `held_until`, in a transaction of its own that is
committed before anything is sent. So two workers never send at once. A worker that dies in between leaves `sending`;
after `held_until` the message goes out again, with the same id.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from sqlalchemy import DateTime, Text, Time, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.appointments import Appointment, AppointmentState
from domain.audit import Agent, Outcome, record
from domain.organization import OrgUnit, Tenant, TenantState
from domain.patients import Patient
from domain.reminders.nearest import Manner, line_of, manner_at, wording_at
from domain.reminders.notifier import SECONDS, Endpoint, Message
from domain.reminders.record import (
    Cause,
    Channel,
    Reminder,
    ReminderRule,
    ReminderSetting,
    ReminderState,
)
from domain.reminders.wording import filled, values

SEALED = "reminder_setting.webhook_secret_sealed"
HELD = dt.timedelta(seconds=2 * SECONDS)
LATEST = dt.timedelta(minutes=5)
"""How long before the visit a reminder is worth sending."""
ATTEMPTS = 8
PAUSE = dt.timedelta(minutes=1)
"""After the first attempt; doubled after each further one, an hour at the most."""


class Opener(Protocol):
    """Opens what was sealed with the keys of one health system."""

    def open(self, column: str, row_id: uuid.UUID | str, sealed: bytes, /) -> bytes: ...


class Ended(Enum):
    """How an attempt ended."""

    TAKEN = "taken"
    NOT_TAKEN = "not taken"
    REFUSED = "refused"
    NOT_CONFIGURED = "not configured"


@dataclass(frozen=True)
class Attempt:
    """An attempt that this worker has begun: nobody else sends the reminder meanwhile."""

    reminder_id: uuid.UUID
    number: int
    channel: Channel
    message: Message


@dataclass(frozen=True)
class About:
    """All that decides about a reminder, as it is now."""

    reminder: Reminder
    appointment: Appointment
    patient: Patient
    rule: ReminderRule
    tenant: Tenant
    clinic: OrgUnit

    @property
    def zone(self) -> str:
        """The patient's, else the clinic's."""
        return self.patient.zone or self.clinic.zone or "UTC"


async def begin(
    session: AsyncSession, agent: Agent, opener: Opener, reminder_id: uuid.UUID
) -> Attempt | dt.datetime | None:
    """Begin to send a reminder; a moment: it is to be asked again then; None: there is nothing more to be done.

    The session sees the whole health system, and commits before the attempt is made. Writes reminder, audit_event.
    """
    about = await _about(session, agent, reminder_id)
    if about is None:
        return None
    reminder = about.reminder
    sending = reminder.state == ReminderState.SENDING
    not_before = reminder.held_until if sending else reminder.due_at
    if not_before is not None and not_before > agent.now:
        return not_before
    if reminder.attempts >= ATTEMPTS:  # and none was ended: whoever tries it dies
        _end(session, agent, about, ReminderState.FAILED, Cause.EXHAUSTED)
        return None
    line = await line_of(session, agent, about.appointment.unit_id)
    manner = await manner_at(session, agent, line)
    cause = why_not(about, agent.now)
    quiet_until = await _quiet_until(session, about, manner, agent.now)
    if cause is None and quiet_until is not None:
        if quiet_until < about.appointment.starts_at - LATEST:
            reminder.state, reminder.due_at = ReminderState.DUE.value, quiet_until
            return quiet_until
        cause = Cause.TOO_LATE
    if cause is not None:
        _end(session, agent, about, ReminderState.SKIPPED, cause)
        return None
    wording = await wording_at(session, agent, line, about.patient.language)
    told = values(
        wording,
        about.appointment.starts_at,
        about.zone,
        patient=about.patient.preferred_name or about.patient.given_name,
        name=manner.display_name or about.tenant.name,
        phone=manner.phone,
    )
    reminder.state = ReminderState.SENDING.value
    reminder.attempts += 1
    reminder.held_until = agent.now + HELD
    message = Message(
        id=reminder.id,
        planned_at=reminder.created_at,
        appointment_id=about.appointment.id,
        patient_id=about.patient.id,
        starts_at=about.appointment.starts_at,
        zone=about.zone,
        language=wording.language,
        subject=filled(wording.subject, told),
        text=filled(wording.body, told),
        email=about.patient.email,
        phone=about.patient.phone,
        endpoint=_endpoint(manner.webhook, opener),
    )
    return Attempt(reminder.id, reminder.attempts, Channel(reminder.channel), message)


async def finish(
    session: AsyncSession, agent: Agent, attempt: Attempt, ended: Ended
) -> dt.datetime | None:
    """Write down how an attempt ended; a moment: the next one. Writes reminder, audit_event."""
    about = await _about(session, agent, attempt.reminder_id)
    if about is None or about.reminder.attempts != attempt.number:
        return None  # held too long: somebody else has taken it up
    if ended is Ended.TAKEN:
        about.reminder.sent_at = agent.now
        _end(session, agent, about, ReminderState.SENT, None)
        return None
    again_at: dt.datetime = agent.now + min(
        PAUSE * 2 ** (attempt.number - 1), dt.timedelta(hours=1)
    )
    cause = {Ended.REFUSED: Cause.REFUSED, Ended.NOT_CONFIGURED: Cause.NOT_CONFIGURED}.get(ended)
    last = attempt.number >= ATTEMPTS or again_at > about.appointment.starts_at - LATEST
    if cause is None and not last:
        about.reminder.state = ReminderState.DUE.value
        about.reminder.due_at, about.reminder.held_until = again_at, None
        return again_at
    _end(session, agent, about, ReminderState.FAILED, cause or Cause.EXHAUSTED)
    return None


def why_not(about: About, now: dt.datetime) -> Cause | None:
    """Why a reminder that is due is not to be sent; None: it is."""
    appointment, patient = about.appointment, about.patient
    if about.tenant.state != TenantState.ACTIVE or not about.rule.active:
        return Cause.WITHDRAWN
    if appointment.state != AppointmentState.BOOKED:
        return Cause.CHANGED
    if now > appointment.starts_at - LATEST:
        return Cause.TOO_LATE
    if about.reminder.channel in patient.reminder_opt_outs:
        return Cause.OPTED_OUT
    gone = not patient.active or patient.deceased_on is not None or patient.sensitivity > 0
    mute = about.reminder.channel == Channel.EMAIL and patient.email is None
    return Cause.UNREACHABLE if gone or mute else None


def _end(
    session: AsyncSession, agent: Agent, about: About, state: ReminderState, cause: Cause | None
) -> None:
    reminder = about.reminder
    reminder.state, reminder.cause = state.value, cause.value if cause else None
    reminder.held_until = None
    done = Outcome.DONE if state is ReminderState.SENT else Outcome.FAILED
    if state is not ReminderState.SKIPPED:
        told = reminder.appointment_id, reminder.patient_id, reminder.id
        record(
            session,
            agent,
            "appointment:remind",
            *told,
            clinic_id=reminder.clinic_id,
            outcome=done,
        )


async def _about(session: AsyncSession, agent: Agent, reminder_id: uuid.UUID) -> About | None:
    """The reminder, kept for oneself until the end, with all that decides about it; None once it has ended."""
    mine = agent.tenant_id
    reminder = await session.scalar(
        select(Reminder)
        .where(Reminder.tenant_id == mine, Reminder.id == reminder_id)
        .with_for_update(),
        execution_options={"populate_existing": True},
    )
    if reminder is None or reminder.state not in (ReminderState.DUE, ReminderState.SENDING):
        return None

    async def row(model: Any, row_id: uuid.UUID) -> Any:
        return await session.get_one(model, {"tenant_id": mine, "id": row_id})

    return About(
        reminder,
        appointment=await row(Appointment, reminder.appointment_id),
        patient=await row(Patient, reminder.patient_id),
        rule=await row(ReminderRule, reminder.rule_id),
        tenant=await session.get_one(Tenant, {"tenant_id": mine}),
        clinic=await row(OrgUnit, reminder.clinic_id),
    )


async def _quiet_until(
    session: AsyncSession, about: About, manner: Manner, now: dt.datetime
) -> dt.datetime | None:
    """When the quiet hours end in which it is now; None outside of them."""
    span = func.quiet_span(
        cast(literal(now, DateTime(timezone=True)), DateTime(timezone=True)),
        cast(about.zone, Text),
        cast(literal(manner.quiet_from, Time()), Time()),
        cast(literal(manner.quiet_until, Time()), Time()),
    )
    until: dt.datetime | None = await session.scalar(
        select(func.upper(span, type_=DateTime(timezone=True)))
    )
    return until


def _endpoint(setting: ReminderSetting | None, opener: Opener) -> Endpoint | None:
    if setting is None or setting.webhook_url is None or setting.webhook_secret_sealed is None:
        return None
    secret = opener.open(SEALED, setting.id, setting.webhook_secret_sealed)
    return Endpoint(setting.webhook_url, secret)
