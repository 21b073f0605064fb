"""What the graph shows of the directories of a health system, to whoever may read the tenant."""

import datetime as dt
from typing import Any

from tests.oracle.rules import Sight
from tests.oracle.shapes import Leaf, Type, columns, one, plain


def ends(row: Any) -> dt.datetime:
    """From when on a token opens nothing."""
    first: dt.datetime = min(filter(None, (row.expires_at, row.revoked_at)))
    return first


def _warning(sight: Sight, row: Any) -> int | None:
    left = ends(row) - sight.rows.now
    return next((days for days in (0, 7, 30, 60) if left <= dt.timedelta(days=days)), None)


def _resource(_: Sight, row: Any) -> str:
    return str(row.asked).upper()


ABOUT = (
    Type(
        "ScimToken",
        "scim_token",
        "tenant:read",
        {
            **columns("name scopes createdAt lastUsedAt"),
            "endsAt": Leaf(lambda _, row: plain(ends(row))),
            "endsWithin": Leaf(_warning),
        },
    ),
    Type(
        "ScimRequest",
        "scim_request",
        "tenant:read",
        {
            **columns("createdAt method status cause subject milliseconds"),
            "directoryRequestId": Leaf(lambda _, row: row.outside_request_id),
            "resource": Leaf(_resource),
            "person": one("Person", "person", "resource_id"),
            "token": one("ScimToken", "scim_token", "token_id"),
        },
    ),
    Type(
        "ScimDeparture",
        "scim_departure",
        "tenant:read",
        {**columns("askedAt refusedAt"), "person": one("Person", "person", "id")},
    ),
    Type(
        "ScimRelease",
        "scim_release",
        "tenant:read",
        {**columns("until createdAt"), "releasedBy": one("Person", "person", "released_by")},
    ),
)
PAGES: dict[str, tuple[str, tuple[str, str]]] = {
    "scimTokens": ("ScimToken", ("-created_at", "-id")),
    "scimRequests": ("ScimRequest", ("-created_at", "-id")),
    "scimDepartures": ("ScimDeparture", ("-asked_at", "-id")),
}
"""Root field -> what it lists, in which order."""
TABLES = {
    "scimTokens": "scim_token",
    "scimRequests": "scim_request",
    "scimDepartures": "scim_departure",
}
