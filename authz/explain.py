"""Answers for people: why somebody may or may not, and what they may do at a node."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from authz.actor import Actor
from authz.decisions import covered, residuals_of, unmet
from authz.reach import Reach
from authz.settings import split
from authz.templates import ANYONE


@dataclass(frozen=True)
class Considered:
    """One grant and what became of it. `unmet` are conditions on the row, as `field op value`."""

    grant_id: UUID
    role: str
    unit_id: UUID
    granted_by: UUID | None
    valid_until: dt.datetime | None
    covers_place: bool
    role_allows: bool
    unmet: tuple[str, ...]

    @property
    def allows(self) -> bool:
        """Whether this grant alone is enough."""
        return self.covers_place and self.role_allows and not self.unmet


@dataclass(frozen=True)
class Explanation:
    """`by` are the grants that allow it, `considered` all of them, `roles` those that would allow it at the place."""

    permission: str
    allowed: bool
    by: tuple[Considered, ...]
    considered: tuple[Considered, ...]
    roles: tuple[str, ...]
    own: bool
    policy_version: str
    tree_version: int


def explain(actor: Actor, permission: str, target: Any) -> Explanation:
    """Why, or why not. For people; requests are judged by `authz.guard.require`."""
    resource, action = split(permission)
    predicate = actor.predicate(resource, action)
    template = actor.policy.template(resource, action)
    considered = []
    for grant in actor.grants:
        residuals = residuals_of(actor, predicate, grant)
        fewest = min((unmet(actor, r, target) for r in residuals), key=len, default=())
        considered.append(
            Considered(
                grant.id,
                grant.role,
                grant.unit_id,
                grant.granted_by,
                grant.valid_until,
                covered(actor, predicate, grant, target),
                bool(residuals),
                tuple(map(str, fewest)),
            )
        )
    own = any(not unmet(actor, r, target) for r in template.roles.get(ANYONE, ()))
    would = (
        role
        for role, residuals in template.roles.items()
        if role != ANYONE and any(not unmet(actor, r, target) for r in residuals)
    )
    return Explanation(
        permission,
        predicate.allows(target),
        tuple(c for c in considered if c.allows),
        tuple(considered),
        tuple(would),
        own,
        actor.policy.version,
        actor.tree.version,
    )


def permissions_at(actor: Actor, unit_id: UUID) -> list[str]:
    """What the actor's roles let them do at a node and below, as `resource:action`, sorted.

    What everybody may do with their own rows (`grant:read`) is not of a node and left out. Empty for a node of
    another tree.
    """
    if unit_id not in actor.tree:
        return []
    above = set(actor.tree.ancestors(unit_id))
    here = {g.role for g in actor.grants if g.unit_id in above}
    anywhere = {g.role for g in actor.grants}
    return sorted(
        name
        for name, template in actor.policy.permissions.items()
        if _held(template.roles, anywhere if template.reach is Reach.EVERYWHERE else here)
    )


def _held(allowed: Iterable[str], held: set[str]) -> bool:
    return not held.isdisjoint(allowed)
