"""What we asked a provider for and waits for its answer, and what it said that is taken once.

All of it lies in the cell: a request is taken away by the first answer, in one statement, and a message that was
taken is a row with its own id, so that neither a crash nor two processes nor a lost cache lets it in again.
"""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.direct_logins import SamlMessage, SamlRequest, forget_direct
from domain.model import new_id
from identity.saml.refusals import Flaw, SamlRefused

WAITS = dt.timedelta(minutes=10)
KEPT = dt.timedelta(minutes=15)
"""So long a message is known: longer than any that is believed lasts."""


@dataclass(frozen=True)
class Way:
    """How the browser goes on afterwards, as OAuth 2.0 has it; vetted before."""

    client: str
    redirect_uri: str
    state: str | None = None
    challenge: str | None = None


def message_id(request_id: UUID) -> str:
    """The id of our message, which is also its RelayState; XML wants it to begin with no digit."""
    return f"_{request_id.hex}"


async def keep(session: AsyncSession, agent: Agent, provider_id: UUID, way: Way) -> UUID:
    """Let a request wait for its answer; what has waited for too long goes."""
    await forget_direct(session, agent)
    made = SamlRequest(
        tenant_id=agent.tenant_id,
        id=new_id(),
        identity_provider_id=provider_id,
        client=way.client,
        redirect_uri=way.redirect_uri,
        state=way.state,
        challenge=way.challenge,
        until=agent.now + WAITS,
    )
    session.add(made)
    await session.flush()
    return made.id


async def take(
    session: AsyncSession, agent: Agent, provider_id: UUID, told: str, *, login: bool
) -> SamlRequest:
    """The request that a message names, which waits no more. Raises SamlRefused (REQUEST).

    Only one of this provider, of this kind, and of the last ten minutes.
    """
    kind = SamlRequest.challenge.is_not(None) if login else SamlRequest.challenge.is_(None)
    found: SamlRequest | None = await session.scalar(
        delete(SamlRequest)
        .where(
            SamlRequest.tenant_id == agent.tenant_id,
            SamlRequest.id == _id(told),
            SamlRequest.identity_provider_id == provider_id,
            SamlRequest.until > agent.now,
            kind,
        )
        .returning(SamlRequest),
        execution_options={"synchronize_session": False},
    )
    if found is None:
        raise SamlRefused(Flaw.REQUEST)
    return found


def _id(told: str) -> UUID:
    try:
        found = UUID(told[1:])
    except ValueError:
        raise SamlRefused(Flaw.REQUEST) from None
    if message_id(found) != told:
        raise SamlRefused(Flaw.REQUEST)
    return found


async def take_once(session: AsyncSession, agent: Agent, provider_id: UUID, told: str) -> None:
    """Note that a message was taken. Raises SamlRefused (REPLAYED) for one that was before."""
    new = await session.scalar(
        insert(SamlMessage)
        .values(
            tenant_id=agent.tenant_id,
            identity_provider_id=provider_id,
            message_id=told,
            until=agent.now + KEPT,
        )
        .on_conflict_do_nothing()
        .returning(SamlMessage.message_id)
    )
    if new is None:
        raise SamlRefused(Flaw.REPLAYED)
