"""Where and under which conditions an actor may do something: a pure value, judged in Python or rendered as SQL."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause
from sqlalchemy.types import TypeEngine

from authz.conditions import ACTOR, Condition, Residual
from authz.reach import Reach, holds
from authz.rendering import render
from authz.tree import Tree

__all__ = [
    "ACTOR",
    "EVERYWHERE",
    "NOWHERE",
    "Binder",
    "Condition",
    "Predicate",
    "Residual",
    "Scope",
    "nodes_of",
    "places_of",
    "reached",
    "union",
]


@dataclass(frozen=True)
class Scope:
    """A set of places of one health system: all of it, or some clinics and some units outside them.

    For placed rows `units` are departments outside `clinics`. For rows that name a node of any level (org_unit,
    grant) `clinics` is empty and `units` holds every node.
    """

    all: bool
    clinics: tuple[UUID, ...] = ()
    units: tuple[UUID, ...] = ()

    @cached_property
    def _clinics(self) -> frozenset[UUID]:
        return frozenset(self.clinics)

    @cached_property
    def _units(self) -> frozenset[UUID]:
        return frozenset(self.units)

    @property
    def empty(self) -> bool:
        """No place at all."""
        return not (self.all or self.clinics or self.units)

    def covers(self, clinic_id: UUID | None, unit_id: UUID | None) -> bool:
        """Whether a row at this place of the scope's own health system lies inside."""
        return self.all or clinic_id in self._clinics or unit_id in self._units

    def includes(self, other: "Scope", tree: Tree) -> bool:
        """Whether every place of `other` lies inside this one."""
        if self.all or other.empty:
            return True
        if other.all:
            return False
        return other._clinics <= self._clinics and all(
            u in self._units or (u in tree and tree.units[u].clinic_id in self._clinics)
            for u in other.units
        )

    def within(self, tree: Tree, node_id: UUID) -> "Scope":
        """The part of a scope of placed rows at or below the node; empty for a node of another tree."""
        if node_id not in tree:
            return NOWHERE
        if node_id == tree.root:
            return self
        node = tree.units[node_id]
        if node.level == "department":
            return Scope(False, (), (node_id,)) if self.covers(node.clinic_id, node_id) else NOWHERE
        below = tree.clinics_under(node_id)
        clinics = below if self.all else tuple(c for c in below if c in self._clinics)
        units = tuple(u for u in self.units if tree.is_below(u, node_id))
        return Scope(False, clinics, units)

    def literal(self) -> str:
        """The value of a row-level security setting: `*`, or an array of uuids, `{}` for none."""
        return self._literal

    @cached_property
    def _literal(self) -> str:
        return "*" if self.all else "{" + ",".join(map(str, (*self.clinics, *self.units))) + "}"

    @property
    def shape(self) -> Hashable:
        """All that the text of a statement depends on: none, one or several of each kind."""
        return self.all, min(len(self.clinics), 2), min(len(self.units), 2)


NOWHERE = Scope(False)
EVERYWHERE = Scope(True)


def places_of(tree: Tree, nodes: Iterable[UUID]) -> Scope:
    """The scope of placed rows at or below the nodes. Nodes that are not of the tree count as none."""
    clinics: set[UUID] = set()
    departments: set[UUID] = set()
    for node in nodes:
        if node == tree.root:
            return EVERYWHERE
        if node in tree:
            clinics.update(tree.clinics_under(node))
            if tree.units[node].level == "department":
                departments.add(node)
    if clinics and len(clinics) == len(tree.clinics):
        return EVERYWHERE
    outside = (d for d in departments if tree.units[d].clinic_id not in clinics)
    return Scope(False, tuple(sorted(clinics)), tuple(sorted(outside)))


def nodes_of(tree: Tree, nodes: Iterable[UUID]) -> Scope:
    """The scope of rows that name a node of any level: every node at or below the given ones."""
    found: set[UUID] = set()
    for node in nodes:
        if node == tree.root:
            return EVERYWHERE
        found.update(tree.nodes_under(node))
    return Scope(False, (), tuple(sorted(found)))


