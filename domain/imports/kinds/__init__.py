"""The resource types that are imported, one module each, found by looking into this folder.

A module has a `KIND`. Mapping functions read FHIR and give columns; they wait for nothing and change nothing.
"""

import pkgutil
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module

from domain.imports.bundles import Entry, Key
from domain.imports.work import Draft, Work
from domain.model import new_id


def first_identifier(entry: Entry) -> Iterable[Key]:
    """The resource's identifiers as they come."""
    return (key for key, _, _ in entry.identifiers())


async def find_none(_work: Work, _entries: Sequence[Entry]) -> Mapping[int, uuid.UUID]:
    """For types whose rows are known by external references only."""
    return {}


def fresh_id(_entry: Entry, _work: Work) -> uuid.UUID:
    """The id of a row that is made."""
    return new_id()


@dataclass(frozen=True)
class Kind:
    """How a resource type is taken.

    `names` gives its lasting names, best first; the first (else its `fullUrl`) is what a later import knows it by.
    `draft` maps it; raises Fault, Faults, Invalid (of the domain) or Skip. `write` stores all drafts of a bundle and
    counts them. `find` looks for rows that were not imported but are the same; `local` gives a new one its id.
    `after`: types that must be mapped and written before. `resources`: what policies call its rows, if they are placed.
    """

    type: str
    draft: Callable[[Entry, Work], Draft]
    write: Callable[[Work, Sequence[Draft]], Awaitable[None]]
    names: Callable[[Entry], Iterable[Key]] = first_identifier
    find: Callable[[Work, Sequence[Entry]], Awaitable[Mapping[int, uuid.UUID]]] = find_none
    local: Callable[[Entry, Work], uuid.UUID] = fresh_id
    after: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()

    def identity(self, entry: Entry) -> Key | None:
        """The name by which the resource is known again: only what holds beyond the bundle."""
        return next(iter(self.names(entry)), None) or entry.own_url


@cache
def kinds() -> Mapping[str, Kind]:
    """All kinds by type, each after those it needs."""
    modules = pkgutil.iter_modules(__path__, f"{__name__}.")
    found: list[Kind] = [import_module(m.name).KIND for m in modules]
    by_type = {kind.type: kind for kind in found}
    order = TopologicalSorter({kind.type: sorted(kind.after) for kind in found})
    return {type_: by_type[type_] for type_ in order.static_order()}
