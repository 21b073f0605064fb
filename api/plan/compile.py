"""From a selection to SQL: every alias passes the policy, children become LATERAL joins, rows become JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_named_type,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_subfields
from graphql.execution.values import VariableValues
from sqlalchemy import (
    ColumnElement,
    Integer,
    Label,
    Select,
    Text,
    case,
    cast,
    func,
    null,
    select,
    true,
)
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects.postgresql import array

from api.plan.judge import Judge
from api.plan.mapping import FieldGroup, Leaf, Link, Row, Struct, Table, attribute, mapped
from authz.actor import Actor
from authz.masks import Shown
from domain.errors import Invalid

BACKREF = "strawberry-definition"
EMPTY_LIST: ColumnElement[Any] = raw("'[]'::json")
Details = list[FieldDetails]
ALIAS = 63
"""What PostgreSQL keeps of a column's name, which becomes the name in the response."""
PAIRS = 50
"""What one `json_build_object` takes: a function of PostgreSQL has at most 100 arguments."""
MOST = 100
"""Rows of a page or of a nested list."""


class Hidden(NamedTuple):
    """A place in the response where values can be hidden, and how many are (an expression of the row)."""

    path: tuple[str, ...]
    group: FieldGroup
    number: ColumnElement[Any]


class SealedPath(NamedTuple):
    """Where the response holds a ciphertext that Python must open."""

    path: tuple[str, ...]
    purpose: str
    column: str


@dataclass
class Node:
    """One row being turned into an object: its alias, what joins it and which groups it hides."""

    table: Table | None
    row: Row
    base: Select[Any]
    path: tuple[str, ...]
    hidden: list[Hidden] = field(default_factory=list)
    shown: dict[str, ColumnElement[Any] | bool] = field(default_factory=dict)


