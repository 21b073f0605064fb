"""What a transaction was allowed to write, and the judging of each row by it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import inspect

from authz.actor import Actor
from authz.criteria import lacking, reader
from authz.reach import Reach
from authz.refusals import Unguarded
from authz.scope import Predicate
from authz.settings import split
from domain.model import Base, Wall

RECORD = "audit"
"""Rows that every command appends about its own actor, and nobody changes."""
FIXED = frozenset(
    {"tenant_id", "id", "clinic_id", "unit_id", "patient_id", "sensitivity", "person_id", "role"}
)
"""Columns that no UPDATE sets: a row keeps its key, its place and whose it is."""
LINKS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"practitioner": frozenset({"person_id"}), "tenant": frozenset({"person_id"})}
)
"""Resource -> columns of those that do change: a practitioner is linked to the person as whom they log in, somebody who
was held (`held_account`) is the person that an administrator says; of its other tables the database lets nobody."""
WATCHED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "tenant": frozenset({"version", "tree_version", "updated_at"}),
        "person": frozenset({"version", "updated_at", "tokens_valid_from"}),
    }
)
"""Resource -> the columns that every command may raise: caches of the row are told, tokens of before are refused."""


class Writes:
    """The permissions opened in one transaction, and the rows already judged by them."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.opened: dict[str, set[str]] = {}
        self._companions: dict[UUID, list[Any]] = {}
        self._places: set[tuple[str, UUID, UUID]] = set()

    def open(self, permission: str, tables: Iterable[str], target: Any) -> None:
        """Open a permission over the rows of some resources. Raises PolicyError for an unknown one."""
        self.actor.predicate(*split(permission))
        for resource in tables:
            self.opened.setdefault(resource, set()).add(permission)
        if isinstance(target, tuple):
            row, others = target
            self._companions[row.id] = list(others)

    def permissions(self, resource: str) -> frozenset[str]:
        """What was opened over a resource. Raises Unguarded where nothing was."""
        found = self.opened.get(resource)
        if not found:
            raise Unguarded(f"a write to {resource} that nobody checked")
        return frozenset(found)

    def create(self, model: type[Base], row: Any) -> None:
        """Judge a new row at its place. Raises Unguarded."""
        if model.__resource__ == RECORD:
            if row.tenant_id != self.actor.tenant_id or row.person_id != self.actor.person_id:
                raise Unguarded("an audit event about somebody else")
            return
        self._judge(model, row, new=True)

    def change(self, row: Base) -> None:
        """Judge a changed row as it was and as it will be. Raises Unguarded."""
        model = type(row)
        before, after = row_view(row, before=True), row_view(row)
        fixed = FIXED - LINKS.get(model.__resource__ or "", frozenset())
        if _differing(before, after) & fixed or model.__resource__ == RECORD:
            raise Unguarded(f"a {model.__name__} keeps its key, its place and whose it is")
        watched = WATCHED.get(model.__resource__ or "", frozenset())
        if _differing(before, after) <= watched and before.tenant_id == self.actor.tenant_id:
            return
        self._judge(model, before, new=False)
        self._judge(model, after, new=False)

    def delete(self, row: Base) -> None:
        """Judge a row to be deleted. Raises Unguarded."""
        if type(row).__resource__ == RECORD:
            raise Unguarded("an audit event stays")
        self._judge(type(row), row_view(row, before=True), new=False)

    def check_values(self, resource: str, values: Mapping[str, Any] | None) -> None:
        """Refuse what an UPDATE must not set, and a new parent outside of what was opened. Raises Unguarded."""
        if resource == RECORD:
            raise Unguarded("an audit event stays")
        predicates = [self.actor.predicate(*split(p)) for p in self.permissions(resource)]
        deciding = {c.field for p in predicates for _, rs in p.branches for c in rs}
        fixed = FIXED - LINKS.get(resource, frozenset())
        if updated(values) & (fixed | deciding):
            raise Unguarded("an UPDATE of a key, a place or what a policy decides by")
        if values and "parent_id" in values:
            moved = SimpleNamespace(tenant_id=self.actor.tenant_id, parent_id=values["parent_id"])
            if not any(p.reach is Reach.PARENT and p.allows(moved) for p in predicates):
                raise Unguarded("a move to a place that nobody checked")

    def is_part(self, row: Base) -> bool:
        """Whether a row lacks what decides about it and is judged by the row that it is a part of."""
        model = type(row)
        opened = self.opened.get(model.__resource__ or "", ())
        return any(lacking(self.actor.predicate(*split(p)), model) for p in opened)

    def _judge(self, model: type[Base], row: Any, *, new: bool) -> None:
        resource = model.__resource__
        if row.tenant_id != self.actor.tenant_id:
            raise Unguarded("a row of another health system")
        if resource is None:
            return
        opened = sorted(self.permissions(resource))
        if not any(self._allows(permission, model, row, new) for permission in opened):
            raise Unguarded(f"a row of {resource} outside of what was allowed")

    def _allows(self, permission: str, model: type[Base], row: Any, new: bool) -> bool:
        predicate = self.actor.predicate(*split(permission))
        place = getattr(row, "clinic_id", None), getattr(row, "unit_id", None)
        if lacking(predicate, model):
            return (permission, *place) in self._places
        target = self._target(predicate, row, new)
        read = reader(self.actor, model, permission)
        if not (predicate.allows(target) and read.allows(target)):
            return False
        if place[0] is not None and place[1] is not None:
            self._places.add((permission, place[0], place[1]))
        if model.__wall__ is Wall.SITE:
            self._companions.setdefault(row.patient_id, []).append(row)
        return True

    def _target(self, predicate: Predicate, row: Any, new: bool) -> Any:
        """A patient with the sites, a person with the grants; those of a known row must have been told."""
        alone = predicate.reach is Reach.HOME or (
            predicate.reach is Reach.SITE and not hasattr(row, "unit_id")
        )
        if not alone:
            return row
        nobody = new and predicate.reach is Reach.HOME  # a new person holds no grant yet
        if not nobody and row.id not in self._companions:
            raise Unguarded("a patient or a person is judged with sites or grants: use `require`")
        return row, self._companions.get(row.id, ())


def row_view(row: Any, model: type[Base] | None = None, *, before: bool = False) -> Any:
    """A row by its columns, as it will be written (defaults filled in), or as it was loaded.

    `row` is an instance, or a mapping with its `model`.
    """
    values: dict[str, Any] = {}
    state = None if model else inspect(row)
    for attribute in inspect(model or type(row)).column_attrs:
        name = attribute.key
        if state is None:
            value, given = row.get(name), name in row
        else:
            history = state.attrs[name].history
            value, given = state.dict.get(name), name in state.dict
            if before and history.added:  # a value that was set unseen is not what the row was
                value = history.deleted[0] if history.deleted else None
        default = attribute.columns[0].default
        if not given and default is not None and default.is_scalar:
            value = default.arg
        values[name] = value
    return SimpleNamespace(**values)


def updated(values: Mapping[str, Any] | None) -> frozenset[str]:
    """The columns that an UPDATE sets; of a DELETE everything, which no exception covers."""
    return frozenset(values) if values is not None else frozenset({"*"})


def _differing(before: Any, after: Any) -> frozenset[str]:
    return frozenset(k for k, v in vars(after).items() if v != getattr(before, k))
