"""Patients who wait for a time. An offer is a hold that waits for the patient's word; expired, they wait again."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, SmallInteger
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.appointments.booking import Booking
from domain.appointments.commands import require_bookable
from domain.appointments.holds import expired, require_few_holds
from domain.appointments.record import Appointment, AppointmentState
from domain.appointments.reserving import new_visit, reserve
from domain.appointments.states import AHEAD, LONGEST, SHORTEST, move
from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid
from domain.model import OfPatient, Stamped, new_id, one_of, sorted_by
from domain.organization import Place
from domain.patients import seen_at
from domain.plain_text import optional_passage
from domain.schedules import require_service
from domain.versions import change

PRIORITIES = 9
OFFER_HOURS = 72


class WaitlistState(StrEnum):
    """Where somebody who waits stands."""

    WAITING = "waiting"
    OFFERED = "offered"
    BOOKED = "booked"
    WITHDRAWN = "withdrawn"


class WaitlistEntry(Stamped, OfPatient):
    """A visit that is wanted between two days, with somebody or anybody. Priority 9 comes first.

    `offered_id` is the hold that was last offered.
    """

    __tablename__ = "waitlist_entry"
    __resource__ = "appointment"

    practitioner_id: Mapped[uuid.UUID | None]
    service_id: Mapped[uuid.UUID | None]
    offered_id: Mapped[uuid.UUID | None]
    state: Mapped[str] = mapped_column(server_default="waiting")
    minutes: Mapped[int] = mapped_column(SmallInteger)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    earliest_on: Mapped[dt.date]
    latest_on: Mapped[dt.date]
    reason: Mapped[str | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("state", WaitlistState),
            CheckConstraint("latest_on >= earliest_on", name="days"),
            CheckConstraint("minutes between 5 and 480", name="minutes"),
            CheckConstraint(f"priority between 0 and {PRIORITIES}", name="priority"),
            CheckConstraint(
                "state not in ('offered', 'booked') or offered_id is not null", name="offered"
            ),
            ForeignKeyConstraint(
                ["tenant_id", "practitioner_id"], ["practitioner.tenant_id", "practitioner.id"]
            ),
            ForeignKeyConstraint(
                ["tenant_id", "service_id"],
                ["healthcare_service.tenant_id", "healthcare_service.id"],
            ),
            ForeignKeyConstraint(
                ["tenant_id", "offered_id"],
                ["appointment.tenant_id", "appointment.id"],
                name="fk_waitlist_entry_offered",
            ),
            *sorted_by(name, "created_at"),
        )


async def join_waitlist(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    patient_id: uuid.UUID,
    minutes: int,
    earliest_on: dt.date,
    latest_on: dt.date,
    *,
    practitioner_id: uuid.UUID | None = None,
    service_id: uuid.UUID | None = None,
    priority: int = 0,
    reason: str | None = None,
    entry_id: uuid.UUID | None = None,
) -> WaitlistEntry:
    """Let a patient wait. Raises Invalid, NotFound (patient), NotBookableHere. Writes waitlist_entry."""
    if not SHORTEST <= minutes <= LONGEST:
        raise Invalid(f"An appointment takes {SHORTEST} to {LONGEST} minutes.", path=("minutes",))
    if not 0 <= priority <= PRIORITIES:
        raise Invalid(f"A priority is 0 to {PRIORITIES}.", path=("priority",))
    _days(agent, earliest_on, latest_on)
    said = optional_passage(reason, "reason")
    seen = await seen_at(session, agent, patient_id, place)
    await require_service(session, agent, seen.clinic_id, service_id)
    if practitioner_id is not None:
        await require_bookable(session, agent, place, practitioner_id)
    entry = WaitlistEntry(
        tenant_id=agent.tenant_id,
        id=entry_id or new_id(),
        clinic_id=seen.clinic_id,
        unit_id=place.id,
        patient_id=patient_id,
        sensitivity=seen.sensitivity,
        practitioner_id=practitioner_id,
        service_id=service_id,
        state=WaitlistState.WAITING.value,
        minutes=minutes,
        priority=priority,
        earliest_on=earliest_on,
        latest_on=latest_on,
        reason=said,
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(entry)
    await session.flush()
    record(session, agent, "appointment:wait", entry.id, patient_id, clinic_id=entry.clinic_id)
    return entry


def _days(agent: Agent, earliest_on: dt.date, latest_on: dt.date) -> None:
    today = agent.now.date() - dt.timedelta(days=1)  # somewhere it is still yesterday
    if latest_on < earliest_on:
        raise Invalid(
            "The last day is before the first.", path=("latestOn",), code="REVERSED_PERIOD"
        )
    if latest_on < today:
        raise Invalid("This is in the past.", path=("latestOn",), code="IN_THE_PAST")
    if latest_on > today + AHEAD:
        raise Invalid("This is more than two years ahead.", path=("latestOn",))


async def withdraw(
    session: AsyncSession, agent: Agent, entry: WaitlistEntry, version: int
) -> WaitlistEntry:
    """Take a patient off the list; an offer that is out is taken back first. Raises IllegalMove, StaleVersion."""
    _open(entry, WaitlistState.WITHDRAWN)
    if entry.state == WaitlistState.OFFERED:
        await _take_back(session, agent, entry)
    gone = await change(session, agent, entry, version, state=WaitlistState.WITHDRAWN.value)
    record(session, agent, "appointment:leave_waitlist", gone.id, clinic_id=gone.clinic_id)
    return gone


async def offer(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    entry: WaitlistEntry,
    version: int,
    practitioner_id: uuid.UUID,
    starts_at: dt.datetime,
    hours: int,
    *,
    room_ids: tuple[uuid.UUID, ...] = (),
    appointment_id: uuid.UUID | None = None,
) -> Appointment:
    """Hold a time for a patient who waits; answers the hold. Raises IllegalMove, StaleVersion, TooManyHolds, as `reserve`."""
    if not 1 <= hours <= OFFER_HOURS:
        raise Invalid(f"An offer stands 1 to {OFFER_HOURS} hours.", path=("hours",))
    _open(entry, WaitlistState.OFFERED)
    if entry.state == WaitlistState.OFFERED and not await _lapsed(session, agent, entry):
        raise IllegalMove("waitlist entry", entry.state, WaitlistState.OFFERED.value)
    await require_few_holds(session, agent)
    booking = Booking(
        entry.patient_id,
        practitioner_id,
        starts_at,
        entry.minutes,
        entry.reason,
        room_ids=room_ids,
        service_id=entry.service_id,
    )
    held, kept = await new_visit(
        session, agent, place, booking, AppointmentState.PENDING, appointment_id
    )
    held.expires_at = min(agent.now + dt.timedelta(hours=hours), held.starts_at)
    await reserve(session, agent, place, held, kept)
    offered = WaitlistState.OFFERED.value
    await change(session, agent, entry, version, state=offered, offered_id=held.id)
    record(session, agent, "appointment:offer", held.id, entry.id, clinic_id=held.clinic_id)
    return held


async def accept(
    session: AsyncSession, agent: Agent, entry: WaitlistEntry, version: int
) -> WaitlistEntry:
    """Book what was offered. Raises IllegalMove, StaleVersion, Invalid (OFFER_LAPSED)."""
    _answered(entry, WaitlistState.BOOKED)
    held = await _offered(session, agent, entry)
    if held is None or held.state != AppointmentState.PENDING or expired(agent, held):
        raise Invalid("This offer stands no more.", path=("id",), code="OFFER_LAPSED")
    state = move(held.state, AppointmentState.BOOKED)
    await change(session, agent, held, held.version, state=state, expires_at=None)
    booked = await change(session, agent, entry, version, state=WaitlistState.BOOKED.value)
    record(session, agent, "appointment:accept", held.id, entry.id, clinic_id=held.clinic_id)
    return booked


async def decline(
    session: AsyncSession, agent: Agent, entry: WaitlistEntry, version: int
) -> WaitlistEntry:
    """The patient does not want the offered time and goes on waiting. Raises IllegalMove, StaleVersion."""
    _answered(entry, WaitlistState.WAITING)
    await _take_back(session, agent, entry)
    waiting = await change(session, agent, entry, version, state=WaitlistState.WAITING.value)
    record(session, agent, "appointment:decline", waiting.id, clinic_id=waiting.clinic_id)
    return waiting


def _open(entry: WaitlistEntry, wanted: WaitlistState) -> None:
    if entry.state not in (WaitlistState.WAITING, WaitlistState.OFFERED):
        raise IllegalMove("waitlist entry", entry.state, wanted.value)


def _answered(entry: WaitlistEntry, wanted: WaitlistState) -> None:
    if entry.state != WaitlistState.OFFERED:
        raise IllegalMove("waitlist entry", entry.state, wanted.value)


async def _offered(session: AsyncSession, agent: Agent, entry: WaitlistEntry) -> Appointment | None:
    key = {"tenant_id": agent.tenant_id, "id": entry.offered_id}
    return await session.get(Appointment, key, populate_existing=True)


async def _lapsed(session: AsyncSession, agent: Agent, entry: WaitlistEntry) -> bool:
    """Whether the offer has expired or was cancelled."""
    held = await _offered(session, agent, entry)
    return held is None or held.state != AppointmentState.PENDING or expired(agent, held)


async def _take_back(session: AsyncSession, agent: Agent, entry: WaitlistEntry) -> None:
    held = await _offered(session, agent, entry)
    if held is not None and held.state == AppointmentState.PENDING:
        cancelled = AppointmentState.CANCELLED.value
        await change(session, agent, held, held.version, state=cancelled)
