"""Recurring visits: finite, booked as a whole or not at all, every conflict told; edits of one go by `reschedule`.

A series keeps what it was made from; its visits are ordinary appointments that name it. The recurrence is RFC 5545's
(dateutil's rrule) by the clinic's clocks: every Monday at nine stays at nine when the clocks change.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, rrule
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, SmallInteger, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.appointments.booking import Booking
from domain.appointments.commands import SlotTaken, require_bookable
from domain.appointments.record import Appointment, AppointmentState
from domain.appointments.reserving import (
    Kept,
    new_visit,
    reserve,
    rooms_of,
    successor,
    taken_times,
    wait_for,
)
from domain.appointments.states import period
from domain.audit import Agent, record
from domain.errors import DomainError, IllegalMove, Invalid, StaleVersion
from domain.model import OfPatient, Stamped, new_id, one_of
from domain.organization import OrgUnit, Place
from domain.schedules import require_open, require_service
from domain.versions import change

MOST = 52
"""Visits of a series."""
INTERVALS = 12
WIDER = dt.timedelta(days=1)
"""How far beside its visits a series looks for what is taken: more than any buffer."""


class Frequency(StrEnum):
    """https://www.rfc-editor.org/rfc/rfc5545#section-3.3.10"""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


RULES = {Frequency.DAILY: DAILY, Frequency.WEEKLY: WEEKLY, Frequency.MONTHLY: MONTHLY}


class AppointmentSeries(Stamped, OfPatient):
    """What a series was made from. `starts_at` is its first visit's, `visits` how many it had then."""

    __tablename__ = "appointment_series"
    __resource__ = "appointment"

    practitioner_id: Mapped[uuid.UUID]
    frequency: Mapped[str]
    every: Mapped[int] = mapped_column(SmallInteger)
    visits: Mapped[int] = mapped_column(SmallInteger)
    minutes: Mapped[int] = mapped_column(SmallInteger)
    starts_at: Mapped[dt.datetime]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - read by others that override it
        return (
            one_of("frequency", Frequency),
            CheckConstraint(f"visits between 2 and {MOST}", name="visits"),
            CheckConstraint(f"every between 1 and {INTERVALS}", name="every"),
            ForeignKeyConstraint(
                ["tenant_id", "practitioner_id"], ["practitioner.tenant_id", "practitioner.id"]
            ),
            Index("ix_appointment_series_patient", "tenant_id", "patient_id", "id"),
        )


@dataclass(frozen=True)
class Recurrence:
    """Every so many days, weeks or months, so often."""

    frequency: Frequency
    every: int
    visits: int


class SeriesTaken(SlotTaken):
    """Some visits of the series cannot be booked; `conflicts` tells each, and nothing was booked."""

    code = "SERIES_TAKEN"
    constraints = ()

    def __init__(self, conflicts: Sequence[tuple[dt.datetime, DomainError]]) -> None:
        super().__init__()
        self.message = f"{len(conflicts)} visits of the series cannot be booked."
        self.conflicts = tuple(conflicts)


def beginnings(first: dt.datetime, recurrence: Recurrence, zone: ZoneInfo) -> list[dt.datetime]:
    """When the visits begin, by the clocks of the zone. Raises Invalid: too many, too few, too far apart."""
    if not 2 <= recurrence.visits <= MOST:
        raise Invalid(f"A series has 2 to {MOST} visits.", path=("visits",))
    if not 1 <= recurrence.every <= INTERVALS:
        raise Invalid(f"Every 1 to {INTERVALS}.", path=("every",))
    local = first.astimezone(zone)
    rule = rrule(
        RULES[recurrence.frequency],
        interval=recurrence.every,
        count=recurrence.visits,
        dtstart=local.replace(tzinfo=None, fold=0),
    )
    return [later(wall, zone) for wall in rule]


