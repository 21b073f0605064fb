"""Asks the schema as somebody, and keeps what was sent: the settings and the statement of each unit."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from graphql import parse
from sqlalchemy import text as sql

from api.context import Context
from api.plan.execute import PassThrough
from api.schema import build_schema
from authz.actor import Actor, Grant, Session
from authz.templates import VARIANTS, load_policy
from authz.tree import Tree
from domain.key_providers import FileKeyProvider
from domain.model import new_id
from domain.people import Person
from domain.pipeline import Lane, Pipeline, Rows, Settings, Statement
from domain.sealing import Keyring
from tests import make
from tests.database import Database
from tests.plans import Plan, explain


@dataclass(frozen=True)
class Asked:
    """What was answered, and by which statement under which settings."""

    data: Any
    settings: tuple[tuple[str, str], ...]
    statement: Statement

    def scope(self, resource: str) -> frozenset[str]:
        """The places that row-level security opened for a resource."""
        return frozenset(dict(self.settings)[f"app.scope_{resource}"].strip("{}").split(","))

    def plan(self, database: Database) -> Plan:
        """How PostgreSQL carries the statement out."""
        values = [None if value is None else value.decode() for value in self.statement.params]
        return explain(database, self.settings, self.statement.sql, (), values)


class Recorder(Pipeline):
    """A pipeline that keeps settings and statement of each unit."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, 2)
        self.units: list[tuple[Statement, Statement]] = []

    def unit(
        self,
        settings: Settings | Statement,
        *statements: Statement,
        lane: Lane = "point",
        deadline: float | None = None,
    ) -> asyncio.Future[list[Rows]]:
        assert isinstance(settings, Statement)
        self.units.append((settings, max(statements, key=lambda one: len(one.sql))))
        return super().unit(settings, *statements, lane=lane, deadline=deadline)


def actor_of(
    database: Database, tenant_id: uuid.UUID, grants: Sequence[tuple[str, uuid.UUID]]
) -> Actor:
    """Somebody new of the health system, with these roles at these units."""
    person = Person(
        tenant_id=tenant_id,
        id=new_id(),
        subject=str(new_id()),
        user_name=f"asker-{new_id()}",
        given_name="Pat",
        family_name="Doe",
    )
    make.save(database, person)
    with database.owner_engine.connect() as owner:
        of_tenant = {"t": tenant_id}
        units = owner.execute(sql("select * from org_unit where tenant_id = :t"), of_tenant).all()
        system = owner.execute(sql("select * from tenant where tenant_id = :t"), of_tenant).one()
    now = dt.datetime.now(dt.UTC)
    later = now + dt.timedelta(hours=1)
    return Actor(
        tenant_id=tenant_id,
        person_id=person.id,
        practitioner_id=None,
        user_name=person.user_name,
        grants=tuple(Grant(new_id(), role, unit, now) for role, unit in grants),
        tree=Tree.build(tenant_id, system.tree_version, units),
        policy=load_policy(VARIANTS[0]),
        session=Session("s", now, now, True, later, proven_at=now),
        person_version=1,
        tenant_version=system.version,
        valid_until=later,
    )


def ask(
    database: Database, keys: Path, actor: Actor, text: str, values: Mapping[str, Any] | None = None
) -> Asked:
    """Run a query of one root field; it must succeed."""
    return asyncio.run(_ask(database, keys, actor, text, dict(values or {})))


async def _ask(
    database: Database, keys: Path, actor: Actor, text: str, values: dict[str, Any]
) -> Asked:
    pipeline, cell = Recorder(database.app_url), database.async_engine("caretree_app")
    await pipeline.start()
    try:
        executor = PassThrough.build(
            build_schema()._schema,
            parse(text),
            context_value=Context(
                actor=actor,
                pipeline=pipeline,
                keyring=Keyring(FileKeyProvider(keys), cell),
                request_id=new_id(),
                cell=cell,
            ),
            raw_variable_values=values,
            middleware=None,
        )
        assert not isinstance(executor, list), executor
        running: Any = executor.execute_operation()
        result = await running
    finally:
        await pipeline.stop()
        await cell.dispose()
    assert not result.errors, result.errors
    ((settings, statement),) = pipeline.units
    given = [(value or b"").decode() for value in settings.params]
    pairs = tuple(zip(given[::2], given[1::2], strict=True))
    return Asked(orjson.loads(orjson.dumps(result.data)), pairs, statement)
