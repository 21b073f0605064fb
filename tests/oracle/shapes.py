"""What a graph type is to the oracle: a table, the permission that shows its rows, and its fields."""

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.oracle.rules import Sight

Arguments = Mapping[str, Any]
Order = Sequence[str]
"""Names of columns; a leading `-` is descending."""


@dataclass(frozen=True)
class Leaf:
    """A value of a row; `opens` is the permission that shows it beyond the row's own, `group` its field group."""

    value: Callable[[Sight, Any], Any]
    opens: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Struct(Leaf):
    """As a leaf; the value is a mapping or None, its type is `type`."""

    type: str = "Money"


@dataclass(frozen=True)
class One:
    """A row of another type: `find` gives it whether it may be read or not."""

    type: str
    find: Callable[[Sight, Any], Any]


@dataclass(frozen=True)
class Many:
    """Rows of another type, likewise. With `group` the list is null where no role reads them at the row's place."""

    type: str
    find: Callable[[Sight, Any], Iterable[Any]]
    order: Order = ()
    first: int = 100
    group: str | None = None
    gate: str | None = (
        None  # what must be given at the row's place, if not the rows' own permission
    )
    struck: str | None = None  # the column that says so of what is hidden unless asked for


@dataclass(frozen=True)
class Type:
    """`table` None: values without a row of their own, shown with their parent."""

    name: str
    table: str | None
    permission: str | None
    fields: Mapping[str, Leaf | One | Many]
    groups: Mapping[str, Callable[[Sight, Any], bool]] = field(default_factory=dict)

    @property
    def resource(self) -> str:
        return (self.permission or "").partition(":")[0]


def snake(name: str) -> str:
    """`familyName` as a column."""
    return re.sub(r"[A-Z]", lambda m: "_" + m[0].lower(), name)


def columns(names: str, **more: Any) -> dict[str, Leaf]:
    """Leaves of columns of the same names."""

    def leaf(name: str) -> Leaf:
        column = snake(name)
        return Leaf(lambda _, row: plain(getattr(row, column)), **more)

    return {name: leaf(name) for name in names.split()}


def enums(names: str) -> dict[str, Leaf]:
    """Leaves of columns that hold an enumeration: `in-progress` is IN_PROGRESS."""

    def leaf(name: str) -> Leaf:
        column = snake(name)
        return Leaf(lambda _, row: (getattr(row, column) or "").replace("-", "_").upper() or None)

    return {name: leaf(name) for name in names.split()}


def texts(names: str) -> dict[str, Leaf]:
    """Leaves of numbers that are answered as text."""

    def leaf(name: str) -> Leaf:
        column = snake(name)
        return Leaf(lambda _, row: _text(getattr(row, column)))

    return {name: leaf(name) for name in names.split()}


def _text(value: Any) -> str | None:
    return None if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def money(column: str, **more: Any) -> Struct:
    """A Money of a column in minor units."""
    return Struct(lambda sight, row: as_money(sight, getattr(row, column)), **more)


def as_money(sight: Sight, minor: int | None) -> dict[str, Any] | None:
    """The amount with the digits of the tenant's currency."""
    if minor is None:
        return None
    (tenant,) = sight.rows.all("tenant")
    digits = tenant.currency_digits
    return {"amount": f"{Decimal(minor).scaleb(-digits):.{digits}f}", "currency": tenant.currency}


def one(type_: str, table: str, column: str) -> One:
    """The row whose id the column holds."""
    return One(type_, lambda sight, row: sight.rows.get(table, getattr(row, column)))


def plain(value: Any) -> Any:
    """A value as JSON says it: instants in UTC without trailing zeros, dates, everything else itself."""
    if isinstance(value, dt.datetime):
        text = value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        return text.rstrip("0").rstrip(".") + "+00:00"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID | Decimal):
        raise TypeError("say how it is written")
    return value


def ordered(rows: Iterable[Any], order: Order) -> list[Any]:
    """Sorted by the columns; null comes last, descending first."""
    out = list(rows)
    for name in reversed(order):
        column = name.lstrip("-")
        out.sort(
            key=lambda row: ((v := getattr(row, column)) is None, 0 if v is None else v),
            reverse=name.startswith("-"),
        )
    return out
