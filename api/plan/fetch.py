"""What resolvers call: one row, one page or a statement of their own, through the planner, as finished JSON."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
from graphql import GraphQLObjectType, GraphQLResolveInfo, get_named_type
from sqlalchemy import ColumnElement, Select, Text, Uuid, any_, cast, func, select, true
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from api.context import Context, Place
from api.plan.aliases import alias
from api.plan.binds import Inputs
from api.plan.compile import EMPTY_LIST, Compiler, Details, Node, bounded
from api.plan.mapping import FieldGroup, Row, attribute, mapped, parse_id
from api.plan.page import Listing, Pager, connection, reach
from api.plan.run import Answer, Builder, Built, Plan, Plans, answer, open_sealed, variables
from domain.errors import Invalid
from domain.pipeline import Lane
from domain.pipeline import Row as DatabaseRow

PLANS = Plans()
LISTED = 5000
"""Rows of a plain list at the most."""
START_AGAIN = "The cursor is not known; start again without it."
Filters = Callable[[Row, Compiler, bool], Sequence[ColumnElement[bool]]]


async def run(
    info: GraphQLResolveInfo[Any],
    build: Builder,
    *,
    variant: Any,
    values: Mapping[str, Any],
    lane: Lane = "point",
    place: Place | None = None,
) -> Answer | None:
    """Run a root field's plan; None where its statement returns no row.

    `place`: the resource whose rows the root field itself looks for, and the node below which.

    Raises what the unit driver raises, and `StaleActor` where the actor has changed since.
    """
    context: Context = info.context
    actor = context.actor
    plan = PLANS.plan(info, actor, variant, build)
    statement = plan.statement(Inputs(variables(info), values, actor))
    if place is not None and place[0] in plan.elsewhere:
        place = None  # nested rows of this resource may lie at any place
    row = await context.read(plan.resources, statement, lane, place)
    if row is None:
        return None
    return await opened(context, plan, row, len(response_path(info)))


async def opened(
    context: Context, plan: Plan, row: DatabaseRow, depth: int, *, done: bool = False
) -> Answer:
    """The answer in a plan's row: weighed, what is sealed opened, what is hidden noted.

    `depth`: how many names of a path stand above the JSON. Raises AnswerTooLarge, before anything is opened.
    """
    got = answer(plan, row)
    context.weigh(len(got.json), done=done)
    if plan.sealed:
        json = open_sealed(plan, got.json, await context.opener(), depth)
        # Text may grow by being escaped.
        context.weigh(max(0, len(json) - len(got.json)), done=done)
        got = Answer(json, got.extra, got.masked)
    context.note_masked(got.masked)
    return got


def fragment(got: Answer | None) -> Any:
    """Finished JSON that completion hands through, or None."""
    return None if got is None else orjson.Fragment(got.json)


def response_path(info: GraphQLResolveInfo[Any]) -> tuple[str, ...]:
    """Where the field stands in the response, without list indices."""
    if info.path.prev is None:
        return (str(info.path.key),)
    return tuple(key for key in info.path.as_list() if isinstance(key, str))


async def get(info: GraphQLResolveInfo[Any], type_: Any, id_: str) -> Any:
    """One row of a mapped type by its opaque id; None for what is not there or not the asker's."""
    table = mapped(type_)
    parsed = parse_id(id_, table.prefix)
    if parsed is None:
        return None
    path = response_path(info)
    return fragment(
        await run(
            info,
            lambda c, details: single(c, table.prefix, details, path, by_id(c)),
            variant=("get", table.prefix),
            values={"id": parsed[1]},
        )
    )


def by_id(c: Compiler) -> Callable[[Row], ColumnElement[bool]]:
    """The row whose id the resolver handed over as `id`."""
    return lambda row: row.id == c.binds.value("id", Uuid())


def single(
    c: Compiler,
    type_name: str,
    details: Details,
    path: tuple[str, ...],
    where: Callable[[Row], ColumnElement[bool]],
) -> Built:
    """The statement of one object under its policy."""
    type_ = c.schema.get_type(type_name)
    assert isinstance(type_, GraphQLObjectType)
    table = mapped(type_.extensions["strawberry-definition"].origin)
    row = alias(table.model, "p")
    base = select(row).where(where(row), *permitted(c, row, table.resource, table.action))
    return object_statement(c, type_, row, details, base, path)


def several(
    c: Compiler, type_name: str, details: Details, path: tuple[str, ...], ids: str
) -> Built:
    """The statement of the objects whose ids the resolver hands over as `ids`, in their order; null for none."""
    type_ = c.schema.get_type(type_name)
    assert isinstance(type_, GraphQLObjectType)
    table = mapped(type_.extensions["strawberry-definition"].origin)
    row: Row = alias(table.model, "p")
    base = select(row).where(
        row.id == any_(c.binds.units(ids)), *permitted(c, row, table.resource, table.action)
    )
    columns, node = c.object(type_, row, details, base, path)
    counts = [h.number.label(f"h{i}") for i, h in enumerate(node.hidden)]
    json = whole(c, columns, node).label("j")
    rows = node.base.with_only_columns(
        row.id.label("id"), json, *counts, maintain_column_froms=True
    ).subquery("found")
    listed = func.json_agg(aggregate_order_by(rows.c.j, rows.c.id))
    sums = [func.coalesce(func.sum(rows.c[count.name]), raw("0")) for count in counts]
    return Built(select(cast(listed, Text), *sums), node.hidden)


