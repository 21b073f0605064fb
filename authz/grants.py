"""Which grants count, and who may give or take which."""

import datetime as dt
from collections.abc import Iterable
from types import MappingProxyType

from authz.actor import Grant
from authz.tree import LEVELS, Tree

LOWEST = MappingProxyType(
    {
        "system_admin": "system",
        "system_viewer": "system",
        "privacy_officer": "system",
        "auditor": "system",
        "regional_director": "region",
        "clinic_admin": "department",
        "provider": "department",
        "nurse": "department",
        "front_desk": "department",
        "biller": "department",
        "setup_tree": "system",
        "setup_people": "system",
        "setup_identity": "system",
    }
)
"""Role -> the lowest level at which it may be held; every level above fits too (float nurse, central billing)."""

OF_LINKS = frozenset({"setup_tree", "setup_people", "setup_identity"})
"""Roles that come with a setup link and end with it (`identity/setup.py`); nobody gives them by hand or by a rule."""

SECOND_FACTOR = frozenset(
    {
        "system_admin",
        "system_viewer",
        "regional_director",
        "clinic_admin",
        "privacy_officer",
        "auditor",
    }
)
"""Roles whose holders must show a second factor where the tenant's policy says `admins`."""


def fits(role: str, level: str) -> bool:
    """Whether the role may be held at a node of this level."""
    lowest = LOWEST.get(role)
    return lowest is not None and LEVELS.index(level) <= LEVELS.index(lowest)


def counts(grant: Grant, tree: Tree, now: dt.datetime) -> bool:
    """Whether a grant gives anything now: begun, not over, at a node of this tree whose level fits the role."""
    begun = grant.valid_from <= now and (grant.valid_until is None or now < grant.valid_until)
    return begun and grant.unit_id in tree and fits(grant.role, tree.units[grant.unit_id].level)


def counting(grants: Iterable[Grant], tree: Tree, now: dt.datetime) -> tuple[Grant, ...]:
    """The grants that count now."""
    return tuple(g for g in grants if counts(g, tree, now))


def next_change(grants: Iterable[Grant], now: dt.datetime) -> dt.datetime | None:
    """The next moment at which one of all of a person's grants begins or ends; None without any."""
    moments = (m for g in grants for m in (g.valid_from, g.valid_until) if m is not None)
    return min((m for m in moments if m > now), default=None)
