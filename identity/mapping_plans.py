"""What the rules of a source give, move and take away, worked out before anything is done: also for asking only.

What no rule gives is told with its code: what two people approve while that is asked for (NEEDS_APPROVAL), anything to
the rule's own author (TO_ONESELF) or beyond what the author may give by now (AUTHOR_MAY_NOT_GRANT), duties that must
not meet (ROLES_CONFLICT), what is held here in this period already (GRANT_OVERLAPS), closed units and units of another
level (UNIT_CLOSED, ROLE_DOES_NOT_FIT).
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from authz.delegation import CONFLICTS, SECOND_APPROVAL, meet
from authz.grants import LOWEST, fits
from authz.session import grants_of_each
from domain.audit import Agent
from domain.model import any_of
from domain.organization import OrgUnit, Tenant
from domain.people import RoleGrant
from domain.role_mappings import RoleMapping
from identity.assertions import Asserted
from identity.authors import AuthorMayNot, standing
from identity.grant_sets import GrantChanges
from identity.grants import (
    GrantDraft,
    GrantOverlaps,
    NeedsApproval,
    RoleDoesNotFit,
    RolesConflict,
    ToOneself,
    UnknownRole,
)
from identity.mapping_sources import Concerned, Matching, Place, by_place, lasts

UNIT_CLOSED = "UNIT_CLOSED"


@dataclass(frozen=True)
class Refused:
    """A rule that matched and gave nothing, or a grant that it no longer carries and that stayed, and why."""

    role: str
    unit_id: uuid.UUID
    code: str
    mapping_id: uuid.UUID | None = None


@dataclass
class Applied:
    """What changes of a person's grants from one source; each place is (role, unit)."""

    given: list[Place] = field(default_factory=list)
    moved: list[Place] = field(default_factory=list)
    ended: list[Place] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass
class Plan:
    """What is to be written, and the same told person by person."""

    changes: GrantChanges = field(default_factory=GrantChanges)
    told: dict[uuid.UUID, Applied] = field(default_factory=dict)

    def of(self, person_id: uuid.UUID) -> Applied:
        """What is told of a person."""
        return self.told.setdefault(person_id, Applied())

    def end(self, grant: RoleGrant) -> None:
        """The grant ends now."""
        self.changes.ended.append(grant)
        self.of(grant.person_id).ended.append((grant.role, grant.unit_id))

    def move(self, grant: RoleGrant, until: dt.datetime | None) -> None:
        """The grant ends at another moment."""
        self.changes.moved.append((grant, until))
        self.of(grant.person_id).moved.append((grant.role, grant.unit_id))

    def refuse(self, person_id: uuid.UUID, rule: RoleMapping, code: str) -> None:
        """The rule gives nothing to the person."""
        self.of(person_id).refused.append(Refused(rule.role, rule.unit_id, code, rule.id))


Wish = tuple[uuid.UUID, RoleMapping]
"""Who is to be given what a rule says."""


async def planned(
    session: AsyncSession, agent: Agent, concerned: Concerned, said: Mapping[uuid.UUID, Asserted]
) -> Plan:
    """What follows for these people from what is said of them; writes nothing."""
    plan = Plan()
    matching = Matching(concerned.rules)
    matched = {
        person: matching.of(said.get(person, {})) if person in concerned.active else []
        for person in concerned.people
    }
    held = {person: _held(concerned, person) for person in matched}
    two = await _two(session, agent, {r.role for rules in matched.values() for r in rules})
    for person, rules in matched.items():
        matched[person] = _permitted(plan, person, rules, two)
    asking = {
        rule.id: rule
        for person, rules in matched.items()
        for rule in rules
        if not _stays(held[person], rule)
    }
    stand = await standing(session, agent, asking.values())
    wishes: list[Wish] = []
    for person, rules in matched.items():
        wishes += _compare(plan, person, rules, held[person], stand)
    await _give(session, agent, concerned, plan, wishes)
    return plan


def _held(concerned: Concerned, person: uuid.UUID) -> dict[Place, RoleGrant]:
    return {(grant.role, grant.unit_id): grant for grant in concerned.held.get(person, ())}


def _stays(held: Mapping[Place, RoleGrant], rule: RoleMapping) -> bool:
    """Whether the person holds what the rule gives, for as long: then its author need not be asked."""
    grant = held.get((rule.role, rule.unit_id))
    return grant is not None and grant.valid_until == rule.valid_until


