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
from domain.plain_text import line
from domain.role_mappings import Match, RoleMapping
from domain.versions import change
from identity.assertions import ENTITLING, asserted
from identity.deferral import defer_apply_rules
from identity.grants import NeedsApproval, RoleDoesNotFit, UnknownRole, check_period, needs_approval
from identity.role_mappings import IDP, SCIM, Source, apply_mappings
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
    assert agent.person_id is not None  # somebody answers for it
    await _check(session, agent, draft)
    rule = RoleMapping(
        tenant_id=agent.tenant_id,
        id=rule_id or new_id(),
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
    session.add(rule)
    record(session, agent, "tenant:configure", rule.id)
    await session.flush()
    await defer_apply_rules(session, agent.tenant_id, rule.source, rule.source_ref)
    return rule


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


async def apply_rules(cell: AsyncEngine, tenant_id: uuid.UUID, source: Source) -> None:
    """Apply a provider's rules to everybody it knows, by what it last said; each in a transaction of their own.

    Safe to repeat. People whom SCIM speaks of are its own to go through (`scim` has no links here).
    """
    if source.kind != IDP:
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
