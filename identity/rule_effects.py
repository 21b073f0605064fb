"""What a change of the rules would bring: who gains, who loses, who is refused it and why. Nothing is done."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.identity_providers import IdentityLink
from domain.model import any_of, new_id
from domain.people import Person, RoleGrant
from domain.role_mappings import RoleMapping
from identity.assertions import Asserted, asserted
from identity.mapping_plans import Applied, planned
from identity.mapping_sources import SCIM, Concerned, Place, Source, held_of, rules_of
from identity.rules import RuleDraft, made
from identity.scim.roles import named_by, values_of
from identity.sync import cell_session

NAMED = 1_000
"""So many people of each kind are named; all are counted."""


@dataclass(frozen=True)
class Change:
    """Somebody who gains or loses a role at a node by a change of the rules; with `code`, who is refused it."""

    person_id: uuid.UUID
    given_name: str
    family_name: str
    code: str | None = None


@dataclass(frozen=True)
class Changes:
    """What a change of the rules brings with it, by what was last said of people; the first are named, by name."""

    gaining: list[Change]
    losing: list[Change]
    refused: list[Change]
    gain: int
    lose: int
    refuse: int


async def changes_of(
    cell: AsyncEngine,
    agent: Agent,
    source: Source,
    *,
    adding: RuleDraft | None = None,
    ending: RoleMapping | None = None,
) -> Changes:
    """What would follow if the rule were added or ended. Who asks was judged before; everybody is looked at."""
    async with cell_session(cell, agent.tenant_id) as session:
        rules = list(await rules_of(session, agent, source))
        if adding is not None:
            rule = made(agent, adding, new_id())
            after = [*rules, rule]
        else:
            assert ending is not None
            rule = ending
            after = [other for other in rules if other.id != rule.id]
        people = sorted(await _named(session, agent, source, rule))
        said = await _said(session, agent, source, people)
        active = await _active(session, agent, people)
        held = await held_of(session, agent, source, people)
        # Both, for rules that have just changed may not have been applied to everybody yet.
        has, will = [
            (
                await planned(session, agent, Concerned(source, some, people, active, held), said)
            ).told
            for some in (rules, after)
        ]
        return await _told(session, agent, (rule.role, rule.unit_id), held, has, will)


async def _named(
    session: AsyncSession, agent: Agent, source: Source, rule: RoleMapping
) -> Collection[uuid.UUID]:
    """Whom a rule may concern: of a directory, which has many, only those of whom it says what the rule asks for."""
    if source.kind == SCIM:
        return await named_by(session, agent.tenant_id, rule)
    links = await session.scalars(
        select(IdentityLink.person_id).where(
            IdentityLink.tenant_id == agent.tenant_id,
            IdentityLink.identity_provider_id == uuid.UUID(source.ref),
        )
    )
    return links.all()


async def _active(
    session: AsyncSession, agent: Agent, people: Collection[uuid.UUID]
) -> set[uuid.UUID]:
    found = await session.scalars(
        select(Person.id).where(
            Person.tenant_id == agent.tenant_id, Person.id == any_of(people), Person.active
        )
    )
    return set(found)


async def _said(
    session: AsyncSession, agent: Agent, source: Source, people: Collection[uuid.UUID]
) -> dict[uuid.UUID, Asserted]:
    if source.kind == SCIM:
        return await values_of(session, agent.tenant_id, people)
    links = await session.execute(
        select(IdentityLink.person_id, IdentityLink.asserted).where(
            IdentityLink.tenant_id == agent.tenant_id,
            IdentityLink.identity_provider_id == uuid.UUID(source.ref),
            IdentityLink.person_id == any_of(people),
        )
    )
    return {person: asserted(told) for person, told in links}


async def _told(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    held: dict[uuid.UUID, list[RoleGrant]],
    has: dict[uuid.UUID, Applied],
    will: dict[uuid.UUID, Applied],
) -> Changes:
    holding = {p for p, grants in held.items() if place in {(g.role, g.unit_id) for g in grants}}

    def holders(told: dict[uuid.UUID, Applied]) -> set[uuid.UUID]:
        ended = {person for person, done in told.items() if place in done.ended}
        return (holding - ended) | {p for p, done in told.items() if place in done.given}

    gain: dict[uuid.UUID, str | None] = dict.fromkeys(holders(will) - holders(has))
    lose: dict[uuid.UUID, str | None] = dict.fromkeys(holders(has) - holders(will))
    refuse: dict[uuid.UUID, str | None] = {
        person: one.code
        for person, done in will.items()
        for one in done.refused
        if (one.role, one.unit_id) == place
    }

    async def named(codes: dict[uuid.UUID, str | None]) -> list[Change]:
        rows = await session.execute(
            select(Person.id, Person.given_name, Person.family_name)
            .where(Person.tenant_id == agent.tenant_id, Person.id == any_of(codes))
            .order_by(Person.family_name, Person.given_name, Person.id)
            .limit(NAMED)
        )
        return [Change(*row, codes[row.id]) for row in rows]

    return Changes(
        gaining=await named(gain),
        losing=await named(lose),
        refused=await named(refuse),
        gain=len(gain),
        lose=len(lose),
        refuse=len(refuse),
    )
