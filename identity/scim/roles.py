"""Roles that follow from groups and attributes that a directory pushes, by the rules of `identity/role_mappings.py`.

However many memberships a request moves, what follows from them is a handful of statements for each 2,500 people.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence, Set
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Uuid,
    bindparam,
    func,
    null,
    select,
    union,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.errors import Invalid
from domain.model import any_of
from domain.role_mappings import RoleMapping
from identity.administrators import LastAdministrator, LastPrivacyOfficer
from identity.assertions import ENTITLING, Asserted, asserted
from identity.mapping_plans import Applied
from identity.mapping_sources import SCIM, Matching, Source, hold_rules, in_force
from identity.role_mappings import apply_mappings, concern
from identity.scim.departures import let_go
from identity.scim.kinds import GROUPS, MEMBERS, USERS
from identity.scim.schemas import CLINICAL, ENTERPRISE
from identity.scim.units import TENANT

DIRECTORY = Source(SCIM)
AT_ONCE = 2_500
"""So many people's roles are worked out together."""
_COMPARED = (RoleMapping.id, RoleMapping.attribute, RoleMapping.match, RoleMapping.value)
_OFFICES: dict[str, type[Invalid]] = {e.code: e for e in (LastAdministrator, LastPrivacyOfficer)}


async def follow(session: AsyncSession, agent: Agent, people: Iterable[uuid.UUID]) -> int:
    """Bring these people's grants of the directory to what the rules say now; answers how many it changed.

    What a rule may not give is left out, as at a login. Raises LastAdministrator, LastPrivacyOfficer (a directory does
    not take away the last of an office), TooManyLeave.
    """
    done = await bring(session, agent, people)
    for applied in done.values():
        for refused in applied.refused:
            if refused.code in _OFFICES:
                made: Any = _OFFICES[refused.code]
                raise made()
    left = [who for who, d in done.items() if d.ended and not (d.given or d.moved)]
    await let_go(session, agent, left)
    return sum(bool(d.given or d.moved or d.ended) for d in done.values())


async def follow_new(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, doc: dict[str, Any]
) -> None:
    """As `follow`, for somebody who was made just now: in no group, holding nothing, seen by nobody else."""
    if await are_asked_for(session, agent, doc):
        await follow(session, agent, [person_id])


async def are_asked_for(session: AsyncSession, agent: Agent, *docs: dict[str, Any]) -> bool:
    """Whether a rule asks for an attribute that one of these resources has; groups are looked at elsewhere.

    Holds the rules.
    """
    await hold_rules(session, agent, DIRECTORY)
    rules: Any = await session.execute(
        select(*_COMPARED).where(*in_force(agent, DIRECTORY), RoleMapping.attribute != "groups")
    )
    matching = Matching(rules.all())
    return any(matching.of(asserted(attributes(doc))) for doc in docs)


async def are_ruled(
    session: AsyncSession, agent: Agent, group_id: uuid.UUID, *names: str | None
) -> bool:
    """Whether a rule asks for a group, by these names, or for one that it is in: else nobody's roles follow from it.

    Holds the rules.
    """
    await hold_rules(session, agent, DIRECTORY)
    rules: Any = await session.execute(
        select(*_COMPARED).where(*in_force(agent, DIRECTORY), RoleMapping.attribute == "groups")
    )
    matching = Matching(rules.all())
    if not matching.rules:
        return False
    said = set(filter(None, names))
    for _, name, external_id in await session.execute(
        _GROUPS_OF, _named(agent.tenant_id, [group_id])
    ):
        said.update(filter(None, (name, external_id)))
    return bool(matching.of({"groups": frozenset(said)}))


async def bring(
    session: AsyncSession, agent: Agent, people: Iterable[uuid.UUID]
) -> dict[uuid.UUID, Applied]:
    """As `follow`, but the last of an office stays without an error.

    Some at a time, in the order in which all lock people: what is known of ten thousand at once is 60 MiB.
    """
    everybody, done = sorted(set(people)), dict[uuid.UUID, Applied]()
    for first in range(0, len(everybody), AT_ONCE):
        some = everybody[first : first + AT_ONCE]
        concerned = await concern(session, agent, DIRECTORY, some)
        if concerned is None:
            continue
        looked_at = {rule.attribute for rule in concerned.rules}
        said = await values_of(session, agent.tenant_id, some, looked_at)
        done |= await apply_mappings(session, agent, concerned, said)
    return done


