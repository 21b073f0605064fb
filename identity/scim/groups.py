"""A directory's groups, and who is in them: changed set by set, whatever the size of the group.

The group's row is locked first, so that changes of one group follow each other; its version rises only when something
changed. An id of another health system does not exist here.
"""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from scim2_models import InvalidValueException, PreconditionFailedException, UniquenessException
from sqlalchemy import (
    Row,
    Uuid,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.model import new_id
from domain.plain_text import line
from identity.scim.kinds import GROUP_KIND, GROUPS, MEMBERS, USERS
from identity.scim.reading import Found, as_id, etag, related, resource, row_of
from identity.scim.refusals import refused
from identity.scim.roles import are_ruled, follow, users_within
from identity.scim.units import by_session
from identity.scim.users import document, key

FEW = 2_000
"""So many people are looked at together, whether anything can follow or not."""


@dataclass(frozen=True)
class Step:
    """One change of a group: members added, removed or replaced by their ids, or an attribute set."""

    what: Literal["add", "remove", "replace", "displayName", "externalId"]
    ids: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True)
class Changed:
    """A group after a change: its row, and whose memberships moved."""

    row: Row[Any]
    moved: frozenset[uuid.UUID]


async def create(session: AsyncSession, agent: Agent, made: Any, members: Iterable[str]) -> Changed:
    """Make a group of these members, by their ids. Raises UniquenessException, InvalidValueException."""
    group_id = new_id()
    values = _columns(made)
    await _must_be_free(session, agent, group_id, values["display_key"])
    key_ = {"tenant_id": agent.tenant_id, "id": group_id}
    stamps = {"created_at": agent.now, "updated_at": agent.now}
    new = insert(GROUPS).values(**key_, **values, **stamps).returning(*GROUPS.c)
    row = (await session.execute(new)).one()
    moved = await _add(session, agent, group_id, _said(members))
    await _follow(session, agent, row, moved, row.display_name, row.external_id)
    return Changed(row, frozenset(moved))


async def replace(
    session: AsyncSession, agent: Agent, made: Any, expected: str | None
) -> tuple[Found, Changed]:
    """Bring a group to a whole new state. Raises NotFoundException, PreconditionFailedException, UniquenessException."""
    before = await row_of(session, agent.tenant_id, GROUP_KIND, made.id, lock=True)
    _unchanged(before, expected)
    members = _said(m.value for m in made.members or [])
    changed = await _change(session, agent, before, _columns(made), [("replace", members)])
    entries = await related(by_session(session), agent.tenant_id, GROUP_KIND, [before.id])
    return resource(GROUP_KIND, changed.row, entries.get(before.id)), changed


async def patch(
    session: AsyncSession, agent: Agent, before: Row[Any], steps: Iterable[Step]
) -> Changed:
    """Carry out steps on a locked group, without reading its members. Raises as `replace`."""
    doc, external, name = dict(before.doc), before.external_id, before.display_name
    moves: list[tuple[str, list[uuid.UUID]]] = []
    for step in steps:
        if step.what == "displayName":
            name = doc["displayName"] = _name(step.text)
        elif step.what == "externalId":
            external = doc["externalId"] = step.text
        elif step.what == "remove":  # whoever is not there is not in the group
            moves.append(("remove", [i for i in map(as_id, step.ids) if i]))
        else:
            moves.append((step.what, _said(step.ids)))
    values = {
        "display_name": name,
        "display_key": key(GROUP_KIND.model, "displayName", name),
        "external_id": key(GROUP_KIND.model, "externalId", external),
        "doc": {name: said for name, said in doc.items() if said is not None},
    }
    return await _change(session, agent, before, values, moves)


async def remove(session: AsyncSession, agent: Agent, text: str, expected: str | None) -> Changed:
    """Take a group away, with what it gave. Raises NotFoundException, PreconditionFailedException."""
    row = await row_of(session, agent.tenant_id, GROUP_KIND, text, lock=True)
    _unchanged(row, expected)
    people = await users_within(session, agent.tenant_id, [row.id])
    here = MEMBERS.c.tenant_id == agent.tenant_id
    await session.execute(delete(MEMBERS).where(here, MEMBERS.c.group_id == row.id))
    await session.execute(delete(MEMBERS).where(here, MEMBERS.c.member_id == row.id))
    gone = {"deleted_at": agent.now, "version": GROUPS.c.version + 1, "updated_at": agent.now}
    await session.execute(update(GROUPS).where(*_is(agent, row.id)).values(gone))
    await follow(session, agent, people)
    return Changed(row, frozenset(people))


