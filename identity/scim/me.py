"""`/Me` (RFC 7644, section 3.11): somebody who has logged in reads what the directory says of them.

The alias stands for whoever the token is of. A directory's token is nobody's, so it is answered 501; a person's token of
the health system's own issuer is theirs. Reading alone: who somebody is and what they may is the directory's to say.
"""

import secrets

from scim2_models import ForbiddenException, UnauthorizedException
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse

from domain.audit import Agent
from identity.actors import ActorLoader, stamp
from identity.errors import AccountHeld, MfaRequired, Unauthenticated
from identity.scim.kinds import USER_KIND
from identity.scim.protocol import Protocol
from identity.scim.refusals import refused
from identity.scim.swift import Swift
from identity.scim.tokens import READ, Bearer, digest_of
from identity.scim.units import Unit


def is_me(asked: ScimRequest) -> bool:
    """Whether a request is of somebody about themselves, and of no directory."""
    header = asked.header("Authorization")
    return asked.path.strip("/") == "Me" and bool(header) and digest_of(header) is None


async def read(
    actors: ActorLoader, unit: Unit, agent: Agent, asked: ScimRequest
) -> ScimResponse | None:
    """Their own resource, None where it has to be read the protocol's way.

    Raises UnauthorizedException, ForbiddenException, NotFoundException, IdentityUnavailable, DatabaseError.
    """
    scheme, _, token = (asked.header("Authorization") or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthorizedException()
    try:
        actor = await actors.actor(token.strip())
        if actor.tenant_id == unit.tenant_id and not (await unit.run(stamp(actor)))[0]:
            actor = await actors.actor(token.strip(), fresh=True)
    except Unauthenticated:
        raise UnauthorizedException() from None
    except (AccountHeld, MfaRequired):
        raise refused(ForbiddenException, "The login is not complete.") from None
    if actor.tenant_id != unit.tenant_id:
        raise UnauthorizedException()
    if asked.method != "GET":
        raise refused(ForbiddenException, "Only the directory changes people.")
    asked.path = f"/{USER_KIND.name}s/{actor.person_id}"
    asked.subject = Bearer(actor.person_id, frozenset({READ}), secrets.token_bytes(32))
    answer = await Swift(Protocol(asked.subject.secret), unit, agent, asked.subject).answer(asked)
    if answer is not None:
        answer.headers["Location"] = f"{asked.base_url}{asked.path}"
    return answer
