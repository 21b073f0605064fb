"""Changing opening hours, by who administers the place."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry

from api.graph.encounters import local_id
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.schedules import HealthcareService, ScheduleClosure, ScheduleRule
from api.plan.write import Payload, Work, perform
from authz.guard import Forbidden, Reason
from domain.audit import Agent
from domain.errors import NotFound
from domain.schedules import HealthcareService as HealthcareServices
from domain.schedules import Hours as Terms
from domain.schedules import ScheduleClosure as ScheduleClosures
from domain.schedules import ScheduleRule as ScheduleRules
from domain.schedules import (
    Weekday,
    add_rule,
    add_service,
    change_rule,
    change_service,
    close,
    places_bound,
    reopen,
)

EDIT = "schedule:edit"
SERVICE = Payload("service", "HealthcareService")
RULE = Payload("rule", "ScheduleRule")
CLOSURE = Payload("closure", "ScheduleClosure", model=ScheduleClosures)


@strawberry.input(description="A service to be offered.")
class AddHealthcareServiceInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    name: str = strawberry.field(description="What people call it.")
    minutes: int = strawberry.field(description="How long a visit usually takes, 5 to 480.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Changes to a service; what is left out stays.")
class ChangeHealthcareServiceInput:
    id: strawberry.ID = strawberry.field(description="The service.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: str | None = strawberry.field(default=None, description="What people call it.")
    minutes: int | None = strawberry.field(default=None, description="How long a visit takes.")
    active: bool | None = strawberry.field(default=None, description="False withdraws it.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="When visits can be booked, week by week.")
class HoursInput:
    weekdays: list[Weekday] = strawberry.field(description="The days it holds on.")
    opens: dt.time = strawberry.field(description="When it opens, by the clinic's clocks.")
    closes: dt.time = strawberry.field(
        description="When it closes; at or before `opens` it is on the next day."
    )
    minutes: int = strawberry.field(description="A visit takes a multiple of this, 5 to 480.")
    step: int | None = strawberry.field(
        default=None, description="Minutes between two beginnings; else as long as a visit."
    )
    buffer_before: int = strawberry.field(default=0, description="Minutes kept free before, 0-240.")
    buffer_after: int = strawberry.field(default=0, description="Minutes kept free after, 0-240.")
    valid_from: dt.date = strawberry.field(description="The first day.")
    valid_until: dt.date | None = strawberry.field(
        default=None, description="The last day; the same as the first opens a single day."
    )
    service: strawberry.ID | None = strawberry.field(
        default=None, description="Take visits of this service only."
    )


@strawberry.input(description="A weekly window.")
class AddScheduleRuleInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    resource: strawberry.ID | None = strawberry.field(
        default=None,
        description="Whose: a practitioner, room or device; else every practitioner's without own rules.",
    )
    hours: HoursInput = strawberry.field(description="When.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Other terms of a rule, or its end; visits already booked stay.")
class ChangeScheduleRuleInput:
    id: strawberry.ID = strawberry.field(description="The rule.")
    version: int = strawberry.field(description="The version that the change is based on.")
    hours: HoursInput | None = strawberry.field(default=None, description="All terms anew.")
    active: bool | None = strawberry.field(default=None, description="False withdraws it.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Days on which a place is closed or somebody is away.")
class AddScheduleClosureInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    resource: strawberry.ID | None = strawberry.field(
        default=None, description="Who or what is away; else the place itself is closed."
    )
    first_on: dt.date = strawberry.field(description="The first day.")
    last_on: dt.date = strawberry.field(description="The last day.")
    from_time: dt.time | None = strawberry.field(
        default=None, description="From when on each day; else from midnight."
    )
    until_time: dt.time | None = strawberry.field(
        default=None, description="Until when on each day; else to midnight."
    )
    reason: str | None = strawberry.field(default=None, description="Why, for people.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A closure to be withdrawn.")
class WithdrawScheduleClosureInput:
    id: strawberry.ID = strawberry.field(description="The closure.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The service.")
class HealthcareServicePayload:
    service: HealthcareService | None = strawberry.field(description="The service.")
    user_errors: list[UserError] = payload_errors()


@value_type("The rule.")
class ScheduleRulePayload:
    rule: ScheduleRule | None = strawberry.field(description="The rule.")
    user_errors: list[UserError] = payload_errors()


@value_type("The closure.")
class ScheduleClosurePayload:
    closure: ScheduleClosure | None = strawberry.field(description="The closure.")
    user_errors: list[UserError] = payload_errors()


def terms_of(given: HoursInput) -> Terms:
    """The terms that an input says. Raises NotFound for a service that cannot be there."""
    known, service = local_id(given.service, "HealthcareService")
    if not known:
        raise NotFound(path=("service",))
    return Terms(
        weekdays=tuple(given.weekdays),
        opens=given.opens,
        closes=given.closes,
        minutes=given.minutes,
        step=given.minutes if given.step is None else given.step,
        valid_from=given.valid_from,
        valid_until=given.valid_until,
        buffer_before=given.buffer_before,
        buffer_after=given.buffer_after,
        service_id=service,
    )


def resource_id(value: strawberry.ID | None) -> uuid.UUID | None:
    """The resource that an input names, also by its practitioner. Raises NotFound."""
    for prefix in ("BookableResource", "Practitioner"):
        known, found = local_id(value, prefix)
        if known:
            return found
    raise NotFound(path=("resource",))


async def opened(work: Work, node: str, resource: uuid.UUID | None = None) -> Any:
    """The unit at which hours are made, judged; those of a resource wherever they bind. Raises Forbidden."""
    unit = work.unit(node, "unit")
    await work.create(EDIT, work.new_row(unit))
    if unit.clinic_id is not None:
        await allowed_throughout(work, unit.clinic_id, resource)
    return unit


async def changed_by(work: Work, row: ScheduleRules | ScheduleClosures) -> Agent:
    """Who changes a rule or closure, judged wherever it binds. Raises NotFound, Forbidden."""
    agent = await work.require(EDIT, row)
    await allowed_throughout(work, row.clinic_id, row.resource_id)
    return agent


async def allowed_throughout(work: Work, clinic_id: uuid.UUID, resource: uuid.UUID | None) -> None:
    """Judge every place that a resource's own hours bind. Raises Forbidden (BOOKED_ELSEWHERE)."""
    if resource is None:
        return
    edits = work.context.actor.predicate("schedule", "edit").scope
    for unit in await places_bound(work.session, work.agent, clinic_id, resource):
        if not edits.covers(clinic_id, unit):
            raise Forbidden(Reason.BOOKED_ELSEWHERE)


