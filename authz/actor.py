"""Who asks: a person of one health system with the grants that count now."""

import datetime as dt
import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from authz.masks import Mask, mask
from authz.reach import Reach
from authz.scope import EVERYWHERE, Predicate, Residual, Scope, reached
from authz.templates import ANYONE, Policy
from authz.tree import Tree


@dataclass(frozen=True, slots=True)
class Grant:
    """A role at a node for a time. `valid_until` is exclusive; None is without end."""

    id: UUID
    role: str
    unit_id: UUID
    valid_from: dt.datetime
    valid_until: dt.datetime | None = None
    source: str = "local"
    granted_by: UUID | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """The login that the request's token belongs to. `mfa` says whether a second factor was shown.

    `asserted`: not to the realm, but a provider says so. `proven_at`: when it was shown, None where that is not known.
    `enrol_by`: until when the person may come without one.
    """

    sid: str
    issued_at: dt.datetime
    auth_time: dt.datetime
    mfa: bool
    expires_at: dt.datetime
    asserted: bool = False
    proven_at: dt.datetime | None = None
    enrol_by: dt.datetime | None = None


@dataclass(frozen=True, eq=False)
class Actor:
    """Immutable. `grants` are those that count (`authz.grants.counting`); `valid_until` is when that changes.

    Two actors of equal `shape` get equal SQL text for every predicate and equal masks; only values differ.
    """

    tenant_id: UUID
    person_id: UUID
    practitioner_id: UUID | None
    user_name: str
    grants: tuple[Grant, ...]
    tree: Tree
    policy: Policy
    session: Session
    person_version: int
    tenant_version: int
    valid_until: dt.datetime

    def __post_init__(self) -> None:
        if self.tree.tenant_id != self.tenant_id:
            raise ValueError("an actor needs the tree of their own health system")

    @cached_property
    def _predicates(self) -> dict[tuple[str, str], Predicate]:
        return {}

    @cached_property
    def _scopes(self) -> dict[tuple[Reach, frozenset[UUID]], Scope]:
        return {}

    def predicate(self, resource: str, action: str) -> Predicate:
        """Which rows this actor may do that on. Raises PolicyError for a permission that no policy declares."""
        found = self._predicates.get((resource, action))
        if found is None:
            found = self._predicates[resource, action] = _join(self, resource, action)
        return found

    def may(self, resource: str, action: str) -> bool:
        """Whether it is allowed anywhere at all."""
        return not self.predicate(resource, action).empty

    def mask(self, resource: str, action: str, base: str = "read") -> Mask:
        """What of the rows visible by `base` shows the fields that `action` opens."""
        return mask(self.predicate(resource, base), self.predicate(resource, action))

    @cached_property
    def shape(self) -> Hashable:
        """A digest of all that a compiled plan may depend on besides values."""
        digest = hashlib.sha256(self.policy.version.encode())
        for name in sorted(self.policy.permissions):
            resource, action = name.split(":")
            parts = [name, self.predicate(resource, action).shape]
            if f"{resource}:read" in self.policy.permissions:
                parts.append(self.mask(resource, action).kind.value)
            digest.update(repr(parts).encode())
        return digest.digest()


def _join(actor: Actor, resource: str, action: str) -> Predicate:
    """Templates x grants x tree. A condition that a weaker one at the same place implies is left out."""
    template = actor.policy.template(resource, action)
    nodes: dict[Residual, set[UUID]] = {}
    for grant in actor.grants:
        for residual in template.roles.get(grant.role, ()):
            nodes.setdefault(residual, set()).add(grant.unit_id)
    scopes = {r: _scope(actor, template.reach, frozenset(n)) for r, n in nodes.items()}
    for residual in template.roles.get(ANYONE, ()):
        scopes[residual] = EVERYWHERE
    branches = [
        (scope, residual)
        for residual, scope in scopes.items()
        if not scope.empty and not _implied(residual, scope, scopes, actor.tree)
    ]
    branches.sort(key=lambda b: sorted(map(str, b[1])))
    return Predicate(
        resource,
        action,
        template.reach,
        actor.tenant_id,
        actor.person_id,
        tuple(branches),
        actor.tree,
    )


def _scope(actor: Actor, reach: Reach, nodes: frozenset[UUID]) -> Scope:
    """The places under the nodes; most permissions of an actor share theirs."""
    found = actor._scopes.get((reach, nodes))
    if found is None:
        found = actor._scopes[reach, nodes] = reached(actor.tree, reach, nodes)
    return found


def _implied(residual: Residual, scope: Scope, scopes: dict[Residual, Scope], tree: Tree) -> bool:
    return any(
        weaker < residual and wider.includes(scope, tree) for weaker, wider in scopes.items()
    )
