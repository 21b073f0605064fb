"""What a plan takes for granted about an actor: it may serve another actor only where all of it holds too."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, TypeVar

from authz.actor import Actor
from authz.masks import Shown
from authz.scope import Predicate

T = TypeVar("T")
Fact = tuple[str, ...]


class Facts:
    """Asks an actor, and keeps what was asked with its answer: the key by which a plan is found again."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.kept: dict[Fact, Hashable] = {}

    def shape(self, resource: str, action: str) -> None:
        """Take the shape of a predicate for granted."""
        self._keep(("shape", resource, action))

    def place(self, resource: str, action: str) -> None:
        """Take the shape of a predicate's places for granted, conditions aside."""
        self._keep(("place", resource, action))

    def mask(self, resource: str, action: str, base: str) -> Shown:
        """Whether rows that are visible by `base` show what `action` opens."""
        return Shown(self._keep(("mask", resource, action, base)))

    def covers(self, resource: str, action: str, parent: str, base: str) -> Shown:
        """Whether the places of visible parents are places where the child may be read."""
        return Shown(self._keep(("covers", resource, action, parent, base)))

    def _keep(self, fact: Fact) -> Hashable:
        answer = self.kept[fact] = ask(self.actor, fact)
        return answer


def ask(actor: Actor, fact: Fact) -> Hashable:
    """The actor's answer to a fact, computed once for an actor."""
    return memo(actor, fact, lambda a: _ASK[fact[0]](a, *fact[1:]))


def holds(actor: Actor, facts: tuple[tuple[Fact, Any], ...]) -> bool:
    """Whether the actor answers all of it so. Asked at each request, so what is known is looked up here."""
    known = actor.__dict__.get("memo", {})
    for fact, answer in facts:
        got = known.get(fact)
        if got is None:
            got = ask(actor, fact)
        if got != answer:
            return False
    return True


def memo(actor: Actor, key: Any, make: Callable[[Actor], T]) -> T:
    """A value that depends on the actor alone, computed once for it: actors are immutable."""
    kept = actor.__dict__.setdefault("memo", {})  # beside the actor's own cached properties
    try:
        found: T = kept[key]
    except KeyError:
        found = kept[key] = make(actor)
    return found


def at_place(actor: Actor, predicate: Predicate, parent: str) -> Predicate:
    """The same places without conditions on rows, to be asked of the parent's row."""
    reach, scope = actor.predicate(parent, "read").reach, predicate.scope
    branches = () if scope.empty else ((scope, frozenset[Any]()),)
    return replace(predicate, reach=reach, branches=branches)


def _shape(actor: Actor, resource: str, action: str) -> Hashable:
    return actor.predicate(resource, action).shape


def _place(actor: Actor, resource: str, action: str) -> Hashable:
    return actor.predicate(resource, action).scope.shape


def _mask(actor: Actor, resource: str, action: str, base: str) -> str:
    return str(actor.mask(resource, action, base).kind.value)


def _covers(actor: Actor, resource: str, action: str, parent: str, base: str) -> str:
    child, above = actor.predicate(resource, action).scope, actor.predicate(parent, base).scope
    if child.empty:
        return str(Shown.NEVER.value)
    covered = child.includes(above, actor.tree)
    return str((Shown.ALWAYS if covered else Shown.BY_ROW).value)


_ASK: dict[str, Callable[..., Hashable]] = {
    "shape": _shape,
    "place": _place,
    "mask": _mask,
    "covers": _covers,
}
