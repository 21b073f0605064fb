"""How large an operation may be, found in one pass over its document and before anything else looks at it.

Each fragment is measured once and remembered, so the work grows with the length of the document and not with what
its fragments unfold to: 2^400 fields of a few kilobytes are refused as fast as 500.
Cost is rows times columns: each field counts one, a list multiplies what is below it by its page size.
Objects are the fields with fields of their own: each is a join, and planning takes some milliseconds for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)

from api.http.errors import Code, Problem
from api.plan.compile import BACKREF

CAP = 10**9
UNSIZED = 10  # rows that a list without a page size is taken for
WHOLE = 200  # the same of a root field that nothing narrows: the tree of a health system
SEALED = 10  # columns that a text is taken for which has to be opened: it can be a long one
SIZES = ("first", "last")


@dataclass(frozen=True)
class Limits:
    """The most that one operation may have."""

    tokens: int = 4_000
    definitions: int = 50
    depth: int = 15
    fields: int = 500
    root_fields: int = 20
    aliases: int = 60
    directives: int = 60
    cost: int = 25_000
    objects: int = 100


class Measure(NamedTuple):
    """What an operation or a part of one comes to."""

    depth: int = 0
    fields: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    cost: int = 0
    objects: int = 0


class Meter:
    """Measures one document. `variables` give page sizes; names of those that did are kept in `sizes`."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]
    ) -> None:
        self.schema = schema
        self.variables = variables
        self.sizes: set[str] = set()
        self.fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self.known: dict[str, Measure] = {}
        self.open: set[str] = set()
        self.defaults: dict[str, Any] = {}

    def operation(self, operation: OperationDefinitionNode) -> Measure:
        """The measure of an operation. Raises RecursionError where fields are nested without end."""
        self.defaults = {
            definition.variable.name.value: _literal(definition.default_value)
            for definition in operation.variable_definitions or ()
            if definition.default_value is not None
        }
        root = self.schema.get_root_type(operation.operation)
        found = self.selection(operation.selection_set, root)
        directives = found.directives + len(operation.directives or ())
        return found._replace(directives=directives)

    def selection(self, selection: SelectionSetNode | None, parent: Any) -> Measure:
        total = [0] * len(Measure._fields)
        for node in selection.selections if selection else ():
            part = self._part(node, parent)
            total[0] = max(total[0], part.depth)
            for at in range(1, len(total)):
                total[at] = min(CAP, total[at] + part[at])
            total[4] = min(CAP, total[4] + len(node.directives or ()))
        return Measure(*total)

    def _part(self, node: Any, parent: Any) -> Measure:
        if isinstance(node, FieldNode):
            return self._field(node, parent)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value)
        assert isinstance(node, InlineFragmentNode)
        on = node.type_condition
        return self.selection(
            node.selection_set, self.schema.get_type(on.name.value) if on else parent
        )

    def _field(self, node: FieldNode, parent: Any) -> Measure:
        field = _definition(parent, node.name.value)
        type_ = get_named_type(field.type) if field else None
        below = self.selection(node.selection_set, type_)
        rows = self._rows(node, field, parent)
        return Measure(
            below.depth + 1,
            min(CAP, below.fields + 1),
            1,
            below.aliases + bool(node.alias),
            below.directives,
            min(CAP, (below.cost + _columns(field)) * rows),
            min(CAP, below.objects + bool(node.selection_set)),
        )

    def _fragment(self, name: str) -> Measure:
        known = self.known.get(name)
        if known is not None:
            return known
        fragment = self.fragments.get(name)
        if fragment is None or name in self.open:
            return Measure()  # validation has its own words for these
        self.open.add(name)
        on = self.schema.get_type(fragment.type_condition.name.value)
        self.known[name] = measure = self.selection(fragment.selection_set, on)
        self.open.discard(name)
        return measure

    def _rows(self, node: FieldNode, field: GraphQLField | None, parent: Any) -> int:
        if field is None:
            return 1
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        for name in SIZES:
            if name in field.args:
                return self._size(given.get(name), field.args[name].default_value)
        if not _is_list(field.type) or getattr(parent, "name", "").endswith("Connection"):
            return 1
        if parent is self.schema.query_type and not field.args:
            return WHOLE
        return max([UNSIZED, *map(self._length, given.values())])

    def _size(self, value: Any, default: Any) -> int:
        if isinstance(value, VariableNode):
            self.sizes.add(value.name.value)
            found = self._variable(value.name.value, default)
        elif isinstance(value, IntValueNode):
            found = _literal(value)
        else:
            found = default
        # 100.0 is an Int too, to those who take variables.
        return max(1, int(min(CAP, found))) if type(found) in (int, float) else UNSIZED

    def _variable(self, name: str, default: Any = None) -> Any:
        """What the request gives, else what the operation says, else `default`; null is nothing of these."""
        given = self.variables.get(name)
        if given is None:
            given = self.defaults.get(name)
        return default if given is None else given

    def _length(self, value: Any) -> int:
        if isinstance(value, VariableNode):
            self.sizes.add(value.name.value)
            given = self._variable(value.name.value)
            return len(given) if isinstance(given, list) else 1
        return len(value.values) if isinstance(value, ListValueNode) else 1


def check(measure: Measure, limits: Limits) -> None:
    """Raise OPERATION_TOO_COMPLEX by the first limit that is passed."""
    for name, value in measure._asdict().items():
        allowed = getattr(limits, name)
        if value > allowed:
            raise too_complex(name, allowed)


def too_complex(limit: str, allowed: int) -> Problem:
    """The refusal by one of the limits."""
    words = limit.replace("_", " ")
    return Problem(
        Code.OPERATION_TOO_COMPLEX,
        f"The operation passes the limit of {allowed} for its {words}.",
        limit=limit,
        allowed=allowed,
    )


def _definition(parent: Any, name: str) -> GraphQLField | None:
    if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
        found: GraphQLField | None = parent.fields.get(name)
        return found
    return None


def _literal(value: Any) -> Any:
    """What a literal of a document comes to: a page size, or a list of unknown items; None for anything else."""
    if isinstance(value, IntValueNode):
        return int(value.value) if len(value.value) < 10 else CAP
    return [None] * len(value.values) if isinstance(value, ListValueNode) else None


def _columns(field: GraphQLField | None) -> int:
    """What a field costs by itself."""
    definition = field.extensions.get(BACKREF) if field is not None else None
    declared = (getattr(definition, "metadata", None) or {}).get("sql")
    return SEALED if getattr(declared, "sealed", None) is not None else 1


def _is_list(type_: Any) -> bool:
    return isinstance(type_.of_type if isinstance(type_, GraphQLNonNull) else type_, GraphQLList)
