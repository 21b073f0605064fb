"""The sessions with which people have come: one's own, and for those who manage somebody, theirs."""

import uuid
from typing import Annotated

import strawberry

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.people import Person
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.attempts import agent_of
from api.plan.mapping import instant, parse_id
from api.plan.write import Payload, Work, perform
from authz.guard import Forbidden, GuardedSession, guarded_session
from domain.errors import NotFound
from domain.logins import LoginSession as LoginSessions
from domain.people import Person as People
from identity.revocation import revoke_session, revoke_sessions, sessions_of

PERSON = Payload("person", "Person", action="person:manage")


@value_type("A session of somebody who has logged in.")
class LoginSession:
    id: strawberry.ID = strawberry.field(description="Opaque; take it to `endSession`.")
    client: str = strawberry.field(description="The portal that it was opened from.")
    started_at: str = strawberry.field(description="When the person proved who they are.")
    current: bool = strawberry.field(description="Whether this very request comes from it.")


@strawberry.input(description="A session that is to end.")
class EndSessionInput:
    id: strawberry.ID = strawberry.field(description="The session; one's own too.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Somebody who is to be logged out.")
class SignOutInput:
    person: strawberry.ID = strawberry.field(description="The person; oneself too.")
    idempotency_key: str | None = idempotency_key()


@value_type("Whose sessions have ended.")
class SessionPayload:
    person: Person | None = strawberry.field(description="The person.")
    user_errors: list[UserError] = payload_errors()


async def judged(work: Work, person_id: uuid.UUID) -> None:
    """Everybody ends their own sessions; those of others, whoever manages them. Raises NotFound, Forbidden."""
    if person_id != work.context.actor.person_id:
        key = {"tenant_id": work.agent.tenant_id, "id": person_id}
        await work.require("person:manage", await work.session.get(People, key))


@strawberry.type
class Query:
    @root("own", "Sessions that still stand: your own, or those of somebody whom you manage.")
    async def sessions(
        self,
        info: Info,
        person: Annotated[
            strawberry.ID | None, strawberry.argument(description="Whose; yours without it.")
        ] = None,
    ) -> list[LoginSession] | None:
        context = info.context
        actor = context.actor
        parsed = parse_id(person, "Person") if person is not None else ("", actor.person_id)
        if parsed is None:
            return None
        async with guarded_session(context.cell, actor) as session:
            if parsed[1] != actor.person_id and not await _manages(session, parsed[1]):
                return None
            found = await sessions_of(session, agent_of(context), parsed[1])
        await context.still_valid()
        return [
            LoginSession(
                id=strawberry.ID(f"LoginSession:{one.id}"),
                client=one.client,
                started_at=instant(one.started_at),
                current=one.sid == actor.session.sid,
            )
            for one in found
        ]


async def _manages(session: GuardedSession, person_id: uuid.UUID) -> bool:
    key = {"tenant_id": session.actor.tenant_id, "id": person_id}
    try:
        await session.require("person:manage", await session.get(People, key))
    except (NotFound, Forbidden):
        return False
    return True


@strawberry.type
class Mutation:
    @root("own", "End one session at once: your own, or that of somebody whom you manage.")
    async def end_session(
        self, info: Info, input: Annotated[EndSessionInput, GIVEN]
    ) -> SessionPayload | None:
        async def command(work: Work) -> uuid.UUID:
            ending = await work.load(LoginSessions, input.id, "LoginSession")
            try:
                await judged(work, ending.person_id)
            except Forbidden:  # whose sessions one may not see have none
                raise NotFound(path=("id",)) from None
            work.signs_out = ending.sid == work.context.actor.session.sid
            await revoke_session(work.session, work.agent, ending.person_id, ending.sid)
            return ending.person_id

        return await perform(info._raw_info, "endSession", PERSON, input, command)

    @root("own", "End all sessions of somebody, your own or of whom you manage, on all devices.")
    async def sign_out(
        self, info: Info, input: Annotated[SignOutInput, GIVEN]
    ) -> SessionPayload | None:
        async def command(work: Work) -> uuid.UUID:
            person = await work.load(People, input.person, "Person", "person")
            await judged(work, person.id)
            work.changes_person(person.id)
            work.signs_out = person.id == work.context.actor.person_id
            await revoke_sessions(work.session, work.agent, person.id)
            return person.id

        return await perform(info._raw_info, "signOut", PERSON, input, command)