def later(wall: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The instant of a time on the wall; one that is skipped or comes twice is the later, as rules have it."""
    both = (wall.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    return max(both)


async def zone_of(session: AsyncSession, agent: Agent, place: Place) -> ZoneInfo:
    """The clocks of the place's clinic."""
    clinic = (OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id == place.clinic_id)
    return ZoneInfo(await session.scalar(select(OrgUnit.zone).where(*clinic)) or "UTC")


async def book_series(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    booking: Booking,
    recurrence: Recurrence,
    series_id: uuid.UUID | None = None,
) -> AppointmentSeries:
    """Book all visits of a series or none. Raises NotBookableHere, SeriesTaken, and as `new_visit` and `reserve`."""
    starts = beginnings(booking.starts_at, recurrence, await zone_of(session, agent, place))
    pairs = [await new_visit(session, agent, place, replace(booking, starts_at=s)) for s in starts]
    first, kept = pairs[0]
    series = AppointmentSeries(
        tenant_id=agent.tenant_id,
        id=series_id or new_id(),
        clinic_id=first.clinic_id,
        unit_id=first.unit_id,
        patient_id=first.patient_id,
        sensitivity=first.sensitivity,
        practitioner_id=first.practitioner_id,
        frequency=recurrence.frequency.value,
        every=recurrence.every,
        visits=recurrence.visits,
        minutes=booking.minutes,
        starts_at=starts[0],
    )
    await require_service(session, agent, first.clinic_id, kept.service_id)
    await wait_for(session, agent, kept.resources)
    visits = [visit for visit, _ in pairs]
    await _all_free(session, agent, place, visits, kept)
    session.add(series)
    await session.flush()
    for visit in visits:
        visit.series_id = series.id
        await reserve(session, agent, place, visit, kept)
    told = [series.id, first.patient_id, *(visit.id for visit in visits)]
    record(session, agent, "appointment:book_series", *told, clinic_id=series.clinic_id)
    return series


async def _all_free(
    session: AsyncSession, agent: Agent, place: Place, visits: Sequence[Appointment], kept: Kept
) -> None:
    """Raises SeriesTaken with every visit that cannot be booked. The resources are waited for already.

    Who is never to be booked at the place is no matter of a visit's time: NotBookableHere, with its field.
    """
    await require_bookable(session, agent, place, kept.practitioner_id, kept.room_ids)
    span = visits[0].starts_at - WIDER, visits[-1].ends_at + WIDER
    taken = await taken_times(session, agent, place, kept.resources, *span)
    conflicts: list[tuple[dt.datetime, DomainError]] = []
    for visit in visits:
        asked = kept.practitioner_id, kept.resources, kept.service_id
        then = visit.starts_at, visit.ends_at
        try:
            await require_bookable(session, agent, place, asked[0], kept.room_ids, then)
            blocks = await require_open(
                session, agent, place, *asked, visit.starts_at, visit.ends_at
            )
        except DomainError as refusal:
            conflicts.append((visit.starts_at, refusal))
            continue
        full = len(blocks) < len(kept.resources)
        if full or any(_meets(block, taken.get(r, [])) for r, block in blocks.items()):
            conflicts.append((visit.starts_at, SlotTaken()))
            continue
        for resource, block in blocks.items():
            taken.setdefault(resource, []).append(block)  # visits of a series keep apart, too
    if conflicts:
        raise SeriesTaken(conflicts)


def _meets(block: Any, others: Sequence[Any]) -> bool:
    return any(block.overlaps(other) for other in others)


async def this_and_following(
    session: AsyncSession, agent: Agent, appointment: Appointment, version: int
) -> list[Appointment]:
    """The visit and those of its series after it that are booked. Raises Invalid (NO_SERIES), StaleVersion."""
    if appointment.series_id is None:
        raise Invalid("This visit belongs to no series.", path=("id",), code="NO_SERIES")
    if appointment.version != version:
        raise StaleVersion(appointment.version)
    if appointment.state != AppointmentState.BOOKED:
        raise IllegalMove("appointment", appointment.state, AppointmentState.CANCELLED.value)
    found = await session.scalars(
        select(Appointment)
        .where(
            Appointment.tenant_id == agent.tenant_id,
            Appointment.series_id == appointment.series_id,
            Appointment.starts_at >= appointment.starts_at,
            Appointment.state == AppointmentState.BOOKED,
        )
        .order_by(Appointment.starts_at, Appointment.id)
    )
    return list(found)


async def cancel_following(
    session: AsyncSession, agent: Agent, appointment: Appointment, version: int
) -> Appointment:
    """Cancel a visit and all that follow it in its series. Raises as `this_and_following`."""
    visits = await this_and_following(session, agent, appointment, version)
    cancelled = [await _cancelled(session, agent, visit) for visit in visits]
    ids = [visit.id for visit in cancelled]
    record(session, agent, "appointment:cancel_series", *ids, clinic_id=appointment.clinic_id)
    return cancelled[0]


async def _cancelled(session: AsyncSession, agent: Agent, visit: Appointment) -> Appointment:
    return await change(
        session, agent, visit, visit.version, state=AppointmentState.CANCELLED.value
    )


async def move_following(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    appointment: Appointment,
    version: int,
    starts_at: dt.datetime,
    minutes: int,
    *,
    practitioner_id: uuid.UUID | None = None,
    appointment_id: uuid.UUID | None = None,
) -> Appointment:
    """Move a visit and all that follow it by the same days and to the same time of the day; all or none.

    Answers the first new one; each is linked to the one that it replaces. Raises SeriesTaken, and as
    `this_and_following` and `reserve`.
    """
    rooms = tuple(await rooms_of(session, appointment))
    whose = practitioner_id or appointment.practitioner_id
    kept = Kept(whose, rooms, appointment.service_id)
    await wait_for(session, agent, kept.resources)
    olds = await this_and_following(session, agent, appointment, version)
    zone = await zone_of(session, agent, place)
    walls = [old.starts_at.astimezone(zone).replace(tzinfo=None) for old in olds]
    wanted = starts_at.astimezone(zone).replace(tzinfo=None)
    starts = [later(wall + (wanted - walls[0]), zone) for wall in walls]
    visits = [
        successor(agent, old, whose, *period(start, minutes, agent.now))
        for old, start in zip(olds, starts, strict=True)
    ]
    if appointment_id is not None:
        visits[0].id = appointment_id
    for old in olds:
        await _cancelled(session, agent, old)
    await _all_free(session, agent, place, visits, kept)
    for fresh in visits:
        await reserve(session, agent, place, fresh, kept)
    ids = [fresh.id for fresh in visits]
    record(session, agent, "appointment:move_series", *ids, clinic_id=appointment.clinic_id)
    return visits[0]
