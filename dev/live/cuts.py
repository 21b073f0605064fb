"""How somebody is cut off: the product's own commands, and what a realm announces."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from dev.live.client import announce
from dev.live.stage import CLINIC, TENANT, Stage, logout_address
from domain.audit import Agent
from domain.identity_providers import IdentityLink, IdentityProvider
from domain.model import new_id
from domain.organization import TenantState
from domain.people import RoleGrant
from identity.grants import revoke_grant
from identity.lifecycle import set_state
from identity.providers import suspend
from identity.provisioning import deactivate_person
from identity.revocation import revoke_session, revoke_sessions
from identity.sync import cell_session


@dataclass(frozen=True)
class Target:
    """Who is cut off, from where."""

    stage: Stage
    cell: AsyncEngine
    person: uuid.UUID
    sid: str

    @property
    def agent(self) -> Agent:
        """The product itself, now."""
        return Agent(tenant_id=TENANT, now=dt.datetime.now(dt.UTC))


async def _session(target: Target) -> None:
    async with cell_session(target.cell, TENANT) as session:
        await revoke_session(session, target.agent, target.person, target.sid)


async def _everywhere(target: Target) -> None:
    async with cell_session(target.cell, TENANT) as session:
        # Tokens of these trials are three seconds ahead of their time.
        late = Agent(tenant_id=TENANT, now=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=4))
        await revoke_sessions(session, late, target.person)


async def _disabled(target: Target) -> None:
    async with cell_session(target.cell, TENANT) as session:
        await deactivate_person(session, target.agent, target.person)


async def _grant(target: Target) -> None:
    async with cell_session(target.cell, TENANT) as session:
        held = select(RoleGrant.id).where(
            RoleGrant.tenant_id == TENANT, RoleGrant.person_id == target.person
        )
        await revoke_grant(session, target.agent, (await session.scalars(held)).one())


async def _announced(target: Target) -> None:
    token = target.stage.issuer.logout(str(target.person), target.sid)
    await announce(target.stage.ports[0], logout_address(), token)


async def _removed(target: Target) -> None:
    async with cell_session(target.cell, TENANT) as session:
        now = dt.datetime.now(dt.UTC)
        provider = await session.get_one(IdentityProvider, (TENANT, CLINIC))
        provider.state = "active"
        session.add(
            IdentityLink(
                tenant_id=TENANT,
                id=new_id(),
                identity_provider_id=provider.id,
                person_id=target.person,
                subject=str(target.person),
                asserted={},
                created_at=now,
                updated_at=now,
            )
        )
        await session.flush()
        # As above: these tokens are ahead of their time.
        late = Agent(tenant_id=TENANT, now=now + dt.timedelta(seconds=4))
        await suspend(session, late, provider, provider.version)


async def _suspended(target: Target) -> None:
    await set_state(target.cell, TENANT, TenantState.SUSPENDED)


WAYS: dict[str, Callable[[Target], Awaitable[None]]] = {
    "session killed": _session,
    "signed out everywhere": _everywhere,
    "disabled": _disabled,
    "grant revoked": _grant,
    "logout announced": _announced,
    "provider removed": _removed,
    "tenant suspended": _suspended,
}


async def mend(cell: AsyncEngine) -> None:
    """Let the health system go on."""
    await set_state(cell, TENANT, TenantState.ACTIVE)
