"""Compares drafts with the rows that are stored, and writes what differs, with few statements for many rows."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ARRAY, Uuid, any_, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.imports.faults import Fault, Faults
from domain.imports.recordsets import recordset
from domain.imports.work import Draft, Work
from domain.model import Identified

ELSEWHERE = "It was imported before for another patient or place, which cannot change."
STRUCK_OUT = "it was struck out here"


async def stored(
    session: AsyncSession, model: type[Identified], tenant_id: uuid.UUID, ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, Any]:
    """The rows of these ids."""
    listed = list(ids)
    if not listed:
        return {}
    wanted = literal(listed, ARRAY(Uuid))
    query = select(model).where(model.tenant_id == tenant_id, model.id == any_(wanted))
    rows = await session.scalars(query, execution_options={"populate_existing": True})
    return {row.id: row for row in rows}


async def keep(
    work: Work,
    model: type[Identified],
    drafts: Sequence[Draft],
    *,
    fixed: Sequence[str] = (),
    counted: bool = True,
) -> None:
    """Insert the rows that are new, then change those that differ; count their entries.

    `fixed` columns never change: raises Faults for entries that would. What a draft does not give stays as it is, and
    is null in a new row. What was struck out here stays struck out.
    """
    known = await stored(work.session, model, work.agent.tenant_id, (d.id for d in drafts))
    fresh: list[dict[str, Any]] = []
    differing: list[tuple[uuid.UUID, dict[str, Any]]] = []
    faults: list[Fault] = []
    done: dict[uuid.UUID, dict[str, Any]] = {}
    for draft in drafts:
        outcome = "unchanged"
        if (earlier := done.setdefault(draft.id, draft.values)) is not draft.values:
            faults += _repeated(draft, earlier)
        elif (row := known.get(draft.id)) is None:
            fresh.append({"tenant_id": work.agent.tenant_id, "id": draft.id} | draft.values)
            work.touched.append(draft.id)
            outcome = "taken"
        elif getattr(row, "error_reason", None) is not None:
            work.skip(draft.entry, STRUCK_OUT)
            continue
        elif changes := differences(row, draft.values):
            if not changes.keys().isdisjoint(fixed):
                faults.append(Fault(ELSEWHERE, path=draft.entry.type, entry=draft.entry.index))
            differing.append((draft.id, changes))
            outcome = "changed"
        if counted:
            work.count(outcome, draft.entry)
    if faults:
        raise Faults(*faults)
    await insert_all(work, model, fresh)
    for row_id, changes in differing:
        await change(work, model, row_id, changes)


async def insert_all(work: Work, model: type[Any], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows in one statement; a column that only some of them have is null in the others.

    COPY would be faster still, but PostgreSQL has none through row-level security.
    """
    if rows:
        given = recordset(model, rows)
        made = insert(model.__table__)
        made = made.from_select(given.c.keys(), select(*given.c), include_defaults=False)
        await work.session.execute(made)


async def update_all(work: Work, model: type[Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write to many rows in one statement: each gives `id` and the same other columns. `updated_at` follows."""
    if rows:
        table, given = model.__table__, recordset(model, rows)
        values: dict[str, Any] = {c.name: c for c in given.c if c.name != "id"}
        if "updated_at" in table.c:
            values["updated_at"] = work.agent.now
        own = (table.c.tenant_id == work.agent.tenant_id, table.c.id == given.c.id)
        await work.session.execute(update(table).where(*own).values(values))


def _repeated(draft: Draft, earlier: dict[str, Any]) -> list[Fault]:
    """The same resource twice in one bundle: alike is once."""
    if draft.values == earlier:
        return []
    text = "The bundle has this resource twice, with different content."
    return [Fault(text, path=draft.entry.type, entry=draft.entry.index)]


def differences(row: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The values that the row has otherwise."""
    return {name: value for name, value in values.items() if getattr(row, name) != value}


async def change(work: Work, model: Any, row_id: uuid.UUID, changes: dict[str, Any]) -> None:
    """Write to a row and raise its version."""
    work.touched.append(row_id)
    await work.session.execute(
        update(model)
        .where(model.tenant_id == work.agent.tenant_id, model.id == row_id)
        .values(**changes, version=model.version + 1, updated_at=work.agent.now),
        execution_options={"synchronize_session": False},
    )
