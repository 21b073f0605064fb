"""Arguments of a root field as its resolver takes them, worked out once for a field of a document.

graphql-core and Strawberry look at the types of each value at each call. Here the types are looked at once; what a
value of them becomes is the same (`tests/api/plan/test_arguments.py` compares).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from functools import partial
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    Undefined,
    VariableNode,
    get_argument_values,
    is_non_null_type,
    is_required_argument,
)
from graphql.execution.values import VariableValues
from strawberry.schema.compat import is_scalar
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryOptional,
    has_object_definition,
)
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.lazy_type import LazyType
from strawberry.types.unset import UNSET

from api.plan.binds import syntax_kinds

Convert = Callable[[Any], Any]
NOTHING: VariableValues = VariableValues({}, {})


class Types:
    """Converters by Strawberry's types. None converts by leaving a value as it is."""

    def __init__(self, config: StrawberryConfig, scalars: Mapping[object, Any]) -> None:
        self.config = config
        self.scalars = scalars
        self.inputs: dict[Any, Convert] = {}

    def converter(self, type_: Any) -> Convert | None:
        """From a value that graphql-core has coerced to what Strawberry hands to resolvers."""
        if isinstance(type_, StrawberryMaybe):
            return self.strawberry(type_)
        if isinstance(type_, StrawberryOptional):
            return self.converter(type_.of_type)
        if isinstance(type_, StrawberryList):
            return _listing(self.converter(type_.of_type))
        if isinstance(type_, LazyType):
            return self.converter(type_.resolve_type())
        if isinstance(type_, StrawberryEnumDefinition) or has_enum_definition(type_):
            return None
        if is_scalar(type_, self.scalars):
            return None
        if has_object_definition(type_) and type_.__strawberry_definition__.from_input is None:
            return self.input(type_)
        return self.strawberry(type_)

    def strawberry(self, type_: Any) -> Convert:
        """Strawberry's own way, for what is rare."""
        return partial(
            convert_argument, type_=type_, scalar_registry=self.scalars, config=self.config
        )

    def input(self, type_: Any) -> Convert:
        """An input object; the converter of a type that holds itself is the one under way."""
        known = self.inputs.get(type_)
        if known is not None:
            return known
        fields: list[tuple[str, str, Convert | None]] = []
        empty: dict[str, None] = {}

        def convert(value: Any) -> Any:
            if value is None or value is UNSET:
                return value
            given = empty.copy()
            for name, python_name, inner in fields:
                if name in value:
                    found = value[name]
                    given[python_name] = found if inner is None or found is None else inner(found)
            return type_(**given)

        self.inputs[type_] = convert
        definition = type_.__strawberry_definition__
        for field in definition.fields:
            if field.default_value is MISSING and field.default_factory is MISSING:
                empty[field.python_name] = None
            inner = self.converter(field.resolve_type(type_definition=definition))
            name = self.config.name_converter.from_field(field)
            fields.append((name, field.python_name, inner))
        return convert


def _listing(inner: Convert | None) -> Convert:
    def convert(value: Any) -> Any:
        if value is None or value is UNSET:
            return value
        # A copy: graphql-core gives the same default to every request.
        return list(value) if inner is None else [inner(item) for item in value]

    return convert


class Named(NamedTuple):
    """An argument that a variable gives. `default` counts where the variable has no value."""

    argument: str
    variable: str
    default: Any
    required: bool


class Arguments:
    """The arguments of one field of a document."""

    def __init__(
        self,
        types: Types,
        field: GraphQLField,
        node: FieldNode,
        declared: Sequence[StrawberryArgument],
    ) -> None:
        self.field, self.node = field, node
        self.constant: dict[str, Any] = {}
        self.named: list[Named] = []
        self.wholly = not self._sorted()
        name_of = types.config.name_converter.from_argument
        self.taken: list[tuple[str, str, Convert | None]] = [
            (name_of(argument), str(argument.python_name), types.converter(argument.type))
            for argument in declared
        ]

    def of(self, variables: VariableValues, *, hide_suggestions: bool = False) -> dict[str, Any]:
        """The resolver's keyword arguments. Raises GraphQLError for values that the field does not take."""
        values = None if self.wholly else self._quickly(variables.coerced)
        if values is None:
            values = get_argument_values(
                self.field, self.node, variables, hide_suggestions=hide_suggestions
            )
        out: dict[str, Any] = {}
        for name, python_name, convert in self.taken:
            if name in values:
                value = values[name]
                out[python_name] = value if convert is None or value is None else convert(value)
        return out

    def _quickly(self, coerced: dict[str, Any]) -> dict[str, Any] | None:
        """The values by the arguments' names; None where graphql-core has something to refuse."""
        values = self.constant.copy()
        for name, variable, default, required in self.named:
            value = coerced.get(variable, default)
            if value is None or value is Undefined:
                if required:
                    return None
                if value is Undefined:
                    continue
            values[name] = value
        return values

    def _sorted(self) -> bool:
        """Tell literals and defaults from variables; False where a variable stands inside a literal."""
        given = {argument.name.value: argument.value for argument in self.node.arguments or ()}
        variables = {n: v.name.value for n, v in given.items() if isinstance(v, VariableNode)}
        if any("variable" in syntax_kinds(v) for n, v in given.items() if n not in variables):
            return False
        try:
            self.constant = self._coerced(set(self.field.args) - set(variables), self.node)
            for name, variable in variables.items():
                required = is_required_argument(self.field.args[name])
                bare = FieldNode(name=self.node.name, arguments=())
                default = (
                    Undefined if required else self._coerced({name}, bare).get(name, Undefined)
                )
                strict = is_non_null_type(self.field.args[name].type)
                self.named.append(Named(name, variable, default, strict))
        except GraphQLError:
            return False  # graphql-core says so at each request
        return True

    def _coerced(self, names: set[str], node: FieldNode) -> dict[str, Any]:
        """Literals and defaults of some of the arguments."""
        definitions = {n: d for n, d in self.field.args.items() if n in names}
        return get_argument_values(GraphQLField(self.field.type, args=definitions), node, NOTHING)