def permitted(
    c: Compiler, row: Row, resource: str | None, action: str
) -> list[ColumnElement[bool]]:
    if resource is None:
        return [row.tenant_id == c.tenant()]
    return [c.policy(row, resource, action)]


def object_statement(
    c: Compiler,
    type_: GraphQLObjectType,
    row: Row,
    details: Details,
    base: Select[Any],
    path: tuple[str, ...],
) -> Built:
    """One row of `base` as the JSON of an object."""
    columns, node = c.object(type_, row, details, base, path)
    json = whole(c, columns, node)
    statement = node.base.with_only_columns(
        cast(json, Text), *[h.number for h in node.hidden], maintain_column_froms=True
    )
    return Built(statement, node.hidden)


def whole(c: Compiler, columns: Sequence[Any], node: Node) -> ColumnElement[Any]:
    """The columns of an object as one JSON, joined to the node's base."""
    made = select(*columns)
    one = made.correlate(*made.columns_clause_froms).lateral(f"n{c.label()}")
    node.base = node.base.join(one, true())
    return func.row_to_json(one.table_valued())


async def page(
    info: GraphQLResolveInfo[Any],
    listing: Listing,
    *,
    node: uuid.UUID | None,
    first: int,
    after: str | None,
    filters: Filters | None = None,
    variant: Any = (),
    values: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """A connection over what the actor may read within `node`; None where they may read nothing there.

    Without `filters` the values are those of columns of the same names (`equal`).

    Raises Invalid for a page size out of bounds or a cursor that is not (or no longer) theirs.
    """
    context: Context = info.context
    actor = context.actor
    bounded(first)
    cursor = _cursor(after)
    within = reach(actor, listing.resource, node)
    if within is None:
        context.note_masked(((response_path(info), FieldGroup.DEMOGRAPHICS.name, 1),))
        return None
    path = response_path(info)

    def build(c: Compiler, details: Details) -> Built:
        pager = Pager(c, listing, within, filters or equal(values), cursor is not None)
        type_ = get_named_type(info.return_type)
        assert isinstance(type_, GraphQLObjectType)
        statement, hidden = connection(pager, type_, details, path)
        return Built(statement, hidden, skip=1)

    got = await run(
        info,
        build,
        variant=("page", listing, within.variant, cursor is not None, present(values), variant),
        values={**values, "first": first, "after": cursor, "reach": within},
        lane="page",
        place=None if node is None else (listing.resource, node),
    )
    if got is not None and got.extra[0] not in (b"t", b"true"):
        raise Invalid(START_AGAIN, path=("after",))
    return fragment(got)


def present(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that have a value: a page's statement depends on which conditions are asked."""
    return tuple(sorted(name for name, value in values.items() if value is not None))


def equal(values: Mapping[str, Any]) -> Filters:
    """Rows whose columns have these values, by the columns' names; None asks nothing of its column."""

    def build(row: Row, c: Compiler, _walks: bool) -> list[ColumnElement[bool]]:
        columns = [(attribute(row, name), name) for name in present(values)]
        return [column == c.binds.value(name, column.type) for column, name in columns]

    return build


def _cursor(after: str | None) -> uuid.UUID | None:
    if after is None:
        return None
    try:
        return uuid.UUID(after)
    except ValueError:
        raise Invalid(START_AGAIN, path=("after",)) from None


async def listed(
    info: GraphQLResolveInfo[Any],
    type_: Any,
    *,
    rows: Callable[[Compiler, Row], Select[Any]],
    order: Callable[[Row], Sequence[ColumnElement[Any]]],
    limit: int = LISTED,
    values: Mapping[str, Any] | None = None,
    variant: Any = (),
) -> Any:
    """A plain list of a small set (units, rooms): `rows(compiler, row)` selects, the policy is added here.

    None where the asker may read none of them: an empty list would be a lie.
    """
    table = mapped(type_)
    path = response_path(info)
    context: Context = info.context
    if table.resource is not None and not context.actor.may(table.resource, table.action):
        context.note_masked(((path, FieldGroup.DEMOGRAPHICS.name, 1),))
        return None

    def build(c: Compiler, details: Details) -> Built:
        object_type = c.schema.get_type(table.prefix)
        assert isinstance(object_type, GraphQLObjectType)
        row = alias(table.model, "p0")
        chosen = rows(c, row).where(*permitted(c, row, table.resource, table.action))
        chosen = chosen.order_by(*order(row)).limit(raw(str(limit)))
        inner = chosen.add_columns(func.row_number().over(order_by=order(row)).label("rn"))
        ranked = inner.subquery("p")
        p = aliased(table.model, ranked, name="p")
        columns, node = c.object(object_type, p, details, select(p).select_from(p), path)
        row_json = whole(c, columns, node)
        ordered = func.json_agg(aggregate_order_by(row_json, ranked.c.rn))
        counts = [func.coalesce(func.sum(h.number), raw("0")) for h in node.hidden]
        statement = node.base.with_only_columns(
            cast(func.coalesce(ordered, EMPTY_LIST), Text), *counts, maintain_column_froms=True
        )
        return Built(statement, node.hidden)

    got = await run(
        info, build, variant=("listed", table.prefix, variant), values=values or {}, lane="page"
    )
    return fragment(got)
