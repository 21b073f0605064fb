"""The policy at the aliases of one statement: predicates as conditions, their values as parameters."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, FromClause
from sqlalchemy.orm import aliased

from api.plan.aliases import alias
from api.plan.binds import Binds, Inputs, encode
from api.plan.facts import Facts, at_place, memo
from api.plan.mapping import Row
from authz.actor import Actor
from authz.reach import Reach
from authz.scope import EVERYWHERE, Predicate
from domain.model import Base


class Judge:
    """Gives conditions for an actor, and keeps what the statement then depends on: binds, facts and resources."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.binds = Binds()
        self.facts = Facts(actor)
        self.resources: set[str] = set()
        self.elsewhere: set[str] = set()
        """Resources whose rows are asked for beside a page's own walk, and so at any place."""
        self.aliases = Counter[Any]()
        self.written: dict[int, FromClause] = {}
        """The parts of a row, by the identity of its alias, that the statement itself writes: no table shows them yet."""
        self.sites: dict[int, tuple[str, FromClause]] = {}
        """Of a row that the statement writes: the value that is its unit's id, and the site of its patient there."""
        self.looked_at: set[int] = set()
        """The rows, by the identity of their aliases, whose parts the statement reads."""

    def tenant(self) -> ColumnElement[Any]:
        """The actor's health system, as a parameter."""
        return self.binds.named("tenant", lambda inputs: encode(inputs.actor.tenant_id))

    def alias(self, model: Any, rows: FromClause | None = None) -> Row:
        """An alias that nothing else in the statement is, of a model's table or of other rows of its columns."""
        self.aliases[model] += 1
        name = f"{model.__tablename__}${self.aliases[model]}"
        return alias(model, name) if rows is None else aliased(model, rows, name=name)

    def parts(self, model: type[Base], row: Row) -> Row:
        """An alias of the table of a row's parts, or of those that the statement writes for it."""
        self.looked_at.add(id(row))
        return self.alias(model, self.written.get(id(row)))

    def policy(self, row: Row, resource: str, action: str = "read") -> ColumnElement[bool]:
        """The predicate of an action at an alias; always says the tenant."""
        self.facts.shape(resource, action)
        return self._judged(self.actor.predicate(resource, action), row, "")

    def child(self, up: Row, row: Row, resource: str, action: str) -> ColumnElement[bool]:
        """The policy at rows that belong to the row `up`.

        The patient of a row that is just being written is known by the site at which that was allowed, but where rules
        differ by place: those may stand on other sites.
        """
        found = self.sites.get(id(up)) if resource == "patient" else None
        if found is None or len(self.actor.predicate(resource, action).groups) != 1:
            return self.policy(row, resource, action)
        unit, site = found
        return self.near(row, resource, action, unit, site)

    def near(
        self, row: Row, resource: str, action: str, unit: str, site: FromClause | None = None
    ) -> ColumnElement[bool]:
        """As `policy`, for rows that lie at the unit whose id is the value `unit`: other places are not sent along.

        `site`: the patient's site there, for a patient.
        """
        self.facts.shape(resource, action)
        self.resources.add(resource)

        def bind(name: str, getter: Callable[[Predicate], Any], type_: Any) -> Any:
            if name == "tenant":
                return self.tenant()

            def value(inputs: Inputs) -> bytes | None:
                here = inputs.values[unit]

                def make(actor: Actor) -> bytes | None:
                    found = getter(actor.predicate(resource, action))
                    if isinstance(found, list):
                        about = here, actor.tree.units[here].clinic_id
                        found = [place for place in found if place in about]
                    return encode(found)

                return memo(inputs.actor, (resource, action, name, here), make)

            return self.binds.named(f"near_{resource}_{action}_{name}", value, type_)

        return self.actor.predicate(resource, action).sql(row, bind, site)

    def placed(self, row: Row, resource: str) -> ColumnElement[bool]:
        """Reading a resource, asked of the row's own clinic and unit rather than of a patient's sites."""
        self.facts.shape(resource, "read")
        own = replace(self.actor.predicate(resource, "read"), reach=Reach.UNIT)
        return self._judged(own, row, "")

    def _judged(self, predicate: Predicate, row: Row, place_of: str) -> ColumnElement[bool]:
        """Render a predicate; `place_of` names the parent's resource where only the place is asked."""
        self.elsewhere.add(predicate.resource)
        if place_of:  # asked of the parent's own places: for a patient, of all its sites
            self.elsewhere.add(place_of)
        return self._rendered(predicate, row, place_of)

    def _rendered(self, predicate: Predicate, row: Row, place_of: str = "") -> ColumnElement[bool]:
        resource, action = predicate.resource, predicate.action
        self.resources.add(resource)

        def bind(name: str, getter: Callable[[Predicate], Any], type_: Any) -> Any:
            if name == "tenant":
                return self.tenant()
            key = f"{place_of}_{resource}_{action}_{name}"

            def value(actor: Actor) -> bytes | None:
                own = actor.predicate(resource, action)
                return encode(getter(at_place(actor, own, place_of) if place_of else own))

            return self.binds.named(key, lambda inputs: memo(inputs.actor, key, value), type_)

        shown = at_place(self.actor, predicate, place_of) if place_of else predicate
        return shown.sql(row, bind)

    def conditions(self, row: Row, resource: str) -> ColumnElement[bool]:
        """What a page asks of each row beyond its place: the tenant and the conditions of the policy.

        Where the conditions differ by grant (one's own rows, and those of a node) it is the whole policy.
        """
        self.facts.shape(resource, "read")
        predicate = self.actor.predicate(resource, "read")
        residuals = {residual for _, residual in predicate.branches}
        if len(residuals) != 1:
            return self._rendered(predicate, row)
        bare = replace(predicate, branches=((EVERYWHERE, residuals.pop()),))
        return self._rendered(bare, row)
