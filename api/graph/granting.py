"""Giving roles, letting them last longer and taking them back; the highest with a second person's approval."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.grants import Grant, GrantRequest
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform
from authz.guard import require
from domain.approvals import GrantRequest as GrantRequests
from domain.people import Person as People
from domain.people import RoleGrant
from identity.approvals import approve_grant, decline_grant, request_grant
from identity.grants import (
    GrantDraft,
    NeedsApproval,
    by_hand,
    drafted,
    extend_grant,
    give_grant,
    needs_approval,
    revoke_grant,
)

GRANT = Payload("grant", "Grant")
REQUEST = Payload("request", "GrantRequest")


@strawberry.input(description="A role for somebody.")
class GiveGrantInput:
    person: strawberry.ID = strawberry.field(description="Who gets it.")
    role: str = strawberry.field(description="Name of the role.")
    unit: strawberry.ID = strawberry.field(description="The node; the role holds below it too.")
    valid_from: dt.datetime | None = strawberry.field(
        default=None, description="When it begins; at once where it is left out."
    )
    valid_until: dt.datetime | None = strawberry.field(
        default=None, description="When it ends; without end where it is left out."
    )
    reason: str | None = strawberry.field(default=None, description="Why; one line.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A later end of a grant.")
class ExtendGrantInput:
    id: strawberry.ID = strawberry.field(description="The grant.")
    version: int = strawberry.field(description="The version that the change is based on.")
    valid_until: dt.datetime = strawberry.field(description="The new end, behind the present one.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="The end of a grant, at once.")
class RevokeGrantInput:
    id: strawberry.ID = strawberry.field(description="The grant.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="What becomes of a request.")
class DecideGrantRequestInput:
    id: strawberry.ID = strawberry.field(description="The request.")
    version: int = strawberry.field(description="The version that the decision is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The grant.")
class GrantPayload:
    grant: Grant | None = strawberry.field(description="The grant.")
    user_errors: list[UserError] = payload_errors()


@value_type("The request.")
class GrantRequestPayload:
    request: GrantRequest | None = strawberry.field(description="The request.")
    user_errors: list[UserError] = payload_errors()


async def asked(work: Work, given: GiveGrantInput) -> GrantDraft:
    """The grant that an input asks for, judged: whether the asker may give it. Raises NotFound, Forbidden, Invalid."""
    unit = work.unit(given.unit, "unit")
    person = await work.load(People, given.person, "Person", "person")
    draft = drafted(
        work.agent,
        person.id,
        given.role,
        unit.id,
        valid_from=given.valid_from,
        valid_until=given.valid_until,
        reason=given.reason,
    )
    new = work.new_row(unit, person_id=person.id, role=draft.role)
    await work.create("grant:give", new)
    await may_be_claimed(work, person)
    return draft


async def may_be_claimed(work: Work, person: People) -> None:
    """Raises Forbidden where the first role would make somebody the asker's to manage who is not.

    Whoever holds nothing, or has left, belongs to those who administer the whole health system.
    """
    held = await work.session.grants_of(person.id)
    if not held or not person.active:
        require(work.context.actor, "person:manage", (person, held))


@strawberry.type
class Mutation:
    @root("grant:give", "Give somebody a role at a node: one that your own roles may give there.")
    async def give_grant(
        self, info: Info, input: Annotated[GiveGrantInput, GIVEN]
    ) -> GrantPayload | None:
        async def command(work: Work) -> uuid.UUID:
            draft = await asked(work, input)
            if await needs_approval(work.session, work.agent, draft.role):
                raise NeedsApproval()
            return (await give_grant(work.session, work.agent, draft, grant_id=work.new_id)).id

        return await perform(info._raw_info, "giveGrant", GRANT, input, command)

    @root("grant:give", "Let a grant that will end last longer.")
    async def extend_grant(
        self, info: Info, input: Annotated[ExtendGrantInput, GIVEN]
    ) -> GrantPayload | None:
        async def command(work: Work) -> uuid.UUID:
            grant = await work.load(RoleGrant, input.id, "Grant")
            agent = await work.require("grant:give", grant)
            if await needs_approval(work.session, agent, grant.role):
                raise NeedsApproval()
            changed = await extend_grant(
                work.session, agent, grant, input.version, input.valid_until
            )
            return changed.id

        return await perform(info._raw_info, "extendGrant", GRANT, input, command)

    @root("grant:revoke", "End a grant at once. Its holder notices with their next request.")
    async def revoke_grant(
        self, info: Info, input: Annotated[RevokeGrantInput, GIVEN]
    ) -> GrantPayload | None:
        async def command(work: Work) -> uuid.UUID:
            grant = await work.load(RoleGrant, input.id, "Grant")
            agent = await work.require("grant:revoke", grant)
            by_hand(grant)
            work.changes_person(grant.person_id)
            return (await revoke_grant(work.session, agent, grant.id)).id

        return await perform(info._raw_info, "revokeGrant", GRANT, input, command)

    @root("grant:give", "Ask for a role that a second person has to approve.")
    async def request_grant(
        self, info: Info, input: Annotated[GiveGrantInput, GIVEN]
    ) -> GrantRequestPayload | None:
        async def command(work: Work) -> uuid.UUID:
            draft = await asked(work, input)
            return (await request_grant(work.session, work.agent, draft, work.new_id)).id

        return await perform(info._raw_info, "requestGrant", REQUEST, input, command)

    @root("grant:give", "Approve what another administrator asked for: the role is given.")
    async def approve_grant(
        self, info: Info, input: Annotated[DecideGrantRequestInput, GIVEN]
    ) -> GrantPayload | None:
        async def command(work: Work) -> uuid.UUID:
            request = await work.load(GrantRequests, input.id, "GrantRequest")
            agent = await work.require("grant:give", request)
            return (await approve_grant(work.session, agent, request, input.version)).id

        return await perform(info._raw_info, "approveGrant", GRANT, input, command)

    @root("grant:revoke", "Decline a request, or take back one's own: nothing is given.")
    async def decline_grant(
        self, info: Info, input: Annotated[DecideGrantRequestInput, GIVEN]
    ) -> GrantRequestPayload | None:
        async def command(work: Work) -> uuid.UUID:
            request = await work.load(GrantRequests, input.id, "GrantRequest")
            agent = await work.require("grant:revoke", request)
            return (await decline_grant(work.session, agent, request, input.version)).id

        return await perform(info._raw_info, "declineGrant", REQUEST, input, command)