async def _two(session: AsyncSession, agent: Agent, roles: Set[str]) -> bool:
    """Whether two people approve some of these roles."""
    if SECOND_APPROVAL.isdisjoint(roles):
        return False
    asked = select(Tenant.second_approval).where(Tenant.tenant_id == agent.tenant_id)
    return bool(await session.scalar(asked))


def _permitted(
    plan: Plan, person: uuid.UUID, rules: Iterable[RoleMapping], two: bool
) -> list[RoleMapping]:
    """Without the rules that alone may not give anything to this person."""
    out = []
    for rule in rules:
        if two and rule.role in SECOND_APPROVAL:
            plan.refuse(person, rule, NeedsApproval.code)
        elif rule.created_by == person:
            plan.refuse(person, rule, ToOneself.code)
        else:
            out.append(rule)
    return out


def _compare(
    plan: Plan,
    person: uuid.UUID,
    rules: list[RoleMapping],
    held: Mapping[Place, RoleGrant],
    stand: Set[uuid.UUID],
) -> list[Wish]:
    """What ends and what moves; answers what is to be given."""
    all_ = by_place(rules)
    good = by_place(r for r in rules if r.id in stand or _stays(held, r))
    for place, grant in held.items():
        rule = good.get(place) or all_.get(place)
        if rule is None:
            plan.end(grant)
        elif rule.valid_until == grant.valid_until:
            continue
        elif place in good or lasts(rule.valid_until) < lasts(grant.valid_until):
            plan.move(grant, rule.valid_until)
        else:  # what was given stays, and lasts no longer
            plan.refuse(person, rule, AuthorMayNot.code)
    for place, rule in all_.items():
        if place not in good and place not in held:
            plan.refuse(person, rule, AuthorMayNot.code)
    return [(person, rule) for place, rule in good.items() if place not in held]


async def _give(
    session: AsyncSession, agent: Agent, concerned: Concerned, plan: Plan, wishes: list[Wish]
) -> None:
    """What of the wishes can be given, beside all that the people hold from whatever source."""
    if not wishes:
        return
    units = {
        unit_id: (level, active)
        for unit_id, level, active in await session.execute(
            select(OrgUnit.id, OrgUnit.level, OrgUnit.active).where(
                OrgUnit.tenant_id == agent.tenant_id,
                OrgUnit.id == any_of(rule.unit_id for _, rule in wishes),
            )
        )
    }
    ending = {grant.id for grant in plan.changes.ended}
    beside: dict[uuid.UUID, list[RoleGrant | GrantDraft]] = {}
    for grant in await grants_of_each(session, agent.tenant_id, (p for p, _ in wishes)):
        if grant.id not in ending:
            beside.setdefault(grant.person_id, []).append(grant)
    for person, rule in wishes:
        others = beside.setdefault(person, [])
        code = _unfit(rule, *units[rule.unit_id]) or _clash(agent, rule, others, concerned)
        if code is not None:
            plan.refuse(person, rule, code)
            continue
        draft = GrantDraft(
            person,
            rule.role,
            rule.unit_id,
            valid_until=rule.valid_until,
            source=concerned.source.kind,
            source_ref=concerned.source.ref,
            reason=f"{rule.attribute}: {rule.value}",
            asked_by=rule.created_by,
        )
        others.append(draft)
        plan.changes.given.append((draft, rule.id))
        plan.of(person).given.append((rule.role, rule.unit_id))


def _unfit(rule: RoleMapping, level: str, active: bool) -> str | None:
    if rule.role not in LOWEST:
        return UnknownRole.code
    if not active:
        return UNIT_CLOSED
    return None if fits(rule.role, level) else RoleDoesNotFit.code


def _clash(
    agent: Agent,
    rule: RoleMapping,
    others: Iterable[RoleGrant | GrantDraft],
    concerned: Concerned,
) -> str | None:
    source = (concerned.source.kind, concerned.source.ref)
    for other in others:
        period = (other.valid_from or agent.now, other.valid_until)
        if not meet((agent.now, rule.valid_until), period):
            continue
        if frozenset({other.role, rule.role}) in CONFLICTS:
            return RolesConflict.code
        same = (other.role, other.unit_id) == (rule.role, rule.unit_id)
        if same and (other.source, other.source_ref) == source:
            return GrantOverlaps.code
    return None
