"""The tree of a health system as a table: one line a unit, named by its path from region to department.

    region,clinic,department,zone
    North,Oak Clinic,,America/New_York
    North,Oak Clinic,Pediatrics,

What spreadsheets write is taken: a byte order mark, commas, semicolons or tabs, quotes, a first line `sep=;`, columns in
any order. Lines before which nothing is missing; what lies above a line's unit and is named nowhere else is made too. Units
that are there already (by their names along the path) stay as they are, so that a table can be given again.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import Invalid
from domain.model import new_id
from domain.organization import Level, OrgUnit, known_zone, raise_tree_version
from domain.plain_text import name as a_name
from domain.table_files import Form, Problem, Row, read_rows

LEVELS = (Level.REGION, Level.CLINIC, Level.DEPARTMENT)
MOST_LINES = 1000
_PLACES = tuple(level.value for level in LEVELS)
FORM = Form((*_PLACES, "zone"), _PLACES, MOST_LINES, "units")


Path = tuple[tuple[Level, str], ...]
"""Names from the top, without the health system's own; those between may be left out."""


@dataclass(frozen=True)
class Wanted:
    """A unit that a line names: its path's names from the top, without the health system's own."""

    line: int
    path: Path
    zone: str | None


class Node(Protocol):
    """A unit of the tree as it is."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def parent_id(self) -> uuid.UUID | None: ...
    @property
    def level(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def zone(self) -> str | None: ...
    @property
    def active(self) -> bool: ...


def read(text: str) -> tuple[list[Wanted], list[Problem]]:
    """The units that a table names, and what is wrong with its lines. Changes nothing, never raises."""
    rows, problems = read_rows(text, FORM)
    found = [_unit(row) for row in rows]
    wanted = [one for one in found if isinstance(one, Wanted)]
    return wanted, [*problems, *(one for one in found if isinstance(one, Problem))]


def _unit(row: Row) -> Wanted | Problem:
    """What a line names, or what is wrong with it by itself."""
    line = row.line
    path = path_of(row)
    if isinstance(path, Problem):
        return path
    if not path:
        return Problem(line, "NO_UNIT", "This line names no unit.")
    last = path[-1][0]
    zone = row["zone"] or None
    if zone is not None:
        if last is Level.REGION:
            return Problem(line, "ZONE_OF_REGION", "Only clinics have a time zone.", "zone")
        try:
            known_zone(zone)
        except Invalid as error:
            return Problem(line, "ZONE_UNKNOWN", error.message, "zone")
    return Wanted(line, path, zone)


def path_of(row: Row) -> Path | Problem:
    """The unit that a line names from the top, or what is wrong with that."""
    path = []
    for level in LEVELS:
        told = row[level.value]
        if not told:
            continue
        try:
            path.append((level, a_name(told, level.value)))
        except Invalid as error:
            return Problem(row.line, "NAME_INVALID", error.message, level.value)
    if path and path[-1][0] is Level.DEPARTMENT and Level.CLINIC not in dict(path):
        return Problem(row.line, "CLINIC_MISSING", "A department belongs to a clinic.", "clinic")
    return tuple(path)


@dataclass
class Plan:
    """What a table comes to at a tree: units to make, those above first, and what is wrong."""

    new: list[OrgUnit]
    known: int
    problems: list[Problem]


def by_names(there: Iterable[Any]) -> tuple[Any, dict[tuple[uuid.UUID, str], Any]]:
    """The root of a tree, and its other units by the one above and their name, in whatever case."""
    units = list(there)
    root = next(unit for unit in units if unit.parent_id is None)
    below = {(unit.parent_id, unit.name.casefold()): unit for unit in units if unit.parent_id}
    return root, below


def planned(tenant_id: uuid.UUID, there: Iterable[Node], wanted: list[Wanted]) -> Plan:
    """Compare what a table names with the tree as it is. Changes nothing."""
    root, by_path = by_names(there)
    plan = Plan([], 0, [])
    named: set[uuid.UUID] = set()
    zones = _zones(wanted)
    for one in wanted:
        made = _placed(tenant_id, root, by_path, one, zones, plan)
        if isinstance(made, Problem):
            plan.problems.append(made)
        elif made.id in named:
            plan.problems.append(Problem(one.line, "REPEATED", "An earlier line names this unit."))
        else:
            named.add(made.id)
    plan.known = len(named - {unit.id for unit in plan.new})
    order = {level.value: at for at, level in enumerate(LEVELS)}
    plan.new.sort(key=lambda unit: order[unit.level])
    return plan


def _zones(wanted: list[Wanted]) -> dict[tuple[str, ...], str]:
    """The zone of each clinic that a line names, whatever the order of the lines."""
    found: dict[tuple[str, ...], str] = {}
    for one in wanted:
        clinic = _until(one.path, Level.CLINIC)
        if one.zone is not None and clinic:
            found.setdefault(clinic, one.zone)
    return found


def _until(path: tuple[tuple[Level, str], ...], level: Level) -> tuple[str, ...]:
    names: list[str] = []
    for at, name in path:
        names.append(name.casefold())
        if at is level:
            return tuple(names)
    return ()


def _placed(
    tenant_id: uuid.UUID,
    root: Node,
    by_path: dict[tuple[uuid.UUID, str], Any],
    one: Wanted,
    zones: dict[tuple[str, ...], str],
    plan: Plan,
) -> Any:
    """The unit of a line, made with what is missing above it; or what is wrong."""
    at: Any = root
    for level, name in one.path:
        unit = by_path.get((at.id, name.casefold()))
        if unit is None:
            zone = zones.get(_until(one.path, Level.CLINIC)) if level is Level.CLINIC else None
            if level is Level.CLINIC and zone is None:
                return Problem(one.line, "ZONE_MISSING", "A clinic has a time zone.", "zone")
            unit = _new(tenant_id, at, level, name, zone)
            by_path[at.id, name.casefold()] = unit
            plan.new.append(unit)
        elif unit.level != level:
            return Problem(
                one.line, "NAME_TAKEN", "A unit of another level is called so.", level.value
            )
        elif not unit.active:
            return Problem(one.line, "UNIT_CLOSED", "This unit is closed.", level.value)
        elif level is Level.CLINIC and one.zone not in (None, unit.zone):
            return Problem(one.line, "ZONE_DIFFERS", "The clinic has another time zone.", "zone")
        at = unit
    return at


def _new(tenant_id: uuid.UUID, parent: Any, level: Level, name: str, zone: str | None) -> OrgUnit:
    made = new_id()
    clinic = {Level.CLINIC: made, Level.DEPARTMENT: parent.id}
    return OrgUnit(
        tenant_id=tenant_id,
        id=made,
        parent_id=parent.id,
        clinic_id=clinic.get(level),
        level=level.value,
        name=name,
        zone=zone,
        active=True,
        version=1,
    )


async def unknown_zones(session: AsyncSession, plan: Plan) -> set[str]:
    """Zones of new clinics that the database does not know: its list may be older than ours."""
    asked = {unit.zone for unit in plan.new if unit.zone is not None}
    if not asked:
        return set()
    zones = func.pg_timezone_names().table_valued("name", name="zones")
    there = await session.scalars(select(zones.c.name).where(zones.c.name.in_(asked)))
    return asked - set(there)


def levels(plan: Plan) -> list[list[OrgUnit]]:
    """The new units, a list for each level from the top."""
    return [[u for u in plan.new if u.level == level.value] for level in LEVELS]


async def begin(session: AsyncSession, agent: Agent) -> None:
    """Raise the tree's version, once for all; nobody else changes the tree until the transaction ends."""
    await raise_tree_version(session, agent)


async def add(session: AsyncSession, agent: Agent, units: list[OrgUnit]) -> None:
    """Make units whose parents are there."""
    session.add_all(units)
    await session.flush()
    for unit in units:
        record(session, agent, "org_unit:create", unit.id, clinic_id=unit.clinic_id)


def seen(unit: OrgUnit) -> SimpleNamespace:
    """A new unit as trees in memory hold it."""
    names = ("id", "parent_id", "level", "clinic_id", "name", "zone", "active")
    return SimpleNamespace(**{name: getattr(unit, name) for name in names})
