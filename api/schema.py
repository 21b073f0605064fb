"""The schema: every module of `api/graph` merged, and wall 1, which refuses one that forgot to name an action."""

import datetime as dt
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import strawberry
from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter
from strawberry.tools import merge_types
from strawberry.utils.str_converters import to_camel_case

import api.graph
from api.graph.payloads import UserError
from api.plan.compile import BACKREF
from api.plan.execute import PassThrough
from api.plan.mapping import Leaf, Link, Struct, Table, instant
from authz.templates import VARIANTS, load_policy

OWN = "own"
"""The action of a root field that answers about the asker, or whose rows are judged by their own types."""

Instant = strawberry.scalar(
    name="DateTime",
    description="An instant, ISO 8601 with offset; answered in UTC.",
    serialize=instant,
    parse_value=lambda text: _aware(text),
)


SCALARS: Any = {dt.datetime: Instant}


def _aware(text: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError("an instant needs an offset")
    return value.astimezone(dt.UTC)


class Names(NameConverter):
    """Strawberry's names, worked out once each: it asks for them at every argument of every call."""

    def apply_naming_config(self, name: str) -> str:
        """`birth_date` as `birthDate`."""
        return _camel(name)


@cache
def _camel(name: str) -> str:
    return to_camel_case(name)


class Unguarded(Exception):
    """The schema names fields for which nobody has said which action opens them; the process must not start."""


@cache
def build_schema() -> strawberry.Schema:
    """Build and check the schema. Raises Unguarded with every field that names no action."""
    modules = list(_modules())
    schema = strawberry.Schema(
        query=_merged("Query", modules),
        mutation=_merged("Mutation", modules),
        subscription=_merged("Subscription", modules),
        types=_further(modules),
        config=StrawberryConfig(scalar_map=SCALARS, name_converter=Names()),
        execution_context_class=PassThrough,
    )
    answer_events(schema._schema)
    known = frozenset[str]().union(*(load_policy(v).permissions for v in VARIANTS))
    missing = sorted(unguarded(schema._schema, known))
    if missing:
        raise Unguarded("no action stated for: " + ", ".join(missing))
    return schema


def answer_events(schema: GraphQLSchema) -> None:
    """Let each subscription's events be answered by what it names for that; Strawberry's would hand them out."""
    if schema.subscription_type is not None:
        for field in schema.subscription_type.fields.values():
            field.resolve = _metadata(field)["shown"]


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(api.graph.__path__, "api.graph."):
        yield import_module(found.name)


def _merged(name: str, modules: list[ModuleType]) -> Any:
    parts = tuple(getattr(module, name) for module in modules if hasattr(module, name))
    return merge_types(name, parts) if parts else None


def _further(modules: list[ModuleType]) -> list[Any]:
    """Types that only an interface leads to: those of `UserError`, and of `Node` what lies over a table."""
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and (UserError in value.__mro__[1:] or isinstance(vars(value).get("__table__"), Table))
    }
    return sorted(found, key=lambda type_: type_.__name__)


def unguarded(schema: GraphQLSchema, known: frozenset[str]) -> Iterator[str]:
    """Fields without an action, or with one that no policy declares; `known` is all of `resource:action`."""
    roots = [t for t in (schema.query_type, schema.mutation_type, schema.subscription_type) if t]
    for type_ in schema.type_map.values():
        if not isinstance(type_, GraphQLObjectType) or type_.name.startswith("__"):
            continue
        if type_ in roots:
            yield from _roots(type_, known)
            continue
        origin = type_.extensions[BACKREF].origin
        table: Table | None = getattr(origin, "__table__", None)
        if table is not None:
            yield from _guarded(type_, table, known)
        elif not getattr(origin, "__plain__", False):
            yield f"{type_.name} (neither lies over a table nor is a value type)"


def _roots(type_: GraphQLObjectType, known: frozenset[str]) -> Iterator[str]:
    for name, field in type_.fields.items():
        action = _metadata(field).get("root")
        if action != OWN and action not in known:
            yield f"{type_.name}.{name}"


def _guarded(type_: GraphQLObjectType, table: Table, known: frozenset[str]) -> Iterator[str]:
    for name, field in type_.fields.items():
        declared = _metadata(field).get("sql")
        if isinstance(declared, Leaf | Struct):
            if table.resource is not None and f"{table.resource}:{declared.action}" not in known:
                yield f"{type_.name}.{name} (unknown action {declared.action})"
        elif not isinstance(declared, Link):
            yield f"{type_.name}.{name}"
        if str(field.type).endswith("!") and name not in ("id", "maskedGroups"):
            yield f"{type_.name}.{name} (a field that a policy can hide must be nullable)"


def _metadata(field: GraphQLField) -> dict[str, Any]:
    definition = field.extensions.get(BACKREF)
    found: dict[str, Any] = getattr(definition, "metadata", None) or {}
    return found
