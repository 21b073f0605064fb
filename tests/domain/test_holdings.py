"""All rows of a health system go, in small batches and from wherever a run was cut off, and nobody else's."""

import json

import pytest
from sqlalchemy import Connection, Table, bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.encounters import Encounter
from domain.holdings import erase_some, held, holdings, see_all, tidy
from domain.model import Base
from domain.organization import Tenant
from domain.patients import Patient
from domain.people import Person
from domain.tables import load
from tests import make
from tests.database import Database
from tests.migrations.test_walls import DELETABLE, System, build

pytestmark = pytest.mark.anyio
TABLES = {str(table.name): table for table in load().metadata.tables.values()}


@pytest.fixture
def systems(database: Database) -> tuple[System, System]:
    """Two health systems with a row in every table, and chains and pairs within tables."""
    pair = build(), build()
    for system in pair:
        make.save(database, *system.rows, *chained(system))
    return pair


def chained(system: System) -> list[Base]:
    """Rows that lead to rows of their own table: a correction of a correction, a part, a pair that lead to each other."""
    who = next(row for row in system.rows if isinstance(row, Patient))
    visit = next(row for row in system.rows if isinstance(row, Encounter))
    author = next(row for row in system.rows if isinstance(row, Person))
    first = make.note(visit, author)
    second = make.note(visit, author, amends_id=first.id, amendment="amendment")
    third = make.note(visit, author, amends_id=second.id, amendment="amendment")
    whole = make.observation(visit)
    part = make.observation(visit, part_of_id=whole.id, part="component")
    return [
        first,
        second,
        third,
        whole,
        part,
        *make.transfer(who, system.places[0], system.places[0]),
    ]


def suspend(database: Database, system: System) -> None:
    with database.owner_engine.begin() as connection:
        mine = update(Tenant).where(Tenant.tenant_id == system.tenant_id)
        connection.execute(mine.values(state="suspended"))


def contents(connection: Connection, system: System) -> dict[str, list[str]]:
    """Every row of every table, as JSON."""
    return {name: sorted(rows(connection, table, system)) for name, table in TABLES.items()}


def rows(connection: Connection, table: Table, system: System) -> list[str]:
    query = select(func.to_jsonb(table.table_valued())).where(table.c.tenant_id == bindparam("t"))
    found = connection.execute(query, {"t": system.tenant_id}).scalars()
    return [json.dumps(row, sort_keys=True) for row in found]


async def erase(engine: AsyncEngine, system: System, batch: int, most: int = 10_000) -> int:
    """So many batches at the most; how many there were."""
    done = 0
    for holding in holdings():
        while done < most:
            async with engine.begin() as connection:
                await see_all(connection, system.tenant_id)
                if not await erase_some(connection, holding, system.tenant_id, batch):
                    break
            done += 1
    return done


async def test_every_row_goes_and_no_other(
    systems: tuple[System, System], database: Database, platform_engine: AsyncEngine
) -> None:
    mine, theirs = systems
    suspend(database, mine)
    suspend(database, theirs)
    with database.owner_engine.connect() as owner:
        before = contents(owner, theirs)
        assert all(before.values()), "a table without a row would not be looked at"
    async with platform_engine.begin() as connection:
        await see_all(connection, mine.tenant_id)
        counted = await held(connection, mine.tenant_id)
    assert counted.keys() == TABLES.keys()
    # Cut off after some batches, and begun again.
    assert await erase(platform_engine, mine, 1, most=40) == 40
    await erase(platform_engine, mine, 1)
    with database.owner_engine.connect() as owner:
        assert {n: r for n, r in contents(owner, mine).items() if r} == {}
        assert contents(owner, theirs) == before


async def test_nothing_goes_of_a_health_system_that_is_open(
    systems: tuple[System, System], database: Database, platform_engine: AsyncEngine
) -> None:
    mine, _ = systems
    async with platform_engine.connect() as connection:
        for holding in holdings():
            if holding.name in DELETABLE:  # by the application itself, in the course of its work
                continue
            await see_all(connection, mine.tenant_id)
            assert await erase_some(connection, holding, mine.tenant_id) == 0, holding.name
            await connection.rollback()


async def test_the_walls_show_one_health_system_to_who_sees_all(
    systems: tuple[System, System], platform_engine: AsyncEngine
) -> None:
    mine, theirs = systems
    async with platform_engine.connect() as connection:
        await see_all(connection, mine.tenant_id)
        for name, table in TABLES.items():
            found = await connection.scalars(select(table.c.tenant_id).distinct())
            assert set(found) == {mine.tenant_id}, name
        assert await held(connection, theirs.tenant_id) == {}


async def test_the_platform_tidies_every_table(
    database: Database, platform_engine: AsyncEngine
) -> None:
    """The database says no more than a warning where a role may not."""
    with database.owner_engine.connect() as owner:
        query = text("select has_table_privilege('caretree_platform', :t, 'maintain')")
        assert [name for name in TABLES if not owner.scalar(query, {"t": name})] == []
    claims = next(holding for holding in holdings() if holding.parts)
    await tidy(platform_engine, claims)
    with database.owner_engine.connect() as owner:
        query = text("select vacuum_count from pg_stat_user_tables where relname = :t")
        for name in (claims.name, "claim_step"):
            assert owner.scalar(query, {"t": name}) > 0


def test_the_health_systems_own_row_is_last() -> None:
    assert holdings()[-1].name == "tenant"
    told = [h.name for h in holdings()] + [str(p.name) for h in holdings() for p in h.parts]
    assert sorted(told) == sorted(TABLES)
