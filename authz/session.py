"""A SQLAlchemy session of one actor: what it reads carries the policy, what it writes was judged.

At each transaction's begin the settings of row-level security are made for the actor, transaction-local. Each
statement over mapped classes gets the actor's predicate at every entity and alias; anything else is refused. Writes
are closed until `require` or `allow` opens a permission; then each row written is judged by it, statement or flush.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, event, func, or_, select
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.orm.interfaces import ORMOption

from authz.actor import Actor, Grant
from authz.criteria import Criterion, own, reading, writing
from authz.decisions import require
from authz.delegation import outranked
from authz.reach import Reach
from authz.refusals import Forbidden, Reason, Unguarded
from authz.settings import WRITES, settings_for, split
from authz.statements import models_in, rows_of, values_of
from authz.tree import Tree, UnitRow
from authz.writes import WATCHED, Writes, row_view, updated
from domain.model import Base, any_of
from domain.people import RoleGrant
from domain.practitioners import ResourceAssignment

_WHOLE = "authz_whole"
_TOKEN = object()


class _Guarded(Session):
    """The synchronous heart of `GuardedSession`. Raises Unguarded where it is made without an actor."""

    def __init__(self, *args: Any, actor: Actor | None = None, **options: Any) -> None:
        if not isinstance(actor, Actor):
            raise Unguarded("a session without an actor")
        super().__init__(*args, **options)
        self.actor = actor
        self.writes = Writes(actor)

    def open(self, permission: str, tables: Iterable[str], target: Any) -> None:
        """Let this transaction write rows of these resources, as far as the permission judges them good."""
        self.writes.open(permission, tables, target)
        if self.in_transaction():
            self.apply(self._connection_for_bind(self.get_bind()), ())

    def apply(self, connection: Connection, resources: Iterable[str] | None = None) -> None:
        """Make the settings of row-level security for this transaction; of reading for these resources or all."""
        settings = settings_for(self.actor, resources, self.writes.opened)
        calls = ", ".join(["set_config(%s, %s, true)"] * len(settings))
        connection.exec_driver_sql(f"select {calls}", tuple(part for s in settings for part in s))

    # What goes round the events below is not there.

    def connection(self, *_: Any, **__: Any) -> Connection:
        """Refused: statements of a bare connection carry nothing."""
        raise Unguarded("the connection of a guarded session")

    def bulk_save_objects(self, *_: Any, **__: Any) -> None:
        """Refused: it skips the flush that judges."""
        raise Unguarded("a bulk write that skips the flush")

    def bulk_insert_mappings(self, *_: Any, **__: Any) -> None:
        """Refused, as above."""
        raise Unguarded("a bulk write that skips the flush")

    def bulk_update_mappings(self, *_: Any, **__: Any) -> None:
        """Refused, as above."""
        raise Unguarded("a bulk write that skips the flush")


class GuardedSession(AsyncSession):
    """An `AsyncSession` of one actor. Use as a context manager; commit is the caller's.

    Raises Unguarded for whatever no policy judged: text, tables without their class, writes that nobody checked.
    """

    sync_session: _Guarded

    def __init__(self, engine: AsyncEngine, actor: Actor) -> None:
        super().__init__(engine, sync_session_class=_Guarded, actor=actor, expire_on_commit=False)

    @property
    def actor(self) -> Actor:
        """Whose session it is."""
        return self.sync_session.actor

    async def require(self, permission: str, target: Any, also: Iterable[str] = ()) -> Grant | None:
        """As `authz.guard.require`, and open the permission for writing; answers the grant that allows it.

        Where a person is judged by all their grants, or a resource by all its assignments, the session reads
        those itself; those of the target are what the command is about to add. Nobody whom the actor manages may
        hold a role above the actor's own (HIGHER_ROLE).
        """
        resource, action = split(permission)
        homes: list[Any] = []
        if self.actor.predicate(resource, action).reach is Reach.HOME:
            row, coming = target if isinstance(target, tuple) else (target, ())
            if row is not None:
                homes = [*await self._homes(resource, row.id), *coming]
                target = row, homes
        grant = require(self.actor, permission, target)
        if resource == "person" and outranked(self.actor, homes):
            raise Forbidden(Reason.HIGHER_ROLE)
        await self._open(permission, also, target)
        return grant

    async def allow(self, permission: str, also: Iterable[str] = ()) -> None:
        """Open a permission for writing without a target: each row is judged by it when it is written.

        `also` names further resources whose rows the command writes at the same places (a site with an
        encounter). Raises NotFound or Forbidden only when rows are judged with `require`; Unguarded at the write.
        """
        await self._open(permission, also, None)

    def grown(self, units: Iterable[UnitRow]) -> None:
        """From now on the actor's tree has these units too, which this session has made below judged places."""
        held, tree = self.sync_session, self.actor.tree
        bigger = Tree.build(tree.tenant_id, tree.version, [*tree.units.values(), *units])
        held.actor = held.writes.actor = replace(held.actor, tree=bigger)

    async def _homes(self, resource: str, row_id: UUID) -> Sequence[Any]:
        """What says where a row is at home."""
        if resource == "person":
            return await self.grants_of(row_id)
        found = await self.scalars(
            select(ResourceAssignment).where(
                ResourceAssignment.tenant_id == self.actor.tenant_id,
                ResourceAssignment.resource_id == row_id,
            )
        )
        return found.all()

    async def grants_of(self, person_id: UUID) -> list[RoleGrant]:
        """Every grant of a person that has not ended, also those that the actor may not read.

        For judging only: whether a person is the actor's to manage, and whether two duties would meet.
        """
        return await every_grant(self, self.actor.tenant_id, person_id)

    async def _open(self, permission: str, also: Iterable[str], target: Any) -> None:
        resource, _ = split(permission)
        tables = (WRITES.get(resource, resource), *also)
        await self.run_sync(lambda _: self.sync_session.open(permission, tables, target))


