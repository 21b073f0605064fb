"""Booking, moving, cancelling and keeping appointments. Booking is one statement, its answer included."""

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry
from graphql import GraphQLResolveInfo
from sqlalchemy import Select, select
from sqlalchemy import literal_column as raw
from sqlalchemy.orm import aliased

from api.context import Context
from api.graph.alternatives import alternatives, end_expired_holds, offering
from api.graph.appointments import Appointment
from api.graph.encounters import local_id
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.aliases import alias
from api.plan.attempts import DENIED, agent_of, denied
from api.plan.binds import Inputs, encode
from api.plan.compile import Compiler, Details
from api.plan.facts import memo
from api.plan.fetch import PLANS, opened, response_path
from api.plan.mapping import parse_id
from api.plan.payloads import Columns, around, finished, refused
from api.plan.run import Built, Plan, variables
from api.plan.write import (
    Payload,
    Work,
    carry_out,
    driver,
    fetch_row,
    perform,
    perform_on,
    still_valid,
    unit_of,
)
from authz.actor import Actor, Grant
from authz.guard import Forbidden, Reason, guarded_session, require
from domain.appointments import Appointment as Appointments
from domain.appointments import (
    Booking,
    SlotTaken,
    booking_statement,
    booking_values,
    cancel,
    check_in,
    reschedule,
    settle,
)
from domain.appointments.booking import BINDS, PREFIX
from domain.appointments.booking import told as announced
from domain.audit import Agent
from domain.database import refusal_of
from domain.errors import DomainError, NotFound
from domain.patients import PatientSite
from domain.pipeline import Row, Statement
from domain.pipeline_errors import DatabaseError

APPOINTMENT = Payload("appointment", "Appointment", model=Appointments)
BOOK = "appointment:book"
TRIES = 3


