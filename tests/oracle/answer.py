"""Answers a document for somebody from plain rows: data, refusals and what is hidden, field by field.

An own small executor of GraphQL (https://spec.graphql.org/October2021/#sec-Executing-Selection-Sets); only the
parser is graphql-core's.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    value_from_ast_untyped,
)

from tests.oracle.fields import TYPES, covers
from tests.oracle.money_roots import EVERY_ROOT
from tests.oracle.roots import Listing, Picked, Refused, Values
from tests.oracle.rules import Sight
from tests.oracle.shapes import Arguments, Leaf, Many, One, Struct, Type, ordered

Path = tuple[str, ...]
COUNTED = 1000


@dataclass
class Outcome:
    """What a response says: `errors` are the paths of root fields that were refused."""

    data: dict[str, Any]
    errors: list[Path] = field(default_factory=list)
    masked: Counter[tuple[Path, str]] = field(default_factory=Counter)


def answer(sight: Sight, document: DocumentNode, variables: Mapping[str, Any]) -> Outcome:
    """The response to the document's only operation."""
    return _Execution(sight, document, variables).run()


class _Execution:
    def __init__(self, sight: Sight, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self.sight = sight
        self.masked: Counter[tuple[Path, str]] = Counter()
        parts = document.definitions
        self.fragments = {d.name.value: d for d in parts if isinstance(d, FragmentDefinitionNode)}
        (self.operation,) = (d for d in parts if isinstance(d, OperationDefinitionNode))
        defaults = {
            d.variable.name.value: value_from_ast_untyped(d.default_value)
            for d in self.operation.variable_definitions or ()
            if d.default_value is not None
        }
        self.variables = {**defaults, **variables}

    def run(self) -> Outcome:
        out = Outcome({}, [], self.masked)
        for response, found in self.collected("Query", [self.operation.selection_set]).items():
            name = found[0].name.value
            if name == "__typename":
                out.data[response] = "Query"
                continue
            try:
                picked = EVERY_ROOT[name](self.sight, self.arguments(found[0]))
            except Refused:
                out.data[response] = None
                out.errors.append((response,))
                continue
            out.data[response] = self.picked(picked, found, (response,))
        return out

    # -- selections -----------------------------------------------------------------------------

    def collected(
        self, type_name: str, sets: Iterable[SelectionSetNode | None]
    ) -> dict[str, list[FieldNode]]:
        """Response name -> the fields that answer it, in order."""
        out: dict[str, list[FieldNode]] = {}
        for each in sets:
            for node in self.fields(type_name, each, set()):
                name = (node.alias or node.name).value
                out.setdefault(name, []).append(node)
        return out

    def fields(
        self, type_name: str, selected: SelectionSetNode | None, seen: set[str]
    ) -> Iterator[FieldNode]:
        for node in selected.selections if selected else ():
            if not self.included(node):
                continue
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                if condition is None or applies(type_name, condition.name.value):
                    yield from self.fields(type_name, node.selection_set, seen)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                fragment = self.fragments[node.name.value]
                if applies(type_name, fragment.type_condition.name.value):
                    yield from self.fields(type_name, fragment.selection_set, seen)

    def included(self, node: Any) -> bool:
        for directive in node.directives or ():
            condition = value_from_ast_untyped(directive.arguments[0].value, self.variables)
            if condition == (directive.name.value == "skip"):
                return False
        return True

    def arguments(self, node: FieldNode) -> Arguments:
        values = {
            a.name.value: value_from_ast_untyped(a.value, self.variables)
            for a in node.arguments or ()
        }
        return {name: value for name, value in values.items() if value is not Undefined}

    # -- values ---------------------------------------------------------------------------------

    def picked(self, picked: Picked, found: list[FieldNode], path: Path) -> Any:
        """What a root field found, as JSON."""
        if picked.hidden:
            self.masked[path, picked.hidden] += 1
        value = picked.value
        if value is None:
            return None
        if isinstance(value, Values):
            return self.values(value, found, path)
        if isinstance(value, Listing):
            return self.connection(value, found, path)
        if isinstance(value, list):
            return self.rows(value, found, path)
        type_, row = value
        return self.object(type_, row, found, path)

    def rows(self, value: list[Any], found: list[FieldNode], path: Path) -> list[Any]:
        """A list of (type, row) or None; a row that appears twice is hidden once."""
        made: dict[tuple[str, Any], Any] = {}
        if any(isinstance(each, Values) for each in value):
            return [self.values(each, found, path) for each in value]
        for each in value:
            if each is not None and (each[0].name, each[1].id) not in made:
                made[each[0].name, each[1].id] = self.object(each[0], each[1], found, path)
        return [None if each is None else made[each[0].name, each[1].id] for each in value]

    def object(self, type_: Type, row: Any, found: list[FieldNode], path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for response, nodes in self.under(type_.name, found).items():
            name = nodes[0].name.value
            if name == "__typename":
                out[response] = type_.name
            elif name == "id":
                out[response] = f"{type_.name}:{row.id}"
            elif name == "maskedGroups":
                shown = type_.groups.items()
                out[response] = sorted(g for g, test in shown if not test(self.sight, row))
            else:
                out[response] = self.field(type_, row, name, nodes, (*path, response))
        return out

    def under(self, type_name: str, found: list[FieldNode]) -> dict[str, list[FieldNode]]:
        return self.collected(type_name, [node.selection_set for node in found])

    def field(self, type_: Type, row: Any, name: str, nodes: list[FieldNode], path: Path) -> Any:
        shape = type_.fields[name]
        if isinstance(shape, Many):
            return self.many(type_, row, shape, nodes, path)
        if isinstance(shape, One):
            child, target = TYPES[shape.type], shape.find(self.sight, row)
            if target is None or not self.readable(child, target):
                return None
            return self.object(child, target, nodes, path)
        return self.leaf(row, shape, nodes, path)

    def leaf(self, row: Any, shape: Leaf, nodes: list[FieldNode], path: Path) -> Any:
        if shape.opens and not self.sight.may(shape.opens, row):
            self.masked[path, shape.group or ""] += 1
            return None
        value = shape.value(self.sight, row)
        if isinstance(shape, Struct) and value is not None:
            return self.values(Values(shape.type, value), nodes, path)
        return value

    def values(self, values: Values, found: list[FieldNode], path: Path) -> dict[str, Any]:
        """An object without a row: a Money, the viewer."""
        out: dict[str, Any] = {}
        for response, nodes in self.under(values.type, found).items():
            name = nodes[0].name.value
            if name == "__typename":
                out[response] = values.type
                continue
            value = values.of[name]
            if callable(value):
                value = value(self.arguments(nodes[0]))
            out[response] = self.nested(value, nodes, (*path, response))
        return out

    def nested(self, value: Any, nodes: list[FieldNode], path: Path) -> Any:
        if isinstance(value, Values):
            return self.values(value, nodes, path)
        if isinstance(value, Picked):
            return self.picked(value, nodes, path)
        if isinstance(value, list):
            return [self.nested(item, nodes, path) for item in value]
        return value

    def many(self, type_: Type, row: Any, shape: Many, nodes: list[FieldNode], path: Path) -> Any:
        child = TYPES[shape.type]
        if shape.group and not covers(self.sight, type_, shape.gate or child.permission or "", row):
            self.masked[path, shape.group] += 1
            return None
        arguments = self.arguments(nodes[0])
        found = [each for each in shape.find(self.sight, row) if self.readable(child, each)]
        if shape.struck and not arguments.get("includeEnteredInError", False):
            found = [each for each in found if getattr(each, shape.struck) != "entered-in-error"]
        first = arguments.get("first", shape.first)
        return [
            self.object(child, each, nodes, path) for each in ordered(found, shape.order)[:first]
        ]

    def readable(self, type_: Type, row: Any) -> bool:
        return type_.permission is None or self.sight.may(type_.permission, row)

    # -- pages ----------------------------------------------------------------------------------

    def connection(self, listing: Listing, found: list[FieldNode], path: Path) -> dict[str, Any]:
        name = f"{listing.type.name}Connection"
        total = len(listing.rows)
        made: dict[str, Any] = {
            "__typename": name,
            "totalCount": min(total, COUNTED),
            "totalCountIsExact": total <= COUNTED,
        }
        out: dict[str, Any] = {}
        for response, nodes in self.under(name, found).items():
            field_, place = nodes[0].name.value, (*path, response)
            if field_ == "nodes":
                out[response] = [
                    self.object(listing.type, row, nodes, place) for row in listing.page
                ]
            elif field_ == "edges":
                out[response] = [self.edge(listing.type, row, nodes, place) for row in listing.page]
            elif field_ == "pageInfo":
                out[response] = self.info(listing, nodes)
            else:
                out[response] = made[field_]
        return out

    def edge(self, type_: Type, row: Any, found: list[FieldNode], path: Path) -> dict[str, Any]:
        made = {"cursor": str(row.id), "__typename": f"{type_.name}Edge"}
        return {
            response: self.object(type_, row, nodes, (*path, response))
            if nodes[0].name.value == "node"
            else made[nodes[0].name.value]
            for response, nodes in self.under(f"{type_.name}Edge", found).items()
        }

    def info(self, listing: Listing, found: list[FieldNode]) -> dict[str, Any]:
        page = listing.page
        made = {
            "__typename": "PageInfo",
            "hasNextPage": listing.more,
            "hasPreviousPage": listing.begun,
            "startCursor": str(page[0].id) if page else None,
            "endCursor": str(page[-1].id) if page else None,
        }
        return {
            response: made[nodes[0].name.value]
            for response, nodes in self.under("PageInfo", found).items()
        }


def applies(type_name: str, condition: str) -> bool:
    """Whether a fragment on `condition` takes an object of the type."""
    node = condition == "Node" and type_name in TYPES and TYPES[type_name].table is not None
    return node or condition == type_name
