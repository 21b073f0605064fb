"""Members in and out of a group in two round trips, where no rule speaks of the group: nobody's roles change by it.

What directories send most. Whatever else a change has goes the long way (`identity/scim/groups.py`), and so does one
that meets another change of the group: a unit waits for no lock, for others stand behind it.
"""

import uuid
from dataclasses import dataclass
from typing import Any, cast

from domain.audit import Agent, Outcome
from domain.model import new_id
from domain.pipeline import Statement
from domain.role_mappings import RoleMapping
from identity.assertions import asserted
from identity.mapping_sources import SCIM, Matching
from identity.scim.groups import Step, no_members
from identity.scim.reading import as_id
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

_RULES = """
select r.match, r.value from role_mapping r
where r.tenant_id = $1::uuid and r.source = $2 and r.source_ref = '' and r.attribute = 'groups'
    and r.ended_at is null and (r.valid_until is null or r.valid_until > $3::timestamptz)"""

_LOCKED = """
with at as materialized (
    select g.id, g.version from scim_group g
    where g.tenant_id = $1::uuid and g.id = $2::uuid and g.deleted_at is null
        and g.display_name = $8 and g.external_id is not distinct from $9
    for no key update skip locked
),"""

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
    """A group as it was found: what it is called, and whether a rule speaks of it or of one that it is in."""

    display_name: bytes | None
    external_id: bytes | None
    ruled: bool


async def known(unit: Unit, group_id: uuid.UUID, agent: Agent) -> Known | None:
    """The group, None where there is none of this id."""
    tenant, of = encoded(agent.tenant_id), encoded(group_id)
    above, rules = await unit.run(
        Statement(_ABOVE, (tenant, of)),
        Statement(_RULES, (tenant, SCIM.encode(), encoded(agent.now))),
    )
    own = next((row for row in above if row[2] == b"t"), None)
    if own is None:
        return None
    names = [text.decode() for name, external, _ in above for text in (name, external) if text]
    matching = Matching([_rule(*row) for row in rules])
    return Known(own[0], own[1], bool(matching.of(asserted({"groups": names}))))


def _rule(match: bytes | None, value: bytes | None) -> RoleMapping:
    said: dict[str, Any] = {"match": (match or b"").decode(), "value": (value or b"").decode()}
    return RoleMapping(id=new_id(), attribute="groups", **said)


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
    values = (
        *(agent.tenant_id, group_id, ids, agent.now, new_id(), token_id, agent.request_id),
        *(group.display_name, group.external_id, Outcome.DONE.value, TOLD, agent.purpose),
        agent.outside_request_id,
    )
    sent = [v if isinstance(v, bytes) else encoded(v) for v in values]
    (rows,) = await unit.run(Statement(_STATEMENTS[step.what], sent))
    if not rows:
        return None
    before, after, found = rows[0]
    if step.what == "add" and int(cast(bytes, found)) != len(ids):
        raise no_members(len(ids) - int(cast(bytes, found)), len(ids))
    return int(cast(bytes, after or before))
