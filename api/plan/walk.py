"""Walks of ordered indexes by keyset, over one place, some, many or all: the shape of the reach chooses.

Each costs about the same for 1 and 500 clinics, however unevenly the rows lie (docs/decisions/pages.md):
  ALL    the tenant's ordered index alone
  ONE    one place's ordered index
  FEW    one ordered page per place (LATERAL), merged
  MANY   the first rows of each place bound the page's last key; then only what lies before it is read
Where a filter has an ordered index of its own (a patient's encounters), that is walked whatever the shape.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    BinaryExpression,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Uuid,
    case,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.sql import operators

from api.plan.aliases import alias
from api.plan.compile import Compiler
from api.plan.mapping import Row, attribute
from api.plan.reach import Reach, Shape
from domain.model import Base

COUNTED = 1000
"""Totals are counted so far; beyond, `totalCountIsExact` is false."""
SAMPLED = 1300
"""Rows of several places that are read to count COUNTED different ones."""
MOST: ColumnElement[Any] = raw("101")
"""The largest page and the row behind it: as a constant it tells the planner how little is wanted."""
UUIDS = ARRAY(Uuid())
LAST: dict[tuple[bool, bool], str] = {
    (False, False): "chr(1114111)",
    (False, True): "''",
    (True, False): "timestamptz 'infinity'",
    (True, True): "timestamptz '-infinity'",
}
"""Behind every sort key, by (is it an instant, descending)."""
LAST_ID = {
    False: "uuid 'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    True: "uuid '00000000-0000-0000-0000-000000000000'",
}


@dataclass(frozen=True, eq=False)
class Listing:
    """What is paged: a model, and the table whose ordered index is walked (a patient's sites, else itself).

    A constant of its module: part of each plan's key, by its identity.

    `by_unit`: each place has a row of its own in `keys`, so that one row of the model can be found at several.
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
    """Builds the walk of one connection. Lives only while its plan is made."""

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
        several = reach.shape in (Shape.FEW, Shape.MANY)
        self.by_place = several and not self._has_own_index()

    # -- which rows -----------------------------------------------------------------------------

    def walks_model(self) -> bool:
        """Whether the model's own rows are walked, not keys in another table."""
        return not self.listing.indirect or self.reach.shape is Shape.ALL

    def source(self, label: str) -> tuple[Any, str]:
        """An alias of what is walked, and the name of its id column."""
        if self.walks_model():
            return alias(self.listing.model, label), "id"
        return alias(self.listing.keys, label), self.listing.key_id

    def inside(
        self, row: Row, place: ColumnElement[Any] | None = None
    ) -> list[ColumnElement[bool]]:
        """The policy at a row of the walk: tenant, places and residual conditions."""
        out = [self.c.conditions(row, self.listing.resource)]
        if self.reach.shape is Shape.ALL:
            return out
        if self.listing.by_unit:
            return [*out, self._at_unit(row, place)]
        return [*out, *self._at_clinic(row, place)]

    def _at_unit(self, row: Row, place: ColumnElement[Any] | None) -> ColumnElement[bool]:
        unit = attribute(row, "unit_id")
        if place is not None:
            found: ColumnElement[bool] = unit == place
        elif self.reach.shape is Shape.ONE:
            found = unit == self.places("one", Uuid())
        else:
            found = unit == func.any(self.places("both"))
        return found

    def _at_clinic(self, row: Row, place: ColumnElement[Any] | None) -> list[ColumnElement[bool]]:
        scope, out = self.reach.scope, []
        clinic, unit = attribute(row, "clinic_id"), attribute(row, "unit_id")
        if place is not None:
            out.append(clinic == place)
        elif self.reach.shape is Shape.ONE:
            out.append(clinic == self.places("parent", Uuid()))
        elif not scope.units:
            out.append(clinic == func.any(self.places("clinics")))
        if scope.units:
            units = unit == func.any(self.places("units"))
            out.append(
                units if not scope.clinics else units | (clinic == func.any(self.places("clinics")))
            )
        return out

    def places(self, name: str, type_: Any = None) -> Any:
        """Places of this request's reach as a parameter: an attribute of `Reach`."""
        return self.c.binds.named(
            f"reach_{name}", lambda inputs: getattr(inputs.values["reach"], name), type_ or UUIDS
        )

    def filtered(self, row: Row) -> list[ColumnElement[bool]]:
        """What the caller asked for beyond the place."""
        return list(self.filters(row, self.c, self.walks_model()))

    def _has_own_index(self) -> bool:
        """Whether a filter asks for equality on a column that an index of the table begins with."""
        row, _ = self.source("f")
        table: Any = (self.listing.model if self.walks_model() else self.listing.keys).__table__
        begun = {index.columns[1].name for index in table.indexes if len(index.columns) > 1}
        begun -= {"clinic_id", "unit_id", self.listing.sort}
        return any(
            isinstance(found, BinaryExpression)
            and found.operator is operators.eq
            and getattr(found.left, "name", None) in begun
            for found in self.filtered(row)
        )

    # -- in which order -------------------------------------------------------------------------

    def key(self, row: Any, id_: str = "id") -> list[ColumnElement[Any]]:
        """The sort keys of the walk, ended by the id."""
        return [attribute(row, self.listing.sort), attribute(row, id_)]

    def order(self, row: Any, id_: str = "id") -> list[ColumnElement[Any]]:
        """The order of the walk."""
        keys = self.key(row, id_)
        return [k.desc() for k in keys] if self.listing.descending else keys

    def beyond(self, row: Row, id_: str) -> list[ColumnElement[bool]]:
        """Rows behind the cursor."""
        if self.last is None:
            return []
        keys, cursor = tuple_(*self.key(row, id_)), self._only(self.last)
        return [keys < cursor if self.listing.descending else keys > cursor]

    def until(self, row: Any, bound: Any, id_: str = "id") -> ColumnElement[bool]:
        """Rows not behind the bound. Nothing but the parameters of an index condition may stand here."""
        keys, last = tuple_(*self.key(row, id_)), self._only(bound)
        return keys >= last if self.listing.descending else keys <= last

    def _only(self, one: Any) -> ColumnElement[Any]:
        """Key and id of the only row of a CTE."""
        return tuple_(*(select(column).scalar_subquery() for column in self.key(one.c)))

    def _last(self) -> Any:
        """The cursor's row, resolved under the same policy: one that is not visible is no cursor."""
        row, id_ = self.source("last")
        after = attribute(row, id_) == self.c.binds.value("after", Uuid())
        placed = attribute(row, self.listing.sort).is_not(None)  # a draft stands nowhere
        rows = self._keys_of(row, id_).where(*self.inside(row), after, placed)
        return rows.limit(raw("1")).cte("cursor_row")

    def _keys_of(self, row: Row, id_: str) -> Select[Any]:
        sort, id_column = self.key(row, id_)
        return select(sort.label(self.listing.sort), id_column.label("id"))

    # -- the page -------------------------------------------------------------------------------

    def page(self) -> Select[Any]:
        """Up to first + 1 rows of the model in order, with their number `rn`."""
        limit = self.first + raw("1")
        if self.walks_model() and not self.by_place:
            row, id_ = self.source("p0")
            rows = select(row).where(*self.inside(row), *self.filtered(row), *self.beyond(row, id_))
            inner = rows.order_by(*self.order(row, id_)).limit(limit).subquery("q")
            capped = select(inner).limit(MOST).subquery("capped")
            return select(capped, func.row_number().over().label("rn"))
        found = self.keys(limit).subquery("keys")
        keys = select(found).limit(MOST).subquery("capped")
        row = alias(self.listing.model, "p0")
        number = func.row_number().over(order_by=self.order(keys.c)).label("rn")
        return select(row, number).join_from(
            keys, row, (row.tenant_id == self.c.tenant()) & (attribute(row, "id") == keys.c.id)
        )

    def keys(self, limit: ColumnElement[Any]) -> Select[Any]:
        """Sort key and id of the page's rows, found apart from the rows."""
        if self.by_place:
            return self._merged(limit)
        row, id_ = self.source("k")
        rows = self._keys_of(row, id_).where(
            *self.inside(row), *self.filtered(row), *self.beyond(row, id_)
        )
        if self.listing.by_unit and self.reach.shape is not Shape.ONE:
            rows = rows.ext(distinct_on(*self.key(row, id_)))
        return rows.order_by(*self.order(row, id_)).limit(limit)

    def _merged(self, limit: ColumnElement[Any]) -> Select[Any]:
        """One ordered page of each place, merged; of many places only those that the page can reach."""
        if self.reach.shape is Shape.FEW:
            places, bound = self._unnested("places"), None
        else:
            places, bound = self._reached()
        per = self._per_place("k", places, limit, bound)
        merged = select(per.c[self.listing.sort], per.c.id).select_from(places).join(per, true())
        if self.listing.by_unit:  # a patient of two places appears once
            merged = merged.ext(distinct_on(*self.key(per.c)))
        return merged.order_by(*self.order(per.c)).limit(limit)

    def _unnested(self, name: str) -> Any:
        """The places whose ordered indexes are walked, as rows."""
        wanted = self.places("both" if self.listing.by_unit else "parents")
        return func.unnest(wanted).table_valued("place", name=name).render_derived()

    def _per_place(self, label: str, places: Any, limit: Any, bound: Any = None) -> Any:
        """The first rows of each place in order, not behind the bound."""
        row, id_ = self.source(label)
        rows = self._keys_of(row, id_).where(
            *self.inside(row, places.c.place), *self.filtered(row), *self.beyond(row, id_)
        )
        if bound is not None:
            rows = rows.where(self.until(row, bound, id_))
        rows = rows.order_by(*self.order(row, id_)).limit(limit)
        return rows.correlate(places).lateral(f"{label}_place")

    def _reached(self) -> tuple[Any, Any]:
        """The places that can give rows of the page, and a key behind which none of its rows lie.

        The first rows of each place are a part of all rows; so the page's last key lies not behind the last of
        the first `first + 1` of them. Where there are fewer, nothing is bounded.
        """
        every = self._unnested("every")
        share: ColumnElement[Any] = raw("1") + raw("2", Integer) * self.first // func.cardinality(
            self.places("both" if self.listing.by_unit else "parents"), type_=Integer
        )
        per = self._per_place("h", every, share)
        columns = (every.c.place, per.c[self.listing.sort], per.c.id)
        heads = select(*columns).select_from(every).join(per, true()).cte("heads")
        once = select(*self.key(heads.c)).distinct().subquery("once")
        kth = select(*self.key(once.c)).order_by(*self.order(once.c))
        kth = kth.offset(self.first).limit(raw("1"))
        last = kth.cte("kth")
        instant = isinstance(attribute(heads, self.listing.sort).type, DateTime)
        ends = (LAST[instant, self.listing.descending], LAST_ID[self.listing.descending])
        bound = select(
            *(
                func.coalesce(select(column).scalar_subquery(), raw(end)).label(column.name)
                for column, end in zip(self.key(last.c), ends, strict=True)
            )
        ).cte("bound")
        near = select(heads.c.place).where(self.until(heads.c, bound)).distinct()
        return near.cte("near"), bound

    # -- how many -------------------------------------------------------------------------------

    def total(self) -> ColumnElement[Any]:
        """How many rows there are in all, counted up to one more than COUNTED; computed once."""
        several = self.listing.by_unit and self.reach.shape in (Shape.FEW, Shape.MANY)
        if not self.by_place:
            row, id_ = self.source("n")
            rows = self._in_order(row, id_)
            rows = rows.order_by(None).distinct() if several else rows
            counted = self._counted(rows, COUNTED + 1)
        elif several:
            counted = self._different()
        else:
            counted = self._counted(self._everywhere("m", COUNTED + 1), COUNTED + 1)
        once = select(counted.label("number")).cte("total")
        return select(once.c.number).scalar_subquery()

    def _different(self) -> ColumnElement[Any]:
        """How many rows of several places, each once. A sample is enough, or else they are counted one by one."""
        sample = self._everywhere("m", SAMPLED).limit(raw(str(SAMPLED))).cte("sampled")
        once = select(sample.c.id).distinct().subquery("once_each")
        different = select(func.count().label("number")).select_from(once).cte("different")
        number = select(different.c.number).scalar_subquery()
        size = select(func.count()).select_from(sample).scalar_subquery()
        enough = (size < raw(str(SAMPLED))) | (number > raw(str(COUNTED)))
        row, id_ = self.source("n")
        every = select(attribute(row, id_)).where(*self.inside(row), *self.filtered(row))
        return case((enough, number), else_=self._counted(every.distinct(), COUNTED + 1))

    def _everywhere(self, label: str, most: int) -> Select[Any]:
        """Ids of up to so many rows of each place."""
        places = self._unnested("each")
        row, id_ = self.source(label)
        rows = self._in_order(row, id_, places.c.place).limit(self._unforeseen(most))
        per = rows.correlate(places).lateral(f"{label}_place")
        return select(per.c.id).select_from(places).join(per, true())

    def _in_order(self, row: Row, id_: str, place: ColumnElement[Any] | None = None) -> Select[Any]:
        """Ids to be counted. In the order of an index, so that it is walked no further than counting goes."""
        rows = select(attribute(row, id_).label("id"))
        rows = rows.where(*self.inside(row, place), *self.filtered(row))
        return rows.order_by(*self.order(row, id_))

    def _unforeseen(self, most: int) -> ColumnElement[Any]:
        """A limit that is no constant: the planner then expects a tenth of the rows, and walks an index in order.

        For a constant above what it thinks to find it would read all of a place, which may hold a hundred times more.
        """
        return raw(str(most)) + self.first * raw("0")

    def _counted(self, rows: Select[Any], most: int) -> ColumnElement[Any]:
        capped = rows.limit(self._unforeseen(most)).subquery("counted")
        return select(func.count()).select_from(capped).scalar_subquery()
