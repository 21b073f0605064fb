"""Field groups: which fields of a visible row an actor sees, judged per row and place."""

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from authz.scope import Predicate

GROUPS = MappingProxyType(
    {
        "demographics": "read",
        "clinical": "read_clinical",
        "billing": "read_billing",
        "scheduling": "read_scheduling",
    }
)
"""Field group -> the action of the row's own resource that opens it."""


class Shown(Enum):
    """On which of the visible rows the fields show."""

    ALWAYS = "always"
    NEVER = "never"
    BY_ROW = "by row"


@dataclass(frozen=True)
class Mask:
    """ALWAYS and NEVER hold for every visible row; BY_ROW where `predicate` allows the row."""

    kind: Shown
    predicate: Predicate


def mask(visible: Predicate, opened: Predicate) -> Mask:
    """Compare what is visible with what is opened: ALWAYS only where place and conditions are known to be wider."""
    if opened.empty:
        return Mask(Shown.NEVER, opened)
    if opened.reach is visible.reach and opened.includes(visible):
        return Mask(Shown.ALWAYS, opened)
    return Mask(Shown.BY_ROW, opened)
