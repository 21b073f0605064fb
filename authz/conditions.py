"""Conditions on a row's own columns: what is left of a policy's rule beside its place."""

from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID


class Placeholder(Enum):
    """A value that is known only with the actor."""

    ACTOR = "$actor"


ACTOR = Placeholder.ACTOR
"""The id of the person who asks."""


@dataclass(frozen=True)
class Condition:
    """`field = value` (`op` "eq") or `field in values` (`op` "in", a sorted tuple). Absent equals nothing."""

    field: str
    op: str
    value: Any

    def holds(self, row: Any, person_id: UUID) -> bool:
        """Judge a loaded row. A row without the field raises AttributeError: it cannot be judged."""
        found = getattr(row, self.field)
        if found is None:
            return False
        if self.value is ACTOR:
            return bool(found == person_id)
        return bool(found in self.value if self.op == "in" else found == self.value)

    def __str__(self) -> str:
        value = self.value.value if self.value is ACTOR else self.value
        return f"{self.field} {self.op} {value!r}"


Residual = frozenset[Condition]
"""Conditions that must all hold; the empty one always does."""
