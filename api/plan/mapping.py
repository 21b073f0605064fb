"""How GraphQL types lie over tables: declared on the Strawberry types, field by field, each with its action.

    @table(Encounter)
    class EncounterType(Node):
        started_at: dt.datetime = column("read", "When the visit began.")
        reason: str | None = column("read_clinical", "Why the patient came.")
        @many(Note, "read", lambda up, note, get: ...)
        def notes(self, first: int = 20) -> list[NoteType] | None: "The notes of the visit."

A field without a declaration keeps the schema from being built (`api/schema.py`). The bodies of decorated
functions never run: the parent is compiled.
"""

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar, dataclass_transform

import strawberry
from sqlalchemy import ColumnElement, Select, Text, cast, func, literal_column, select

from domain.model import Base

Row = Any
"""An alias of a mapped class, or a sub-select with the same columns."""
Argument = Callable[..., ColumnElement[Any]]
"""`get("first")`: a field's argument as a bind parameter."""

T = TypeVar("T")


@strawberry.enum(description="A set of fields that a policy shows or hides together.")
class FieldGroup(Enum):
    """Why a field can be null although the row is visible."""

    DEMOGRAPHICS = "demographics"
    CLINICAL = "clinical"
    BILLING = "billing"
    SCHEDULING = "scheduling"
    IDENTIFIERS = "identifiers"


GROUP_OF = {
    "read": FieldGroup.DEMOGRAPHICS,
    "read_clinical": FieldGroup.CLINICAL,
    "read_billing": FieldGroup.BILLING,
    "read_scheduling": FieldGroup.SCHEDULING,
    "manage": FieldGroup.IDENTIFIERS,
}
"""Which group an action of a row's own resource opens."""


@dataclass(frozen=True)
class Leaf:
    """A value of the row itself. `build(row, compiler, get)` makes it; without, the attribute of the field's name."""

    action: str
    build: Callable[..., ColumnElement[Any]] | None = None
    attribute: str | None = None
    sealed: tuple[str, str] | None = None  # (purpose, column): opened in Python


@dataclass(frozen=True)
class Struct:
    """A nested object whose fields are values of the same row (Money)."""

    action: str
    build: Callable[..., dict[str, ColumnElement[Any]]]


@dataclass(frozen=True)
class Link:
    """Rows of another table (or of a sub-select) that belong to this row.

    `build(up, child, get)` is the `Select` of the child, joined to the parent's row, ordered and limited;
    the policy is added at the child's alias. `group` is what is said to be masked where the actor has no role
    that reads the child at any place of the parent.
    """

    action: str
    build: Callable[..., Select[Any]]
    many: bool
    group: FieldGroup | None
    order: Callable[[Row], Sequence[ColumnElement[Any]]] | None = None


Field = Leaf | Struct | Link


@dataclass(frozen=True)
class Table:
    """What a mapped type reads: a model of the domain under its resource's policy."""

    model: type[Base]
    resource: str | None
    action: str
    prefix: str
    groups: dict[str, FieldGroup] = field(default_factory=dict)

    @property
    def guarded(self) -> bool:
        """Whether single fields of its rows can be hidden."""
        return bool(self.groups)


def _declare(declaration: Field, description: str, **more: Any) -> Any:
    return strawberry.field(metadata={"sql": declaration}, description=description, **more)


def column(action: str, description: str, *, attribute: str | None = None, **more: Any) -> Any:
    """A column of the table, the field's own name unless `attribute` names another."""
    return _declare(Leaf(action, attribute=attribute), description, **more)


def computed(
    action: str, description: str, build: Callable[..., ColumnElement[Any]], **more: Any
) -> Any:
    """A scalar SQL expression over the row: `build(row, compiler, get)`."""
    return _declare(Leaf(action, build), description, **more)


def sealed(action: str, description: str, *, attribute: str, purpose: str) -> Any:
    """A column stored encrypted: the statement hands out the ciphertext, Python opens it."""
    return _declare(Leaf(action, attribute=attribute, sealed=(purpose, attribute)), description)


def struct(
    action: str, description: str, build: Callable[..., dict[str, ColumnElement[Any]]]
) -> Any:
    """An object made of values of the same row: `build(row, compiler)` gives its fields."""
    return _declare(Struct(action, build), description)


def _link(
    many: bool,
    action: str,
    build: Callable[..., Select[Any]],
    group: FieldGroup | None,
    order: Callable[[Row], Sequence[ColumnElement[Any]]] | None,
) -> Callable[[Callable[..., Any]], Any]:
    def decorate(signature: Callable[..., Any]) -> Any:
        link = Link(action, build, many, group, order)
        return strawberry.field(
            resolver=signature, metadata={"sql": link}, description=signature.__doc__
        )

    return decorate


