"""The public surface: committed, described, and refused where a field names no action."""

from pathlib import Path
from typing import Any

import pytest
import strawberry
from graphql import GraphQLEnumType, GraphQLNamedType, build_schema, find_breaking_changes

import api
from api.graph.relay import Node, root, value_type
from api.plan.mapping import column, table
from api.schema import build_schema as ours
from api.schema import unguarded
from authz.templates import VARIANTS, load_policy
from domain.organization import OrgUnit

COMMITTED = Path(api.__file__).with_name("schema.graphql").read_text()
KNOWN = frozenset[str]().union(*(load_policy(v).permissions for v in VARIANTS))


def test_the_committed_schema_is_what_the_code_says() -> None:
    """`caretree schema --write` writes it; the difference is what a review sees."""
    assert ours().as_str().rstrip() + "\n" == COMMITTED


def test_no_client_breaks() -> None:
    """Against the committed schema: a change that removes or narrows is seen before it is written."""
    assert find_breaking_changes(build_schema(COMMITTED), ours()._schema) == []


def undescribed(type_: GraphQLNamedType) -> list[str]:
    """What of a type has no description."""
    roots = ("Query", "Mutation", "Subscription")
    found = [] if type_.description or type_.name in roots else [type_.name]
    fields: dict[str, Any] = (
        {} if isinstance(type_, GraphQLEnumType) else getattr(type_, "fields", {})
    )
    for name, field in fields.items():
        if not field.description:
            found.append(f"{type_.name}.{name}")
        arguments = getattr(field, "args", {})
        found += [f"{type_.name}.{name}({a})" for a, x in arguments.items() if not x.description]
    return found


def test_everything_is_described() -> None:
    types = ours()._schema.type_map.values()
    assert [x for t in types if not t.name.startswith("__") for x in undescribed(t)] == []


@table(OrgUnit, name="Forgetful", description="A guarded type with a field that says nothing.")
class Forgetful(Node):
    name: str | None = column("read", "What people call it.")
    level: str | None = column("read_billing", "An action that no policy declares for units.")
    version: int = column("read", "Cannot be hidden.")
    zone: str | None = strawberry.field(default=None, description="Names no action.")


@strawberry.type
class Plain:
    """Neither over a table nor a value type."""

    x: int = 1


def nothing() -> Plain | None:
    """A resolver."""
    return None


@value_type("A value.")
class Value:
    x: int = strawberry.field(default=1, description="A number.")


def test_a_field_that_names_no_action_is_refused() -> None:
    class Query:
        @root("org_unit:read", "Good.")
        def good(self) -> Value:
            return Value()

        @root("org_unit:guess", "An action that no policy declares.")
        def unknown(self) -> Forgetful | None:
            return None

        silent = strawberry.field(resolver=nothing, description="Names no action.")

    schema = strawberry.Schema(strawberry.type(Query))
    assert sorted(unguarded(schema._schema, KNOWN)) == [
        "Forgetful.level (unknown action read_billing)",
        "Forgetful.version (a field that a policy can hide must be nullable)",
        "Forgetful.zone",
        "Plain (neither lies over a table nor is a value type)",
        "Query.silent",
        "Query.unknown",
    ]


def test_the_product_has_no_such_field() -> None:
    assert list(unguarded(ours()._schema, KNOWN)) == []


@pytest.mark.parametrize("name", ["Query", "Mutation"])
def test_root_fields_are_nullable(name: str) -> None:
    """One refusal never takes the rest of an answer with it."""
    type_: Any = ours()._schema.get_type(name)
    assert [f for f, d in type_.fields.items() if str(d.type).endswith("!")] == []