def reached(tree: Tree, reach: Reach, nodes: Iterable[UUID]) -> Scope:
    """The scope of roles held at the nodes, as rows of this reach are placed."""
    if reach is Reach.EVERYWHERE:
        return EVERYWHERE if any(n in tree for n in nodes) else NOWHERE
    return places_of(tree, nodes) if reach.placed else nodes_of(tree, nodes)


def union(scopes: Iterable[Scope], tree_clinics: Callable[[UUID], UUID | None]) -> Scope:
    """Everything that one of the scopes covers. `tree_clinics` gives a unit's clinic."""
    clinics: set[UUID] = set()
    units: set[UUID] = set()
    for scope in scopes:
        if scope.all:
            return EVERYWHERE
        clinics.update(scope.clinics)
        units.update(scope.units)
    outside = (u for u in units if tree_clinics(u) not in clinics)
    return Scope(False, tuple(sorted(clinics)), tuple(sorted(outside)))


Binder = Callable[[str, Callable[["Predicate"], Any], TypeEngine[Any]], ColumnElement[Any]]
"""`bind(name, getter, type)`: a parameter whose value `getter(predicate)` gives, for any predicate of equal shape."""


@dataclass(frozen=True)
class Predicate:
    """Which rows one actor may do one action on: some branch covers the row and its conditions hold.

    Equal `shape` means equal SQL text; the values are then asked of each request's own predicate.
    """

    resource: str
    action: str
    reach: Reach
    tenant_id: UUID
    person_id: UUID
    branches: tuple[tuple[Scope, Residual], ...]
    tree: Tree = field(compare=False, repr=False)

    @property
    def empty(self) -> bool:
        """Nothing is allowed anywhere."""
        return not self.branches

    @cached_property
    def scope(self) -> Scope:
        """Every place where some branch allows something."""
        if len(self.branches) == 1:
            return self.branches[0][0]
        units = self.tree.units
        return union(
            (scope for scope, _ in self.branches),
            lambda u: units[u].clinic_id if u in units else None,
        )

    @cached_property
    def groups(self) -> tuple[tuple[Scope, tuple[Residual, ...]], ...]:
        """The branches by scope, so that the usual case reads `scope AND (r1 OR r2)`."""
        found: dict[Scope, list[Residual]] = {}
        for scope, residual in self.branches:
            found.setdefault(scope, []).append(residual)
        return tuple((scope, tuple(residuals)) for scope, residuals in found.items())

    @cached_property
    def shape(self) -> Hashable:
        """All that the statement's text depends on."""
        return (
            self.resource,
            self.action,
            self.reach.value,
            tuple(
                (scope.shape, tuple(tuple(sorted(r, key=str)) for r in residuals))
                for scope, residuals in self.groups
            ),
        )

    def allows(self, row: Any) -> bool:
        """Judge a loaded row. For reach SITE pass `(patient, sites)` or one site, for HOME `(person, grants)`."""
        return any(
            holds(self.reach, self.tenant_id, scope, row)
            and all(c.holds(row[0] if isinstance(row, tuple) else row, self.person_id) for c in rs)
            for scope, rs in self.branches
        )

    def within(self, node_id: UUID) -> "Predicate":
        """The same for the part of the tree at or below the node (placed rows and patients only)."""
        parts = ((scope.within(self.tree, node_id), rs) for scope, rs in self.branches)
        branches = tuple((scope, rs) for scope, rs in parts if not scope.empty)
        return replace(self, branches=branches)

    def includes(self, other: "Predicate") -> bool:
        """Whether each branch of `other` lies inside one of this one: wider place, weaker conditions."""
        return all(
            any(mine.includes(scope, self.tree) and weaker <= rs for mine, weaker in self.branches)
            for scope, rs in other.branches
        )

    def sql(self, alias: Any, bind: Binder, site: FromClause | None = None) -> ColumnElement[bool]:
        """The condition on an alias (or the class) of a model of this resource. Says the tenant always.

        `site`: see `authz.rendering.render`; what lies at other sites is then not seen.
        """
        return render(self, alias, bind, site)
