"""The tree of one health system in memory: Health System > Region > Clinic > Department.

Rows carry their place (`clinic_id`, `unit_id`); everything above it is looked up here, so that moving a clinic to
another region changes one row. A tree never changes; a new version is a new tree.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

LEVELS = ("system", "region", "clinic", "department")
"""From the top; the values of `domain.organization.Level`."""


class TreeError(Exception):
    """The rows are not one tree of one health system."""


class UnitRow(Protocol):
    """What `Tree.build` reads of a row: an `OrgUnit` or anything with its columns."""

    @property
    def id(self) -> UUID: ...
    @property
    def parent_id(self) -> UUID | None: ...
    @property
    def level(self) -> str: ...
    @property
    def clinic_id(self) -> UUID | None: ...
    @property
    def name(self) -> str: ...
    @property
    def zone(self) -> str | None: ...
    @property
    def active(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Unit:
    """A node. A clinic's `clinic_id` is its own id, a department's its clinic's; above it is None."""

    id: UUID
    parent_id: UUID | None
    level: str
    clinic_id: UUID | None
    name: str
    zone: str | None
    active: bool


@dataclass(frozen=True, eq=False)
class Tree:
    """One health system. `version` is `tenant.tree_version` at the time of loading."""

    tenant_id: UUID
    version: int
    root: UUID
    units: Mapping[UUID, Unit]
    clinics: tuple[UUID, ...]
    _ancestors: Mapping[UUID, tuple[UUID, ...]] = field(repr=False)
    _nodes_under: Mapping[UUID, tuple[UUID, ...]] = field(repr=False)

    @classmethod
    def build(cls, tenant_id: UUID, version: int, rows: Iterable[UnitRow]) -> "Tree":
        """Make the tree. Raises TreeError for no or two roots, an unknown parent, a cycle, a level out of order."""
        units = {
            r.id: Unit(r.id, r.parent_id, r.level, r.clinic_id, r.name, r.zone, r.active)
            for r in rows
        }
        roots = [u.id for u in units.values() if u.level == "system"]
        if len(roots) != 1:
            raise TreeError(f"a health system has one root, found {len(roots)}")
        ancestors: dict[UUID, tuple[UUID, ...]] = {}
        under: dict[UUID, list[UUID]] = {u: [] for u in units}
        for unit in units.values():
            line = _line(units, unit)
            ancestors[unit.id] = line
            for above in line:
                under[above].append(unit.id)
        return cls(
            tenant_id,
            version,
            roots[0],
            MappingProxyType(units),
            tuple(u.id for u in units.values() if u.level == "clinic"),
            ancestors,
            {u: tuple(below) for u, below in under.items()},
        )

    def __contains__(self, unit_id: object) -> bool:
        return unit_id in self.units

    def ancestors(self, unit_id: UUID) -> tuple[UUID, ...]:
        """The unit itself first, the root last; nothing for a unit that is not of this tree."""
        return self._ancestors.get(unit_id, ())

    def nodes_under(self, unit_id: UUID) -> tuple[UUID, ...]:
        """The unit itself and all below it."""
        return self._nodes_under.get(unit_id, ())

    def clinics_under(self, unit_id: UUID) -> tuple[UUID, ...]:
        """The clinics at or below the unit: none for a department."""
        return tuple(u for u in self.nodes_under(unit_id) if self.units[u].level == "clinic")

    def departments_of(self, clinic_id: UUID) -> tuple[UUID, ...]:
        """The departments of a clinic."""
        return tuple(u for u in self.nodes_under(clinic_id) if self.units[u].level == "department")

    def is_below(self, unit_id: UUID, above: UUID) -> bool:
        """Whether the unit is `above` or lies below it."""
        return above in self.ancestors(unit_id)


def _line(units: Mapping[UUID, Unit], unit: Unit) -> tuple[UUID, ...]:
    """The way from the unit up to the root; levels must rise strictly, so a cycle cannot pass."""
    line = [unit.id]
    while unit.parent_id is not None:
        parent = units.get(unit.parent_id)
        if parent is None:
            raise TreeError("a unit names a parent that is not of this health system")
        if LEVELS.index(parent.level) >= LEVELS.index(unit.level):
            raise TreeError(f"a {unit.level} cannot lie below a {parent.level}")
        line.append(parent.id)
        unit = parent
    if unit.level != "system":
        raise TreeError(f"a {unit.level} without a parent")
    return tuple(line)