async def values_of(
    session: AsyncSession,
    tenant_id: uuid.UUID,
    people: Collection[uuid.UUID],
    looked_at: Set[str] = frozenset(ENTITLING),
) -> dict[uuid.UUID, Asserted]:
    """What rules look at, of each: the names and external ids of all groups that they are in, and their attributes."""
    groups: dict[uuid.UUID, set[str]] = {}
    for person, name, external_id in await session.execute(_GROUPS_OF, _named(tenant_id, people)):
        groups.setdefault(person, set()).update(filter(None, (name, external_id)))
    told = USERS.c.doc if looked_at - {"groups"} else null()
    docs = await session.execute(
        select(USERS.c.id, told).where(
            USERS.c.tenant_id == tenant_id,
            USERS.c.id == any_of(people),
            USERS.c.deleted_at.is_(None),
        )
    )
    return {
        person: asserted(attributes(doc or {}) | {"groups": sorted(groups.get(person, ()))})
        for person, doc in docs
    }


async def named_by(
    session: AsyncSession, tenant_id: uuid.UUID, rule: RoleMapping
) -> Set[uuid.UUID]:
    """The users of whom the directory says what the rule asks for."""
    matching = Matching([rule])
    if rule.attribute == "groups":
        found = await session.execute(
            select(GROUPS.c.id, GROUPS.c.display_name, GROUPS.c.external_id).where(
                GROUPS.c.tenant_id == tenant_id, GROUPS.c.deleted_at.is_(None)
            )
        )
        ids = [
            group
            for group, *names in found
            if matching.of({"groups": frozenset(filter(None, names))})
        ]
        return set(await users_within(session, tenant_id, ids))
    out: set[uuid.UUID] = set()
    docs = select(USERS.c.id, USERS.c.doc).where(
        USERS.c.tenant_id == tenant_id, USERS.c.deleted_at.is_(None)
    )
    async for person, doc in await session.stream(docs.execution_options(yield_per=1_000)):
        if matching.of(asserted(attributes(doc))):
            out.add(person)
    return out


def attributes(doc: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a resource by the names that rules have for them."""
    told = {**doc.get(ENTERPRISE, {}), **doc.get(CLINICAL, {}), **doc}
    out: dict[str, Any] = {name: told.get(name) for name in ENTITLING}
    for name in ("roles", "entitlements"):
        entries = out[name] if isinstance(out[name], list) else []
        out[name] = [e.get("value") for e in entries if isinstance(e, dict)]
    return out


async def users_within(
    session: AsyncSession, tenant_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> Sequence[uuid.UUID]:
    """All users among these members and within the groups among them, at whatever depth."""
    if not ids:
        return []
    return (await session.scalars(_WITHIN, _named(tenant_id, ids))).all()


def _named(tenant_id: uuid.UUID, ids: Iterable[uuid.UUID]) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "ids": list(ids)}


def _groups_of() -> Select[Any]:
    """(member, name and external id of a group), through groups that are in groups."""
    mine = (MEMBERS.c.tenant_id == TENANT, MEMBERS.c.member_id == _IDS)
    within = select(MEMBERS.c.member_id.label("person"), MEMBERS.c.group_id).where(*mine)
    tree = within.cte("within", recursive=True)
    above = MEMBERS.alias("above")
    tree = tree.union(
        select(tree.c.person, above.c.group_id).where(
            above.c.tenant_id == TENANT, above.c.member_id == tree.c.group_id
        )
    )
    return (
        select(tree.c.person, GROUPS.c.display_name, GROUPS.c.external_id)
        .join(GROUPS, GROUPS.c.id == tree.c.group_id)
        .where(GROUPS.c.tenant_id == TENANT, GROUPS.c.deleted_at.is_(None))
    )


def _within() -> CompoundSelect[Any]:
    """Users among these members and within the groups among them."""
    inner = select(GROUPS.c.id.label("id")).where(GROUPS.c.tenant_id == TENANT)
    tree = inner.where(GROUPS.c.id == _IDS).cte("inner_groups", recursive=True)
    below = MEMBERS.alias("below")
    tree = tree.union(
        select(below.c.subgroup_id).where(
            below.c.tenant_id == TENANT,
            below.c.group_id == tree.c.id,
            below.c.subgroup_id.isnot(None),
        )
    )
    inside = select(MEMBERS.c.user_id).where(
        MEMBERS.c.tenant_id == TENANT,
        MEMBERS.c.group_id.in_(select(tree.c.id)),
        MEMBERS.c.user_id.isnot(None),
    )
    themselves = select(USERS.c.id).where(USERS.c.tenant_id == TENANT, USERS.c.id == _IDS)
    return union(inside, themselves)


# Made once: to put them together costs as much as to carry them out.
_IDS: ColumnElement[Any] = func.any(bindparam("ids", type_=ARRAY(Uuid)))
_GROUPS_OF, _WITHIN = _groups_of(), _within()