async def every_grant(session: AsyncSession, tenant_id: UUID, person_id: UUID) -> list[RoleGrant]:
    """Every grant of a person that has not ended, for judging only: a guarded session hands out hidden ones too."""
    found = await session.scalars(
        select(RoleGrant).where(
            RoleGrant.tenant_id == tenant_id,
            RoleGrant.person_id == person_id,
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > func.now()),
        ),
        execution_options={_WHOLE: _TOKEN},
    )
    return list(found)


async def grants_of_each(
    session: AsyncSession, tenant_id: UUID, people: Iterable[UUID]
) -> list[RoleGrant]:
    """Every grant of these people that has not ended, as `every_grant`."""
    found = await session.scalars(
        select(RoleGrant).where(
            RoleGrant.tenant_id == tenant_id,
            RoleGrant.person_id == any_of(people),
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > func.now()),
        ),
        execution_options={_WHOLE: _TOKEN, "populate_existing": True},
    )
    return list(found)


async def grants_at(
    session: AsyncSession, tenant_id: UUID, units: Iterable[UUID]
) -> list[RoleGrant]:
    """Every grant at these nodes that has not ended, as `every_grant`."""
    found = await session.scalars(
        select(RoleGrant).where(
            RoleGrant.tenant_id == tenant_id,
            RoleGrant.unit_id.in_(list(units)),
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > func.now()),
        ),
        execution_options={_WHOLE: _TOKEN},
    )
    return list(found)


def guarded_session(engine: AsyncEngine, actor: Actor) -> GuardedSession:
    """A session that reads and writes as the actor. `engine` connects as the application's role."""
    return GuardedSession(engine, actor)


@event.listens_for(_Guarded, "after_begin")
def _begin(session: _Guarded, _: Any, connection: Connection) -> None:
    session.apply(connection)


@event.listens_for(_Guarded, "after_commit")
@event.listens_for(_Guarded, "after_rollback")
def _end(session: _Guarded) -> None:
    session.writes = Writes(session.actor)


@event.listens_for(_Guarded, "detached_to_persistent")
def _attach(session: _Guarded, row: Any) -> None:
    session.expunge(row)
    raise Unguarded(f"a {type(row).__name__} that this session has not loaded")


@event.listens_for(_Guarded, "before_flush")
def _flush(session: _Guarded, _: Any, __: Any) -> None:
    for row in session.deleted:
        session.writes.delete(row)
    changed = [row for row in session.dirty if session.is_modified(row)]
    for row in changed:
        session.writes.change(row)
    for row in sorted(session.new, key=session.writes.is_part):
        session.writes.create(type(row), row_view(row))


@event.listens_for(_Guarded, "do_orm_execute")
def _execute(state: ORMExecuteState) -> None:
    session = state.session
    assert isinstance(session, _Guarded)
    models = models_in(state.statement)
    if models == {RoleGrant} and state.execution_options.get(_WHOLE) is _TOKEN:
        models = frozenset()  # it says the tenant itself
    if not models:
        return  # nothing of a tenant's
    if not state.is_orm_statement:
        raise Unguarded("classes inside a statement that is not about them")
    target = None
    if state.is_insert:
        target = _insert(session, state)
    elif state.is_update or state.is_delete:
        target = _change(session, state)
    options = [_reading(session.actor, model) for model in models if model is not target]
    if state.is_select and state.statement._with_options:
        everything = (m.class_ for m in Base.registry.mappers)
        options = [_reading(session.actor, model) for model in everything]
    state.statement = state.statement.options(*options)


def _insert(session: _Guarded, state: ORMExecuteState) -> type[Base]:
    """Judge the rows of an INSERT."""
    statement: Any = state.statement
    model = _target(state)
    if model.__resource__ is not None and isinstance(
        statement._post_values_clause, OnConflictDoUpdate
    ):
        raise Unguarded("an INSERT that may change a row that nobody judged")
    for row in rows_of(statement, state.parameters):
        session.writes.create(model, row_view(row, model))
    return model


def _change(session: _Guarded, state: ORMExecuteState) -> type[Base]:
    """Add what may be written to an UPDATE or DELETE."""
    model = _target(state)
    if state.parameters:
        raise Unguarded("a bulk UPDATE or DELETE, which takes no condition")
    statement: Any = state.statement
    values = values_of(statement) if state.is_update else None
    resource = model.__resource__
    if resource is None or (resource in WATCHED and updated(values) <= WATCHED[resource]):
        criterion = own(session.actor, model)
    else:
        session.writes.check_values(resource, values)
        criterion = writing(session.actor, model, session.writes.permissions(resource))
    state.statement = statement.options(Criterion(model, criterion))
    return model


def _target(state: ORMExecuteState) -> type[Base]:
    mapper = state.bind_mapper
    assert mapper is not None  # a table without its class was refused before
    model: type[Base] = mapper.class_
    return model


def _reading(actor: Actor, model: type[Base]) -> ORMOption:
    """The criterion of a model, made once for an actor."""
    kept: dict[type[Base], ORMOption] = actor.__dict__.setdefault("criteria", {})
    found = kept.get(model)
    if found is None:
        criterion = reading(actor, model)
        found = Criterion(model, criterion)
        kept[model] = found
    return found