def many(
    action: str,
    build: Callable[..., Select[Any]],
    *,
    group: FieldGroup | None,
    order: Callable[[Row], Sequence[ColumnElement[Any]]] | None = None,
) -> Callable[[Callable[..., Any]], Any]:
    """A list of child rows. The decorated function gives name, arguments, type and description."""
    return _link(True, action, build, group, order)


def one(
    action: str, build: Callable[..., Select[Any]], *, group: FieldGroup | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """One child row, or null."""
    return _link(False, action, build, group, None)


@dataclass_transform(field_specifiers=(column, computed, sealed, struct))
def table(
    model: type[Base],
    *,
    action: str = "read",
    description: str,
    name: str | None = None,
    gates: dict[str, FieldGroup] | None = None,
) -> Callable[[type[T]], type[T]]:
    """Lie a Strawberry type over a model. Adds `id` (opaque, made in SQL) and, where needed, `maskedGroups`.

    `gates` names what opens the groups of its links, beyond those of its own fields: an action of the row's own
    resource (`read_clinical`) or a permission asked at its place (`appointment:read`).
    """

    def decorate(cls: type[T]) -> type[T]:
        prefix = name or cls.__name__
        groups = {**_groups(cls, action), **(gates or {})}
        cls.__annotations__ = {"id": strawberry.ID, **cls.__annotations__}
        cls.id = computed(action, "Opaque and stable; take it to `node`.", _node_id(prefix))  # type: ignore[attr-defined] # the decorator gives the type its id
        if groups:
            cls.__annotations__["masked_groups"] = list[FieldGroup]
            cls.masked_groups = computed(  # type: ignore[attr-defined] # the decorator gives the type this field
                action, "Groups of fields of this row that are hidden from you.", _masked_groups
            )
        resource = model.__resource__
        cls.__table__ = Table(model, resource, action, prefix, groups)  # type: ignore[attr-defined] # read by the compiler
        return strawberry.type(cls, name=prefix, description=description)

    return decorate


def _groups(cls: type[Any], action: str) -> dict[str, FieldGroup]:
    """The actions beyond the row's own that fields of the type ask for, each with its group."""
    out: dict[str, FieldGroup] = {}
    for value in vars(cls).values():
        declared = (getattr(value, "metadata", None) or {}).get("sql")
        if isinstance(declared, Leaf | Struct) and declared.action != action:
            out[declared.action] = GROUP_OF[declared.action]
    return out


def _node_id(prefix: str) -> Callable[..., ColumnElement[Any]]:
    def build(row: Row, *_: Any) -> ColumnElement[Any]:
        return literal_column(f"'{prefix}:'").concat(cast(attribute(row, "id"), Text))

    return build


def _masked_groups(row: Row, compiler: Any, _get: Argument) -> ColumnElement[Any]:
    hidden: ColumnElement[Any] = compiler.masked_groups(row)
    return hidden


def attribute(row: Row, name: str) -> ColumnElement[Any]:
    """A column of the row, whether it is an alias of a model or a sub-select."""
    columns = getattr(row, "c", None)
    value: ColumnElement[Any] = columns[name] if columns is not None else getattr(row, name)
    return value


def joined(child_column: str, up_column: str) -> Callable[..., Select[Any]]:
    """A link's builder: children whose column equals one of the parent's row, in the same tenant."""

    def build(up: Row, child: Row, _get: Argument) -> Select[Any]:
        return select(child).where(
            attribute(child, "tenant_id") == attribute(up, "tenant_id"),
            attribute(child, child_column) == attribute(up, up_column),
        )

    return build


def enum_name(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The GraphQL name of a stored state: `in-progress` becomes IN_PROGRESS."""
    return func.upper(func.translate(value, literal_column("'-'"), literal_column("'_'")))


def mapped(cls: Any) -> Table:
    """The table that a mapped type reads."""
    found: Table = cls.__table__
    return found


def parse_id(value: str, prefix: str | None = None) -> tuple[str, uuid.UUID] | None:
    """Split `Patient:0190…`; None where it is not an id of ours (or not of that type)."""
    kind, _, rest = value.partition(":")
    if prefix is not None and kind != prefix:
        return None
    try:
        return kind, uuid.UUID(rest)
    except ValueError:
        return None


def instant(value: dt.datetime) -> str:
    """An instant as PostgreSQL writes it in JSON at time zone UTC (ISO 8601, no trailing zeros)."""
    text = value.astimezone(dt.UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "+00:00"
