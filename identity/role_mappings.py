"""Roles that follow from what a source says of people: the one function that logins and SCIM apply rules by.

Only grants of that very source are given, moved and ended: what somebody gave by hand, or what another source says,
is not its to take. A rule gives nothing that could not be given by hand, so whatever a grant refuses is refused here
as well and told, rule by rule; the rest is carried out. One person or ten thousand cost the same number of statements.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.errors import Invalid
from domain.model import any_of
from domain.people import Person, RoleGrant
from identity.administrators import OFFICES, keep_filled, lock_offices
from identity.assertions import Asserted
from identity.grant_sets import GrantChanges, write
from identity.mapping_plans import Applied, Refused, planned
from identity.mapping_sources import Concerned, Source, held_of, hold_rules, rules_of


async def concern(
    session: AsyncSession, agent: Agent, source: Source, people: Iterable[uuid.UUID]
) -> Concerned | None:
    """Lock people, before anything is read that decides: two changes of one would each miss the other's, and undo it.

    None where the source has no rules and gave them nothing.
    """
    ids = sorted(set(people))
    if not ids:
        return None
    await hold_rules(session, agent, source)
    rules = await rules_of(session, agent, source)
    before = await held_of(session, agent, source, ids)
    if not rules and not before:
        return None
    offices = {rule.role for rule in rules} | {g.role for found in before.values() for g in found}
    if not offices.isdisjoint(OFFICES):  # the order of all who take two locks
        await lock_offices(session, agent)
    rows = await session.execute(
        select(Person.id, Person.active)
        .where(Person.tenant_id == agent.tenant_id, Person.id == any_of(ids))
        .order_by(Person.id)
        .with_for_update(key_share=True)
    )
    active = {person_id for person_id, is_active in rows if is_active}
    return Concerned(source, rules, ids, active, await held_of(session, agent, source, ids))


async def apply_mappings(
    session: AsyncSession, agent: Agent, concerned: Concerned, said: Mapping[uuid.UUID, Asserted]
) -> dict[uuid.UUID, Applied]:
    """Bring people's grants of a source to what its rules say of these values; who is not said of holds nothing by it.

    In the caller's transaction; repeating it changes nothing. Answers for whom something changed or was refused.
    Somebody who is inactive is given nothing, and what they held of the source ends. What could not be done is in
    `refused`: as `identity/mapping_plans.py` has it, and the last of an office, who stays (LAST_ADMINISTRATOR,
    LAST_PRIVACY_OFFICER).
    """
    plan = await planned(session, agent, concerned, said)
    writing = GrantChanges(given=plan.changes.given)
    for grant in plan.changes.ended:
        if grant.role not in OFFICES:
            writing.ended.append(grant)
        elif not await _vacated(session, agent, grant, agent.now, plan.of(grant.person_id)):
            plan.of(grant.person_id).ended.remove((grant.role, grant.unit_id))
    for grant, until in plan.changes.moved:
        if grant.role not in OFFICES or until is None:
            writing.moved.append((grant, until))
        elif not await _vacated(session, agent, grant, until, plan.of(grant.person_id)):
            plan.of(grant.person_id).moved.remove((grant.role, grant.unit_id))
    await write(session, agent, writing)
    return plan.told


async def _vacated(
    session: AsyncSession, agent: Agent, grant: RoleGrant, until: dt.datetime, done: Applied
) -> bool:
    """Let an office end, one by one, since each may be the last."""
    try:
        await keep_filled(session, agent, grant.role, grant_id=grant.id)
    except Invalid as error:
        done.refused.append(Refused(grant.role, grant.unit_id, error.code))
        return False
    ending = until <= agent.now
    change = GrantChanges([grant]) if ending else GrantChanges(moved=[(grant, until)])
    await write(session, agent, change)
    return True
