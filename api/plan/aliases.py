"""Aliases of models by name, kept from plan to plan: SQLAlchemy copies all columns of the table for each, a millisecond."""

from functools import lru_cache
from typing import Any

from sqlalchemy.orm import aliased

MOST = 256
"""How many a process keeps; each takes 0.1 to 0.3 MB."""


@lru_cache(MOST)
def alias(model: Any, name: str) -> Any:
    """The alias of a model under a name that a statement uses once. Statements share it and never change it."""
    return aliased(model, name=name)
