"""The world in a database, the cast as actors, and a way to ask the schema and the oracle the same thing."""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import strawberry
from graphql import DocumentNode, ExecutionResult, parse
from sqlalchemy.ext.asyncio import AsyncEngine

from api.context import Context
from api.plan.execute import PassThrough
from api.schema import build_schema
from authz.actor import Actor, Grant, Session
from authz.grants import counting
from authz.templates import Policy, Variant, load_policy
from authz.tree import Tree
from domain.key_providers import FileKeyProvider
from domain.pipeline import Lane, Limits, Pipeline, Settings, Statement
from domain.pipeline import Rows as Answered
from domain.sealing import Keyring
from tests import make, who
from tests.database import Database
from tests.oracle.answer import Outcome, answer
from tests.oracle.rules import Sight
from tests.oracle.table import VARIANTS, Switches
from tests.oracle.world import Rows, System, build, read_back

INHERIT = VARIANTS[0]
EPOCH = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


class Recorder(Pipeline):
    """A pipeline that keeps what is sent: for each unit its statements without settings and stamp."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, 2, limits=Limits(deadline=120.0))  # many new plans block the loop
        self.units: list[tuple[Statement, ...]] = []

    def unit(
        self,
        settings: Settings | Statement,
        *statements: Statement,
        lane: Lane = "point",
        deadline: float | None = None,
    ) -> asyncio.Future[list[Answered]]:
        self.units.append(statements[1:])
        return super().unit(settings, *statements, lane=lane, deadline=deadline)


@dataclass
class Stage:
    """A world in a database. `systems[0]` is the one that most tests ask about."""

    systems: Sequence[System]
    rows: Sequence[Rows]
    pipeline: Recorder
    keyring: Keyring
    cell: AsyncEngine
    documents: dict[str, DocumentNode] = field(default_factory=dict)
    actors: dict[tuple[str, Switches, int], Actor] = field(default_factory=dict)
    sights: dict[tuple[str, Switches, int], Sight] = field(default_factory=dict)

    @property
    def schema(self) -> strawberry.Schema:
        return build_schema()

    def unit(self, name: str, system: int = 0) -> str:
        """The opaque id of a unit of the tree."""
        return f"OrgUnit:{self.systems[system].units[name].id}"

    def actor(self, one: who.Who, switches: Switches = INHERIT, system: int = 0) -> Actor:
        """The person of the cast as the application makes an actor of them."""
        key = (one.name, switches, system)
        if key not in self.actors:
            variant = Variant(switches.admins, switches.viewer_clinical)
            rows, person = self.rows[system], self.systems[system].people[one.name]
            self.actors[key] = make_actor(rows, person.id, load_policy(variant))
        return self.actors[key]

    def sight(self, one: who.Who, switches: Switches = INHERIT, system: int = 0) -> Sight:
        """What the oracle says that the person sees."""
        key = (one.name, switches, system)
        if key not in self.sights:
            here = self.systems[system]
            held = [(h.role, here.units[h.place].id) for h in one.counting]
            person_id = here.people[one.name].id
            self.sights[key] = Sight(self.rows[system], person_id, held, switches)
        return self.sights[key]

    def document(self, text: str) -> DocumentNode:
        """The parsed text: the same nodes each time, as the application keeps its documents."""
        kept = self.documents.get(text)
        if kept is None:
            kept = self.documents[text] = parse(text)
        return kept

    def context(self, actor: Actor, pipeline: Pipeline | None = None) -> Context:
        """What a request of this actor carries."""
        return Context(
            actor=actor,
            pipeline=pipeline or self.pipeline,
            keyring=self.keyring,
            request_id=uuid.uuid4(),
            cell=self.cell,
        )

    async def run(
        self, context: Context, text: str, variables: Mapping[str, Any] | None = None
    ) -> ExecutionResult:
        """The schema's own response to a document."""
        executor = PassThrough.build(
            self.schema._schema,
            self.document(text),
            context_value=context,
            raw_variable_values=dict(variables or {}),
            middleware=None,
        )
        assert not isinstance(executor, list), executor
        result: Any = executor.execute_operation()
        answered: ExecutionResult = result if isinstance(result, ExecutionResult) else await result
        return answered

    async def ask(
        self, actor: Actor, text: str, variables: Mapping[str, Any] | None = None, **more: Any
    ) -> Outcome:
        """What the schema answers, in the oracle's terms. An error that is no refusal fails."""
        context = self.context(actor, **more)
        return told(await self.run(context, text, variables), context)

    def expect(
        self, sight: Sight, text: str, variables: Mapping[str, Any] | None = None
    ) -> Outcome:
        """What the oracle answers."""
        return answer(sight, self.document(text), variables or {})

    async def check(
        self,
        one: who.Who,
        text: str,
        variables: Mapping[str, Any] | None = None,
        switches: Switches = INHERIT,
        system: int = 0,
    ) -> Outcome:
        """Ask both, compare whole JSON, refusals and the summary of what is hidden; the common answer."""
        said = await self.ask(self.actor(one, switches, system), text, variables)
        expected = self.expect(self.sight(one, switches, system), text, variables)
        found = difference(said, expected)
        assert not found, f"{one.name} under {switches}: {found}\n{text}\n{variables}"
        return said


