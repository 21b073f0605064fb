"""Compares drafts with the rows that are stored, and writes what differs, with few statements for many rows."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ARRAY, Uuid, any_, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.imports.faults import Fault, Faults
from domain.imports.work import Draft, Work
from domain.model import Identified

ELSEWHERE = "It was imported before for another patient or place, which cannot change."


async def stored(
    session: AsyncSession, model: type[Identified], tenant_id: uuid.UUID, ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, Any]:
    """The rows of these ids."""
    wanted = literal(list(ids), ARRAY(Uuid))
    query = select(model).where(model.tenant_id == tenant_id, model.id == any_(wanted))
    rows = await session.scalars(query, execution_options={"populate_existing": True})
    return {row.id: row for row in rows}


async def keep(
    work: Work, model: type[Identified], drafts: Sequence[Draft], *, fixed: Sequence[str] = ()
) -> None:
    """Insert the rows that are new, change those that differ, count all. `fixed` columns never change.

    Raises Faults for entries that would change one of them.
    """
    tenant_id = work.agent.tenant_id
    known = await stored(work.session, model, tenant_id, (d.id for d in drafts))
    fresh: list[dict[str, Any]] = []
    faults: list[Fault] = []
    done: dict[uuid.UUID, dict[str, Any]] = {}
    for draft in drafts:
        if (earlier := done.setdefault(draft.id, draft.values)) is not draft.values:
            _repeated(work, draft, earlier, faults)
        elif (row := known.get(draft.id)) is None:
            fresh.append({"tenant_id": tenant_id, "id": draft.id} | draft.values)
            work.touched.append(draft.id)
            work.count("taken", draft.entry)
        else:
            changes = differences(row, draft.values)
            if not changes.keys().isdisjoint(fixed):
                faults.append(Fault(ELSEWHERE, path=draft.entry.type, entry=draft.entry.index))
            elif changes:
                await change(work, model, draft.id, changes)
                work.count("changed", draft.entry)
            else:
                work.count("unchanged", draft.entry)
    if faults:
        raise Faults(*faults)
    if fresh:
        await work.session.execute(insert(model), fresh)


def _repeated(work: Work, draft: Draft, earlier: dict[str, Any], faults: list[Fault]) -> None:
    """The same resource twice in one bundle: alike is once."""
    if draft.values == earlier:
        work.count("unchanged", draft.entry)
    else:
        text = "The bundle has this resource twice, with different content."
        faults.append(Fault(text, path=draft.entry.type, entry=draft.entry.index))


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
