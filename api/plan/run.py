"""Plans are made once for an operation and a policy shape, and run at each request: parameters in, JSON out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import orjson
from graphql import FieldNode, FragmentDefinitionNode, GraphQLResolveInfo, VariableNode
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import Select
from sqlalchemy.dialects import postgresql

from api.plan.binds import Getter, Inputs
from api.plan.compile import Compiler, Details, Hidden, SealedPath
from api.plan.facts import Fact, holds
from api.plan.kept import Kept, weight_of
from authz.actor import Actor
from domain.pipeline import Statement

DIALECT = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # SQLAlchemy does not type it
BYTES = 128 * 1024 * 1024
"""How much all plans of a process may weigh."""
FORMS = 32
"""Plans kept for one field of one document under one condition: as many policy shapes."""
OF_PLAN, OF_GETTER = 4_000, 500
"""Bytes that a plan takes beside its text, and for each parameter: measured, less."""


class Built(NamedTuple):
    """What a builder makes: the statement (JSON first) and what its further columns count as hidden.

    `skip` columns stand between the JSON and those counts; the caller reads them itself.
    """

    statement: Select[Any]
    hidden: list[Hidden]
    skip: int = 0


Builder = Callable[[Compiler, Details], Built]


@dataclass(frozen=True)
class Plan:
    """A statement with its parameters, ready for any actor of the same policy shape.

    Text and small values only: a single expression of the statement would keep all of it in memory, a megabyte.
    `hidden`: path and group of each count.
    """

    sql: str
    getters: tuple[Getter, ...]
    resources: frozenset[str]
    elsewhere: frozenset[str]
    facts: tuple[tuple[Fact, Any], ...]
    hidden: tuple[tuple[tuple[str, ...], str], ...]
    sealed: tuple[SealedPath, ...]
    skip: int

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        parts = len(self.getters) + len(self.facts) + len(self.hidden) + len(self.sealed)
        return len(self.sql) + OF_PLAN + OF_GETTER * parts

    def statement(self, inputs: Inputs) -> Statement:
        """The statement with this request's values."""
        return Statement(self.sql, [getter(inputs) for getter in self.getters])


@dataclass(frozen=True)
class Answer:
    """What a plan returned: the JSON text, its extra columns, and what was hidden (path, group, how many)."""

    json: bytes
    extra: tuple[bytes | None, ...]
    masked: tuple[tuple[tuple[str, ...], str, int], ...]


@dataclass
class Planned:
    """The plans of one root field of one document. `names`: the variables that decide its conditions.

    The nodes are kept, so that their ids stay theirs as long as the plans live.
    """

    nodes: list[FieldNode]
    names: tuple[str, ...]
    plans: dict[Any, list[Plan]] = field(default_factory=dict)

    def add(self, key: Any, plan: Plan, most: int) -> int:
        """Keep a plan, the newest first, and as many of the others as weigh less than `most`; the weight of all."""
        kept = self.plans.pop(key, [])
        self.plans[key] = [plan, *kept][:FORMS]
        weight = weight_of(self.nodes[0].loc)
        weight += sum([plan.weight for plans in self.plans.values() for plan in plans])
        while weight > most and len(self.plans) > 1:
            oldest = self.plans.pop(next(iter(self.plans)))
            weight -= sum([plan.weight for plan in oldest])
        return weight


class Plans:
    """The plans of a process, by document nodes, conditions and variant; those not used for longest leave first.

    All the nodes of a field: which ones meet under a name depends on the operation and on its conditions.
    Under one key lie plans for different policies: one serves an actor for whom all its facts hold.
    """

    def __init__(self, most: int = BYTES) -> None:
        self.fields: Kept[tuple[int, ...], Planned] = Kept(most)

    def plan(
        self, info: GraphQLResolveInfo[Any], actor: Actor, variant: Any, build: Builder
    ) -> Plan:
        """The plan of this root field that serves this actor; made where it is not there yet.

        Raises RateLimited where the asker's share of the processor for that is used up.
        """
        nodes = tuple([id(node) for node in info.field_nodes])
        planned = self.fields.get(nodes)
        if planned is None:
            names = condition_variables(info.field_nodes, info.fragments)
            planned = Planned(info.field_nodes, names)
        values = variables(info)
        key = (variant, *[values.get(name) for name in planned.names])
        for plan in planned.plans.get(key, ()):
            if holds(actor, plan.facts):
                return plan
        with info.context.compiling():
            plan = self._make(info, actor, build)
        self.fields.keep(nodes, planned, planned.add(key, plan, self.fields.most_of_one))
        return plan

    def _make(self, info: GraphQLResolveInfo[Any], actor: Actor, build: Builder) -> Plan:
        compiler = Compiler(
            info.schema, info.operation, info.fragments, dict(variables(info)), actor
        )
        built = build(compiler, [FieldDetails(node, None) for node in info.field_nodes])
        return finish(compiler, built)


