"""Who answers for a rule: it gives only what its author may give there at the moment when it would give it.

An author who leaves, or loses the role by which they made a rule, gives nothing more by it. What it gave stays while the
source says so: nobody loses their work because an administrator left. Somebody else takes the rule over
(`identity/rules.py`).
"""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from authz.actor import Actor, Grant, Session
from authz.grants import counting
from authz.templates import Variant, load_policy
from authz.tree import Tree
from domain.audit import Agent
from domain.errors import Invalid, NotFound
from domain.model import any_of
from domain.organization import OrgUnit, Tenant
from domain.people import Person, RoleGrant
from domain.role_mappings import RoleMapping
from identity.sync import in_force


class AuthorMayNot(Invalid):
    """Whoever answers for the rule may not give its role there."""

    code = "AUTHOR_MAY_NOT_GRANT"

    def __init__(self) -> None:
        super().__init__(
            "Whoever made the rule may not give this role there (any more): somebody who may takes it over.",
            path=("author",),
            code=self.code,
        )


async def answering(session: AsyncSession, agent: Agent, user_name: str) -> Agent:
    """The agent as the active person of this user name, who answers for what is done. Raises NotFound."""
    found = await session.scalar(
        select(Person.id).where(
            Person.tenant_id == agent.tenant_id,
            Person.user_name == user_name.strip().lower(),
            Person.active,
        )
    )
    if found is None:
        raise NotFound("There is no active person of this user name.")
    return replace(agent, person_id=found)


async def must_stand(session: AsyncSession, agent: Agent, role: str, unit_id: uuid.UUID) -> None:
    """Raises AuthorMayNot where the agent's person may not give the role there now."""
    assert agent.person_id is not None
    asked = RoleMapping(
        tenant_id=agent.tenant_id,
        id=uuid.UUID(int=0),
        role=role,
        unit_id=unit_id,
        created_by=agent.person_id,
    )
    if not await standing(session, agent, [asked]):
        raise AuthorMayNot()


async def standing(
    session: AsyncSession, agent: Agent, rules: Iterable[RoleMapping]
) -> set[uuid.UUID]:
    """Those of these rules whose authors may give their roles at their nodes now."""
    asked = list(rules)
    if not asked:
        return set()
    tree, variant = await _tree(session, agent, {rule.unit_id for rule in asked})
    authors = {rule.created_by for rule in asked}
    held: dict[uuid.UUID, list[Grant]] = {}
    for row in await session.scalars(
        select(RoleGrant)
        .join(
            Person, (Person.tenant_id == RoleGrant.tenant_id) & (Person.id == RoleGrant.person_id)
        )
        .where(
            RoleGrant.tenant_id == agent.tenant_id,
            Person.tenant_id == agent.tenant_id,
            RoleGrant.person_id == any_of(authors),
            Person.active,
            *in_force(agent.now),
        )
    ):
        grant = Grant(row.id, row.role, row.unit_id, row.valid_from, row.valid_until)
        held.setdefault(row.person_id, []).append(grant)
    actors = {
        person: _actor(agent, person, counting(grants, tree, agent.now), tree, variant)
        for person, grants in held.items()
    }
    return {r.id for r in asked if r.created_by in actors and _may(actors[r.created_by], r)}


def _may(author: Actor, rule: RoleMapping) -> bool:
    unit = author.tree.units.get(rule.unit_id)
    if unit is None:
        return False
    new = SimpleNamespace(
        tenant_id=author.tenant_id,
        id=rule.id,
        clinic_id=unit.clinic_id,
        unit_id=unit.id,
        sensitivity=0,
        person_id=None,
        role=rule.role,
    )
    return author.predicate("grant", "give").allows(new)


async def _tree(session: AsyncSession, agent: Agent, units: set[uuid.UUID]) -> tuple[Tree, Variant]:
    """The part of the tree that lies above these units, and the policy's variant."""
    here = select(OrgUnit.id, OrgUnit.parent_id).where(OrgUnit.tenant_id == agent.tenant_id)
    line = here.where(OrgUnit.id == any_of(units)).cte("line", recursive=True)
    above = aliased(OrgUnit)
    line = line.union(
        select(above.id, above.parent_id).where(
            above.tenant_id == agent.tenant_id, above.id == line.c.parent_id
        )
    )
    rows = await session.scalars(
        select(OrgUnit).where(
            OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id.in_(select(line.c.id))
        )
    )
    found = await session.execute(
        select(Tenant.tree_version, Tenant.policy_variant, Tenant.viewer_clinical).where(
            Tenant.tenant_id == agent.tenant_id
        )
    )
    version, admins, viewer = found.one()
    return Tree.build(agent.tenant_id, version, rows), Variant(admins, viewer)


def _actor(
    agent: Agent, person_id: uuid.UUID, grants: tuple[Grant, ...], tree: Tree, variant: Variant
) -> Actor:
    """The author as somebody who asks, without a login: what a rule does, nobody is there to do."""
    late = dt.datetime.max.replace(tzinfo=dt.UTC)
    return Actor(
        tenant_id=agent.tenant_id,
        person_id=person_id,
        practitioner_id=None,
        user_name="",
        grants=grants,
        tree=tree,
        policy=load_policy(variant),
        session=Session("", agent.now, agent.now, mfa=False, expires_at=late),
        person_version=0,
        tenant_version=0,
        valid_until=late,
    )