class Compiler(Judge):
    """Makes the statement of one root field. Lives only while its plan is made."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        conditions: dict[str, Any],
        actor: Actor,
    ) -> None:
        super().__init__(actor)
        self.schema, self.operation = schema, operation
        self.fragments = {name: FragmentDetails(f) for name, f in fragments.items()}
        self.variables = VariableValues({}, conditions)  # only @skip and @include read them
        self.sealed: list[SealedPath] = []
        self.nodes: dict[int, Node] = {}
        self.count = 0

    def show(self, node: Node, action: str) -> ColumnElement[bool] | bool:
        """Whether the row shows the fields of this action: true, false, or a condition of the row."""
        if node.table is None or node.table.resource is None or action == node.table.action:
            return True
        if action not in node.shown:
            resource = node.table.resource
            kind = self.facts.mask(resource, action, node.table.action)
            if kind is Shown.BY_ROW:
                test = self.policy(node.row, resource, action)
                node.shown[action] = self.beside(node, test)
            else:
                node.shown[action] = kind is Shown.ALWAYS
        return node.shown[action]

    def beside(self, node: Node, test: ColumnElement[bool]) -> ColumnElement[bool]:
        """A condition of the row, computed once beside it; never null."""
        made = select(func.coalesce(test, raw("false")).label("ok"))
        joined = made.correlate(node.row).lateral(f"g{self.label()}")
        node.base = node.base.join(joined, true())
        return joined.c.ok

    def masked_groups(self, row: Row) -> ColumnElement[Any]:
        """The names of the groups that this row hides, as a JSON list."""
        node = self.nodes[id(row)]
        assert node.table is not None
        names: list[ColumnElement[Any]] = []
        for gate, group in node.table.groups.items():
            shown = self.opened(node, gate)
            if shown is False:
                names.append(raw(f"'{group.name}'"))
            elif shown is not True:
                names.append(case((shown, null()), else_=raw(f"'{group.name}'")))
        if not names:
            return EMPTY_LIST
        return func.to_json(func.array_remove(_array(names), null()))

    def opened(self, node: Node, gate: str) -> ColumnElement[bool] | bool:
        """Whether an action of the row's own resource, or a permission at its place, is given."""
        resource, _, action = gate.rpartition(":")
        return self.readable(node, resource, action) if resource else self.show(node, action)

    # -- selection ------------------------------------------------------------------------------

    def label(self) -> str:
        """The end of a name that no other alias of the statement has, nor a name of a client's: no `$` there."""
        self.count += 1
        return f"${self.count}"

    def fields(self, type_: GraphQLObjectType, details: Details) -> list[tuple[str, Details, str]]:
        """The selected fields of an object: (response name, their nodes, field name)."""
        grouped = collect_subfields(
            self.schema, self.fragments, self.variables, self.operation, type_, details
        ).grouped_field_set
        if any(len(response) > ALIAS for response in grouped):
            raise Invalid(f"An alias has at most {ALIAS} characters.")
        if len(grouped) > PAIRS and table_of(type_) is None:
            raise Invalid(f"A {type_.name} answers at most {PAIRS} fields.")
        return [(response, found, found[0].node.name.value) for response, found in grouped.items()]

    def object(
        self,
        type_: GraphQLObjectType,
        row: Row,
        details: Details,
        base: Select[Any],
        path: tuple[str, ...],
    ) -> tuple[list[Label[Any]], Node]:
        """The columns of an object's JSON, and the node whose `base` now joins all they need."""
        node = Node(table_of(type_), row, base, path)
        self.nodes[id(row)] = node
        columns: list[Label[Any]] = []
        for response, found, name in self.fields(type_, details):
            if name == "__typename":
                columns.append(raw(f"'{type_.name}'").label(response))
                continue
            definition = type_.fields[name]
            declared = declaration(definition)
            place = (*path, response)
            if isinstance(declared, Link):
                value = self.link(node, definition, declared, found, place)
            elif isinstance(declared, Struct):
                value = self.struct(node, definition, declared, found, place)
            else:
                value = self.leaf(node, definition, declared, found, place)
            columns.append(value.label(response))
        return columns, node

    def leaf(
        self,
        node: Node,
        definition: GraphQLField,
        leaf: Leaf,
        found: Details,
        path: tuple[str, ...],
    ) -> ColumnElement[Any]:
        """A value of the row, hidden where the action is not allowed."""
        python_name = definition.extensions[BACKREF].python_name
        if leaf.build is not None:
            value = leaf.build(node.row, self, self.arguments(definition, found[0].node))
        else:
            value = attribute(node.row, leaf.attribute or python_name)
        if leaf.sealed is not None:
            self.sealed.append(SealedPath(path, *leaf.sealed))
            parts = attribute(node.row, "id"), func.encode(value, raw("'base64'"))
            value = case((value.is_not(None), func.json_build_array(*parts)))
        return self.masked(node, leaf.action, value, path)

    def struct(
        self,
        node: Node,
        definition: GraphQLField,
        struct: Struct,
        found: Details,
        path: tuple[str, ...],
    ) -> ColumnElement[Any]:
        """An object made of values of the row."""
        type_ = get_named_type(definition.type)
        assert isinstance(type_, GraphQLObjectType)
        values = struct.build(node.row, self)
        parts: list[ColumnElement[Any]] = []
        for response, _, name in self.fields(type_, found):
            value = raw(f"'{type_.name}'") if name == "__typename" else values[name]
            parts += [raw(f"'{response}'"), value]
        json: ColumnElement[Any] = func.json_build_object(*parts)
        if "" in values:  # the condition under which there is an object at all
            json = case((values[""], json))
        return self.masked(node, struct.action, json, path)

    def masked(
        self, node: Node, action: str, value: ColumnElement[Any], path: tuple[str, ...]
    ) -> ColumnElement[Any]:
        """The value where the action is allowed, else null; where it can be null, that is counted."""
        shown = self.show(node, action)
        if shown is True:
            return value
        assert node.table is not None
        group = node.table.groups[action]
        if shown is False:
            node.hidden.append(Hidden(path, group, raw("1")))
            return null()
        node.hidden.append(Hidden(path, group, cast(~shown, Integer)))
        return case((shown, value))

    # -- children -------------------------------------------------------------------------------

    def link(
        self,
        node: Node,
        definition: GraphQLField,
        link: Link,
        found: Details,
        path: tuple[str, ...],
    ) -> ColumnElement[Any]:
        """Child rows as JSON: a list, or one object or null."""
        type_ = get_named_type(definition.type)
        assert isinstance(type_, GraphQLObjectType)
        table = table_of(type_)
        visible = self.readable_at(node, table, link)
        if visible is False:
            assert link.group is not None
            node.hidden.append(Hidden(path, link.group, raw("1")))
            return null()
        k = self.label()
        get = self.arguments(definition, found[0].node)
        if table is None:
            query, child = self.derived(node, link, get, k)
        else:
            child = self.alias(table.model)
            query = link.build(node.row, child, get)
            if table.resource is not None:
                query = query.where(self.child(node.row, child, table.resource, link.action))
            if link.order is not None:
                query = query.order_by(*link.order(child))
            if "first" in definition.args:
                query = query.limit(get("first"))
            query = query.correlate(node.row)
        value = self.lateral(node, link, type_, child, query, found, path, k)
        if visible is True:
            return value
        assert link.group is not None
        node.hidden.append(Hidden(path, link.group, cast(~visible, Integer)))
        return case((visible, value))

    def derived(self, node: Node, link: Link, get: Any, k: str) -> tuple[Select[Any], Row]:
        """Children that are no table's rows: the builder asks for the policy at each alias itself."""
        rows = link.build(node.row, self, get).correlate(node.row).lateral(f"t{k}")
        return select(rows).order_by(*(link.order(rows.c) if link.order else ())), rows

    def lateral(
        self,
        node: Node,
        link: Link,
        type_: GraphQLObjectType,
        child: Row,
        query: Select[Any],
        found: Details,
        path: tuple[str, ...],
        k: str,
    ) -> ColumnElement[Any]:
        columns, inner = self.object(type_, child, found, query, path)
        whole = not columns or bool(inner.hidden)
        rows = self.rows(inner, columns, k, whole)
        row = rows.c.j if whole else rows.table_valued()
        if link.many:
            value: ColumnElement[Any] = func.coalesce(func.json_agg(row), EMPTY_LIST)
        else:
            value = row if whole else func.row_to_json(row)
        outs = [value.label("j")]
        for i in range(len(inner.hidden)):
            total = func.sum(rows.c[f"h{i}"]) if link.many else rows.c[f"h{i}"]
            outs.append(total.label(f"h{i}"))
        lateral = select(*outs).select_from(rows).lateral(f"l{k}")
        node.base = node.base.outerjoin(lateral, true())
        for i, hidden in enumerate(inner.hidden):
            node.hidden.append(hidden._replace(number=func.coalesce(lateral.c[f"h{i}"], raw("0"))))
        return lateral.c.j

    def rows(self, inner: Node, columns: Sequence[Label[Any]], k: str, whole: bool) -> Any:
        """The child rows as a sub-select: their JSON columns, or one JSON (`whole`) and the counts of what is hidden."""
        if not whole:
            return inner.base.with_only_columns(*columns, maintain_column_froms=True).subquery(
                f"r{k}"
            )
        made = select(*columns)
        one = made.correlate(*made.columns_clause_froms).lateral(f"n{k}")
        counts = [hidden.number.label(f"h{i}") for i, hidden in enumerate(inner.hidden)]
        return (
            inner.base.join(one, true())
            .with_only_columns(
                func.row_to_json(one.table_valued()).label("j"),
                *counts,
                maintain_column_froms=True,
            )
            .subquery(f"r{k}")
        )

    def readable_at(
        self, node: Node, table: Table | None, link: Link
    ) -> ColumnElement[bool] | bool:
        """Whether the actor may read the child anywhere at the parent's place: an empty list would be a lie."""
        if table is None:
            return self.opened(node, link.action)
        if link.group is None or table.resource is None:
            return True
        return self.readable(node, table.resource, link.action)

    def readable(self, node: Node, resource: str, action: str) -> ColumnElement[bool] | bool:
        """Whether the actor may do this, by role and place alone, at the place of the node's row."""
        if node.table is None or node.table.resource is None:
            return True
        parent = node.table.resource
        kind = self.facts.covers(resource, action, parent, node.table.action)
        if kind is not Shown.BY_ROW:
            return kind is Shown.ALWAYS
        key = f"{resource}:{action}"
        if key not in node.shown:
            self.facts.place(resource, action)
            child = self.actor.predicate(resource, action)
            node.shown[key] = self.beside(node, self._judged(child, node.row, parent))
        return node.shown[key]

    def arguments(self, definition: GraphQLField, node: FieldNode) -> "Arguments":
        """The arguments of a nested field, as parameters."""
        return Arguments(self, definition, node)


