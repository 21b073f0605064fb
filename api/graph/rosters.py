"""Who practises, which rooms and devices there are, and where and when they can be booked."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.practitioners import BookableResource, Practitioner
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform
from domain.people import Person as People
from domain.practitioners import BookableResource as BookableResources
from domain.practitioners import Practitioner as Practitioners
from domain.practitioners import ResourceKind, add_practitioner, add_resource
from domain.rosters import (
    check_period,
    link_practitioner,
    place,
    set_place,
    update_practitioner,
    update_resource,
    withdraw,
)

PRACTITIONER = Payload("practitioner", "Practitioner")
RESOURCE = Payload("resource", "BookableResource")
UNSET = strawberry.UNSET


@strawberry.input(description="Somebody who treats patients, and the first place where.")
class CreatePractitionerInput:
    unit: strawberry.ID = strawberry.field(
        description="The clinic or department where they can be booked."
    )
    given_name: str = strawberry.field(description="Given names.")
    family_name: str = strawberry.field(description="Family name.")
    specialty: str | None = strawberry.field(default=None, description="What they practise.")
    npi: str | None = strawberry.field(
        default=None, description="National Provider Identifier, ten digits; never answered."
    )
    person: strawberry.ID | None = strawberry.field(
        default=None, description="As whom they log in, where they do."
    )
    valid_from: dt.datetime | None = strawberry.field(
        default=None, description="From when they can be booked there; null for ever since."
    )
    valid_until: dt.datetime | None = strawberry.field(
        default=None, description="Until when; null without end."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A change of a practitioner; a field that is left out stays.")
class UpdatePractitionerInput:
    id: strawberry.ID = strawberry.field(description="The practitioner.")
    version: int = strawberry.field(description="The version that the change is based on.")
    given_name: str | None = strawberry.field(default=UNSET, description="Given names.")
    family_name: str | None = strawberry.field(default=UNSET, description="Family name.")
    specialty: str | None = strawberry.field(default=UNSET, description="What they practise.")
    npi: str | None = strawberry.field(
        default=UNSET, description="National Provider Identifier, ten digits."
    )
    active: bool | None = strawberry.field(default=UNSET, description="False once they have left.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="As whom a practitioner logs in.")
class LinkPractitionerInput:
    id: strawberry.ID = strawberry.field(description="The practitioner.")
    version: int = strawberry.field(description="The version that the change is based on.")
    person: strawberry.ID | None = strawberry.field(description="The person; null for nobody.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A room or a device, and the first place where it is.")
class CreateBookableResourceInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    kind: ResourceKind = strawberry.field(description="A room or a device.")
    name: str = strawberry.field(description="What people call it.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A change of a room or device; a field that is left out stays.")
class UpdateBookableResourceInput:
    id: strawberry.ID = strawberry.field(description="The room or device.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: str | None = strawberry.field(default=UNSET, description="What people call it.")
    active: bool | None = strawberry.field(default=UNSET, description="Whether it can be booked.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A place where something can be booked, for a time.")
class AssignResourceInput:
    resource: strawberry.ID = strawberry.field(
        description="The room or device, or what is booked of a practitioner."
    )
    unit: strawberry.ID = strawberry.field(description="The clinic, all of it, or a department.")
    valid_from: dt.datetime | None = strawberry.field(
        default=None, description="From when; null for ever since."
    )
    valid_until: dt.datetime | None = strawberry.field(
        default=None, description="Until when; null without end."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A place where something can be booked no more.")
class UnassignResourceInput:
    resource: strawberry.ID = strawberry.field(description="What can be booked.")
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    valid_until: dt.datetime | None = strawberry.field(
        default=None, description="Until when it still can; null for now."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("The practitioner.")
class PractitionerPayload:
    practitioner: Practitioner | None = strawberry.field(description="The practitioner.")
    user_errors: list[UserError] = payload_errors()


@value_type("What can be booked.")
class BookableResourcePayload:
    resource: BookableResource | None = strawberry.field(description="What can be booked.")
    user_errors: list[UserError] = payload_errors()


def assignment(work: Work, unit: Any, resource_id: uuid.UUID, **values: Any) -> Any:
    """An assignment that is about to be made or changed, as far as the policy looks at it."""
    return SimpleNamespace(
        tenant_id=work.agent.tenant_id,
        resource_id=resource_id,
        clinic_id=unit.clinic_id,
        unit_id=unit.id,
        valid_until=values.get("valid_until"),
    )


async def begins(work: Work, unit: Any, valid_until: dt.datetime | None = None) -> None:
    """Judge something new at its first place. Raises Forbidden."""
    first = assignment(work, unit, work.new_id, valid_until=valid_until)
    await work.create("assignment:edit", first)
    new = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
    await work.create("practitioner:manage", (new, [first]))


async def managed_person(work: Work, id_: str | None) -> uuid.UUID | None:
    """The person of an input, whom the asker manages. Raises NotFound, Forbidden."""
    if id_ is None:
        return None
    person = await work.load(People, id_, "Person", "person")
    await work.require("person:manage", person)
    work.changes_person(person.id)
    return person.id


@strawberry.type
class Mutation:
    @root("practitioner:manage", "Add somebody who treats patients and can be booked at a place.")
    async def create_practitioner(
        self, info: Info, input: Annotated[CreatePractitionerInput, GIVEN]
    ) -> PractitionerPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            check_period(input.valid_from, input.valid_until)
            person_id = await managed_person(work, input.person)
            await begins(work, unit, input.valid_until)
            made = await add_practitioner(
                work.session,
                work.agent,
                input.given_name,
                input.family_name,
                specialty=input.specialty,
                npi=input.npi,
                person_id=person_id,
                practitioner_id=work.new_id,
            )
            period = input.valid_from, input.valid_until
            await set_place(work.session, work.agent, made.id, unit, *period)
            return made.id

        return await perform(info._raw_info, "createPractitioner", PRACTITIONER, input, command)

    @root("practitioner:manage", "Correct a practitioner, or say that they left or returned.")
    async def update_practitioner(
        self, info: Info, input: Annotated[UpdatePractitionerInput, GIVEN]
    ) -> PractitionerPayload | None:
        names = ("given_name", "family_name", "specialty", "npi", "active")
        said = {n: getattr(input, n) for n in names if getattr(input, n) is not UNSET}

        async def command(work: Work) -> uuid.UUID:
            found = await work.load(Practitioners, input.id, "Practitioner")
            agent = await work.require("practitioner:manage", found)
            if found.person_id is not None:
                work.changes_person(found.person_id)
            await update_practitioner(work.session, agent, found, input.version, **said)
            return found.id

        return await perform(info._raw_info, "updatePractitioner", PRACTITIONER, input, command)

    @root("practitioner:manage", "Say as whom a practitioner logs in; you manage both.")
    async def link_practitioner(
        self, info: Info, input: Annotated[LinkPractitionerInput, GIVEN]
    ) -> PractitionerPayload | None:
        async def command(work: Work) -> uuid.UUID:
            found = await work.load(Practitioners, input.id, "Practitioner")
            before = found.person_id
            person_id = await managed_person(work, input.person)
            if before is not None and before != person_id:
                await managed_person(work, f"Person:{before}")
            agent = await work.require("practitioner:manage", found)
            await link_practitioner(work.session, agent, found, person_id, input.version)
            return found.id

        return await perform(info._raw_info, "linkPractitioner", PRACTITIONER, input, command)

    @root("practitioner:manage", "Add a room or a device that can be booked at a place.")
    async def create_bookable_resource(
        self, info: Info, input: Annotated[CreateBookableResourceInput, GIVEN]
    ) -> BookableResourcePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            await begins(work, unit)
            made = await add_resource(work.session, work.agent, input.kind, input.name, work.new_id)
            await set_place(work.session, work.agent, made.id, unit)
            return made.id

        return await perform(info._raw_info, "createBookableResource", RESOURCE, input, command)

    @root("practitioner:manage", "Rename a room or device, or say whether it can be booked.")
    async def update_bookable_resource(
        self, info: Info, input: Annotated[UpdateBookableResourceInput, GIVEN]
    ) -> BookableResourcePayload | None:
        names = ("name", "active")
        said = {n: getattr(input, n) for n in names if getattr(input, n) is not UNSET}

        async def command(work: Work) -> uuid.UUID:
            found = await work.load(BookableResources, input.id, "BookableResource")
            agent = await work.require("practitioner:manage", found)
            await update_resource(work.session, agent, found, input.version, **said)
            return found.id

        return await perform(info._raw_info, "updateBookableResource", RESOURCE, input, command)

    @root("assignment:edit", "Let something be booked at a place of yours, for a time.")
    async def assign_resource(
        self, info: Info, input: Annotated[AssignResourceInput, GIVEN]
    ) -> BookableResourcePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            found = await work.load(
                BookableResources, input.resource, "BookableResource", "resource"
            )
            agent = await work.create("assignment:edit", assignment(work, unit, found.id))
            await place(work.session, agent, found.id, unit, input.valid_from, input.valid_until)
            return found.id

        return await perform(info._raw_info, "assignResource", RESOURCE, input, command)

    @root("assignment:edit", "Let something be booked at a place of yours no more.")
    async def unassign_resource(
        self, info: Info, input: Annotated[UnassignResourceInput, GIVEN]
    ) -> BookableResourcePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            found = await work.load(
                BookableResources, input.resource, "BookableResource", "resource"
            )
            agent = await work.create("assignment:edit", assignment(work, unit, found.id))
            await withdraw(work.session, agent, found.id, unit, input.valid_until)
            return found.id

        return await perform(info._raw_info, "unassignResource", RESOURCE, input, command)
