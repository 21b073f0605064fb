"""People who come, change their names and leave."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated, Any

import strawberry

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.people import Person
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform
from domain.errors import StaleVersion, part
from domain.people import Person as People
from identity.grants import GrantDraft, NeedsApproval, drafted, needs_approval
from identity.provisioning import (
    PersonDraft,
    create_person,
    deactivate_person,
    reactivate_person,
    update_person,
)

PERSON = Payload("person", "Person")
UNSET = strawberry.UNSET


@strawberry.input(description="The role that somebody begins with.")
class FirstGrantInput:
    role: str = strawberry.field(description="Name of the role.")
    unit: strawberry.ID = strawberry.field(description="The node; the role holds below it too.")
    valid_from: dt.datetime | None = strawberry.field(
        default=None, description="When it begins; at once where it is left out."
    )
    valid_until: dt.datetime | None = strawberry.field(
        default=None, description="When it ends; without end where it is left out."
    )
    reason: str | None = strawberry.field(default=None, description="Why; one line.")


@strawberry.input(description="Somebody who comes to work here.")
class CreatePersonInput:
    user_name: str = strawberry.field(description="What they log in as.")
    given_name: str = strawberry.field(description="Given names.")
    family_name: str = strawberry.field(description="Family name.")
    email: str | None = strawberry.field(default=None, description="Where mail reaches them.")
    grant: FirstGrantInput | None = strawberry.field(
        default=None,
        description="Their first role: needed by whoever administers a part of the health system only.",
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A change of a person; a field that is left out stays.")
class UpdatePersonInput:
    id: strawberry.ID = strawberry.field(description="The person.")
    version: int = strawberry.field(description="The version that the change is based on.")
    user_name: str | None = strawberry.field(default=UNSET, description="What they log in as.")
    given_name: str | None = strawberry.field(default=UNSET, description="Given names.")
    family_name: str | None = strawberry.field(default=UNSET, description="Family name.")
    email: str | None = strawberry.field(
        default=UNSET, description="Where mail reaches them; null for nowhere."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Somebody who leaves or returns.")
class ChangePersonInput:
    id: strawberry.ID = strawberry.field(description="The person.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The person.")
class PersonPayload:
    person: Person | None = strawberry.field(description="The person.")
    user_errors: list[UserError] = payload_errors()


async def first_grant(work: Work, given: FirstGrantInput) -> tuple[GrantDraft, Any]:
    """A new person's first grant, judged: as the command takes it, and as the policy sees it."""
    unit = work.unit(given.unit, "unit")
    draft = drafted(
        work.agent,
        work.new_id,
        given.role,
        unit.id,
        valid_from=given.valid_from,
        valid_until=given.valid_until,
        reason=given.reason,
    )
    new = work.new_row(unit, person_id=work.new_id, role=draft.role, valid_until=draft.valid_until)
    await work.create("grant:give", new)
    if await needs_approval(work.session, work.agent, draft.role):
        raise NeedsApproval()
    return draft, new


async def managed(work: Work, id_: str, version: int, permission: str) -> uuid.UUID:
    """The person of an input, judged with all that they hold. Raises NotFound, Forbidden, StaleVersion.

    Their version rises with their grants: the write that asks for the judged one finds the judged grants.
    """
    person = await work.load(People, id_, "Person")
    await work.require(permission, person)
    if person.version != version:
        raise StaleVersion(person.version)
    work.changes_person(person.id)
    return person.id


@strawberry.type
class Mutation:
    @root(
        "person:manage", "Add somebody, who may log in at once; with their first role or without."
    )
    async def create_person(
        self, info: Info, input: Annotated[CreatePersonInput, GIVEN]
    ) -> PersonPayload | None:
        async def command(work: Work) -> uuid.UUID:
            first, coming = None, []
            if input.grant is not None:
                with part("grant"):
                    first, new = await first_grant(work, input.grant)
                coming.append(new)
            who = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("person:manage", (who, coming))
            draft = PersonDraft(input.user_name, input.given_name, input.family_name, input.email)
            made = await create_person(
                work.session, agent, draft, person_id=work.new_id, first=first
            )
            return made.id

        return await perform(info._raw_info, "createPerson", PERSON, input, command)

    @root("person:manage", "Correct somebody's names, login or address.")
    async def update_person(
        self, info: Info, input: Annotated[UpdatePersonInput, GIVEN]
    ) -> PersonPayload | None:
        names = ("user_name", "given_name", "family_name", "email")
        said = {n: getattr(input, n) for n in names if getattr(input, n) is not UNSET}

        async def command(work: Work) -> uuid.UUID:
            person_id = await managed(work, input.id, input.version, "person:manage")
            await update_person(work.session, work.agent, person_id, input.version, **said)
            return person_id

        return await perform(info._raw_info, "updatePerson", PERSON, input, command)

    @root("person:deactivate", "Shut somebody out with their next request; their roles stay.")
    async def deactivate_person(
        self, info: Info, input: Annotated[ChangePersonInput, GIVEN]
    ) -> PersonPayload | None:
        async def command(work: Work) -> uuid.UUID:
            person_id = await managed(work, input.id, input.version, "person:deactivate")
            await deactivate_person(work.session, work.agent, person_id, input.version)
            return person_id

        return await perform(info._raw_info, "deactivatePerson", PERSON, input, command)

    @root("person:manage", "Let somebody in again, with the roles that are still in force.")
    async def reactivate_person(
        self, info: Info, input: Annotated[ChangePersonInput, GIVEN]
    ) -> PersonPayload | None:
        async def command(work: Work) -> uuid.UUID:
            person_id = await managed(work, input.id, input.version, "person:manage")
            await reactivate_person(work.session, work.agent, person_id, input.version)
            return person_id

        return await perform(info._raw_info, "reactivatePerson", PERSON, input, command)
