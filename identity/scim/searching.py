"""Searches of users and groups, a page at a time: by index, or by cursors (RFC 9865), which deletions do not shift.

A cursor's position is what the page's outermost row is sorted by, and its id: what comes after it is asked for by value.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from scim2_models import InvalidCursorException, InvalidFilterException, SearchRequest
from scim2_server.storage import SearchPage
from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    and_,
    cast,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    union_all,
)

from identity.scim.filters import Conditions, sort_key
from identity.scim.kinds import Kind
from identity.scim.reading import as_id, present, several
from identity.scim.refusals import refused
from identity.scim.units import Ask


async def search(
    ask: Ask,
    tenant_id: uuid.UUID,
    kinds: Sequence[Kind],
    asked: SearchRequest[Any],
    position: Any = None,
    base: str | None = None,
) -> SearchPage:
    """A page of what a filter finds; with a base URL as plain JSON. Raises InvalidFilterException, InvalidCursorException.

    A walk by cursors counts what there is on its first page only.
    """
    matching = union_all(*_matching(tenant_id, kinds, asked)).subquery("matching")
    if asked.count == 0:
        return SearchPage(await _number(ask, matching), [])
    turn = _by_index if asked.cursor is None else _by_cursor
    rows, page = await turn(ask, matching, asked, position)
    if page.total is None and position is None:
        page.total = await _number(ask, matching)
    told = await several(ask, tenant_id, rows, asked, base)
    page.resources = [told[of] for _, of in rows if of in told]
    return page


async def _number(ask: Ask, matching: Subquery) -> int:
    ((row,),) = await ask(select(func.count().label("number")).select_from(matching))
    return int(row.number)


Rows = list[tuple[str, Any]]
"""Kind and id of each resource of a page."""


async def _by_index(
    ask: Ask, matching: Subquery, asked: SearchRequest[Any], _: Any
) -> tuple[Rows, SearchPage]:
    skipped = (asked.start_index or 1) - 1
    page = select(matching.c.kind, matching.c.id).order_by(*_order(matching, asked))
    (found,) = await ask(page.offset(skipped).limit(asked.count))
    rows = [(row.kind, row.id) for row in found]
    whole = asked.count is None or len(rows) < asked.count
    # The last page tells how many there are: nothing to count.
    total = skipped + len(rows) if whole and (rows or not skipped) else None
    return rows, SearchPage(total, [])


async def _by_cursor(
    ask: Ask, matching: Subquery, asked: SearchRequest[Any], position: Any
) -> tuple[Rows, SearchPage]:
    back, beyond = False, None
    if position is not None:
        back, key, last = _read(position)
        beyond = _beyond(matching, asked, back, key, last)
    wanted = select(matching.c.kind, matching.c.id, cast(matching.c.key, Text).label("said"))
    wanted = wanted if beyond is None else wanted.where(beyond)
    wanted = wanted.order_by(*_order(matching, asked, back=back))
    limit = None if asked.count is None else asked.count + 1
    (found,) = await ask(wanted.limit(limit))
    rows = list(found)
    more = limit is not None and len(rows) == limit
    rows = rows[: asked.count]
    rows = rows[::-1] if back else rows
    page = SearchPage(None, [])
    if rows and (more or back):
        page.next = [False, rows[-1].said, str(rows[-1].id)]
    if rows and (more if back else position is not None):
        page.previous = [True, rows[0].said, str(rows[0].id)]
    if position is None and not more:
        page.total = len(rows)
    return [(row.kind, row.id) for row in rows], page


def _falls(asked: SearchRequest[Any]) -> bool:
    return bool(asked.sort_by) and asked.sort_order == SearchRequest.SortOrder.descending


def _order(
    matching: Subquery, asked: SearchRequest[Any], *, back: bool = False
) -> tuple[ColumnElement[Any], ...]:
    """As asked, or all of it turned round. What has no value comes last, falling first; ties are broken by the id."""
    terms: tuple[ColumnElement[Any], ...] = (
        matching.c.key.is_(None),
        matching.c.key,
        matching.c.id,
    )
    terms = terms if asked.sort_by else terms[2:]
    return tuple(term.desc() for term in terms) if _falls(asked) != back else terms


def _beyond(
    matching: Subquery, asked: SearchRequest[Any], back: bool, said: str | None, last: uuid.UUID
) -> ColumnElement[bool]:
    """What comes after a position, in the order of `_order`."""
    key: ColumnElement[Any] = matching.c.key
    of = matching.c.id
    falls = _falls(asked) != back
    further = of < last if falls else of > last
    if not asked.sort_by:
        return further
    empty = key.is_(None)
    if said is None:
        return or_(not_(empty), further) if falls else and_(empty, further)
    value: ColumnElement[Any] = cast(literal(said, Text), key.type)
    if isinstance(key.type, Text):
        key, value = key.collate("C"), value.collate("C")
    if falls:
        return and_(not_(empty), or_(key < value, and_(key == value, further)))
    return or_(empty, and_(not_(empty), or_(key > value, and_(key == value, further))))


def _read(position: Any) -> tuple[bool, str | None, uuid.UUID]:
    """A position that a page was answered with. Raises InvalidCursorException."""
    match position:
        case [bool(back), str() | None as key, str(text)] if (last := as_id(text)) is not None:
            return back, key, last
    raise InvalidCursorException()


def _matching(
    tenant_id: uuid.UUID, kinds: Sequence[Kind], asked: SearchRequest[Any]
) -> list[Select[Any]]:
    """For each kind its rows that match: id, name of the kind, what they are sorted by."""
    out, unknown = [], []
    for kind in kinds:
        conditions = Conditions(kind)
        where = list(present(kind, tenant_id))
        if asked.filter is not None:
            where.append(conditions.visit(asked.filter.ast))
        unknown.append(conditions.unknown)
        key = sort_key(kind, asked.sort_by) if asked.sort_by else None
        ordered = cast(null(), Text) if key is None else key
        if len(kinds) > 1:
            ordered = cast(ordered, Text)
        name = literal(kind.name, Text).label("kind")
        out.append(select(kind.table.c.id, name, ordered.label("key")).where(*where))
    nobodys = set.intersection(*unknown)
    if nobodys:
        raise refused(InvalidFilterException, f"There is no attribute {min(nobodys)[:80]!r}.")
    return out
