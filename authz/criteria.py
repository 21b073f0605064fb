"""An actor's predicates as conditions on mapped classes, with their values bound."""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, exists, false, inspect, or_
from sqlalchemy.orm.util import LoaderCriteriaOption
from sqlalchemy.types import TypeEngine

from authz.actor import Actor
from authz.decisions import READ_BY
from authz.rendering import Unrenderable
from authz.scope import Predicate
from authz.settings import split
from domain.model import Base

WORKING = frozenset({"tenant"})
"""Resources whose own row every command works with; their fields are guarded where they are shown."""


class Criterion(LoaderCriteriaOption):
    """`with_loader_criteria` for a class and every alias of it.

    SQLAlchemy adapts the condition to an alias in WHERE but not in the ON of a join, where it would then speak of
    a table that is not there; so it is adapted here for both.
    """

    _traverse_internals = LoaderCriteriaOption._traverse_internals

    def __init__(self, model: type[Base], condition: ColumnElement[bool]) -> None:
        super().__init__(model, condition, include_aliases=True)

    def _resolve_where_criteria(self, ext_info: Any) -> ColumnElement[bool]:
        condition = super()._resolve_where_criteria(ext_info)
        if ext_info.is_aliased_class:
            adapted: ColumnElement[bool] = ext_info._adapter.traverse(condition)
            return adapted
        return condition


def reading(actor: Actor, model: type[Base]) -> ColumnElement[bool]:
    """What of a model the actor reads; of a table that is no resource, everything of the own health system."""
    resource = model.__resource__
    if resource is None or resource in WORKING:
        return own(actor, model)
    return bound(actor.predicate(resource, "read"), model)


def writing(actor: Actor, model: type[Base], permissions: Iterable[str]) -> ColumnElement[bool]:
    """What of a model the permissions let the actor change. Whoever writes reads as well."""
    tests = []
    for permission in sorted(permissions):
        predicate = actor.predicate(*split(permission))
        read = reader(actor, model, permission)
        test = bound(predicate, model)
        covered = read.reach is predicate.reach and read.includes(predicate)
        tests.append(test if covered else and_(test, bound(read, model)))
    return or_(false(), *tests)


def reader(actor: Actor, model: type[Base], permission: str) -> Predicate:
    """What must be readable for a write to this model under this permission."""
    by = READ_BY.get(split(permission)[0], model.__resource__ or "")
    return actor.predicate(by, "read")


def own(actor: Actor, model: type[Base]) -> ColumnElement[bool]:
    """The rows of the actor's health system."""
    return model.tenant_id == actor.tenant_id


def bound(predicate: Predicate, model: type[Base]) -> ColumnElement[bool]:
    """The predicate on a class with its values; of parts, that of their whole.

    False where the class lacks a column that decides.
    """

    def bind(
        name: str, getter: Callable[[Predicate], Any], type_: TypeEngine[Any]
    ) -> ColumnElement[Any]:
        return bindparam(name, getter(predicate), type_, unique=True)

    try:
        if model.__whole__ is None:
            return predicate.sql(model, bind)
        table, column = model.__whole__
        whole = Base.metadata.tables[table].alias()
        mine = (whole.c.tenant_id == model.tenant_id) & (whole.c.id == getattr(model, column))
        return exists().where(mine, predicate.sql(whole, bind)).correlate_except(whole)
    except Unrenderable:
        return false()


def lacking(predicate: Predicate, model: type[Base]) -> frozenset[str]:
    """The columns that the predicate's conditions ask for and the model has not."""
    columns = inspect(model).column_attrs.keys()
    asked = {c.field for _, residual in predicate.branches for c in residual}
    return frozenset(asked - set(columns))
