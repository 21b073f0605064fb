"""Keeping the time of several resources for a visit, step by step: for all that is no plain booking.

Everybody who keeps time waits for the resources in one order, so that of two who want the same one waits and none of
both is stuck; then expired holds are ended, and the exclusion constraint has the last word.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    SmallInteger,
    Uuid,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSTZRANGE, Range
from sqlalchemy.ext.asyncio import AsyncSession

from domain.appointments.booking import LOCK, ROOMS, Booking
from domain.appointments.commands import SlotTaken, require_bookable
from domain.appointments.holds import (
    HOLD_MINUTES,
    HoldExpired,
    expired,
    instant,
    release_expired,
    require_few_holds,
)
from domain.appointments.record import Appointment, AppointmentBlock, AppointmentState
from domain.appointments.states import move, period
from domain.audit import Agent, record
from domain.constraints import refusals
from domain.errors import Invalid
from domain.locks import hold
from domain.model import new_id
from domain.organization import Place, clinic_of
from domain.patients import seen_at
from domain.plain_text import optional_passage
from domain.schedules import require_open, require_service
from domain.versions import change

LANES = 9
"""Overbooked visits of one resource at one time, beside the ordinary one."""


@dataclass(frozen=True)
class Kept:
    """What a visit keeps: its resources, who leads, the service."""

    practitioner_id: uuid.UUID
    room_ids: tuple[uuid.UUID, ...] = ()
    service_id: uuid.UUID | None = None

    @property
    def resources(self) -> list[uuid.UUID]:
        """All, in the order in which everybody waits for them."""
        return sorted({self.practitioner_id, *self.room_ids})


async def wait_for(session: AsyncSession, agent: Agent, resources: Sequence[uuid.UUID]) -> None:
    """Be the only one to keep these resources' time until the end; ends their expired holds."""
    for resource in sorted(set(resources)):
        await hold(session, LOCK, agent.tenant_id, resource)
    await release_expired(session, agent, resources)


async def reserve(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    visit: Appointment,
    kept: Kept,
    *,
    overbook: bool = False,
) -> Appointment:
    """Write a visit and the time that it keeps. `overbook`: outside of the rules and beside others, in a lane.

    Raises NotBookableHere, Invalid (SERVICE_UNKNOWN), OutsideHours, DoesNotFit, StartNotOffered, SlotTaken. Writes
    appointment, appointment_block.
    """
    then = (visit.starts_at, visit.ends_at)
    await require_bookable(session, agent, place, kept.practitioner_id, kept.room_ids, then)
    await require_service(session, agent, visit.clinic_id, kept.service_id)
    await wait_for(session, agent, kept.resources)
    lanes = dict.fromkeys(kept.resources, 0)
    if overbook:
        blocks = dict.fromkeys(kept.resources, Range(visit.starts_at, visit.ends_at))
        lanes = await _free_lanes(session, agent, place, kept.resources, visit)
    else:
        asked = kept.practitioner_id, kept.resources, kept.service_id
        blocks = await require_open(session, agent, place, *asked, visit.starts_at, visit.ends_at)
        if len(blocks) < len(kept.resources):
            raise SlotTaken()
    session.add(visit)
    await session.flush()
    session.add_all(
        AppointmentBlock(
            tenant_id=visit.tenant_id,
            id=new_id(),
            clinic_id=visit.clinic_id,
            unit_id=visit.unit_id,
            appointment_id=visit.id,
            resource_id=resource,
            state=visit.state,
            lane=lanes[resource],
            block=blocks[resource],
        )
        for resource in kept.resources
    )
    with refusals():
        await session.flush()
    return visit


async def _free_lanes(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    resources: Sequence[uuid.UUID],
    visit: Appointment,
) -> dict[uuid.UUID, int]:
    """The first lane in which nobody has the resource then; 0 is the ordinary one. Raises SlotTaken where all are taken."""
    rows = await _busy(session, agent, place, resources, visit.starts_at, visit.ends_at)
    taken = {(r.resource_id, r.lane) for r in rows}
    lanes = {}
    for resource in resources:
        free = (lane for lane in range(LANES + 1) if (resource, lane) not in taken)
        found = next(free, None)
        if found is None:
            raise SlotTaken()
        lanes[resource] = found
    return lanes


async def taken_times(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    resources: Sequence[uuid.UUID],
    since: dt.datetime,
    until: dt.datetime,
) -> dict[uuid.UUID, list[Range[dt.datetime]]]:
    """When the resources are taken, wherever; holds in force count."""
    out: dict[uuid.UUID, list[Range[dt.datetime]]] = {}
    for row in await _busy(session, agent, place, resources, since, until):
        out.setdefault(row.resource_id, []).append(row.block)
    return out


async def _busy(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    resources: Sequence[uuid.UUID],
    since: dt.datetime,
    until: dt.datetime,
) -> Sequence[Any]:
    asked = func.busy_times(
        literal(agent.tenant_id, Uuid()),
        literal(place.id, Uuid()),
        cast(literal(list(resources), ARRAY(Uuid())), ARRAY(Uuid())),
        func.tstzrange(instant(since), instant(until)),
        instant(agent.now),
    ).table_valued(
        column("resource_id", Uuid()),
        column("lane", SmallInteger()),
        column("block", TSTZRANGE()),
    )
    return (await session.execute(select(*asked.c))).all()