class Arguments:
    """`get("first")`: an argument of a nested field as a parameter; page sizes are kept in bounds."""

    def __init__(self, compiler: Compiler, definition: GraphQLField, node: FieldNode) -> None:
        self.compiler, self.definition, self.node = compiler, definition, node

    def __call__(
        self, name: str, type_: Any = None, convert: Callable[[Any], Any] | None = None
    ) -> Any:
        chosen = convert or (bounded if name == "first" else lambda value: value)
        return self.compiler.binds.argument(self.definition, self.node, name, type_, chosen)


def bounded(first: int | None) -> int:
    """A page size. Raises Invalid for one out of bounds, and for null, which a nullable variable can be."""
    if first is None or not 0 <= first <= MOST:
        raise Invalid(f"A page holds 0 to {MOST} rows.", path=("first",))
    return first


def table_of(type_: GraphQLObjectType | GraphQLInterfaceType) -> Table | None:
    """The table under a GraphQL type, None where it is made of a sub-select."""
    origin = type_.extensions[BACKREF].origin
    return mapped(origin) if hasattr(origin, "__table__") else None


def declaration(definition: GraphQLField) -> Leaf | Struct | Link:
    """How a field is read; wall 1 has seen to it that each has a declaration."""
    found = definition.extensions[BACKREF].metadata["sql"]
    assert isinstance(found, Leaf | Struct | Link)
    return found


def _array(items: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    return array([cast(item, Text) for item in items])
