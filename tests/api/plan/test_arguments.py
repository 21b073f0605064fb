"""What a resolver is handed is what Strawberry would hand it, for every argument of every root field."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    OperationDefinitionNode,
    get_argument_values,
    get_variable_values,
    parse,
)
from strawberry.types.arguments import convert_arguments

from api.plan.arguments import Arguments, Types
from api.plan.compile import BACKREF
from api.schema import build_schema

SCHEMA: Any = build_schema()
CORE = SCHEMA._schema
REGISTRY = SCHEMA.schema_converter.scalar_registry
TYPES = Types(SCHEMA.config, REGISTRY)
ROUNDS = 12
SCALARS: dict[str, Callable[[random.Random], Any]] = {
    "ID": lambda draw: f"Patient:{draw.random()}",
    "String": lambda draw: draw.choice(["", "Ärger", "x" * 40]),
    "Int": lambda draw: draw.randrange(-5, 500),
    "Float": lambda draw: draw.random(),
    "Boolean": lambda draw: draw.random() < 0.5,
    "DateTime": lambda draw: f"2026-03-0{draw.randrange(1, 9)}T10:00:00+02:00",
    "Date": lambda draw: f"2026-03-0{draw.randrange(1, 9)}",
    "Time": lambda draw: f"1{draw.randrange(0, 9)}:30:00",
    "Decimal": lambda draw: f"{draw.randrange(0, 999)}.50",
}


def fields() -> Iterator[tuple[str, GraphQLField]]:
    for root in (CORE.query_type, CORE.mutation_type):
        for name, field in root.fields.items():
            if field.args:
                yield f"{root.name}.{name}", field


def value(type_: Any, draw: random.Random, depth: int = 0) -> Any:
    """A value that the type takes; what may be missing or null sometimes is."""
    if isinstance(type_, GraphQLNonNull):
        return value(type_.of_type, draw, depth)
    if isinstance(type_, GraphQLList):
        length = 0 if depth > 4 else draw.randrange(0, 3)
        return [filled(type_.of_type, draw, depth) for _ in range(length)]
    if isinstance(type_, GraphQLEnumType):
        return draw.choice(list(type_.values))
    if isinstance(type_, GraphQLInputObjectType):
        out = {}
        for name, field in type_.fields.items():
            must = isinstance(field.type, GraphQLNonNull)
            if must or (depth < 4 and draw.random() < 0.6):
                out[name] = filled(field.type, draw, depth + 1)
        return out
    return SCALARS[type_.name](draw)


def filled(type_: Any, draw: random.Random, depth: int) -> Any:
    if not isinstance(type_, GraphQLNonNull) and draw.random() < 0.2:
        return None
    return value(type_, draw, depth)


def called(field: GraphQLField, name: str) -> tuple[OperationDefinitionNode, FieldNode]:
    """An operation in which each argument of the field is a variable."""
    declared = ", ".join(f"$v{i}: {a.type}" for i, a in enumerate(field.args.values()))
    given = ", ".join(f"{argument}: $v{i}" for i, argument in enumerate(field.args))
    operation: Any = parse(f"query({declared}) {{ {name}({given}) }}").definitions[0]
    return operation, operation.selection_set.selections[0]


def test_arguments_are_those_that_strawberry_makes() -> None:
    compared = sum(compare(name, field) for name, field in fields())
    assert compared > 1000


def compare(name: str, field: GraphQLField) -> int:
    """How many drawn values of the field's arguments came out the same."""
    compared = 0
    operation, node = called(field, name.partition(".")[2])
    definition = field.extensions[BACKREF]
    arguments = Arguments(TYPES, field, node, definition.arguments)
    draw = random.Random(name)
    for _ in range(ROUNDS):
        given = {}
        for i, argument in enumerate(field.args.values()):
            if isinstance(argument.type, GraphQLNonNull) or draw.random() < 0.7:
                given[f"v{i}"] = filled(argument.type, draw, 0)
        variables = get_variable_values(CORE, operation.variable_definitions or (), given)
        if isinstance(variables, list):
            continue  # an input object of which exactly one field must be given
        expected = convert_arguments(
            get_argument_values(field, node, variables),
            definition.arguments,
            REGISTRY,
            SCHEMA.config,
        )
        got = arguments.of(variables)
        assert got == expected, name
        assert repr(got) == repr(expected), name
        compared += 1
    return compared


def of_literals(text: str, variables: dict[str, Any], name: str = "patients") -> Any:
    """The arguments of a root field in a document, as they are made here; the error where they are refused."""
    operation: Any = parse(text).definitions[0]
    node = operation.selection_set.selections[0]
    field = CORE.query_type.fields[name]
    values = get_variable_values(CORE, operation.variable_definitions or (), variables)
    assert not isinstance(values, list)
    definition = field.extensions[BACKREF]
    try:
        got = Arguments(TYPES, field, node, definition.arguments).of(values)
    except GraphQLError as error:
        return error.message
    expected = get_argument_values(field, node, values)
    assert got == convert_arguments(expected, definition.arguments, REGISTRY, SCHEMA.config)
    return got


def test_literals_and_variables_inside_them() -> None:
    assert of_literals("{ patients(first: 3) }", {})["first"] == 3
    assert of_literals("{ patients }", {})["first"] == 50
    nested = 'query($d: Date) { patients(filter: {birthDate: $d, name: "Ro"}) }'
    assert str(of_literals(nested, {"d": "1980-02-03"})["filter"].birth_date) == "1980-02-03"
    assert of_literals(nested, {})["filter"].birth_date is None
    assert of_literals("query($n: Int) { patients(first: $n) }", {})["first"] == 50
    assert "not to be None" in of_literals("query($n: Int) { patients(first: $n) }", {"n": None})


def test_no_two_requests_share_a_list() -> None:
    """A default or a literal is made once; whoever gets it may change it."""
    operation: Any = parse('{ nodes(ids: ["Patient:1"]) }').definitions[0]
    field = CORE.query_type.fields["nodes"]
    node = operation.selection_set.selections[0]
    arguments = Arguments(TYPES, field, node, field.extensions[BACKREF].arguments)
    values = get_variable_values(CORE, (), {})
    assert not isinstance(values, list)
    arguments.of(values)["ids"].clear()
    assert arguments.of(values)["ids"] == ["Patient:1"]
