"""Mutations: judge, carry out, select the answer, commit: one transaction, whose answer passes the planner too.

What a person can mend comes back as data (`userErrors`) and nothing was changed; the rest is an error of the field.
"""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from types import SimpleNamespace
from typing import Any, TypeVar

import orjson
import psycopg
from graphql import GraphQLResolveInfo, get_named_type
from psycopg import AsyncConnection, AsyncRawCursor
from sqlalchemy.exc import DBAPIError
from strawberry import UNSET

from api.context import Context, StaleActor
from api.plan.attempts import DENIED, action_of, agent_of, denied, on_record
from api.plan.binds import Inputs
from api.plan.compile import Compiler, Details
from api.plan.fetch import PLANS, by_id, opened, response_path, several, single
from api.plan.mapping import parse_id
from api.plan.payloads import joined, payload_fields, payload_type, refused, selected
from api.plan.run import Built, variables
from api.plan.step_up import demand
from authz.guard import Forbidden, GuardedSession, Reason, guarded_session
from domain.audit import Agent, Outcome
from domain.database import refusal_of
from domain.errors import DomainError, NotFound
from domain.keys import claim, claim_for
from domain.model import Base, in_a_row, new_id
from domain.patients import Patient, PatientSite, sites_visible
from domain.pipeline import DatabaseError, Row, Statement
from identity.actors import stamp

M = TypeVar("M", bound=Base)


@dataclass(frozen=True)
class Payload:
    """What a mutation answers: the field of its payload that holds the object, and that object's type.

    `rows`: the field holds so many objects, whose ids follow each other from the one that the command answers.
    `action`: the permission that a refusal is kept on record under, where the mutation's field names none.
    `model`: the object's record, for `perform_on`.
    """

    name: str
    type_name: str
    rows: int | None = None
    action: str | None = None
    model: Any = None


@dataclass
class Work:
    """A command under way: its session, who carries it out, and the id that a new row will get."""

    context: Context
    session: GuardedSession
    agent: Agent
    new_id: uuid.UUID = field(default_factory=new_id)
    repeated: bool = False  # carried out before under the same key
    own_changes: int = 0  # how often the command itself raised the asker's version …
    tree_changes: int = 0  # … and the health system's
    signs_out: bool = False  # the command ends the asker's own session

    async def require(self, permission: str, target: Any, *also: str) -> Agent:
        """Judge the target and open what the command writes. Raises NotFound or Forbidden."""
        grant = await self.session.require(permission, target, also)
        if grant is not None:
            self.agent = replace(self.agent, role=grant.role, grant_id=grant.id)
        return self.agent

    async def create(self, permission: str, new: Any, *also: str) -> Agent:
        """As `require`, for a row about to be made: who sees the place and may not read there is Forbidden too."""
        try:
            return await self.require(permission, new, *also)
        except NotFound:
            raise Forbidden(Reason.NO_ROLE) from None

    def changes_person(self, person_id: uuid.UUID) -> None:
        """Say that the command raises the version of a person: of the asker's own the last stamp must know."""
        if person_id == self.context.actor.person_id:
            self.own_changes += 1

    async def count(self, permission: str) -> None:
        """Count a try of what could be guessed. Raises RateLimited, RatesUnavailable."""
        actor = self.context.actor
        await self.context.rates.count(permission, actor.tenant_id, actor.person_id)

    def unit(self, node: str, path: str) -> Any:
        """A unit of the asker's tree by its opaque id. Raises NotFound."""
        return unit_of(self.context, node, path)

    def new_row(self, unit: Any, **values: Any) -> Any:
        """A row that is about to be made at a unit, as far as the policy looks at it."""
        return SimpleNamespace(
            tenant_id=self.agent.tenant_id,
            id=self.new_id,
            clinic_id=unit.clinic_id,
            unit_id=unit.id,
            sensitivity=0,
            **values,
        )

    async def load(self, model: type[M], value: str, prefix: str, path: str = "id") -> M:
        """A row by its opaque id, as far as the asker may read it. Raises NotFound."""
        parsed = parse_id(value, prefix)
        key = {"tenant_id": self.agent.tenant_id, "id": parsed[1]} if parsed else None
        found = await self.session.get(model, key) if key else None
        if found is None:
            raise NotFound(path=(path,))
        return found

    async def patient(self, value: str, path: str) -> tuple[Patient, list[PatientSite]]:
        """A patient and the sites at which the asker sees them. Raises NotFound."""
        found = await self.load(Patient, value, "Patient", path)
        return found, await sites_visible(self.session, self.agent, found.id)

    async def sealer(self) -> Any:
        """The keys of the asker's health system."""
        return await self.context.keyring.of(self.agent.tenant_id)