def finish(compiler: Compiler, built: Built) -> Plan:
    """The text of a statement and the getters of its parameters, in their order."""
    compiled = built.statement.compile(dialect=DIALECT)
    names: list[str] = list(compiled.positiontup or ())
    getters = [_getter(compiler, name) for name in names]
    return Plan(
        str(compiled),
        tuple(getters),
        frozenset(compiler.resources),
        frozenset(compiler.elsewhere),
        tuple(compiler.facts.kept.items()),
        tuple([(hidden.path, hidden.group.name) for hidden in built.hidden]),
        tuple(compiler.sealed),
        built.skip,
    )


def _getter(compiler: Compiler, name: str) -> Getter:
    """Raises LookupError for a value that did not come through the binds: it would be everyone's value."""
    try:
        return compiler.binds.getters[name]
    except KeyError:
        raise LookupError(f"the parameter {name} of a plan has no getter") from None


def answer(plan: Plan, row: tuple[bytes | None, ...]) -> Answer:
    """Read a plan's row: JSON, the columns of the caller, the counts of what was hidden."""
    json, extra, counts = row[0], row[1 : 1 + plan.skip], row[1 + plan.skip :]
    masked = tuple(
        (path, group, int(count))
        for (path, group), count in zip(plan.hidden, counts, strict=True)
        if count is not None and count != b"0"
    )
    return Answer(json or b"null", extra, masked)


def open_sealed(
    plan: Plan, json: bytes, open_: Callable[[str, str, str, str], str], depth: int = 1
) -> bytes:
    """Replace each ciphertext of the response by its text: `open_(table, column, row id, base64)`.

    `depth`: how many names of a path stand above the JSON.
    """
    document = orjson.loads(json)
    for path, purpose, column in plan.sealed:
        # The root field's own name is not part of its JSON.
        _open_at(document, path[depth:], partial(open_, purpose, column))
    return orjson.dumps(document)


def _open_at(value: Any, path: tuple[str, ...], open_: Callable[[str, str], str]) -> None:
    if isinstance(value, list):
        for item in value:
            _open_at(item, path, open_)
    elif isinstance(value, dict):
        name, *rest = path
        found = value.get(name)
        if found is None:
            return
        if rest:
            _open_at(found, tuple(rest), open_)
        elif isinstance(found, list):  # another type of `nodes` may give a plain text this name
            value[name] = open_(*found)


def variables(info: GraphQLResolveInfo[Any]) -> Mapping[str, Any]:
    """The operation's variables as Strawberry hands them over: a plain dictionary of coerced values."""
    return cast("Mapping[str, Any]", info.variable_values)


def condition_variables(
    nodes: list[FieldNode], fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[str, ...]:
    """Names of the variables that decide @skip and @include below these nodes: part of a plan's key."""
    names: set[str] = set()
    seen: set[str] = set()

    def walk(node: Any) -> None:
        for directive in getattr(node, "directives", None) or ():
            for argument in directive.arguments or ():
                if isinstance(argument.value, VariableNode):
                    names.add(argument.value.name.value)
        selection = getattr(node, "selection_set", None)
        for child in selection.selections if selection else ():
            walk(child)
            if child.kind == "fragment_spread" and child.name.value not in seen:
                seen.add(child.name.value)
                walk(fragments[child.name.value])

    for node in nodes:
        walk(node)
    return tuple(sorted(names))
