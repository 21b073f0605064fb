"""A predicate as SQL. The text depends only on the predicate's shape; values come through the binder.

The forms are the measured ones: the whole tenant is `tenant_id` alone, one clinic is `=` and never `= ANY` (which
sorts), several are `= ANY`; the tenant is said for every alias.
"""

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Uuid,
    and_,
    any_,
    exists,
    false,
    func,
    literal_column,
    or_,
    true,
)

from authz.conditions import ACTOR, Condition, Residual
from authz.reach import Reach
from domain.patients import PatientSite
from domain.people import RoleGrant
from domain.practitioners import ResourceAssignment

if TYPE_CHECKING:
    from authz.scope import Binder, Predicate, Scope

_UUID = Uuid()
_UUIDS = ARRAY(Uuid())
HOMES: dict[str, tuple[Any, str]] = {
    "person": (RoleGrant.__table__, "person_id"),
    "practitioner": (ResourceAssignment.__table__, "resource_id"),
}
"""Resource -> the table that says where its rows are at home, and that table's column for the row."""
_PLAIN = re.compile(r"[A-Za-z0-9_. -]+")


class Unrenderable(Exception):
    """The alias lacks a column that the predicate needs; without it nothing may be shown."""


def render(
    predicate: "Predicate", alias: Any, bind: "Binder", site: FromClause | None = None
) -> ColumnElement[bool]:
    """The condition on an alias. Raises Unrenderable where a column that decides is missing.

    `site`: rows of `patient_site` that the statement has found already, to test patients by instead of by all.
    """
    if predicate.empty:
        return false()
    tenant = bind("tenant", lambda p: p.tenant_id, _UUID)
    tests = [
        _group(predicate, i, scope, residuals, alias, bind, site)
        for i, (scope, residuals) in enumerate(predicate.groups)
    ]
    return and_(column(alias, "tenant_id") == tenant, or_(*tests))


def column(alias: Any, name: str) -> ColumnElement[Any]:
    """A column of a mapped class, an alias of one, a table or a sub-select."""
    columns = getattr(alias, "c", None)
    if isinstance(alias, FromClause) and columns is not None:
        found = columns.get(name)
    else:
        found = getattr(alias, name, None)
    if found is None:
        raise Unrenderable(f"no column {name}")
    value: ColumnElement[Any] = found
    return value


def has_column(alias: Any, name: str) -> bool:
    """Whether the alias has the column."""
    try:
        column(alias, name)
    except Unrenderable:
        return False
    return True


def _group(
    predicate: "Predicate",
    i: int,
    scope: "Scope",
    residuals: tuple[Residual, ...],
    alias: Any,
    bind: "Binder",
    site: FromClause | None,
) -> ColumnElement[bool]:
    place = _place(predicate, i, scope, alias, bind, site)
    conditions = or_(*(and_(true(), *_residual(r, alias, bind)) for r in residuals))
    return and_(place, conditions)


def _place(
    predicate: "Predicate",
    i: int,
    scope: "Scope",
    alias: Any,
    bind: "Binder",
    site: FromClause | None,
) -> ColumnElement[bool]:
    reach = predicate.reach
    if reach is Reach.PARENT:
        parent = column(alias, "parent_id")
        return parent.is_not(None) if scope.all else _units(parent, i, scope, bind)
    if scope.all:
        return true()
    if reach is Reach.HOME:
        return _home(i, scope, predicate.resource, alias, bind)
    if reach is Reach.NODE:
        node = column(alias, "unit_id" if has_column(alias, "unit_id") else "id")
        return _units(node, i, scope, bind)
    if reach is Reach.SITE:
        return _site(i, scope, alias, bind) if site is None else _found(i, scope, alias, bind, site)
    return _own(i, scope, alias, bind)


def _own(i: int, scope: "Scope", alias: Any, bind: "Binder") -> ColumnElement[bool]:
    """A row that names its clinic and its unit."""
    parts = []
    if scope.clinics:
        parts.append(_among(column(alias, "clinic_id"), i, scope.clinics, "clinics", bind))
    if scope.units:
        parts.append(_units(column(alias, "unit_id"), i, scope, bind))
    return or_(*parts)