async def _change(
    session: AsyncSession,
    agent: Agent,
    before: Row[Any],
    values: dict[str, Any],
    moves: list[tuple[str, list[uuid.UUID]]],
) -> Changed:
    """Write what differs; who is concerned is looked at once at the end."""
    told = {name: value for name, value in values.items() if value != getattr(before, name)}
    if "display_key" in told:
        await _must_be_free(session, agent, before.id, told["display_key"])
    moved: set[uuid.UUID] = set()
    for what, ids in moves:
        if what in ("remove", "replace"):
            moved.update(await _take(session, agent, before.id, ids, others=what == "replace"))
        if what in ("add", "replace"):
            moved.update(await _add(session, agent, before.id, ids))
    row = before
    if told or moved:
        raised = {"version": GROUPS.c.version + 1, "updated_at": agent.now}
        new = update(GROUPS).where(*_is(agent, before.id)).values(**told, **raised)
        row = (await session.execute(new.returning(*GROUPS.c))).one()
    renamed = told.keys() & {"display_name", "external_id"}
    concerned: set[uuid.UUID] = moved | ({before.id} if renamed else set())
    names = [name for group in (before, row) for name in (group.display_name, group.external_id)]
    await _follow(session, agent, row, concerned, *names)
    return Changed(row, frozenset(moved))


async def _follow(
    session: AsyncSession,
    agent: Agent,
    row: Row[Any],
    concerned: Collection[uuid.UUID],
    *names: str | None,
) -> None:
    """Let roles follow for all within these members; of many only where a rule asks for the group at all."""
    people = await users_within(session, agent.tenant_id, concerned)
    if len(people) <= FEW or await are_ruled(session, agent, row.id, *names):
        await follow(session, agent, people)


def _columns(made: Any) -> dict[str, Any]:
    doc = document(made)
    name = doc["displayName"] = _name(made.display_name)
    return {
        "display_name": name,
        "display_key": key(type(made), "displayName", name),
        "external_id": key(type(made), "externalId", made.external_id),
        "doc": doc,
    }


def _name(text: str | None) -> str:
    return line(text or "", "displayName")


def _said(texts: Iterable[Any]) -> list[uuid.UUID]:
    """Ids of members as they were sent. Raises InvalidValueException."""
    out = {text: as_id(text) for text in texts}
    wrong = sum(found is None for found in out.values())
    if wrong:
        raise no_members(wrong, len(out))
    return sorted({found for found in out.values() if found})


def no_members(wrong: int, of: int) -> InvalidValueException:
    """So many of those to be added are nobody here."""
    return refused(InvalidValueException, f"members: {wrong} of {of} do not exist.")


def _is(agent: Agent, group_id: uuid.UUID) -> tuple[Any, ...]:
    return GROUPS.c.tenant_id == agent.tenant_id, GROUPS.c.id == group_id


def _unchanged(row: Row[Any], expected: str | None) -> None:
    if expected is not None and etag(row.version) != expected:
        raise PreconditionFailedException()


async def _must_be_free(
    session: AsyncSession, agent: Agent, group_id: uuid.UUID, name: str
) -> None:
    taken = select(GROUPS.c.id).where(
        GROUPS.c.tenant_id == agent.tenant_id,
        GROUPS.c.display_key == name,
        GROUPS.c.deleted_at.is_(None),
        GROUPS.c.id != group_id,
    )
    if await session.scalar(taken):
        raise refused(UniquenessException, "Another group has this displayName.")


async def _add(
    session: AsyncSession, agent: Agent, group_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> set[uuid.UUID]:
    """Let these be in the group; answers who was not. Raises InvalidValueException where one does not exist."""
    if not ids:
        return set()
    asked = func.any(cast(sorted(ids), ARRAY(Uuid)))
    tenant = literal(agent.tenant_id, Uuid)
    none = cast(null(), Uuid)
    known = union_all(
        *(
            select(tenant.label("tenant_id"), literal(group_id, Uuid).label("group_id"))
            .add_columns(table.c.id.label("member_id"), *keys)
            .where(
                table.c.tenant_id == agent.tenant_id,
                table.c.id == asked,
                table.c.deleted_at.is_(None),
            )
            for table, keys in (
                (USERS, (USERS.c.id.label("user_id"), none.label("subgroup_id"))),
                (GROUPS, (none.label("user_id"), GROUPS.c.id.label("subgroup_id"))),
            )
        )
    ).cte("known")
    names = ["tenant_id", "group_id", "member_id", "user_id", "subgroup_id"]
    new = (
        upsert(MEMBERS)
        .from_select(names, select(*(known.c[n] for n in names)))
        .on_conflict_do_nothing()
        .returning(MEMBERS.c.member_id)
        .cte("new")
    )
    counted = select(func.count()).select_from(known).scalar_subquery()
    added = select(func.array_agg(new.c.member_id)).scalar_subquery()
    number, found = (await session.execute(select(counted, added))).one()
    if number != len(ids):
        raise no_members(len(ids) - number, len(ids))
    return set(found or ())


async def _take(
    session: AsyncSession,
    agent: Agent,
    group_id: uuid.UUID,
    ids: Collection[uuid.UUID],
    *,
    others: bool,
) -> set[uuid.UUID]:
    """Let these be out of the group, or all others; answers who was in it."""
    named = MEMBERS.c.member_id == func.any(cast(sorted(ids), ARRAY(Uuid)))
    gone = delete(MEMBERS).where(
        MEMBERS.c.tenant_id == agent.tenant_id,
        MEMBERS.c.group_id == group_id,
        ~named if others else named,
    )
    return set(await session.scalars(gone.returning(MEMBERS.c.member_id)))
