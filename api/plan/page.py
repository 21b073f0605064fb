"""Relay connections as JSON: `nodes`, `edges`, `pageInfo` and totals over the rows of a walk."""

from collections.abc import Callable, Sequence
from typing import Any

from graphql import GraphQLObjectType, get_named_type
from sqlalchemy import ColumnElement, Select, Text, Uuid, case, cast, func, select, true
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.orm import aliased

from api.plan.compile import EMPTY_LIST, Details, Hidden
from api.plan.reach import reach
from api.plan.walk import COUNTED, Listing, Pager

__all__ = ["Listing", "Pager", "connection", "reach"]


def connection(
    pager: Pager, type_: GraphQLObjectType, details: Details, path: tuple[str, ...]
) -> tuple[Select[Any], list[Hidden]]:
    """The statement of a connection: its JSON, whether the cursor was found, and what is hidden."""
    c = pager.c
    ranked = pager.page().subquery("p")
    p, rn = aliased(pager.listing.model, ranked, name="p"), ranked.c.rn
    state = _Parts(pager, p, rn, select(p).select_from(p))
    for response, found, name in c.fields(type_, details):
        value = state.part(type_, name, found, (*path, response))
        state.out += [raw(f"'{response}'"), value]
    # An aggregate makes it one row, also of an empty page of which only totals are asked.
    found_cursor = func.count() >= raw("0")
    if pager.last is not None:
        last = select(func.count() > raw("0")).select_from(pager.last)
        found_cursor = found_cursor & last.scalar_subquery()
    hidden = [
        h._replace(number=func.coalesce(func.sum(h.number).filter(rn <= pager.first), raw("0")))
        for h in state.hidden
    ]
    statement = state.base.with_only_columns(
        cast(func.json_build_object(*state.out), Text),
        found_cursor,
        *[h.number for h in hidden],
        maintain_column_froms=True,
    )
    return statement, hidden


class _Parts:
    """The parts of a connection, each an expression over the page's rows."""

    def __init__(self, pager: Pager, p: Any, rn: Any, base: Select[Any]) -> None:
        self.pager, self.p, self.rn, self.base = pager, p, rn, base
        self.c = pager.c
        self.out: list[ColumnElement[Any]] = []
        self.hidden: list[Hidden] = []
        self.counted: Any = None

    def part(
        self, type_: GraphQLObjectType, name: str, found: Details, path: tuple[str, ...]
    ) -> ColumnElement[Any]:
        if name == "__typename":
            return raw(f"'{type_.name}'")
        inner = get_named_type(type_.fields[name].type)
        if name == "nodes":
            return self.listed(self.node(inner, found, path))
        if name == "edges":
            return self.listed(self.edge(inner, found, path))
        if name == "pageInfo":
            return self.info(inner, found)
        return self.total(name)

    def listed(self, row: ColumnElement[Any]) -> ColumnElement[Any]:
        ordered = func.json_agg(aggregate_order_by(row, self.rn))
        return func.coalesce(ordered.filter(self.rn <= self.pager.first), EMPTY_LIST)

    def node(self, type_: Any, found: Details, path: tuple[str, ...]) -> ColumnElement[Any]:
        columns, node = self.c.object(type_, self.p, found, self.base, path)
        self.hidden += node.hidden
        self.base = node.base
        return func.row_to_json(self.join(columns, "n").table_valued())

    def edge(self, type_: Any, found: Details, path: tuple[str, ...]) -> ColumnElement[Any]:
        columns: list[Any] = []
        for response, inner, name in self.c.fields(type_, found):
            if name == "cursor":
                columns.append(cast(self.p.id, Text).label(response))
            elif name == "node":
                node_type = get_named_type(type_.fields["node"].type)
                value = self.node(node_type, inner, (*path, response))
                columns.append(value.label(response))
            else:
                columns.append(raw(f"'{type_.name}'").label(response))
        return func.row_to_json(self.join(columns, "e").table_valued())

    def join(self, columns: Sequence[Any], letter: str) -> Any:
        made = select(*columns)
        one = made.correlate(*made.columns_clause_froms).lateral(f"{letter}{self.c.label()}")
        self.base = self.base.join(one, true())
        return one

    def info(self, type_: Any, found: Details) -> ColumnElement[Any]:
        first, rn, parts = self.pager.first, self.rn, []
        ids = func.array_agg(aggregate_order_by(self.p.id, rn), type_=ARRAY(Uuid()))
        made: dict[str, Callable[[], ColumnElement[Any]]] = {
            "hasNextPage": lambda: func.count() > first,
            "hasPreviousPage": lambda: raw("true" if self.pager.last is not None else "false"),
            "startCursor": lambda: case((first > raw("0"), ids[raw("1")])),
            "endCursor": lambda: ids[func.least(func.count(), first)],
            "__typename": lambda: raw(f"'{type_.name}'"),
        }
        for response, _, name in self.c.fields(type_, found):
            parts += [raw(f"'{response}'"), made[name]()]
        return func.json_build_object(*parts)

    def total(self, name: str) -> ColumnElement[Any]:
        if self.counted is None:
            self.counted = self.pager.total()
        most: ColumnElement[Any] = raw(str(COUNTED))
        exact: ColumnElement[Any] = self.counted <= most
        return exact if name == "totalCountIsExact" else func.least(self.counted, most)
