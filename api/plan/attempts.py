"""Commands that were refused: what stays on record of them, in a transaction of its own, and who carries one out."""

import datetime as dt
import uuid
from typing import Any

from graphql import GraphQLResolveInfo

from api.context import Context
from api.plan.compile import BACKREF
from api.plan.mapping import parse_id
from authz.guard import Forbidden, guarded_session
from domain.audit import Agent, Outcome, record
from domain.errors import NotAllowed, NotFound

DENIED = (NotFound, Forbidden, NotAllowed)
"""Refusals by policy, and those that nobody can tell from one."""


def agent_of(context: Context) -> Agent:
    """Who carries out a command, for the domain and its audit event."""
    actor = context.actor
    return Agent(
        tenant_id=actor.tenant_id,
        now=dt.datetime.now(dt.UTC),
        person_id=actor.person_id,
        practitioner_id=actor.practitioner_id,
        request_id=context.request_id,
        policy_version=actor.policy.version,
        tree_version=actor.tree.version,
    )


async def denied(info: GraphQLResolveInfo[Any], given: Any, action: str | None = None) -> None:
    """Keep that policy refused a command: under the permission that its field names, with the ids that were given.

    Who is refused all the time is refused before anything is judged (`refusals`), so that this is no way to fill
    the record: nothing is learnt then that would have to be on it.
    """
    context: Context = info.context
    context.refusals.add(context.who)
    units = context.actor.tree.units
    ids = [parsed[1] for text in _texts(given) if (parsed := parse_id(text))]
    clinics = [units[id_].clinic_id for id_ in ids if id_ in units]
    await on_record(
        context,
        action or action_of(info),
        Outcome.DENIED,
        *(id_ for id_ in ids if id_ not in units),
        clinic_id=next(iter(clinics), None),
    )


def _texts(given: Any) -> list[str]:
    """The texts of an input, those in lists too; what lies deeper names no rows."""
    values = vars(given).values() if given is not None else ()
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return [value for value in flat if isinstance(value, str)]


def action_of(info: GraphQLResolveInfo[Any]) -> str:
    """The permission that a root field names (`patient:update`)."""
    field_ = info.parent_type.fields[info.field_name].extensions[BACKREF]
    action: str = field_.metadata["root"]
    return action


async def on_record(
    context: Context,
    action: str,
    outcome: Outcome,
    *subject_ids: uuid.UUID,
    clinic_id: uuid.UUID | None = None,
) -> None:
    """Keep an attempt on record: the refused command's own transaction, its event included, is gone."""
    async with guarded_session(context.cell, context.actor) as session:
        agent = agent_of(context)
        record(session, agent, action, *subject_ids, clinic_id=clinic_id, outcome=outcome)
        await session.commit()