async def new_visit(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    booking: Booking,
    state: AppointmentState = AppointmentState.BOOKED,
    appointment_id: uuid.UUID | None = None,
) -> tuple[Appointment, Kept]:
    """The row of a visit that is about to be reserved, and what it keeps. Raises Invalid, NotFound (patient)."""
    clinic_of(place)
    if len(booking.room_ids) > ROOMS:
        raise Invalid(f"At most {ROOMS} rooms and devices.", path=("roomIds",))
    starts_at, ends_at = period(booking.starts_at, booking.minutes, agent.now)
    reason, comment = (
        optional_passage(booking.reason, "reason"),
        optional_passage(booking.comment, "comment"),
    )
    seen = await seen_at(session, agent, booking.patient_id, place)
    visit = Appointment(
        tenant_id=agent.tenant_id,
        id=appointment_id or new_id(),
        clinic_id=seen.clinic_id,
        unit_id=place.id,
        patient_id=booking.patient_id,
        sensitivity=seen.sensitivity,
        practitioner_id=booking.practitioner_id,
        service_id=booking.service_id,
        state=state.value,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason,
        comment=comment,
        booked_by=agent.person_id,
    )
    return visit, Kept(booking.practitioner_id, booking.room_ids, booking.service_id)


async def overbook(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    booking: Booking,
    appointment_id: uuid.UUID | None = None,
) -> Appointment:
    """Book a visit outside of the rules or beside another, on purpose. Raises as `new_visit` and `reserve`."""
    visit, kept = await new_visit(session, agent, place, booking, appointment_id=appointment_id)
    await reserve(session, agent, place, visit, kept, overbook=True)
    record(
        session,
        agent,
        "appointment:overbook",
        visit.id,
        visit.patient_id,
        clinic_id=visit.clinic_id,
    )
    return visit


async def hold_time(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    booking: Booking,
    minutes: int,
    appointment_id: uuid.UUID | None = None,
) -> Appointment:
    """Keep a time for so many minutes, until it is confirmed. Raises TooManyHolds, and as `new_visit` and `reserve`."""
    if not 1 <= minutes <= HOLD_MINUTES:
        raise Invalid(f"A hold lasts 1 to {HOLD_MINUTES} minutes.", path=("holdMinutes",))
    await require_few_holds(session, agent)
    visit, kept = await new_visit(
        session, agent, place, booking, AppointmentState.PENDING, appointment_id
    )
    visit.expires_at = agent.now + dt.timedelta(minutes=minutes)
    await reserve(session, agent, place, visit, kept)
    record(
        session, agent, "appointment:hold", visit.id, visit.patient_id, clinic_id=visit.clinic_id
    )
    return visit


def successor(
    agent: Agent,
    old: Appointment,
    practitioner_id: uuid.UUID,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
    appointment_id: uuid.UUID | None = None,
) -> Appointment:
    """The visit that replaces another at the same place, linked to it."""
    return Appointment(
        tenant_id=old.tenant_id,
        id=appointment_id or new_id(),
        clinic_id=old.clinic_id,
        unit_id=old.unit_id,
        patient_id=old.patient_id,
        sensitivity=old.sensitivity,
        practitioner_id=practitioner_id,
        service_id=old.service_id,
        state=AppointmentState.BOOKED.value,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=old.reason,
        comment=old.comment,
        rescheduled_from_id=old.id,
        series_id=old.series_id,
        booked_by=agent.person_id,
    )


async def reschedule(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    appointment: Appointment,
    version: int,
    starts_at: dt.datetime,
    minutes: int,
    *,
    practitioner_id: uuid.UUID | None = None,
    room_ids: Sequence[uuid.UUID] | None = None,
    appointment_id: uuid.UUID | None = None,
) -> Appointment:
    """Cancel the appointment and book a new one, linked to it, at the same place for the same patient.

    `place` is the appointment's unit. Rooms and devices stay unless others are named; a hold stays one. Raises IllegalMove, Invalid,
    NotBookableHere, SlotTaken, StaleVersion, and what `require_open` raises. Writes appointment, appointment_block.
    """
    if place.id != appointment.unit_id:
        raise Invalid("An appointment stays at its clinic or department.", path=("unit",))
    starts_at, ends_at = period(starts_at, minutes, agent.now)
    cancelled = move(appointment.state, AppointmentState.CANCELLED)
    if expired(agent, appointment):
        raise HoldExpired()
    held = appointment.state == AppointmentState.PENDING
    whose = practitioner_id or appointment.practitioner_id
    rooms = await rooms_of(session, appointment) if room_ids is None else room_ids
    if len(rooms) > ROOMS:
        raise Invalid(f"At most {ROOMS} rooms and devices.", path=("roomIds",))
    kept = Kept(whose, tuple(rooms), appointment.service_id)
    # The order of all who keep time: first the resources, then rows.
    await require_bookable(session, agent, place, whose, kept.room_ids, (starts_at, ends_at))
    await wait_for(session, agent, kept.resources)
    old = await change(session, agent, appointment, version, state=cancelled)
    fresh = successor(agent, old, whose, starts_at, ends_at, appointment_id)
    if held:
        fresh.state, fresh.expires_at = AppointmentState.PENDING.value, old.expires_at
    await reserve(session, agent, place, fresh, kept)
    record(session, agent, "appointment:reschedule", fresh.id, old.id, clinic_id=fresh.clinic_id)
    return fresh


async def rooms_of(session: AsyncSession, appointment: Appointment) -> list[uuid.UUID]:
    """The rooms and devices that an appointment keeps."""
    block = AppointmentBlock
    found = await session.scalars(
        select(block.resource_id).where(
            block.tenant_id == appointment.tenant_id,
            block.appointment_id == appointment.id,
            block.resource_id != appointment.practitioner_id,
        )
    )
    return sorted(found)
