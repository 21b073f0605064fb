"""Which duties must not meet in one person, which wait for a second approval, and which stand above which.

Who may give and take which role where is policy (`authz/policies/access.polar`); at which level a role is held is
in `authz/grants.py`. The commands are in `identity/grants.py`.
"""

import datetime as dt
from collections.abc import Iterable
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from authz.actor import Actor

ADMINS = frozenset({"system_admin", "regional_director", "clinic_admin"})
MANAGERS = ADMINS | {"setup_people"}
"""Who manages people."""
CONFLICTS = frozenset(
    {
        *(
            frozenset({watcher, admin})
            for watcher in ("auditor", "privacy_officer")
            for admin in ADMINS
        ),
        frozenset({"biller", "auditor"}),
    }
)
"""Pairs of duties that one person does not hold at the same time. Watchers are held at the root, above all others."""
SECOND_APPROVAL = frozenset({"system_admin", "privacy_officer", "auditor"})
"""Roles that wait for a second person's approval where the tenant asks for it (the default)."""

_HIGHEST = 3
RANKS = MappingProxyType(
    {
        "system_admin": _HIGHEST,
        "regional_director": 2,
        "setup_people": 2,
        "clinic_admin": 1,
        **dict.fromkeys(("provider", "nurse", "front_desk", "biller"), 0),
    }
)
"""Role -> how high it stands. Who looks at everything or watches the administrators stands as high as any of them."""

Period = tuple[dt.datetime, dt.datetime | None]
"""From an instant until before another; None is without end."""


def meet(one: Period, other: Period) -> bool:
    """Whether two periods have a moment in common; an empty one meets nothing."""
    begins = max(one[0], other[0])
    return all(end is None or begins < end for _, end in (one, other))


class Held(Protocol):
    """A role at a node, as its place in the order is judged."""

    @property
    def role(self) -> str: ...
    @property
    def unit_id(self) -> UUID: ...


def outranked(actor: Actor, held: Iterable[Held]) -> bool:
    """Whether one of a person's roles stands above every role by which the actor manages people at its node.

    Peers do not: two administrators of one clinic correct each other's names.
    """
    return any(RANKS.get(one.role, _HIGHEST) > _rank_over(actor, one.unit_id) for one in held)


def _rank_over(actor: Actor, unit_id: UUID) -> int:
    return max(
        (
            RANKS[grant.role]
            for grant in actor.grants
            if grant.role in MANAGERS and actor.tree.is_below(unit_id, grant.unit_id)
        ),
        default=-1,
    )
