"""Links to what is written in a chart: hidden where it was entered in error, unless asked for."""

from collections.abc import Callable
from typing import Annotated, Any

import strawberry
from sqlalchemy import Boolean, ColumnElement, Select, inspect, literal_column, or_

from api.plan.mapping import Argument, Row, attribute
from domain.observations import Part
from domain.state_tables import ERROR

IncludeErrors = Annotated[
    bool,
    strawberry.argument(
        name="includeEnteredInError",
        description="Also what was entered in error and is struck out.",
    ),
]
Link = Callable[[Row, Row, Argument], Select[Any]]


def unstruck(row: Row) -> ColumnElement[bool]:
    """The row was not entered in error."""
    column = inspect(row).mapper.class_.__states__.column
    return attribute(row, column) != literal_column(f"'{ERROR}'")


def shown(link: Link) -> Link:
    """A link's builder without what is struck out, unless the field's `includeEnteredInError` asks for it."""

    def build(up: Row, child: Row, get: Argument) -> Select[Any]:
        asked = get("includeEnteredInError", Boolean())
        return link(up, child, get).where(or_(asked, unstruck(child)))

    return build


def whole(link: Link) -> Link:
    """A link to observations that hold, without those that are components of others."""

    def build(up: Row, child: Row, get: Argument) -> Select[Any]:
        component: ColumnElement[str] = literal_column(f"'{Part.COMPONENT.value}'")
        found = link(up, child, get).where(child.part.is_distinct_from(component))
        return found.where(child.replaced_by_id.is_(None))

    return build


def latest(row: Row) -> list[ColumnElement[Any]]:
    """By when it was true, latest first."""
    return [row.effective_at.desc(), row.id.desc()]