Command = Callable[[Work], Awaitable[uuid.UUID]]
Extra = Callable[[Work, uuid.UUID], Awaitable[dict[str, Any]]]


async def perform(
    info: GraphQLResolveInfo[Any],
    operation: str,
    payload: Payload,
    given: Any,
    command: Command,
    extra: Extra | None = None,
    nested: str | None = None,
) -> Any:
    """Carry out a command and answer its payload; with an idempotency key in the input, at most once.

    `command` answers the id of the payload's object; `extra(work, id)` gives values of the payload that no row shows;
    `nested` is the field of the input that holds the fields which the domain names.
    Raises StepUpRequired, NotFound, Forbidden, NotAllowed, StaleVersion, StaleActor, RateLimited and what the
    database raises.
    """
    context: Context = info.context
    context.refusals.check(context.who)
    demand(context.actor, operation, action_of(info), given, dt.datetime.now(dt.UTC))
    try:
        return await carry_out(info, operation, payload, given, command, extra, nested)
    except DENIED:
        await denied(info, given, payload.action)
        raise


async def perform_on(
    info: GraphQLResolveInfo[Any],
    operation: str,
    payload: Payload,
    given: Any,
    permission: str,
    command: Callable[..., Awaitable[Any]],
    *more: Any,
    also: tuple[str, ...] = (),
) -> Any:
    """As `perform`, for `command(session, agent, row, version, *more)` on the object that the input names.

    `given` has its id and version; `also` names further resources that the command writes.
    """

    async def carried(work: Work) -> uuid.UUID:
        row = await work.load(payload.model, given.id, payload.type_name)
        agent = await work.require(permission, row, *also)
        done: uuid.UUID = (await command(work.session, agent, row, given.version, *more)).id
        return done

    return await perform(info, operation, payload, given, carried)


async def carry_out(
    info: GraphQLResolveInfo[Any],
    operation: str,
    payload: Payload,
    given: Any,
    command: Command,
    extra: Extra | None = None,
    nested: str | None = None,
) -> Any:
    """As `perform`, whose refusals somebody else keeps on record."""
    context: Context = info.context
    try:
        async with guarded_session(context.cell, context.actor) as session:
            connection = await driver(session)
            await still_valid(connection, context)
            context.begun = True
            work = Work(context, session, agent_of(context))
            found = await _once(work, operation, given, command)
            more = await extra(work, found) if extra is not None else {}
            parts = await _answered(info, connection, payload, found, more)
            await session.flush()
            # Again: the command may have waited for another, and what changed meanwhile counts.
            await still_valid(connection, context, work)
            await session.commit()
    except DBAPIError as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        return refused(info, refusal, nested)
    except DomainError as error:
        if error.attempted is not None:
            await on_record(context, error.attempted, Outcome.FAILED)
        return refused(info, error, nested)
    return joined(parts)


def unit_of(context: Context, node: str, path: str) -> Any:
    """A unit of the asker's tree by its opaque id; `path` is the input's field. Raises NotFound."""
    parsed = parse_id(node, "OrgUnit")
    found = context.actor.tree.units.get(parsed[1]) if parsed else None
    if found is None:
        raise NotFound(path=(path,))
    return found


async def _once(work: Work, operation: str, given: Any, command: Command) -> uuid.UUID:
    key = getattr(given, "idempotency_key", None)
    if key is None:
        return await command(work)
    asked = (work.session, work.agent, operation, key, await input_hash(work, given))
    earlier = await claim(*asked, work.new_id)
    if earlier is not None:
        work.repeated = True
        return earlier
    found = await command(work)
    if found != work.new_id:
        await claim_for(*asked, found)
    return found


