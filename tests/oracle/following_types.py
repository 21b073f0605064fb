"""What the graph shows of how far Keycloak follows of a person."""

from typing import Any

from tests.oracle.following import digest
from tests.oracle.rules import Sight
from tests.oracle.shapes import Leaf, plain


def _row(sight: Sight, person: Any) -> Any:
    found = sight.rows.where("person_sync", "person_id", person.id)
    return found[0] if found else None


def _state(sight: Sight, person: Any) -> str:
    row = _row(sight, person)
    if row is not None and row.failed:
        return "FAILED"
    return "SYNCED" if row is not None and row.digest == digest(person) else "PENDING"


def _of(column: str) -> Any:
    def leaf(sight: Sight, person: Any) -> Any:
        row = _row(sight, person)
        return plain(getattr(row, column)) if row is not None else None

    return leaf


_SHOWN: dict[str, Any] = {"opens": "person:manage", "group": "IDENTIFIERS"}
FOLLOWING = {
    "syncState": Leaf(_state, **_SHOWN),
    "syncCause": Leaf(_of("cause"), **_SHOWN),
    "syncedAt": Leaf(_of("synced_at"), **_SHOWN),
}
"""Fields of a person."""
