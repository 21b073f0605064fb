"""Times that are kept for a while: how long, by whom how many, and their end when nobody confirms them."""

import datetime as dt
import uuid
from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Uuid,
    cast,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from domain.appointments.record import Appointment, AppointmentState
from domain.appointments.states import move
from domain.audit import Agent, record
from domain.errors import DomainError
from domain.locks import hold
from domain.versions import change

HOLD_MINUTES = 60
HOLDS = 25
"""Holds in force that one person may have, offers to those who wait among them."""
LOCK = "holds"


class HoldExpired(DomainError):
    """The hold was not confirmed in time; its time may be somebody else's now."""

    code = "HOLD_EXPIRED"

    def __init__(self) -> None:
        super().__init__("This hold has expired.", path=("id",))


class TooManyHolds(DomainError):
    """Whoever holds so many times already confirms or cancels some first."""

    code = "TOO_MANY_HOLDS"

    def __init__(self) -> None:
        super().__init__(f"You hold {HOLDS} times already; confirm or cancel some of them.")


async def require_few_holds(session: AsyncSession, agent: Agent) -> None:
    """Raises TooManyHolds; else be the only one to hold times for this person until the end.

    To be asked before the resources are waited for: everybody takes these locks in this order.
    """
    await hold(session, LOCK, agent.tenant_id, agent.person_id)
    held = (
        select(Appointment.id)
        .where(
            Appointment.tenant_id == agent.tenant_id,
            Appointment.state == literal_column(f"'{AppointmentState.PENDING}'"),
            Appointment.expires_at > agent.now,
            Appointment.booked_by == agent.person_id,
        )
        .limit(HOLDS)
    )
    if len((await session.scalars(held)).all()) >= HOLDS:
        raise TooManyHolds()


def instant(value: dt.datetime) -> ColumnElement[dt.datetime]:
    """A moment as a value of a statement."""
    return cast(literal(value, DateTime(timezone=True)), DateTime(timezone=True))


async def release_expired(
    session: AsyncSession, agent: Agent, resources: Sequence[uuid.UUID] | None = None
) -> int:
    """End the holds that have expired, of these resources or of the health system; answers how many.

    Also of places that the asker does not see: their time is free for everybody.
    """
    wanted = None if resources is None else list(resources)
    released = func.release_expired(
        literal(agent.tenant_id, Uuid()),
        cast(literal(wanted, ARRAY(Uuid())), ARRAY(Uuid())),
        instant(agent.now),
        type_=Integer(),
    )
    return int(await session.scalar(select(released)) or 0)


def expired(agent: Agent, appointment: Appointment) -> bool:
    """Whether the appointment is a hold that is worth nothing any more."""
    until = appointment.expires_at
    pending = appointment.state == AppointmentState.PENDING
    return pending and until is not None and until <= agent.now


async def confirm(
    session: AsyncSession, agent: Agent, appointment: Appointment, version: int
) -> Appointment:
    """Make a hold a booking. Raises HoldExpired, IllegalMove, StaleVersion."""
    if appointment.state != AppointmentState.PENDING:
        move(appointment.state, AppointmentState.PENDING)  # says which two states do not follow
    if expired(agent, appointment):
        raise HoldExpired()
    state = move(appointment.state, AppointmentState.BOOKED)
    booked = await change(session, agent, appointment, version, state=state, expires_at=None)
    record(session, agent, "appointment:confirm", booked.id, clinic_id=booked.clinic_id)
    return booked
