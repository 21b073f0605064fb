"""Loads every module of this package, so that `Base` knows all tables. Adding a subject is adding a file."""

import pkgutil
from importlib import import_module
from pathlib import Path

from domain.model import Base


def load() -> type[Base]:
    """Import all of `domain` and return the base that holds its tables."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)], "domain."):
        import_module(module.name)
    return Base
