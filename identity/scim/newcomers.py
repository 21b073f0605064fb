"""A user of whom nothing is known, made in two units: no other user, person, claim or rule has to do with them.

Most whom a directory pushes are such. Whoever is not goes the long way (`identity/scim/users.py`), which says the same.
"""

import uuid
from types import SimpleNamespace
from typing import Any

import orjson

from domain.audit import Agent, Outcome
from domain.errors import Invalid
from domain.model import new_id
from domain.pipeline import Statement
from identity.assertions import asserted
from identity.deferral import sync_job
from identity.mapping_sources import SCIM
from identity.provisioning import kept
from identity.scim.roles import attributes
from identity.scim.taking_over import CLAIMED, claim
from identity.scim.unit_rules import held, hold, marked, rules
from identity.scim.units import Prepared, Unit, encoded
from identity.scim.users import ALIKE, UNIQUE, addresses_of, columns, document, draft_of

_ALIKE, _CLAIMED = Prepared(ALIKE), Prepared(CLAIMED)

_MADE = f"""
with somebody as (
    insert into person (tenant_id, id, user_name, given_name, family_name, email, active, source, source_ref,
        created_at, updated_at)
    select $1::uuid, $2::uuid, $5, $6, $7, $8, true, '{SCIM}', '', $3::timestamptz, $3::timestamptz
    where {held("$3", "$4")}
    on conflict (tenant_id, user_name) do nothing
    returning id
),
made as (
    insert into scim_user (tenant_id, id, user_name, external_id, employee_number, npi, active, doc, created_at,
        updated_at)
    select $1::uuid, id, $9, $10, $11, $12, true, $13::jsonb, $3::timestamptz, $3::timestamptz from somebody
    returning id, version
),
addresses as (
    insert into scim_email (tenant_id, user_id, address)
    select $1::uuid, made.id, said from made, jsonb_array_elements_text($14::jsonb) said
),
noted as (
    insert into audit_event (tenant_id, id, recorded_at, action, outcome, subject_ids, masked, purpose, request_id,
        outside_request_id)
    select $1::uuid, e.id, $3::timestamptz, e.action, '{Outcome.DONE.value}', e.subjects, '{{}}', $15, $16::uuid, $17
    from made, (values ($18::uuid, 'person:create', array[$2::uuid]),
        ($19::uuid, 'scim:create_user', array[$2::uuid, $20::uuid])) e (id, action, subjects)
)
select made.version, procrastinate_defer_jobs_v1(
    array[row($21, $22, 0, $23, null, $24::jsonb, null)::procrastinate_job_to_defer_v1]) from made"""  # noqa: S608 (constants)


async def create(unit: Unit, agent: Agent, token_id: uuid.UUID, made: Any) -> Any:
    """The row of who was made; None where it has to go the long way.

    `made` is the resource as it was read. Raises InvalidValueException, DatabaseError.
    """
    doc = document(made)
    values = columns(made, doc)
    if made.active is False:
        return None
    doc["active"] = True
    try:
        person = kept(draft_of(doc))
    except Invalid:
        return None
    named = {name: values[name] for name in UNIQUE}
    (mark,), alike, claimed = await unit.run(
        marked(agent),
        _ALIKE.asked(tenant_id=agent.tenant_id, **named),
        _CLAIMED.asked(**claim(agent, values)),
    )
    if alike or claimed != [(None, None)]:
        return None
    found = await rules(unit, agent, mark)
    if found.ask_for(asserted(attributes(doc))):
        return None
    user_id = new_id()
    queue, task, lock, args = sync_job(agent.tenant_id, user_id)
    sent = (
        *(agent.tenant_id, user_id, agent.now, found.mark, *person.values()),
        *(values[name] for name in ("user_name", "external_id", "employee_number", "npi")),
        *(orjson.dumps(doc), orjson.dumps(sorted(addresses_of(made)))),
        *(agent.purpose, agent.request_id, agent.outside_request_id, new_id(), new_id(), token_id),
        *(queue, task, lock, orjson.dumps(args)),
    )
    parameters = [value if isinstance(value, bytes) else encoded(value) for value in sent]
    _, rows = await unit.run(hold(agent), Statement(_MADE, parameters))
    if not rows:
        return None
    return SimpleNamespace(
        id=user_id,
        doc=doc,
        active=True,
        version=int(rows[0][0] or 0),
        created_at=agent.now,
        updated_at=agent.now,
    )