def make_actor(rows: Rows, person_id: uuid.UUID, policy: Policy, **changes: Any) -> Actor:
    """An actor made of the rows of a person, their grants and the tree."""
    person = rows.get("person", person_id)
    (tenant,) = rows.all("tenant")
    linked = [p for p in rows.where("practitioner", "person_id", person.id) if p.active]
    tree = Tree.build(rows.tenant_id, tenant.tree_version, rows.all("org_unit"))
    grants = [
        Grant(g.id, g.role, g.unit_id, g.valid_from, g.valid_until)
        for g in rows.where("role_grant", "person_id", person.id)
    ]
    later = rows.now + dt.timedelta(hours=1)
    actor = Actor(
        tenant_id=rows.tenant_id,
        person_id=person.id,
        practitioner_id=linked[0].id if linked else None,
        user_name=person.user_name,
        grants=counting(grants, tree, rows.now),
        tree=tree,
        policy=policy,
        session=Session(f"s-{person.id}", rows.now, rows.now, True, later),
        person_version=person.version,
        tenant_version=tenant.version,
        valid_until=later,
    )
    return replace(actor, **changes) if changes else actor


def told(result: ExecutionResult, context: Context) -> Outcome:
    """A response in the oracle's terms. Raises what is no refusal of an input."""
    errors = []
    for error in result.errors or ():
        if type(error.original_error).__name__ != "Invalid":
            raise error.original_error or error
        errors.append(tuple(str(step) for step in error.path or ()))
    masked: Counter[tuple[tuple[str, ...], str]] = Counter()
    for path, group, count in context.masked:
        masked[path, group] += count
    return Outcome(orjson.loads(orjson.dumps(result.data)), errors, masked)


def difference(said: Outcome, expected: Outcome) -> str:
    """Where two outcomes part, or nothing. JSON is compared as bytes: the order of keys counts."""
    if orjson.dumps(said.data) != orjson.dumps(expected.data):
        return _first(said.data, expected.data, "data") or "the order of keys"
    if sorted(said.errors) != sorted(expected.errors):
        return f"errors {said.errors}, expected {expected.errors}"
    if said.masked != expected.masked:
        more, less = said.masked - expected.masked, expected.masked - said.masked
        return f"masked too much {dict(more)}, too little {dict(less)}"
    return ""


def _first(one: Any, other: Any, path: str) -> str:
    """The first place where two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        steps = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        steps = [(str(i), *pair) for i, pair in enumerate(zip(one, other, strict=True))]
    else:
        return "" if one == other else f"{path}: {one!r:.900}, expected {other!r:.900}"
    return next((found for key, a, b in steps if (found := _first(a, b, f"{path}.{key}"))), "")


@asynccontextmanager
async def staged(
    database: Database, cell: AsyncEngine, keys: Path, systems: Sequence[System] | None = None
) -> AsyncIterator[Stage]:
    """Save the systems (by default both of the world) and open a pipeline as the application."""
    here = build() if systems is None else systems
    keyring = Keyring(FileKeyProvider(keys), cell)
    for system in here:
        make.save(database, system.tenant)
        await keyring.create(system.tenant.tenant_id)
        opened = await keyring.of(system.tenant.tenant_id)
        sealed = system.sealed(opened.seal)
        make.save(database, *sealed[1:])
    with database.owner_engine.connect() as connection:
        rows = read_back(connection, here)
    pipeline = Recorder(database.app_url)
    await pipeline.start()
    try:
        yield Stage(here, rows, pipeline, keyring, cell)
    finally:
        await pipeline.stop()
