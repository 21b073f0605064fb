"""What is told when a time is taken: other times at which the same visit could be booked."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import strawberry
from graphql import GraphQLObjectType, GraphQLResolveInfo

from api.context import Context
from api.graph.availability import OpenSlot, free_times, may_read
from api.graph.payloads import UserError
from api.graph.relay import value_type
from api.plan.mapping import instant
from api.plan.payloads import compiler_of, payload_type
from authz.guard import guarded_session
from domain.appointments import Booking, release_expired
from domain.appointments import SlotTaken as Taken
from domain.audit import Agent
from domain.schedules import Slot, Window, open_slots
from domain.schedules.free_times import FreeTimes, Resource, instants

NEAR = 5
"""How many other times are told."""
AROUND = (dt.timedelta(days=1), dt.timedelta(days=7))
"""How far before and after the wanted time they are looked for."""
QUARTER = 15  # minutes between the beginnings offered where no rule says which


@value_type("The practitioner, or a room or device, is not free at that time.")
class SlotTaken(UserError):
    """https://hl7.org/fhir/R4/slot.html"""

    alternatives: list[OpenSlot] = strawberry.field(
        description="The open slots nearest to it, in their order; empty where none is near."
    )


async def end_expired_holds(context: Context, agent: Agent, booking: Booking) -> bool:
    """End the expired holds on the resources of a booking that was refused; whether there were any."""
    async with guarded_session(context.cell, context.actor) as session:
        await session.allow("appointment:book")
        ended = await release_expired(session, agent, booking.resources)
        await session.commit()
    return ended > 0


@asynccontextmanager
async def offering(
    info: GraphQLResolveInfo[Any], unit: Any, booking: Booking
) -> AsyncIterator[None]:
    """Tell other times where the command inside raises SlotTaken."""
    try:
        yield
    except Taken as error:
        error.details = await alternatives(info, unit, booking)
        raise


async def alternatives(
    info: GraphQLResolveInfo[Any], unit: Any, booking: Booking
) -> dict[str, Any]:
    """The fields of SlotTaken beyond those of every user error; the times only where they are selected."""
    found: list[dict[str, str]] = []
    if _selected(info) and may_read(info.context, unit.id):
        found = [
            {"__typename": "OpenSlot", "startsAt": instant(begins), "endsAt": instant(ends)}
            for begins, ends in instants(await _near(info.context, unit, booking))
        ]
    return {"__typename": "SlotTaken", "alternatives": found}


def _selected(info: GraphQLResolveInfo[Any]) -> bool:
    c, details = compiler_of(info)
    type_ = info.schema.get_type("SlotTaken")
    assert isinstance(type_, GraphQLObjectType)
    errors = [d for _, d, name in c.fields(payload_type(info), details) if name == "userErrors"]
    return any(name == "alternatives" for d in errors for _, _, name in c.fields(type_, d))


async def _near(context: Context, unit: Any, booking: Booking) -> list[Slot]:
    day = booking.starts_at.astimezone(dt.UTC).date()
    period = day - AROUND[0], day + AROUND[1]
    asked = booking.resources, booking.service_id
    found = await free_times(context, unit.id, *asked, period)
    if found is None or not found.resources.keys() >= set(booking.resources):
        return []
    leading = found.resources[booking.practitioner_id]
    slots = (
        found.slots(leading, since=_now(), minutes=booking.minutes, together=booking.room_ids)
        if leading.ruled
        else _unruled(found, leading, booking)
    )
    wanted = booking.starts_at.timestamp()
    return sorted(sorted(slots, key=lambda slot: abs(slot.begins - wanted))[:NEAR])


def _unruled(found: FreeTimes, leading: Resource, booking: Booking) -> list[Slot]:
    """Free times of somebody without rules: hours before and after the wanted one, each quarter."""
    begin, hour = int(booking.starts_at.timestamp()), 3600
    window = Window(
        begin - 4 * hour, begin + 12 * hour, begin, booking.minutes, QUARTER, before=0, after=0
    )
    rooms = [found.resources[id_] for id_ in booking.room_ids]
    return open_slots(
        [window],
        leading.busy,
        minutes=booking.minutes,
        since=int(_now().timestamp()),
        together=[(r.windows if r.ruled else None, r.busy) for r in rooms],
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
