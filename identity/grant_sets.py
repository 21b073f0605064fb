"""Grants of many people, changed together: as `identity/grants.py` does for one, in a handful of statements for all.

Who calls has locked the people and looked whether it may be done (`identity/role_mappings.py`). Offices, of which
somebody has to stay, are not changed here.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from authz.grants import SECOND_FACTOR
from domain.audit import Agent, record_each
from domain.model import any_of, new_id
from domain.people import Person, RoleGrant
from identity.deferral import defer_sync
from identity.grants import GrantDraft

Subjects = Sequence[uuid.UUID]


@dataclass
class GrantChanges:
    """What is to be done: grants ended, made to last until another moment, and given, each with the rule's id."""

    ended: list[RoleGrant] = field(default_factory=list)
    moved: list[tuple[RoleGrant, dt.datetime | None]] = field(default_factory=list)
    given: list[tuple[GrantDraft, uuid.UUID]] = field(default_factory=list)


async def write(session: AsyncSession, agent: Agent, changes: GrantChanges) -> None:
    """Carry the changes out, raise the people's versions, leave an audit event each, let Keycloak follow."""
    people = {g.person_id for g in changes.ended} | {g.person_id for g, _ in changes.moved}
    people |= {draft.person_id for draft, _ in changes.given}
    if not people:
        return
    await session.execute(
        update(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id == any_of(people))
        .values(version=Person.version + 1, updated_at=agent.now),
        execution_options={"synchronize_session": False},
    )
    now = func.greatest(RoleGrant.valid_from, agent.now)
    await _until(session, agent, [g.id for g in changes.ended], now)
    for until in {until for _, until in changes.moved}:
        ids = [grant.id for grant, end in changes.moved if end == until]
        await _until(session, agent, ids, until)
    rows = [_row(agent, draft) for draft, _ in changes.given]
    if rows:
        await session.execute(insert(RoleGrant), rows)
    told = [(row["id"], row["person_id"]) for row in rows]
    because = [rule for _, rule in changes.given]
    events: dict[str, Sequence[Subjects]] = {
        "grant:revoke": [(g.id, g.person_id) for g in changes.ended],
        "grant:extend": [(g.id, g.person_id) for g, _ in changes.moved],
        "grant:give": [(*ids, rule) for ids, rule in zip(told, because, strict=True)],
    }
    for action, subjects in events.items():
        await record_each(session, agent, action, subjects)
    await _follow(session, agent, changes)


async def _until(session: AsyncSession, agent: Agent, ids: Sequence[uuid.UUID], end: Any) -> None:
    if ids:
        values = {"valid_until": end, "version": RoleGrant.version + 1, "updated_at": agent.now}
        await session.execute(
            update(RoleGrant)
            .where(RoleGrant.tenant_id == agent.tenant_id, RoleGrant.id == any_of(ids))
            .values(values),
            execution_options={"synchronize_session": False},
        )


def _row(agent: Agent, draft: GrantDraft) -> dict[str, Any]:
    return {
        "tenant_id": agent.tenant_id,
        "id": new_id(),
        "person_id": draft.person_id,
        "role": draft.role,
        "unit_id": draft.unit_id,
        "valid_from": agent.now,
        "valid_until": draft.valid_until,
        "source": draft.source,
        "source_ref": draft.source_ref,
        "granted_by": draft.asked_by or agent.person_id,
        "reason": draft.reason,
        "created_at": agent.now,
        "updated_at": agent.now,
    }


async def _follow(session: AsyncSession, agent: Agent, changes: GrantChanges) -> None:
    """Keycloak knows of roles only who has to show a second factor: thousands of nurses are no work for it."""
    moments: dict[dt.datetime | None, set[uuid.UUID]] = {}
    lasting: Iterable[tuple[str, uuid.UUID, dt.datetime | None]] = (
        *((g.role, g.person_id, None) for g in changes.ended),
        *((g.role, g.person_id, until) for g, until in changes.moved),
        *((draft.role, draft.person_id, draft.valid_until) for draft, _ in changes.given),
    )
    for role, person_id, until in lasting:
        if role in SECOND_FACTOR:
            for moment in {None, until}:
                moments.setdefault(moment, set()).add(person_id)
    for moment, people in moments.items():
        await defer_sync(session, agent.tenant_id, sorted(people), at=moment)
