"""Roles that follow from groups and attributes that a directory pushes, by the rules of `identity/role_mappings.py`.

Only people whose grants would change are looked at one by one: a change of ten thousand memberships that no rule
speaks of costs four statements.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import or_, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.errors import Invalid
from domain.people import Person, RoleGrant
from identity.administrators import (
    OFFICES,
    LastAdministrator,
    LastPrivacyOfficer,
    lock_offices,
)
from identity.assertions import ENTITLING, Asserted, asserted
from identity.role_mappings import SCIM, Source, apply_mappings, rules_of, wanted
from identity.scim.kinds import GROUPS, MEMBERS, USERS
from identity.scim.schemas import CLINICAL, ENTERPRISE

DIRECTORY = Source(SCIM)
_OFFICES: dict[str, type[Invalid]] = {e.code: e for e in (LastAdministrator, LastPrivacyOfficer)}


async def follow(session: AsyncSession, agent: Agent, people: Iterable[uuid.UUID]) -> int:
    """Bring these people's grants of the directory to what the rules say now; answers how many it changed.

    What a rule may not give is left out, as at a login. Raises LastAdministrator, LastPrivacyOfficer: a directory does
    not take away the last of an office.
    """
    ids = sorted(set(people))
    if not ids:
        return 0
    rules = await rules_of(session, agent, DIRECTORY)
    if not rules and not await _held(session, agent, ids):
        return 0
    # Before anything is read that decides: two changes of one person would each miss the other's, and undo it.
    active = await _locked(session, agent, ids, tenant=any(r.role in OFFICES for r in rules))
    held = await _held(session, agent, ids)
    said = await values_of(session, agent.tenant_id, ids)
    changed = 0
    for person_id in ids:
        values = said.get(person_id, {})
        places = wanted(rules, values) if person_id in active else {}
        gives = {(*place, rule.valid_until) for place, rule in places.items()}
        if gives == held.get(person_id, set()):
            continue
        done = await apply_mappings(session, agent, person_id, DIRECTORY, values)
        for refused in done.refused:
            if refused.code in _OFFICES:
                made: Any = _OFFICES[refused.code]
                raise made()
        changed += 1
    return changed


async def values_of(
    session: AsyncSession, tenant_id: uuid.UUID, people: Collection[uuid.UUID]
) -> dict[uuid.UUID, Asserted]:
    """What rules look at, of each: the names and external ids of all groups that they are in, and their attributes."""
    groups: dict[uuid.UUID, set[str]] = {}
    for person, name, external_id in await session.execute(_groups_of(tenant_id, people)):
        groups.setdefault(person, set()).update(filter(None, (name, external_id)))
    docs = await session.execute(
        select(USERS.c.id, USERS.c.doc).where(
            USERS.c.tenant_id == tenant_id, USERS.c.id.in_(people), USERS.c.deleted_at.is_(None)
        )
    )
    return {
        person: asserted(_attributes(doc) | {"groups": sorted(groups.get(person, ()))})
        for person, doc in docs
    }


def _attributes(doc: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a resource by the names that rules have for them."""
    told = {**doc.get(ENTERPRISE, {}), **doc.get(CLINICAL, {}), **doc}
    out: dict[str, Any] = {name: told.get(name) for name in ENTITLING}
    for name in ("roles", "entitlements"):
        entries = out[name] if isinstance(out[name], list) else []
        out[name] = [e.get("value") for e in entries if isinstance(e, dict)]
    return out


def _groups_of(tenant_id: uuid.UUID, people: Collection[uuid.UUID]) -> Any:
    """(person, name and external id of a group), through groups that are in groups."""
    mine = (MEMBERS.c.tenant_id == tenant_id, MEMBERS.c.member_id.in_(people))
    within = select(MEMBERS.c.member_id.label("person"), MEMBERS.c.group_id).where(*mine)
    tree = within.cte("within", recursive=True)
    above = MEMBERS.alias("above")
    tree = tree.union(
        select(tree.c.person, above.c.group_id).where(
            above.c.tenant_id == tenant_id, above.c.member_id == tree.c.group_id
        )
    )
    return (
        select(tree.c.person, GROUPS.c.display_name, GROUPS.c.external_id)
        .join(GROUPS, GROUPS.c.id == tree.c.group_id)
        .where(GROUPS.c.tenant_id == tenant_id, GROUPS.c.deleted_at.is_(None))
    )


async def users_within(
    session: AsyncSession, tenant_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> Sequence[uuid.UUID]:
    """All users among these members and within the groups among them, at whatever depth."""
    if not ids:
        return []
    inner = select(GROUPS.c.id.label("id")).where(GROUPS.c.tenant_id == tenant_id)
    tree = inner.where(GROUPS.c.id.in_(ids)).cte("inner_groups", recursive=True)
    below = MEMBERS.alias("below")
    tree = tree.union(
        select(below.c.subgroup_id).where(
            below.c.tenant_id == tenant_id,
            below.c.group_id == tree.c.id,
            below.c.subgroup_id.isnot(None),
        )
    )
    inside = select(MEMBERS.c.user_id).where(
        MEMBERS.c.tenant_id == tenant_id,
        MEMBERS.c.group_id.in_(select(tree.c.id)),
        MEMBERS.c.user_id.isnot(None),
    )
    themselves = select(USERS.c.id).where(USERS.c.tenant_id == tenant_id, USERS.c.id.in_(ids))
    return (await session.scalars(union(inside, themselves))).all()


async def _held(
    session: AsyncSession, agent: Agent, people: Collection[uuid.UUID]
) -> dict[uuid.UUID, set[tuple[Any, ...]]]:
    """Places that each holds by the directory's word: (role, unit, until)."""
    out: dict[uuid.UUID, set[tuple[Any, ...]]] = {}
    for row in await session.execute(
        select(RoleGrant.person_id, RoleGrant.role, RoleGrant.unit_id, RoleGrant.valid_until).where(
            RoleGrant.tenant_id == agent.tenant_id,
            RoleGrant.person_id.in_(people),
            RoleGrant.source == DIRECTORY.kind,
            RoleGrant.source_ref == DIRECTORY.ref,
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > agent.now),
        )
    ):
        out.setdefault(row.person_id, set()).add((row.role, row.unit_id, row.valid_until))
    return out


async def _locked(
    session: AsyncSession, agent: Agent, people: Collection[uuid.UUID], *, tenant: bool
) -> set[uuid.UUID]:
    """Lock these people, and the health system before them where an office may change; answers who is active."""
    if tenant:
        await lock_offices(session, agent)
    rows = await session.execute(
        select(Person.id, Person.active)
        .where(Person.tenant_id == agent.tenant_id, Person.id.in_(people))
        .order_by(Person.id)
        .with_for_update(key_share=True)
    )
    return {person_id for person_id, active in rows if active}