def _found(
    i: int, scope: "Scope", alias: Any, bind: "Binder", site: FromClause
) -> ColumnElement[bool]:
    """A patient tested by the sites that were found: a department's lies at its clinic too."""
    one = site.alias()
    found = exists().where(
        one.c.tenant_id == bind("tenant", lambda p: p.tenant_id, _UUID),
        one.c.patient_id == column(alias, "id"),
        _own(i, scope, one, bind),
    )
    return found.correlate_except(one)


def _units(at: ColumnElement[Any], i: int, scope: "Scope", bind: "Binder") -> ColumnElement[bool]:
    return _among(at, i, scope.units, "units", bind)


def _among(
    at: ColumnElement[Any], i: int, values: tuple[Any, ...], kind: str, bind: "Binder"
) -> ColumnElement[bool]:
    def several(p: "Predicate") -> Any:
        return list(getattr(p.groups[i][0], kind))

    def one(p: "Predicate") -> Any:
        return getattr(p.groups[i][0], kind)[0]

    if len(values) == 1:
        return at == bind(f"{kind}_{i}_one", one, _UUID)
    return at == any_(bind(f"{kind}_{i}", several, _UUIDS))


def _site(i: int, scope: "Scope", alias: Any, bind: "Binder") -> ColumnElement[bool]:
    """A site is tested itself: clinics by their clinic rows. A patient is tested by the sites."""
    if has_column(alias, "unit_id"):
        return _at(column(alias, "unit_id"), i, scope, bind)
    site = PatientSite.__table__.alias()
    found = exists().where(
        site.c.tenant_id == bind("tenant", lambda p: p.tenant_id, _UUID),
        site.c.patient_id == column(alias, "id"),
        _at(site.c.unit_id, i, scope, bind),
    )
    return found.correlate_except(site)


def _at(unit: ColumnElement[Any], i: int, scope: "Scope", bind: "Binder") -> ColumnElement[bool]:
    parts = []
    if scope.clinics:
        parts.append(_among(unit, i, scope.clinics, "clinics", bind))
    if scope.units:
        parts.append(_units(unit, i, scope, bind))
    return or_(*parts)


def _home(i: int, scope: "Scope", resource: str, alias: Any, bind: "Binder") -> ColumnElement[bool]:
    """Of what says where the row is at home, running or to come, there is one, and none lies outside."""
    table, owner = HOMES[resource]
    some, outside = table.alias(), table.alias()
    held = exists().where(*_holding(some, owner, alias, bind))
    away = exists().where(
        *_holding(outside, owner, alias, bind), ~_units(outside.c.unit_id, i, scope, bind)
    )
    return held.correlate_except(some) & ~away.correlate_except(outside)


def _holding(held: Any, owner: str, alias: Any, bind: "Binder") -> list[ColumnElement[bool]]:
    return [
        held.c.tenant_id == bind("tenant", lambda p: p.tenant_id, _UUID),
        held.c[owner] == column(alias, "id"),
        or_(held.c.valid_until.is_(None), held.c.valid_until > func.now()),
    ]


def _residual(residual: Residual, alias: Any, bind: "Binder") -> list[ColumnElement[bool]]:
    return [_condition(c, alias, bind) for c in sorted(residual, key=str)]


def _condition(condition: Condition, alias: Any, bind: "Binder") -> ColumnElement[bool]:
    at = column(alias, condition.field)
    if condition.value is ACTOR:
        return at == bind("actor", lambda p: p.person_id, _UUID)
    if condition.op == "in":
        return at.in_([_literal(v) for v in condition.value])
    return at == _literal(condition.value)


def _literal(value: Any) -> ColumnElement[Any]:
    """A constant of the policy in the statement's text: whole numbers, booleans and plain words only."""
    if isinstance(value, bool):
        return true() if value else false()
    if isinstance(value, int):
        return literal_column(str(value))
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return literal_column(f"'{value}'")
    raise Unrenderable("a policy's constant is a whole number, a boolean or a plain word")
