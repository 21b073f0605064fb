"""How far a page reaches: the shape of what the actor may read within a node decides which walk answers it."""

from enum import Enum
from uuid import UUID

from api.plan.binds import encode
from api.plan.facts import memo
from authz.actor import Actor
from authz.scope import Scope
from authz.tree import Tree

FEW = 8
"""So many places are read page by page; for more the second phase pays (docs/decisions/pages.md)."""


class Shape(Enum):
    """How far a page reaches (see `api.plan.walk`)."""

    ALL = "all"
    ONE = "one"
    FEW = "few"
    MANY = "many"


class Reach:
    """The places of one page: what the actor may read of what was asked for, ready as parameters.

    `parents` are the clinics whose ordered index is walked: those of the scope and those of its departments.
    """

    def __init__(self, shape: Shape, scope: Scope, tree: Tree) -> None:
        self.shape, self.scope = shape, scope
        clinics = {*scope.clinics, *(tree.units[u].clinic_id for u in scope.units)}
        self.one = encode((scope.clinics or scope.units or (None,))[0])
        self.parent = encode(next(iter(clinics), None))
        self.parents = encode(sorted(clinics, key=str))
        self.clinics, self.units = encode(scope.clinics), encode(scope.units)
        self.both = encode((*scope.clinics, *scope.units))
        self.variant = (shape.value, bool(scope.clinics), bool(scope.units))
        """What of it the text of a statement depends on."""


def reach(actor: Actor, resource: str, node: UUID | None = None) -> Reach | None:
    """Where the actor may read this resource, within a node of the tree; None where nowhere."""
    return memo(actor, ("reach", resource, node), lambda a: _reach(a, resource, node))


def within(actor: Actor, resource: str, node: UUID | None) -> Scope:
    """The places at or below the node (everywhere without one) at which the actor may read this resource."""
    scope = actor.predicate(resource, "read").scope
    return scope if node is None else scope.within(actor.tree, node)


def _reach(actor: Actor, resource: str, node: UUID | None) -> Reach | None:
    scope = within(actor, resource, node)
    if scope.empty:
        return None
    places = len(scope.clinics) + len(scope.units)
    if scope.all:
        shape = Shape.ALL
    elif places == 1:
        shape = Shape.ONE
    else:
        shape = Shape.FEW if places <= FEW else Shape.MANY
    return Reach(shape, scope, actor.tree)
