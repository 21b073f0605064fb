"""Units, practitioners and what can be booked of them; every change of the tree raises its version."""

import asyncio
import zoneinfo

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.errors import Invalid, StaleVersion
from domain.organization import (
    OrgUnit,
    Tenant,
    add_unit,
    close_unit,
    known_zone,
    move_clinic,
    raise_tree_version,
    require_zone,
)
from domain.practitioners import (
    BookableResource,
    ResourceAssignment,
    ResourceKind,
    add_practitioner,
    add_resource,
    assign,
)
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


async def versions(engine: AsyncEngine, at: Stage) -> tuple[int, int]:
    async with acting(engine, at.tenant_id) as session:
        tenant = await session.get_one(Tenant, at.tenant_id)
        return tenant.tree_version, tenant.version


async def test_units_are_made_below_their_parents_and_raise_the_versions(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        region = await add_unit(session, at.agent, at.tree.root, "North")
        clinic = await add_unit(session, at.agent, region, "Río Clinic", zone="America/Denver")
        ward = await add_unit(session, at.agent, clinic, "Cardiology")
        assert (region.level, region.clinic_id) == ("region", None)
        assert (clinic.level, clinic.clinic_id, clinic.zone) == (
            "clinic",
            clinic.id,
            "America/Denver",
        )
        assert (ward.level, ward.clinic_id, ward.parent_id) == ("department", clinic.id, clinic.id)
        assert await audited(session, at.agent) == [("org_unit:create", "done")] * 3
    assert await versions(app_engine, at) == (4, 4)


async def test_what_is_no_unit(at: Stage, app_engine: AsyncEngine) -> None:
    closed = OrgUnit(id=at.clinic.id, clinic_id=at.clinic.id, level="clinic", active=False)
    region = at.tree.regions[0]
    refused: list[tuple[OrgUnit, str, str | None, str]] = [
        (at.ward, "Below a department", None, "NO_UNIT_BELOW"),
        (closed, "Below a closed clinic", None, "UNIT_CLOSED"),
        (region, "Without zone", None, "INVALID"),
        (region, "Unknown zone", "Mars/Olympus", "INVALID"),
        (region, "../../etc/passwd", "../../etc/passwd", "INVALID"),
        *((region, "Not of the world", zone, "INVALID") for zone in ("localtime", "Factory", "")),
        (at.tree.root, " 12 ", None, "INVALID"),
    ]
    for parent, name, zone, code in refused:
        async with acting(app_engine, at.tenant_id) as session:
            with pytest.raises(Invalid) as said:
                await add_unit(session, at.agent, parent, name, zone=zone)
        assert said.value.code == code
    assert await versions(app_engine, at) == (1, 1)


async def test_every_zone_that_is_taken_is_known_to_postgresql(app_engine: AsyncEngine) -> None:
    async with app_engine.connect() as connection:
        known = set(await connection.scalars(text("select name from pg_timezone_names")))
    taken = {zone for zone in zoneinfo.available_timezones() if _taken(zone)}
    assert len(taken) > 300
    assert taken <= known


def _taken(zone: str) -> bool:
    try:
        return known_zone(zone) == zone
    except Invalid:
        return False


async def test_a_clinic_moves_between_regions_and_nothing_else_moves(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        region = await add_unit(session, at.agent, at.tree.root, "South")
        clinic = await session.get_one(OrgUnit, (at.tenant_id, at.clinic.id))
        moved = await move_clinic(session, at.agent, clinic, region, 1)
        assert (moved.parent_id, moved.version) == (region.id, 2)
        with pytest.raises(StaleVersion):
            await move_clinic(session, at.agent, clinic, at.tree.regions[0], 1)
        for what, to in (
            (at.ward, region),
            (clinic, at.elsewhere),
            (clinic, at.tree.root),
            (clinic, region),
        ):
            with pytest.raises(Invalid):
                await move_clinic(session, at.agent, what, to, 2)


async def test_a_unit_closes_when_all_below_it_are_closed(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        clinic = await session.get_one(OrgUnit, (at.tenant_id, at.clinic.id))
        ward = await session.get_one(OrgUnit, (at.tenant_id, at.ward.id))
        with pytest.raises(Invalid) as refused:
            await close_unit(session, at.agent, clinic, 1)
        assert refused.value.code == "HAS_OPEN_UNITS"
        await close_unit(session, at.agent, ward, 1)
        closed = await close_unit(session, at.agent, clinic, 1)
        assert (closed.active, closed.version) == (False, 2)
        with pytest.raises(Invalid):
            await close_unit(session, at.agent, at.tree.root, 1)


async def test_changes_of_the_tree_come_one_after_the_other(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async def raised() -> int:
        async with acting(app_engine, at.tenant_id) as session:
            return await raise_tree_version(session, at.agent)

    assert sorted(await asyncio.gather(*(raised() for _ in range(5)))) == [2, 3, 4, 5, 6]


async def test_a_practitioner_comes_with_what_appointments_book(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        made = await add_practitioner(
            session, at.agent, "Ana", "Souza", specialty="Cardiology", npi="1234567893"
        )
        for _ in range(2):
            await assign(session, at.agent, made.id, at.ward)
        resource = await session.get_one(BookableResource, (at.tenant_id, made.id))
        assert (resource.kind, resource.name) == ("practitioner", "Ana Souza")
        assigned = await session.scalars(
            select(ResourceAssignment.unit_id).where(ResourceAssignment.resource_id == made.id)
        )
        assert assigned.all() == [at.ward.id]
        for npi in ("123456789", "12345678901", "123456789x"):
            with pytest.raises(Invalid):
                await add_practitioner(session, at.agent, "A", "B", npi=npi)


async def test_rooms_are_assigned_to_clinics_and_not_to_regions(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        room = await add_resource(session, at.agent, ResourceKind.ROOM, "Room 4")
        await assign(session, at.agent, room.id, at.clinic)
        with pytest.raises(Invalid) as refused:
            await assign(session, at.agent, room.id, at.tree.regions[0])
        assert refused.value.code == "NOT_A_CLINIC"
        with pytest.raises(Invalid):
            await add_resource(session, at.agent, ResourceKind.PRACTITIONER, "Nobody")
        mine = select(func.count()).select_from(ResourceAssignment)
        assert await session.scalar(mine.where(ResourceAssignment.resource_id == room.id)) == 1


async def test_a_zone_that_the_database_does_not_know_is_refused(app_engine: AsyncEngine) -> None:
    """Python's list may be newer; the transaction goes on."""
    async with AsyncSession(app_engine) as session:
        await require_zone(session, None)
        await require_zone(session, "America/Chicago")
        with pytest.raises(Invalid) as refused:
            await require_zone(session, "Mars/Olympus")
        assert refused.value.path == ("zone",)
        assert await session.scalar(text("select 1")) == 1
