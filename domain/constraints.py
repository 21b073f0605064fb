"""Turns the refusal of a database constraint into the error that the subject has for it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from domain.errors import DomainError

SHARD = re.compile(r"_[0-9]+$")
"""What a distributed table adds to the names of its constraints."""


def violated(error: DBAPIError) -> str | None:
    """The name of the constraint that refused the statement, if one did."""
    diagnosis = getattr(error.orig, "diag", None)
    name = getattr(diagnosis, "constraint_name", None)
    return SHARD.sub("", name) if name else None


@contextmanager
def refusals(**errors: Callable[[], DomainError]) -> Iterator[None]:
    """Raise `errors[constraint]()` when that constraint refuses a statement inside.

    The transaction cannot go on afterwards. The database's own error is dropped: its text carries values.
    """
    try:
        yield
    except DBAPIError as error:
        known = errors.get(violated(error) or "")
        if known is None:
            raise
        raise known() from None