async def input_hash(work: Work, given: Any) -> bytes:
    """A hash of a mutation's input without its key: equal inputs have equal hashes.

    With a key of the health system: the input may hold what is stored sealed, and could be guessed otherwise.
    """
    values = {name: value for name, value in asdict(given).items() if name != "idempotency_key"}
    told = orjson.dumps(values, option=orjson.OPT_SORT_KEYS, default=_said)
    hashed: bytes = (await work.sealer()).index(b"idempotency|" + told)
    return hashed


def _said(value: Any) -> str | list[str]:
    """A value of an input that JSON has not; what was left out is none of the texts that could be given."""
    return ["left out"] if value is UNSET else str(value)


async def driver(session: GuardedSession) -> AsyncConnection[Any]:
    """The driver's connection of the session's transaction, for the planner's own statements.

    They carry the policy at every alias, which the session could not see in their text.
    """

    def connect(_: Any) -> Any:
        sync = session.sync_session
        return sync._connection_for_bind(sync.get_bind()).connection.driver_connection

    found: AsyncConnection[Any] = await session.run_sync(connect)
    return found


async def fetch_row(connection: AsyncConnection[Any], statement: Statement) -> Row | None:
    """Run a planner's statement inside a transaction; its row in PostgreSQL's text form. Raises DatabaseError."""
    cursor = AsyncRawCursor(connection)
    values = [None if value is None else value.decode() for value in statement.params]
    try:
        await cursor.execute(statement.sql.encode(), values)
    except psycopg.Error as error:
        # Without a SQLSTATE the connection is gone.
        raise DatabaseError(error.sqlstate or "08006", error.diag.constraint_name) from None
    result = cursor.pgresult
    if result is None or result.ntuples == 0:
        return None
    return tuple(result.get_value(0, column) for column in range(result.nfields))


async def still_valid(
    connection: AsyncConnection[Any], context: Context, work: Work | None = None
) -> None:
    """Raises StaleActor where the actor has changed since it was made, but by the command itself."""
    context.stamped = True
    actor = context.actor
    if work is not None and (work.own_changes or work.tree_changes):
        actor = replace(
            actor,
            person_version=actor.person_version + work.own_changes,
            tenant_version=actor.tenant_version + work.tree_changes,
        )
    if work is not None and work.signs_out:
        # The session that is ended is known to have stood when the command began.
        later = replace(actor.session, sid="", issued_at=work.agent.now)
        actor = replace(actor, session=later)
    if await fetch_row(connection, stamp(actor)) is None:
        raise StaleActor()


async def _answered(
    info: GraphQLResolveInfo[Any],
    connection: AsyncConnection[Any],
    payload: Payload,
    found: uuid.UUID,
    more: dict[str, Any],
) -> list[tuple[str, bytes]]:
    """The selected fields of the payload, each as finished JSON."""
    parts = []
    for response, name in payload_fields(info):
        if name == payload.name:
            json = await _selected(info, connection, payload, response, found)
        elif name == "__typename":
            json = orjson.dumps(get_named_type(info.return_type).name)
        elif name == "userErrors":
            json = b"[]"
        else:
            json = orjson.dumps(selected(info, response, more[name]))
        parts.append((response, json))
    return parts


async def _selected(
    info: GraphQLResolveInfo[Any],
    connection: AsyncConnection[Any],
    payload: Payload,
    response: str,
    found: uuid.UUID,
) -> bytes:
    context: Context = info.context
    path = (*response_path(info), response)

    def build(c: Compiler, details: Details) -> Built:
        inner = next(d for r, d, _ in c.fields(payload_type(info), details) if r == response)
        if payload.rows is not None:
            return several(c, payload.type_name, inner, path, "ids")
        return single(c, payload.type_name, inner, path, by_id(c))

    variant = ("payload", response, payload.type_name)
    plan = PLANS.plan(info, context.actor, variant, build)
    values = {"id": found, "ids": list(in_a_row(found, payload.rows or 1))}
    inputs = Inputs(variables(info), values, context.actor)
    row = await fetch_row(connection, plan.statement(inputs))
    if row is None or row[0] is None:
        return b"null"
    return (await opened(context, plan, row, len(path))).json
