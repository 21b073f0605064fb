"""Objects of several types by their ids, in one statement."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
from graphql import GraphQLObjectType, GraphQLResolveInfo
from sqlalchemy import ColumnElement, Text, any_, cast, func, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import aggregate_order_by

from api.plan.compile import EMPTY_LIST, Compiler, Details, Hidden
from api.plan.fetch import fragment, permitted, response_path, run, whole
from api.plan.mapping import mapped, parse_id
from api.plan.run import Built

ZERO: ColumnElement[Any] = literal_column("0")


async def by_ids(
    info: GraphQLResolveInfo[Any], ids: Sequence[str], mapped_type: Callable[..., Any]
) -> Any:
    """The objects in the order asked; null for what is not there or not the asker's.

    `mapped_type(schema, prefix)` gives the type whose ids begin so, or None.
    """
    parsed = [parse_id(id_) for id_ in ids]
    wanted: dict[str, list[uuid.UUID]] = {}
    for each in parsed:
        if each is not None and mapped_type(info.schema, each[0]) is not None:
            wanted.setdefault(each[0], []).append(each[1])
    if not wanted:
        return [None] * len(ids)
    kinds, path = sorted(wanted), response_path(info)

    def build(c: Compiler, details: Details) -> Built:
        parts = [_objects(c, kind, details, path) for kind in kinds]
        hidden = [h for _, found in parts for h in found]
        selects, before = [], 0
        for columns, found in parts:
            padded = [ZERO] * before + [h.number for h in found]
            padded += [ZERO] * (len(hidden) - len(padded))
            before += len(found)
            named = [count.label(f"h{i}") for i, count in enumerate(padded)]
            selects.append(columns.add_columns(*named))
        rows = union_all(*selects).subquery("found")
        # Keys beside rows: a value that has to be opened is found by its path in the rows.
        json = func.json_build_array(
            func.coalesce(func.json_agg(aggregate_order_by(rows.c.key, rows.c.key)), EMPTY_LIST),
            func.coalesce(func.json_agg(aggregate_order_by(rows.c.j, rows.c.key)), EMPTY_LIST),
        )
        counts = [func.coalesce(func.sum(rows.c[f"h{i}"]), ZERO) for i in range(len(hidden))]
        return Built(select(cast(json, Text), *counts), hidden)

    got = await run(info, build, variant=("nodes", *kinds), values=wanted, lane="page")
    assert got is not None
    found: dict[str, Any] = dict(zip(*orjson.loads(got.json), strict=True))
    keys = [None if each is None else f"{each[0]}:{each[1]}" for each in parsed]
    json = orjson.dumps([found.get(key) if key else None for key in keys])
    return fragment(replace(got, json=json))


def _objects(
    c: Compiler, kind: str, details: Details, path: tuple[str, ...]
) -> tuple[Any, list[Hidden]]:
    """Key and JSON of the visible rows of one type."""
    type_ = c.schema.get_type(kind)
    assert isinstance(type_, GraphQLObjectType)
    table = mapped(type_.extensions["strawberry-definition"].origin)
    row = c.alias(table.model)
    asked = row.id == any_(c.binds.units(kind))
    base = select(row).where(asked, *permitted(c, row, table.resource, table.action))
    columns, node = c.object(type_, row, details, base, path)
    key = literal_column(f"'{kind}:'").concat(cast(row.id, Text)).label("key")
    json = whole(c, columns, node).label("j")
    return node.base.with_only_columns(key, json, maintain_column_froms=True), node.hidden
