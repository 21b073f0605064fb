"""Rules from what a source says to roles: made, taken over, ended.

As in `identity/provisioning.py`: in the caller's transaction, one audit event each, the asker judged before, also for
the role at the node. What follows for people is done by a job (`identity/rule_runs.py`): a rule that ends takes away
what it gave within moments, without anybody's login.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import Text, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from authz.delegation import SECOND_APPROVAL
from authz.grants import LOWEST, OF_LINKS, fits
from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid, NotFound
from domain.identity_providers import IdentityProvider
from domain.model import new_id
from domain.organization import OrgUnit
from domain.plain_text import line
from domain.role_mappings import Match, RoleMapping
from domain.versions import change
from identity.assertions import ENTITLING
from identity.authors import standing
from identity.deferral import defer_apply_rules
from identity.grants import NeedsApproval, RoleDoesNotFit, UnknownRole, check_period, needs_approval
from identity.mapping_sources import SCIM, Source, change_rules

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
    await check_rule(session, agent, draft)
    rule = made(agent, draft, rule_id or new_id())
    await change_rules(session, agent, draft.source)
    session.add(rule)
    record(session, agent, "tenant:configure", rule.id)
    await session.flush()
    await defer_apply_rules(session, agent.tenant_id, rule.source, rule.source_ref)
    return rule


def made(agent: Agent, draft: RuleDraft, rule_id: uuid.UUID) -> RoleMapping:
    """The rule of a draft, not yet of any session."""
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


async def check_rule(session: AsyncSession, agent: Agent, draft: RuleDraft) -> None:
    """Whether such a rule can be. Raises as `add_rule`."""
    if draft.attribute not in ENTITLING:
        raise Invalid(f"One of {', '.join(ENTITLING)}.", path=("attribute",))
    if draft.match is Match.PATTERN and set(draft.value) <= _ANYTHING:
        raise Invalid("A pattern has more than what stands for anything.", path=("value",))
    if draft.role not in LOWEST or draft.role in OF_LINKS:
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
    await change_rules(session, agent, Source(rule.source, rule.source_ref))
    changed = await change(session, agent, rule, version, ended_at=agent.now)
    record(session, agent, "tenant:configure", rule.id)
    await defer_apply_rules(session, agent.tenant_id, rule.source, rule.source_ref)
    return changed


async def take_over_rule(
    session: AsyncSession, agent: Agent, rule: RoleMapping, version: int
) -> RoleMapping:
    """Answer for a rule from now on, in its author's place, who may have left. Raises IllegalMove, StaleVersion.

    Whether the asker may give its role there was judged before; it gives the asker nothing.
    """
    assert agent.person_id is not None  # somebody answers for it
    if rule.ended_at is not None:
        raise IllegalMove("rule", "ended", "open")
    await change_rules(session, agent, Source(rule.source, rule.source_ref))
    changed = await change(session, agent, rule, version, created_by=agent.person_id)
    record(session, agent, "tenant:configure", rule.id)
    await defer_apply_rules(session, agent.tenant_id, rule.source, rule.source_ref)
    return changed


async def rule_of(session: AsyncSession, agent: Agent, rule_id: uuid.UUID) -> RoleMapping:
    """A rule by its id. Raises NotFound."""
    found = await session.get(RoleMapping, (agent.tenant_id, rule_id))
    if found is None:
        raise NotFound("There is no such rule.")
    return found


async def unit_called(session: AsyncSession, agent: Agent, text: str) -> uuid.UUID:
    """A node by its id, or by its name where no other has it. Raises NotFound."""
    found = await session.scalars(
        select(OrgUnit.id).where(
            OrgUnit.tenant_id == agent.tenant_id,
            or_(OrgUnit.name == text, cast(OrgUnit.id, Text) == text.lower()),
        )
    )
    units = found.all()
    if len(units) != 1:
        raise NotFound(f"{len(units)} nodes are called so: give the id of one.", path=("unit",))
    return units[0]


async def listed(session: AsyncSession, agent: Agent) -> list[tuple[RoleMapping, str, bool]]:
    """The rules that count now, each with its node's name and whether its author may give its role there still."""
    rows = await session.execute(
        select(RoleMapping, OrgUnit.name)
        .join(
            OrgUnit,
            (OrgUnit.tenant_id == RoleMapping.tenant_id) & (OrgUnit.id == RoleMapping.unit_id),
        )
        .where(
            RoleMapping.tenant_id == agent.tenant_id,
            OrgUnit.tenant_id == agent.tenant_id,
            RoleMapping.ended_at.is_(None),
            or_(RoleMapping.valid_until.is_(None), RoleMapping.valid_until > agent.now),
        )
        .order_by(RoleMapping.id)
    )
    found = [(rule, unit) for rule, unit in rows]
    stand = await standing(session, agent, [rule for rule, _ in found])
    return [(rule, unit, rule.id in stand) for rule, unit in found]
