"""Which findings belong together: parts and their whole, a version and the one before."""

from collections.abc import Callable
from typing import Any

from tests.oracle.rules import Sight

Find = Callable[[Sight, Any], Any]


def whole(column: str) -> Find:
    """Findings of a row that hold and are no components of others."""

    def find(sight: Sight, row: Any) -> list[Any]:
        rows = sight.rows.where("observation", column, row.id)
        return [o for o in rows if o.part != "component" and o.replaced_by_id is None]

    return find


def parts(part: str) -> Find:
    """What a finding is made of; of a panel the members that hold."""

    def find(sight: Sight, row: Any) -> list[Any]:
        rows = sight.rows.where("observation", "part_of_id", row.id)
        holds = part == "component"
        return [o for o in rows if o.part == part and (holds or o.replaced_by_id is None)]

    return find


def before(sight: Sight, row: Any) -> Any:
    """The version that this one put right."""
    rows = sight.rows.where("observation", "replaced_by_id", row.id)
    return next((o for o in rows if o.part != "component"), None)
