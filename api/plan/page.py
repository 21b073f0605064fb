"""Relay connections by keyset, over one clinic, some, many or all: the shape of the reach chooses the walk.

Each shape costs about the same for 1 and 1,000 clinics (docs/decisions/pages.md):
  ALL    the tenant's ordered index alone
  ONE    one place's ordered index
  FEW    one ordered page per place (LATERAL), merged
  MANY   the tenant's ordered index, each row asked for its place
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from graphql import GraphQLObjectType, get_named_type
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    Uuid,
    case,
    cast,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, distinct_on
from sqlalchemy.orm import aliased

from api.plan.binds import encode
from api.plan.compile import EMPTY_LIST, Compiler, Details, Hidden
from api.plan.facts import memo
from api.plan.mapping import Row, attribute
from authz.actor import Actor
from authz.scope import Scope
from authz.tree import Tree
from domain.model import Base

COUNTED = 1000
"""Totals are counted so far; beyond, `totalCountIsExact` is false."""
FEW = 16
UUIDS = ARRAY(Uuid())


class Shape(Enum):
    """How far a page reaches (see the module)."""

    ALL = "all"
    ONE = "one"
    FEW = "few"
    MANY = "many"


class Reach:
    """The places of one page: what the actor may read of what was asked for, ready as parameters.

    `parents` are the clinics whose ordered index is walked: those of the scope and those of its departments.
    """

    def __init__(self, shape: Shape, scope: Scope, tree: Tree) -> None:
        self.shape, self.scope = shape, scope
        clinics = {*scope.clinics, *(tree.units[u].clinic_id for u in scope.units)}
        self.one = encode((scope.clinics or scope.units or (None,))[0])
        self.parent = encode(next(iter(clinics), None))
        self.parents = encode(sorted(clinics, key=str))
        self.clinics, self.units = encode(scope.clinics), encode(scope.units)
        self.both = encode((*scope.clinics, *scope.units))

    @property
    def variant(self) -> tuple[str, bool, bool]:
        """What of it the text of a statement depends on."""
        return (self.shape.value, bool(self.scope.clinics), bool(self.scope.units))


def reach(actor: Actor, resource: str, node: UUID | None = None) -> Reach | None:
    """Where the actor may read this resource, within a node of the tree; None where nowhere."""
    return memo(actor, ("reach", resource, node), lambda a: _reach(a, resource, node))


def _reach(actor: Actor, resource: str, node: UUID | None) -> Reach | None:
    scope = actor.predicate(resource, "read").scope
    if node is not None:
        scope = scope.within(actor.tree, node)
    if scope.empty:
        return None
    if scope.all:
        return Reach(Shape.ALL, scope, actor.tree)
    places, clinics = len(scope.clinics) + len(scope.units), len(actor.tree.clinics)
    if places == 1:
        return Reach(Shape.ONE, scope, actor.tree)
    # One page per place reads n pages; walking the tenant reads about clinics / n rows for each hit.
    few = places <= max(FEW, (2 * clinics) ** 0.5)
    return Reach(Shape.FEW if few else Shape.MANY, scope, actor.tree)


@dataclass(frozen=True)
class Listing:
    """What is paged: a model, and the table whose ordered index is walked (a patient's sites, else itself).

    `place` is the column that names the place in `keys` ("unit_id" where every place has a row of its own).
    """

    model: type[Base]
    resource: str
    sort: str
    keys: type[Base]
    key_id: str = "id"
    descending: bool = False
    by_unit: bool = False

    @property
    def indirect(self) -> bool:
        """Whether the keys lie in another table than the rows."""
        return self.keys is not self.model


class Pager:
    """Builds one connection's statement. Lives only while its plan is made."""

    def __init__(
        self,
        compiler: Compiler,
        listing: Listing,
        reach: Reach,
        filters: Callable[[Row, Compiler, bool], Sequence[ColumnElement[bool]]],
        after: bool,
    ) -> None:
        self.c, self.listing, self.reach, self.filters = compiler, listing, reach, filters
        self.first = compiler.binds.value("first", BigInteger())
        self.last = self._last() if after else None

    # -- which rows -----------------------------------------------------------------------------

    def walks_model(self) -> bool:
        """Whether the tenant's own index of the model is walked."""
        return not self.listing.indirect or self.reach.shape in (Shape.ALL, Shape.MANY)

    def source(self, label: str) -> tuple[Any, str]:
        """An alias of what is walked, and the name of its id column."""
        if self.walks_model():
            return aliased(self.listing.model, name=label), "id"
        return aliased(self.listing.keys, name=label), self.listing.key_id

    def inside(
        self, row: Row, place: ColumnElement[Any] | None = None
    ) -> list[ColumnElement[bool]]:
        """The policy at a row of the walk: tenant, places and residual conditions."""
        c, scope = self.c, self.reach.scope
        shape = self.reach.shape
        out = [c.conditions(row, self.listing.resource)]
        if shape is Shape.ALL:
            return out
        if self.listing.by_unit:
            return [*out, *self._inside_by_unit(row, place)]
        clinic, unit = attribute(row, "clinic_id"), attribute(row, "unit_id")
        if place is not None:
            out.append(clinic == place)
        elif shape is Shape.ONE:
            out.append(clinic == self.places("parent", Uuid()))
        elif not scope.units:
            out.append(clinic == func.any(self.places("clinics")))
        if scope.units:
            units = unit == func.any(self.places("units"))
            out.append(
                units if not scope.clinics else units | (clinic == func.any(self.places("clinics")))
            )
        return out

    def _inside_by_unit(
        self, row: Row, place: ColumnElement[Any] | None
    ) -> list[ColumnElement[bool]]:
        if self.walks_model():  # MANY: each row is asked whether it has a site within reach
            site = aliased(self.listing.keys, name=f"s{self.c.label()}")
            return [
                select(raw("1"))
                .select_from(site)
                .where(
                    site.tenant_id == self.c.tenant(),
                    attribute(site, self.listing.key_id) == attribute(row, "id"),
                    attribute(site, "unit_id") == func.any(self.places("both")),
                )
                .correlate(row)
                .exists()
            ]
        unit = attribute(row, "unit_id")
        if place is not None:
            return [unit == place]
        if self.reach.shape is Shape.ONE:
            return [unit == self.places("one", Uuid())]
        return [unit == func.any(self.places("both"))]

    def places(self, name: str, type_: Any = None) -> Any:
        """Places of this request's reach as a parameter: an attribute of `Reach`."""
        return self.c.binds.named(
            f"reach_{name}", lambda inputs: getattr(inputs.values["reach"], name), type_ or UUIDS
        )

    # -- in which order -------------------------------------------------------------------------

    def order(self, row: Row, id_: str) -> list[ColumnElement[Any]]:
        """The sort keys of the walk, ended by the id."""
        keys = [attribute(row, self.listing.sort), attribute(row, id_)]
        return [k.desc() for k in keys] if self.listing.descending else keys

    def beyond(self, row: Row, id_: str) -> list[ColumnElement[bool]]:
        """Rows behind the cursor."""
        if self.last is None:
            return []
        keys = tuple_(attribute(row, self.listing.sort), attribute(row, id_))
        cursor = tuple_(
            select(self.last.c.sort).scalar_subquery(), select(self.last.c.id).scalar_subquery()
        )
        return [keys < cursor if self.listing.descending else keys > cursor]

    def _last(self) -> Any:
        """The cursor's row, resolved under the same policy: one that is not visible is no cursor."""
        row, id_ = self.source("last")
        rows = select(
            attribute(row, self.listing.sort).label("sort"), attribute(row, id_).label("id")
        )
        after = attribute(row, id_) == self.c.binds.value("after", Uuid())
        placed = attribute(row, self.listing.sort).is_not(
            None
        )  # a draft stands nowhere in the order
        return rows.where(*self.inside(row), after, placed).limit(raw("1")).cte("cursor_row")

    def filtered(self, row: Row) -> list[ColumnElement[bool]]:
        """What the caller asked for beyond the place."""
        return list(self.filters(row, self.c, self.walks_model()))

    def page(self) -> Select[Any]:
        """Up to first + 1 rows of the model in order, with their number `rn`."""
        limit = self.first + raw("1")
        keys = self.keys(limit)
        if keys is None:
            row, id_ = self.source("p0")
            rows = select(row).where(*self.inside(row), *self.filtered(row), *self.beyond(row, id_))
            inner = rows.order_by(*self.order(row, id_)).limit(limit).subquery("q")
            return select(inner, func.row_number().over().label("rn"))
        row = aliased(self.listing.model, name="p0")
        number = func.row_number().over(order_by=self.order(keys, "id")).label("rn")
        return select(row, number).join_from(
            keys, row, (row.tenant_id == self.c.tenant()) & (attribute(row, "id") == keys.c.id)
        )

    def keys(self, limit: ColumnElement[Any]) -> Any:
        """Sort key and id of the page's rows, where they are found apart from the rows; else None."""
        few = self.reach.shape is Shape.FEW
        if not few and self.walks_model():
            return None
        row, id_ = self.source("k")
        columns = (
            attribute(row, self.listing.sort).label(self.listing.sort),
            attribute(row, id_).label("id"),
        )
        rows = select(*columns)
        if not few:
            rows = rows.where(*self.inside(row), *self.filtered(row), *self.beyond(row, id_))
            return rows.order_by(*self.order(row, id_)).limit(limit).subquery("keys")
        wanted = self.places("both") if self.listing.by_unit else self.places("parents")
        place = func.unnest(wanted).table_valued("place", name="places").render_derived()
        per = (
            rows.where(
                *self.inside(row, place.c.place), *self.filtered(row), *self.beyond(row, id_)
            )
            .order_by(*self.order(row, id_))
            .limit(limit)
            .correlate(place)
            .lateral("per_place")
        )
        merged = select(per).select_from(place).join(per, true())
        order = self.order(per, "id")
        if self.listing.by_unit:  # a patient of two places appears once
            merged = merged.ext(distinct_on(per.c[self.listing.sort], per.c.id))
        return merged.order_by(*order).limit(limit).subquery("keys")

    def total(self) -> Any:
        """How many rows there are in all, counted up to one more than COUNTED."""
        row, id_ = self.source("n")
        rows = select(attribute(row, id_)).where(*self.inside(row), *self.filtered(row))
        if self.listing.by_unit and not self.walks_model():
            rows = rows.distinct()
        capped = rows.limit(raw(str(COUNTED + 1))).subquery("counted")
        return select(func.count()).select_from(capped).scalar_subquery()


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
        one = made.correlate(*made.get_final_froms()).lateral(f"{letter}{self.c.label()}")
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
