"""Plans are made once for an operation and a policy shape, and run at each request: parameters in, JSON out."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import orjson
from graphql import FieldNode, FragmentDefinitionNode, GraphQLResolveInfo, VariableNode
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import Select
from sqlalchemy.dialects import postgresql

from api.plan.binds import Getter, Inputs
from api.plan.compile import Compiler, Details, Hidden, SealedPath
from api.plan.facts import Fact, ask
from authz.actor import Actor
from domain.pipeline import Statement

DIALECT = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # SQLAlchemy does not type it
PLANS = 2000
FORMS = 32
"""Plans kept for one field of one document: as many policy shapes."""


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
    """A statement with its parameters, ready for any actor of the same policy shape."""

    sql: str
    getters: tuple[Getter, ...]
    resources: frozenset[str]
    elsewhere: frozenset[str]
    facts: tuple[tuple[Fact, Any], ...]
    hidden: tuple[Hidden, ...]
    sealed: tuple[SealedPath, ...]
    skip: int

    def statement(self, inputs: Inputs) -> Statement:
        """The statement with this request's values."""
        return Statement(self.sql, [getter(inputs) for getter in self.getters])


@dataclass(frozen=True)
class Answer:
    """What a plan returned: the JSON text, its extra columns, and what was hidden (path, group, how many)."""

    json: bytes
    extra: tuple[bytes | None, ...]
    masked: tuple[tuple[tuple[str, ...], str, int], ...]


class Plans:
    """The plans of a process, by document nodes, conditions and variant; the oldest leave first.

    All the nodes of a field: which ones meet under a name depends on the operation and on its conditions.
    Under one key lie plans for different policies: one serves an actor for whom all its facts hold.
    """

    def __init__(self, size: int = PLANS) -> None:
        self.size = size
        self.plans: OrderedDict[Any, tuple[Any, list[Plan]]] = OrderedDict()
        self.conditions: OrderedDict[Any, tuple[Any, tuple[str, ...]]] = OrderedDict()

    def plan(
        self, info: GraphQLResolveInfo[Any], actor: Actor, variant: Any, build: Builder
    ) -> Plan:
        """The plan of this root field that serves this actor; made where it is not there yet."""
        nodes = tuple([id(node) for node in info.field_nodes])
        names = self._condition_names(info, nodes)
        values = variables(info)
        key = (nodes, tuple([values.get(name) for name in names]), variant)
        found = self.plans.get(key)
        if found is None:
            # The nodes are kept, so that their ids stay theirs as long as the plan lives.
            found = self.plans[key] = (info.field_nodes, [])
            if len(self.plans) > self.size:
                self.plans.popitem(last=False)
        for plan in found[1]:
            if all(ask(actor, fact) == answer for fact, answer in plan.facts):
                return plan
        plan = self._make(info, actor, build)
        found[1].insert(0, plan)
        del found[1][FORMS:]
        return plan

    def _condition_names(
        self, info: GraphQLResolveInfo[Any], nodes: tuple[int, ...]
    ) -> tuple[str, ...]:
        kept = self.conditions.get(nodes)
        if kept is None:
            names = condition_variables(info.field_nodes, info.fragments)
            kept = self.conditions[nodes] = (info.field_nodes, names)
            if len(self.conditions) > self.size:
                self.conditions.popitem(last=False)
        return kept[1]

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
        tuple(built.hidden),
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
        (hidden.path, hidden.group.name, int(count))
        for hidden, count in zip(plan.hidden, counts, strict=True)
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