@strawberry.input(description="A visit to be booked.")
class BookAppointmentInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    patient: strawberry.ID = strawberry.field(description="Who comes.")
    practitioner: strawberry.ID = strawberry.field(description="Who sees the patient.")
    starts_at: dt.datetime = strawberry.field(description="When it begins.")
    minutes: int = strawberry.field(description="How long it takes, 5 to 480.")
    reason: str | None = strawberry.field(default=None, description="Why the patient comes.")
    comment: str | None = strawberry.field(
        default=None, description="What the front desk should know."
    )
    rooms: list[strawberry.ID] = strawberry.field(
        default_factory=list, description="Rooms and devices that the visit needs too."
    )
    service: strawberry.ID | None = strawberry.field(
        default=None, description="What the visit is for."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Another time for a visit.")
class RescheduleAppointmentInput:
    id: strawberry.ID = strawberry.field(description="The appointment; it becomes cancelled.")
    version: int = strawberry.field(description="The version that the change is based on.")
    starts_at: dt.datetime = strawberry.field(description="When the new one begins.")
    minutes: int = strawberry.field(description="How long it takes, 5 to 480.")
    practitioner: strawberry.ID | None = strawberry.field(
        default=None, description="Who sees the patient; else the same as before."
    )
    rooms: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Rooms and devices; else the same as before."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="An appointment and the version that the change is based on.")
class ChangeAppointmentInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The booked appointment.")
class BookAppointmentPayload:
    appointment: Appointment | None = strawberry.field(description="The appointment.")
    user_errors: list[UserError] = payload_errors()


@value_type("The new appointment.")
class RescheduleAppointmentPayload:
    appointment: Appointment | None = strawberry.field(description="The new appointment.")
    user_errors: list[UserError] = payload_errors()


@value_type("The changed appointment.")
class ChangeAppointmentPayload:
    appointment: Appointment | None = strawberry.field(description="The appointment.")
    user_errors: list[UserError] = payload_errors()


def admissible(c: Compiler) -> Select[Any]:
    """The sites of patients at which the asker may book."""
    site = alias(PatientSite, "s0")
    c.resources.add("patient")
    unit = PREFIX + "unit"
    return select(site).where(
        c.near(site, "appointment", "book", unit), c.near(site, "appointment", "read", unit)
    )


def _bound(name: str) -> Callable[[Inputs], bytes | None]:
    return lambda inputs: encode(inputs.values[name])


def booking_plan(c: Compiler, details: Details, info: GraphQLResolveInfo[Any]) -> Built:
    """Book and answer the selected payload, in one statement."""
    for name in BINDS:
        c.binds.getters[PREFIX + name] = _bound(PREFIX + name)
    parts = booking_statement(admissible(c))
    row = aliased(Appointments, parts.booked, name="p")
    c.written[id(row)] = parts.blocks
    c.sites[id(row)] = PREFIX + "unit", parts.site
    shows = (APPOINTMENT.name, APPOINTMENT.type_name)
    others: Columns = {"userErrors": raw("'[]'::json")}
    statement, json, hidden = around(c, info, details, select(row), row, shows, others)
    counts = [h.number for h in hidden]
    made = statement.with_only_columns(json, announced(row), *counts, maintain_column_froms=True)
    return Built(made.add_cte(*parts.effects(read=id(row) in c.looked_at)), hidden, skip=1)


async def book(info: GraphQLResolveInfo[Any], given: BookAppointmentInput) -> Any:
    """Book, or keep on record that it was refused."""
    context: Context = info.context
    context.refusals.check(context.who)
    try:
        return await _book(info, given)
    except DENIED:
        await denied(info, given)
        raise


async def _book(
    info: GraphQLResolveInfo[Any], given: BookAppointmentInput, *, again: bool = False
) -> Any:
    """Book by one statement; where it gives no row, settle why, and try again. An expired hold is no reason."""
    context: Context = info.context
    unit, booking = booking_of(context, given)
    agent = allowed(context, unit)
    try:
        for _ in range(TRIES):
            values = booking_values(agent, unit, booking)
            done = await booked(info, values)
            if done is None:
                done = await settled(info, agent, unit, booking, values)
            if done is not None:
                return done
        raise SlotTaken()
    except DomainError as error:
        refusal = error
    except DatabaseError as error:
        known = refusal_of(error)
        if known is None:
            raise
        await context.still_valid()
        refusal = known
    if isinstance(refusal, SlotTaken):
        if not again and await end_expired_holds(context, agent, booking):
            return await _book(info, given, again=True)
        refusal.details = await alternatives(info, unit, booking)
    return refused(info, refusal)


async def at_once(found: uuid.UUID, _: Work) -> uuid.UUID:
    """The result of a command that was carried out before."""
    return found


def booking_of(context: Context, given: BookAppointmentInput) -> tuple[Any, Booking]:
    """The unit and the booking that an input names. Raises NotFound for ids that are none."""
    unit = unit_of(context, given.unit, "unit")
    patient, practitioner = (
        parse_id(given.patient, "Patient"),
        parse_id(given.practitioner, "Practitioner"),
    )
    rooms = [parse_id(room, "BookableResource") for room in given.rooms]
    if patient is None or practitioner is None or None in rooms:
        raise NotFound(path=("patient" if patient is None else "practitioner",))
    known, service = local_id(given.service, "HealthcareService")
    if not known:
        raise NotFound(path=("service",))
    return unit, Booking(
        patient_id=patient[1],
        practitioner_id=practitioner[1],
        starts_at=given.starts_at,
        minutes=given.minutes,
        reason=given.reason,
        comment=given.comment,
        room_ids=tuple(room[1] for room in rooms if room),
        key=given.idempotency_key,
        service_id=service,
    )


def rooms_of(values: list[strawberry.ID]) -> list[uuid.UUID]:
    """The rooms and devices that an input names. Raises NotFound for ids that are none."""
    found = [parse_id(value, "BookableResource") for value in values]
    if None in found:
        raise NotFound(path=("rooms",))
    return [room[1] for room in found if room]


def allowed(context: Context, unit: Any) -> Agent:
    """Judge the place of the new appointment, which everybody sees. Raises Forbidden."""
    grant = memo(context.actor, (BOOK, unit.id), partial(judged, unit=unit))
    agent = agent_of(context)
    return replace(agent, role=grant.role, grant_id=grant.id) if grant else agent


def judged(actor: Actor, unit: Any) -> Grant | None:
    """The grant by which an actor books at a unit. Raises Forbidden."""
    new = SimpleNamespace(
        tenant_id=actor.tenant_id, clinic_id=unit.clinic_id, unit_id=unit.id, sensitivity=0
    )
    try:
        return require(actor, BOOK, new)
    except NotFound:
        raise Forbidden(Reason.NO_ROLE) from None


def prepared(info: GraphQLResolveInfo[Any], values: dict[str, Any]) -> tuple[Plan, Statement]:
    """The statement that books these values, and its plan."""
    context: Context = info.context
    plan = PLANS.plan(info, context.actor, "book", lambda c, d: booking_plan(c, d, info))
    return plan, plan.statement(Inputs(variables(info), values, context.actor))


async def booked(info: GraphQLResolveInfo[Any], values: dict[str, Any]) -> Any:
    """Run the statement in a unit of its own; None where it gave no row."""
    context: Context = info.context
    plan, statement = prepared(info, values)
    unit = context.actor.tree.units[values[PREFIX + "unit"]]
    # A patient is seen at a department by the clinic's own site too.
    nodes = (("appointment", unit.id), ("patient", unit.clinic_id or unit.id))
    here = tuple(node for node in nodes if node[0] not in plan.elsewhere)
    row = await context.write(plan.resources, {"appointment": (BOOK,)}, statement, here)
    return None if row is None else await told(info, plan, row)


async def told(info: GraphQLResolveInfo[Any], plan: Plan, row: Row) -> Any:
    """The payload in the statement's row, whose visit is booked by now."""
    got = await opened(info.context, plan, row, len(response_path(info)), done=True)
    return finished(got.json)


async def settled(
    info: GraphQLResolveInfo[Any],
    agent: Agent,
    unit: Any,
    booking: Booking,
    values: dict[str, Any],
) -> Any:
    """Answer the first booking of a repeated request; else book once more. None where that gave no row again.

    At a patient's first visit to a department both come in one transaction: being seen there, and the booking.
    Raises what `domain.appointments.settle` raises, DatabaseError, StaleActor.
    """
    context: Context = info.context
    async with guarded_session(context.cell, context.actor) as session:
        await session.allow(BOOK, ("patient",))
        earlier = await settle(session, agent, unit, booking)
        if earlier is None:
            await session.flush()
            plan, statement = prepared(info, values)
            connection = await driver(session)
            row = await fetch_row(connection, statement)
            if row is None:
                return None
            await still_valid(connection, context)
            await session.commit()
            return await told(info, plan, row)
    return await carry_out(info, "bookAppointment", APPOINTMENT, None, partial(at_once, earlier))


@strawberry.type
class Mutation:
    @root("appointment:book", "Book a visit. A taken time is refused, whoever asks first.")
    async def book_appointment(
        self, info: Info, input: Annotated[BookAppointmentInput, GIVEN]
    ) -> BookAppointmentPayload | None:
        return await book(info._raw_info, input)

    @root(
        "appointment:reschedule",
        "Move a visit to another time: a new appointment, the old one cancelled.",
    )
    async def reschedule_appointment(
        self, info: Info, input: Annotated[RescheduleAppointmentInput, GIVEN]
    ) -> RescheduleAppointmentPayload | None:
        async def command(work: Work) -> uuid.UUID:
            appointment = await work.load(Appointments, input.id, "Appointment")
            agent = await work.require("appointment:reschedule", appointment)
            known, practitioner = local_id(input.practitioner, "Practitioner")
            if not known:
                raise NotFound(path=("practitioner",))
            rooms = None if input.rooms is None else rooms_of(input.rooms)
            unit = info.context.actor.tree.units[appointment.unit_id]
            wanted = Booking(
                appointment.patient_id,
                practitioner or appointment.practitioner_id,
                input.starts_at,
                input.minutes,
                room_ids=tuple(rooms or ()),
                service_id=appointment.service_id,
            )
            async with offering(info._raw_info, unit, wanted):
                moved = await reschedule(
                    work.session,
                    agent,
                    unit,
                    appointment,
                    input.version,
                    input.starts_at,
                    input.minutes,
                    practitioner_id=practitioner,
                    room_ids=rooms,
                    appointment_id=work.new_id,
                )
            return moved.id

        return await perform(info._raw_info, "rescheduleAppointment", APPOINTMENT, input, command)

    @root("appointment:cancel", "Cancel a visit; its time is free at once.")
    async def cancel_appointment(
        self, info: Info, input: Annotated[ChangeAppointmentInput, GIVEN]
    ) -> ChangeAppointmentPayload | None:
        return await perform_on(
            info._raw_info, "cancelAppointment", APPOINTMENT, input, "appointment:cancel", cancel
        )

    @root("appointment:check_in", "The patient is here.")
    async def check_in_appointment(
        self, info: Info, input: Annotated[ChangeAppointmentInput, GIVEN]
    ) -> ChangeAppointmentPayload | None:
        return await perform_on(
            info._raw_info,
            "checkInAppointment",
            APPOINTMENT,
            input,
            "appointment:check_in",
            check_in,
        )
