"""Members in and out of a group in two round trips, where no rule speaks of the group: nobody's roles change by it.

What directories send most. Whatever else a change has goes the long way (`identity/scim/groups.py`), and so does one
that meets another change of the group: a unit waits for no lock, for others stand behind it.
"""

import uuid
from dataclasses import dataclass
from typing import cast

from domain.audit import Agent, Outcome
from domain.model import new_id
from domain.pipeline import Rows, Statement
from identity.assertions import asserted
from identity.scim.groups import Step, no_members
from identity.scim.reading import as_id
from identity.scim.unit_rules import held, hold, marked, rules
from identity.scim.units import Unit, encoded

TOLD = 1_000
"""So many ids of members an audit event names."""

_ABOVE = """
with recursive above(id) as (
    select $2::uuid
    union
    select m.group_id from scim_membership m join above a on a.id = m.member_id where m.tenant_id = $1::uuid
)
select g.display_name, g.external_id, g.id = $2::uuid
from scim_group g where g.tenant_id = $1::uuid and g.deleted_at is null and g.id in (select id from above)"""

_LOCKED = f"""
with at as materialized (
    select g.id, g.version from scim_group g
    where g.tenant_id = $1::uuid and g.id = $2::uuid and g.deleted_at is null
        and g.display_name = $8 and g.external_id is not distinct from $9 and {held("$4", "$14")}
    for no key update skip locked
),"""  # noqa: S608 (constants)

_IN = """
known as materialized (
    select u.id, u.id as user_id, null::uuid as subgroup_id from scim_user u
    where u.tenant_id = $1::uuid and u.id = any($3::uuid[]) and u.deleted_at is null
    union all
    select g.id, null, g.id from scim_group g
    where g.tenant_id = $1::uuid and g.id = any($3::uuid[]) and g.deleted_at is null
),
moved as (
    insert into scim_membership (tenant_id, group_id, member_id, user_id, subgroup_id)
    select $1::uuid, at.id, known.id, known.user_id, known.subgroup_id from at, known
    where (select count(*) from known) = cardinality($3::uuid[])
    on conflict do nothing
    returning member_id
),"""

_OUT = """
known as materialized (select unnest($3::uuid[]) as id),
moved as (
    delete from scim_membership m using at
    where m.tenant_id = $1::uuid and m.group_id = at.id and m.member_id = any($3::uuid[])
    returning m.member_id
),"""

_NOTED = """
raised as (
    update scim_group g set version = g.version + 1, updated_at = $4::timestamptz
    where g.tenant_id = $1::uuid and g.id = $2::uuid and exists (select from moved)
    returning g.version
),
noted as (
    insert into audit_event (tenant_id, id, recorded_at, action, outcome, subject_ids, masked, purpose, request_id,
        outside_request_id)
    select $1::uuid, $5::uuid, $4::timestamptz, 'scim:change_group', $10,
        array[$2::uuid] || (select array_agg(m.member_id) from (
            select member_id from moved order by member_id limit $11::integer) m) || $6::uuid,
        '{}', $12, $7::uuid, $13
    where exists (select from moved)
)
select at.version, (select version from raised), (select count(*) from known) from at"""

_STATEMENTS = {"add": _LOCKED + _IN + _NOTED, "remove": _LOCKED + _OUT + _NOTED}


@dataclass(frozen=True)
class Known:
    """A group as it was found: what it is called, the mark of the rules, and whether one speaks of it or of one around it."""

    display_name: bytes | None
    external_id: bytes | None
    mark: bytes
    ruled: bool


async def known(unit: Unit, group_id: uuid.UUID, agent: Agent) -> Known | None:
    """The group, None where there is none of this id."""
    tenant, of = encoded(agent.tenant_id), encoded(group_id)
    ((mark,), above) = await unit.run(marked(agent), Statement(_ABOVE, (tenant, of)))
    own = next((row for row in above if row[2] == b"t"), None)
    if own is None:
        return None
    names = [text.decode() for name, external, _ in above for text in (name, external) if text]
    found = await rules(unit, agent, mark)
    return Known(own[0], own[1], found.mark, found.ask_for(asserted({"groups": names})))


async def change(
    unit: Unit, agent: Agent, token_id: uuid.UUID, group_id: uuid.UUID, step: Step
) -> int | None:
    """The group's version after these members came or went; None where the change has to go the long way.

    Raises InvalidValueException where one to be added does not exist, DatabaseError.
    """
    ids = sorted({found for found in map(as_id, step.ids) if found})
    if step.what == "add" and len(ids) < len(set(step.ids)):
        return None
    group = await known(unit, group_id, agent)
    if group is None or group.ruled:
        return None
    rows = await moved(unit, agent, token_id, group_id, group, step.what, ids)
    if not rows:
        return None
    before, after, found = rows[0]
    if step.what == "add" and int(cast(bytes, found)) != len(ids):
        raise no_members(len(ids) - int(cast(bytes, found)), len(ids))
    return int(cast(bytes, after or before))


async def moved(
    unit: Unit,
    agent: Agent,
    token_id: uuid.UUID,
    group_id: uuid.UUID,
    group: Known,
    what: str,
    ids: list[uuid.UUID],
) -> Rows:
    """The group's version before and after these came or went, and how many of them there are.

    No row where the group or the rules are not as they were found, or are just being changed: then nothing is. Raises
    DatabaseError.
    """
    values = (
        *(agent.tenant_id, group_id, ids, agent.now, new_id(), token_id, agent.request_id),
        *(group.display_name, group.external_id, Outcome.DONE.value, TOLD, agent.purpose),
        *(agent.outside_request_id, group.mark),
    )
    sent = [v if isinstance(v, bytes) else encoded(v) for v in values]
    _, rows = await unit.run(hold(agent), Statement(_STATEMENTS[what], sent))
    return rows
