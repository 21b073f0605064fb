"""Rules from what a source says to roles: made, ended, and applied to everybody whom a change concerns.

As in `identity/provisioning.py`: in the caller's transaction, one audit event each, the asker judged before, also for
the role at the node. What follows for people is done by a job: a rule that ends takes away what it gave within
moments, without anybody's login.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from authz.delegation import SECOND_APPROVAL
from authz.grants import LOWEST, fits
from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid, NotFound
from domain.identity_providers import IdentityLink, IdentityProvider
from domain.model import new_id
from domain.organization import OrgUnit
from domain.people import Person
from domain.plain_text import line
from domain.role_mappings import Match, RoleMapping
from domain.versions import change
from identity.assertions import ENTITLING, Asserted, asserted
from identity.deferral import defer_apply_rules
from identity.grants import NeedsApproval, RoleDoesNotFit, UnknownRole, check_period, needs_approval
from identity.role_mappings import IDP, SCIM, Source, apply_mappings, rules_of, wanted
from identity.scim.kinds import USERS
from identity.scim.roles import DIRECTORY, values_of
from identity.sync import cell_session

_ANYTHING = frozenset("*? ")


@dataclass(frozen=True)
class RuleDraft:
    """A rule as somebody asks for it."""

    source: Source
    attribute: str
    match: Match
    value: str
    role: str
    unit_id: uuid.UUID
    valid_until: dt.datetime | None = None


async def source_of(session: AsyncSession, agent: Agent, provider_id: uuid.UUID | None) -> Source:
    """A provider of the health system as a source, or SCIM where none is named. Raises NotFound."""
    if provider_id is None:
        return Source(SCIM)
    found = await session.scalar(
        select(IdentityProvider.id).where(
            IdentityProvider.tenant_id == agent.tenant_id, IdentityProvider.id == provider_id
        )
    )
    if found is None:
        raise NotFound(path=("identityProvider",))
    return Source.of(provider_id)


async def add_rule(
    session: AsyncSession, agent: Agent, draft: RuleDraft, rule_id: uuid.UUID | None = None
) -> RoleMapping:
    """Make a rule, which holds for whoever the source names from now on.

    Raises Invalid (attribute, value, period, closed unit), UnknownRole, RoleDoesNotFit, NotFound (unit), and
    NeedsApproval for what two people have to agree on: no group of a directory gives that.
    """
    await _check(session, agent, draft)
    rule = _made(agent, draft, rule_id or new_id())
    session.add(rule)
    record(session, agent, "tenant:configure", rule.id)
    await session.flush()
    await defer_apply_rules(session, agent.tenant_id, rule.source, rule.source_ref)
    return rule


def _made(agent: Agent, draft: RuleDraft, rule_id: uuid.UUID) -> RoleMapping:
    assert agent.person_id is not None  # somebody answers for it
    return RoleMapping(
        tenant_id=agent.tenant_id,
        id=rule_id,
        source=draft.source.kind,
        source_ref=draft.source.ref,
        attribute=draft.attribute,
        match=draft.match.value,
        value=line(draft.value, "value"),
        role=draft.role,
        unit_id=draft.unit_id,
        valid_until=draft.valid_until,
        created_by=agent.person_id,
        created_at=agent.now,
        updated_at=agent.now,
    )


async def _check(session: AsyncSession, agent: Agent, draft: RuleDraft) -> None:
    if draft.attribute not in ENTITLING:
        raise Invalid(f"One of {', '.join(ENTITLING)}.", path=("attribute",))
    if draft.match is Match.PATTERN and set(draft.value) <= _ANYTHING:
        raise Invalid("A pattern has more than what stands for anything.", path=("value",))
    if draft.role not in LOWEST:
        raise UnknownRole()
    unit = await session.scalar(
        select(OrgUnit).where(OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id == draft.unit_id)
    )
    if unit is None:
        raise NotFound(path=("unit",))
    if not unit.active:
        raise Invalid("This unit is closed.", path=("unit",), code="UNIT_CLOSED")
    if not fits(draft.role, unit.level):
        raise RoleDoesNotFit()
    check_period(agent.now, draft.valid_until)
    if draft.role in SECOND_APPROVAL and await needs_approval(session, agent, draft.role):
        raise NeedsApproval()


async def end_rule(
    session: AsyncSession, agent: Agent, rule: RoleMapping, version: int
) -> RoleMapping:
    """End a rule; what it alone gave is taken away. Raises IllegalMove, StaleVersion."""
    if rule.ended_at is not None:
        raise IllegalMove("rule", "ended", "ended")
    changed = await change(session, agent, rule, version, ended_at=agent.now)
    record(session, agent, "tenant:configure", rule.id)
    await defer_apply_rules(session, agent.tenant_id, rule.source, rule.source_ref)
    return changed


@dataclass(frozen=True)
class Change:
    """Somebody who gains or loses a role at a node by a change of the rules."""

    person_id: uuid.UUID
    given_name: str
    family_name: str


@dataclass(frozen=True)
class Changes:
    """What a change of the rules brings with it, by what the provider last said of people."""

    gaining: list[Change]
    losing: list[Change]


async def changes_of(
    session: AsyncSession,
    agent: Agent,
    source: Source,
    *,
    adding: RuleDraft | None = None,
    ending: RoleMapping | None = None,
) -> Changes:
    """Who would gain and who would lose if the rule were added or ended; nothing is done. Raises Invalid.

    People whom SCIM speaks of are not among them.
    """
    if adding is not None:
        await _check(session, agent, adding)
    before = list(await rules_of(session, agent, source))
    after = [rule for rule in before if ending is None or rule.id != ending.id]
    if adding is not None:
        after.append(_made(agent, adding, new_id()))
    gaining, losing = [], []
    for person, said in await _linked(session, agent, source):
        has, will = (
            {p for p, rule in wanted(rules, said).items() if rule.created_by != person.id}
            for rules in (before, after)
        )
        told = Change(person.id, person.given_name, person.family_name)
        if will - has:
            gaining.append(told)
        if has - will:
            losing.append(told)
    return Changes(gaining, losing)


async def _linked(
    session: AsyncSession, agent: Agent, source: Source
) -> list[tuple[Person, Asserted]]:
    """The active people whom a provider knows, by name, with what it last said of each."""
    if source.kind != IDP:
        return []
    links = await session.scalars(
        select(IdentityLink).where(
            IdentityLink.tenant_id == agent.tenant_id,
            IdentityLink.identity_provider_id == uuid.UUID(source.ref),
        )
    )
    said = {link.person_id: asserted(link.asserted) for link in links}
    people = await session.scalars(
        select(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id.in_(list(said)), Person.active)
        .order_by(Person.family_name, Person.given_name, Person.id)
    )
    return [(person, said[person.id]) for person in people]


async def apply_rules(cell: AsyncEngine, tenant_id: uuid.UUID, source: Source) -> None:
    """Apply the rules of a source to everybody it speaks of, by what it last said; each in a transaction of their own.

    Safe to repeat.
    """
    if source.kind == SCIM:
        await _apply_to_directory(cell, tenant_id)
        return
    links = select(IdentityLink.person_id, IdentityLink.asserted).where(
        IdentityLink.tenant_id == tenant_id,
        IdentityLink.identity_provider_id == uuid.UUID(source.ref),
    )
    async with cell_session(cell, tenant_id) as session:
        people = (await session.execute(links.order_by(IdentityLink.id))).all()
    for person_id, _ in people:
        async with cell_session(cell, tenant_id) as session:
            # Read again: a login in between has said something newer.
            one = links.where(IdentityLink.person_id == person_id)
            told = (await session.execute(one)).one()
            agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
            await apply_mappings(session, agent, person_id, source, asserted(told.asserted))


async def _apply_to_directory(cell: AsyncEngine, tenant_id: uuid.UUID) -> None:
    """As `apply_rules`, for everybody whom a directory pushed and who is not deleted there."""
    pushed = select(USERS.c.id).where(USERS.c.tenant_id == tenant_id, USERS.c.deleted_at.is_(None))
    async with cell_session(cell, tenant_id) as session:
        people = (await session.scalars(pushed.order_by(USERS.c.id))).all()
    for person_id in people:
        async with cell_session(cell, tenant_id) as session:
            said = await values_of(session, tenant_id, [person_id])
            agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
            values = said.get(person_id, {})
            await apply_mappings(session, agent, person_id, DIRECTORY, values)
