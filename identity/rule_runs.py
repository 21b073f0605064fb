"""Rules of a source applied to everybody it speaks of: after a change of the rules, without anybody's login."""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.identity_providers import IdentityLink
from domain.model import any_of
from identity.assertions import asserted
from identity.mapping_sources import SCIM, Source
from identity.role_mappings import apply_mappings, concern
from identity.scim.kinds import USERS
from identity.scim.roles import bring
from identity.sync import cell_session

AT_ONCE = 500
"""People of one transaction: their rows are locked for so long."""


async def apply_rules(cell: AsyncEngine, tenant_id: uuid.UUID, source: Source) -> None:
    """Apply the rules of a source to everybody it speaks of, by what it last said. Safe to repeat."""
    people = await _people(cell, tenant_id, source)
    for some in _parts(people):
        async with cell_session(cell, tenant_id) as session:
            agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
            if source.kind == SCIM:
                await bring(session, agent, some)
                continue
            concerned = await concern(session, agent, source, some)
            if concerned is None:
                continue
            # Read now that they are locked: a login in between has said something newer.
            told = await session.execute(
                select(IdentityLink.person_id, IdentityLink.asserted).where(
                    IdentityLink.tenant_id == tenant_id,
                    IdentityLink.identity_provider_id == uuid.UUID(source.ref),
                    IdentityLink.person_id == any_of(some),
                )
            )
            said = {person: asserted(values) for person, values in told}
            await apply_mappings(session, agent, concerned, said)


async def _people(cell: AsyncEngine, tenant_id: uuid.UUID, source: Source) -> Sequence[uuid.UUID]:
    """Whom a provider knows, or whom a directory pushed and did not delete."""
    if source.kind == SCIM:
        found = select(USERS.c.id).where(
            USERS.c.tenant_id == tenant_id, USERS.c.deleted_at.is_(None)
        )
        found = found.order_by(USERS.c.id)
    else:
        found = select(IdentityLink.person_id).where(
            IdentityLink.tenant_id == tenant_id,
            IdentityLink.identity_provider_id == uuid.UUID(source.ref),
        )
        found = found.order_by(IdentityLink.id)
    async with cell_session(cell, tenant_id) as session:
        return (await session.scalars(found)).all()


def _parts(people: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    return (people[i : i + AT_ONCE] for i in range(0, len(people), AT_ONCE))