@strawberry.type
class Mutation:
    @root(EDIT, "Offer a service.")
    async def add_healthcare_service(
        self, info: Info, input: Annotated[AddHealthcareServiceInput, GIVEN]
    ) -> HealthcareServicePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = await opened(work, input.unit)
            made = await add_service(
                work.session, work.agent, unit, input.name, input.minutes, work.new_id
            )
            return made.id

        return await perform(info._raw_info, "addHealthcareService", SERVICE, input, command)

    @root(EDIT, "Change, withdraw or offer a service again.")
    async def change_healthcare_service(
        self, info: Info, input: Annotated[ChangeHealthcareServiceInput, GIVEN]
    ) -> HealthcareServicePayload | None:
        async def command(work: Work) -> uuid.UUID:
            service = await work.load(HealthcareServices, input.id, "HealthcareService")
            agent = await work.require(EDIT, service)
            changed = await change_service(
                work.session,
                agent,
                service,
                input.version,
                name=input.name,
                minutes=input.minutes,
                active=input.active,
            )
            return changed.id

        return await perform(info._raw_info, "changeHealthcareService", SERVICE, input, command)

    @root(EDIT, "Open a weekly window in which visits can be booked.")
    async def add_schedule_rule(
        self, info: Info, input: Annotated[AddScheduleRuleInput, GIVEN]
    ) -> ScheduleRulePayload | None:
        async def command(work: Work) -> uuid.UUID:
            whose = resource_id(input.resource)
            unit = await opened(work, input.unit, whose)
            made = await add_rule(
                work.session,
                work.agent,
                unit,
                terms_of(input.hours),
                resource_id=whose,
                rule_id=work.new_id,
            )
            return made.id

        return await perform(
            info._raw_info, "addScheduleRule", RULE, input, command, nested="hours"
        )

    @root(EDIT, "Change a weekly window, or withdraw it.")
    async def change_schedule_rule(
        self, info: Info, input: Annotated[ChangeScheduleRuleInput, GIVEN]
    ) -> ScheduleRulePayload | None:
        async def command(work: Work) -> uuid.UUID:
            rule = await work.load(ScheduleRules, input.id, "ScheduleRule")
            agent = await changed_by(work, rule)
            hours = None if input.hours is None else terms_of(input.hours)
            changed = await change_rule(
                work.session, agent, rule, input.version, hours, active=input.active
            )
            return changed.id

        return await perform(
            info._raw_info, "changeScheduleRule", RULE, input, command, nested="hours"
        )

    @root(EDIT, "Close a place, or say that somebody is away. Visits already booked stay.")
    async def add_schedule_closure(
        self, info: Info, input: Annotated[AddScheduleClosureInput, GIVEN]
    ) -> ScheduleClosurePayload | None:
        async def command(work: Work) -> uuid.UUID:
            whose = resource_id(input.resource)
            unit = await opened(work, input.unit, whose)
            made = await close(
                work.session,
                work.agent,
                unit,
                input.first_on,
                input.last_on,
                resource_id=whose,
                from_time=input.from_time,
                until_time=input.until_time,
                reason=input.reason,
                closure_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "addScheduleClosure", CLOSURE, input, command)

    @root(EDIT, "Withdraw a closure.")
    async def withdraw_schedule_closure(
        self, info: Info, input: Annotated[WithdrawScheduleClosureInput, GIVEN]
    ) -> ScheduleClosurePayload | None:
        async def command(work: Work) -> uuid.UUID:
            closure = await work.load(ScheduleClosures, input.id, "ScheduleClosure")
            agent = await changed_by(work, closure)
            return (await reopen(work.session, agent, closure, input.version)).id

        return await perform(info._raw_info, "withdrawScheduleClosure", CLOSURE, input, command)
