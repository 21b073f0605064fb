"""All that a cell holds of one health system: every table, seen whole, and erased row by row.

The order of erasing follows from the foreign keys of the models, so that a new table has its place by itself. Rows go
in batches, each a transaction of its own: no long transaction, no lock that anybody else waits for.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from typing import Any

from sqlalchemy import (
    CTE,
    Delete,
    ForeignKeyConstraint,
    Table,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from domain.database import set_tenant
from domain.model import Wall
from domain.tables import load

BATCH = 2_000


@dataclass(frozen=True)
class Holding:
    """A table, and the tables whose rows go in the same statement since the keys lead both ways."""

    table: Table
    parts: tuple[Table, ...] = ()

    @property
    def name(self) -> str:
        """The table's."""
        return str(self.table.name)


async def see_all(session: AsyncSession | AsyncConnection, tenant_id: uuid.UUID) -> None:
    """Let row-level security show this health system's rows at every place, until the transaction's end."""
    await set_tenant(session, tenant_id)
    scopes = [func.set_config(f"app.scope_{resource}", "*", True) for resource in _walled()]
    await session.execute(select(*scopes))


@cache
def _walled() -> tuple[str, ...]:
    """The resources whose rows are seen by scope."""
    models = [mapper.class_ for mapper in load().registry.mappers]
    named = {str(m.__resource__) for m in models if m.__wall__ is not Wall.TENANT}
    return tuple(sorted(named))


@cache
def holdings() -> tuple[Holding, ...]:
    """Every table of a cell, those first to whose rows no other row leads; the health system's own row is last."""
    tables = {str(table.name): table for table in load().metadata.tables.values()}
    leads = {name: set(_leads_to(table)) - {name} for name, table in tables.items()}
    parts: dict[str, list[str]] = {}
    for name, table in tables.items():
        for key in table.foreign_key_constraints:
            other = str(key.referred_table.name)
            if key.deferrable and name in leads[other]:
                leads[name].discard(other)
                parts.setdefault(name, []).append(other)
    # Nearly every table leads to it, some by its id alone.
    for name in tables:
        leads[name] |= {"tenant"} - {name}
    order = [*TopologicalSorter(leads).static_order()][::-1]
    inner = {part for some in parts.values() for part in some}
    return tuple(
        Holding(tables[name], tuple(tables[part] for part in parts.get(name, ())))
        for name in order
        if name not in inner
    )


def _leads_to(table: Table) -> Iterator[str]:
    for key in table.foreign_key_constraints:
        yield str(key.referred_table.name)


async def held(session: AsyncSession | AsyncConnection, tenant_id: uuid.UUID) -> dict[str, int]:
    """How many rows there are, by table; those without any are left out. Asks for `see_all` before."""
    found = {}
    for table in sorted(load().metadata.tables.values(), key=lambda table: str(table.name)):
        query = select(func.count()).select_from(table).where(table.c.tenant_id == tenant_id)
        count = (await session.execute(query)).scalar_one()
        if count:
            found[str(table.name)] = int(count)
    return found


async def erase_some(
    session: AsyncSession | AsyncConnection,
    holding: Holding,
    tenant_id: uuid.UUID,
    most: int = BATCH,
) -> int:
    """Delete some of the rows, and answer how many; 0 when there are none left. Asks for `see_all` before.

    Which rows lead to a row of the same table goes with it, whatever that comes to: corrections, halves of a pair.
    """
    told = {"tenant": tenant_id, "most": most}
    for part in holding.parts:
        await session.execute(_of_doomed(holding.table, part), told)
    gone: Any = await session.execute(_doomed_go(holding.table), told)
    return int(gone.rowcount)


async def tidy(cell: AsyncEngine, holding: Holding) -> None:
    """Let the database forget rows that are gone: each check of a key to or from them would walk over them still.

    Takes no lock that anybody waits for; where the role may not, the database leaves it at a warning.
    """
    names = ", ".join(f'"{table.name}"' for table in (holding.table, *holding.parts))
    async with cell.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        # Shortening the file would lock the table.
        await alone.execute(text(f"vacuum (truncate false) {names}"))


@cache
def _doomed_go(table: Table) -> Delete:
    doomed = _doomed(table)
    mine = tuple_(*(table.c[column.name] for column in doomed.c))
    return delete(table).where(table.c.tenant_id == bindparam("tenant"), mine.in_(select(doomed)))


@cache
def _of_doomed(table: Table, part: Table) -> Delete:
    """Rows of a part whose whole is among the first rows of the table."""
    doomed = _doomed(table)
    keys = [k for k in part.foreign_key_constraints if k.referred_table is table]
    here = part.c[_by_id(keys[0])]
    return delete(part).where(
        part.c.tenant_id == bindparam("tenant"), here.in_(select(doomed.c.id))
    )


def _doomed(table: Table) -> CTE:
    """The keys of the first rows, and of all that lead to them within the table."""
    keys = [column for column in table.primary_key if column.name != "tenant_id"]
    keys = keys or list(table.primary_key)
    mine = table.c.tenant_id == bindparam("tenant")
    first = select(*keys).where(mine).order_by(*keys).limit(bindparam("most"))
    within = [k for k in table.foreign_key_constraints if k.referred_table is table]
    if not within:
        return first.cte("doomed")
    reached = first.cte("doomed", recursive=True)
    leading = {_by_id(key) for key in within}
    further = [table.c[name] == reached.c.id for name in sorted(leading)]
    return reached.union(select(*keys).where(mine, or_(*further)))


def _by_id(key: ForeignKeyConstraint) -> str:
    """Which column of a foreign key holds the other row's id."""
    named = {element.column.name: element.parent.name for element in key.elements}
    return str(named["id"])
