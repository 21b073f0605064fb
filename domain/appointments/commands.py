"""What is done to appointments: booking, cancelling, checking in. Other ways to keep time: `reserving.py`."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import DateTime, Select, Uuid, cast, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.appointments.booking import (
    OPERATION,
    Booking,
    bookable,
    booking_statement,
    booking_values,
    told,
)
from domain.appointments.record import Appointment, AppointmentState
from domain.appointments.states import move, period
from domain.audit import Agent, record
from domain.constraints import refusals
from domain.errors import DomainError, Invalid, NotFound
from domain.keys import IdempotencyKey, KeyReused
from domain.organization import Place, clinic_of
from domain.patients import PatientSite, seen_at
from domain.plain_text import optional_passage
from domain.schedules import require_open, require_service
from domain.versions import change

TRIES = 3


class SlotTaken(DomainError):
    """Somebody or something that the visit needs is not free at that time."""

    code = "SLOT_TAKEN"
    constraints: tuple[str, ...] = ("ex_appointment_block_slot",)

    def __init__(self) -> None:
        super().__init__("This time is taken.", path=("startsAt",))


class NotBookableHere(DomainError):
    """The practitioner, room or device is not (or no longer) assigned to the clinic or department."""

    code = "NOT_BOOKABLE_HERE"

    def __init__(self, field: str) -> None:
        super().__init__("This cannot be booked at this clinic or department.", path=(field,))


async def book(
    session: AsyncSession, agent: Agent, place: Place, booking: Booking, admissible: Select[Any]
) -> Appointment:
    """Book by `booking_statement`; a repeat of the request (same key, same input) answers the first appointment.

    `admissible`: see `booking_statement`. Raises Invalid, NotFound (patient), NotBookableHere, KeyReused,
    SlotTaken. Writes appointment, appointment_block, idempotency; patient_site at the first visit to a department.
    """
    values = booking_values(agent, place, booking)
    parts = booking_statement(admissible)
    row = aliased(Appointment, parts.booked)
    answer = select(row, told(row)).add_cte(*parts.effects())
    for _ in range(TRIES):
        with refusals():
            booked: Appointment | None = await session.scalar(answer, values)
        if booked is not None:
            return booked
        earlier = await settle(session, agent, place, booking, admissible)
        if earlier is not None:
            return await by_id(session, agent, earlier)
    raise Invalid("Others book the same; please try again.", code="TRY_AGAIN")


async def by_id(session: AsyncSession, agent: Agent, appointment_id: uuid.UUID) -> Appointment:
    """The appointment as far as the session shows it. Raises NotFound."""
    found = await session.get(Appointment, {"tenant_id": agent.tenant_id, "id": appointment_id})
    if found is None:
        raise NotFound()
    return found


async def settle(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    booking: Booking,
    admissible: Select[Any] | None = None,
) -> uuid.UUID | None:
    """Why the booking statement gave no row. An id: this request was carried out before, as that appointment.

    None: run the statement again (the patient is seen at the department now). Raises KeyReused, NotFound for a
    patient who is not visible at the clinic, NotBookableHere, Invalid for a service that the clinic does not offer,
    what `require_open` raises, SlotTaken where an overbooked visit has the time. Without `admissible`: the sites that the session
    shows, for one that carries the policy itself.
    """
    if booking.key is not None:
        earlier = await session.get(
            IdempotencyKey,
            {
                "tenant_id": agent.tenant_id,
                "person_id": agent.person_id,
                "operation": OPERATION,
                "key": booking.key,
            },
        )
        if earlier is not None:
            if earlier.input_hash != booking.digest(place.id):
                raise KeyReused()
            return earlier.result_id
    clinic_id = clinic_of(place)
    rows = (select(PatientSite) if admissible is None else admissible).subquery()
    visible = select(rows.c.unit_id).where(
        rows.c.tenant_id == agent.tenant_id,
        rows.c.patient_id == booking.patient_id,
        rows.c.unit_id.in_({place.id, clinic_id}),
        rows.c.active,
    )
    at = set(await session.scalars(visible))
    if not at:
        raise NotFound(path=("patientId",))
    starts_at, ends_at = period(booking.starts_at, booking.minutes, agent.now)
    wanted = booking.practitioner_id, booking.room_ids
    await require_bookable(session, agent, place, *wanted, (starts_at, ends_at))
    await require_service(session, agent, clinic_id, booking.service_id)
    asked = booking.practitioner_id, booking.resources, booking.service_id
    kept = await require_open(session, agent, place, *asked, starts_at, ends_at)
    if len(kept) < len(booking.resources):
        raise SlotTaken()
    if place.id not in at:
        await seen_at(session, agent, booking.patient_id, place)
    return None


async def require_bookable(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    practitioner_id: uuid.UUID,
    room_ids: Sequence[uuid.UUID] = (),
    then: tuple[dt.datetime, dt.datetime] | None = None,
) -> None:
    """Raises NotBookableHere, naming the field, unless all may be booked at the place then, or at some time to come."""
    then = then or (dt.datetime.max.replace(tzinfo=dt.UTC), agent.now)
    wanted = [practitioner_id, *room_ids]
    clinic_id = clinic_of(place)
    there = set(
        await session.scalars(
            bookable(
                literal(agent.tenant_id, Uuid()),
                literal(clinic_id, Uuid()),
                literal(place.id, Uuid()),
                cast(literal(wanted, ARRAY(Uuid())), ARRAY(Uuid())),
                *(literal(instant, DateTime(timezone=True)) for instant in then),
            )
        )
    )
    if practitioner_id not in there:
        raise NotBookableHere("practitionerId")
    if not there.issuperset(room_ids):
        raise NotBookableHere("roomIds")


async def cancel(
    session: AsyncSession,
    agent: Agent,
    appointment: Appointment,
    version: int,
    comment: str | None = None,
) -> Appointment:
    """Cancel; its time is free at once. Raises IllegalMove, Invalid, StaleVersion. Writes appointment."""
    said = optional_passage(comment, "comment")
    kept = {"comment": said} if said else {}
    return await _become(
        session, agent, appointment, version, AppointmentState.CANCELLED, "cancel", **kept
    )


async def check_in(
    session: AsyncSession, agent: Agent, appointment: Appointment, version: int
) -> Appointment:
    """The patient is here and registered for the visit. Raises IllegalMove, StaleVersion. Writes appointment."""
    return await _become(
        session, agent, appointment, version, AppointmentState.CHECKED_IN, "check_in"
    )


async def no_show(
    session: AsyncSession, agent: Agent, appointment: Appointment, version: int
) -> Appointment:
    """The patient did not come. Raises IllegalMove, Invalid before the start, StaleVersion. Writes appointment."""
    if agent.now < appointment.starts_at:
        raise Invalid("The appointment has not begun yet.", path=("id",), code="TOO_EARLY")
    return await _become(session, agent, appointment, version, AppointmentState.NOSHOW, "no_show")


async def fulfil(session: AsyncSession, agent: Agent, appointment: Appointment) -> Appointment:
    """The visit has begun. A part of starting its encounter: leaves no audit event of its own.

    Raises IllegalMove, StaleVersion when somebody changed the appointment meanwhile. Writes appointment.
    """
    state = move(appointment.state, AppointmentState.FULFILLED)
    return await change(session, agent, appointment, appointment.version, state=state)


async def _become(
    session: AsyncSession,
    agent: Agent,
    appointment: Appointment,
    version: int,
    wanted: AppointmentState,
    action: str,
    **values: Any,
) -> Appointment:
    state = move(appointment.state, wanted)
    changed = await change(session, agent, appointment, version, state=state, **values)
    record(session, agent, f"appointment:{action}", changed.id, clinic_id=changed.clinic_id)
    return changed
