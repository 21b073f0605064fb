"""Which duties must not meet in one person, and which wait for a second person's approval.

Who may give and take which role where is policy (`authz/policies/access.polar`); at which level a role is held is
in `authz/grants.py`. The commands are in `identity/grants.py`.
"""

import datetime as dt

ADMINS = frozenset({"system_admin", "regional_director", "clinic_admin"})
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

Period = tuple[dt.datetime, dt.datetime | None]
"""From an instant until before another; None is without end."""


def meet(one: Period, other: Period) -> bool:
    """Whether two periods have a moment in common; an empty one meets nothing."""
    begins = max(one[0], other[0])
    return all(end is None or begins < end for _, end in (one, other))
