"""Turns the refusal of a database constraint into the error that a subject has for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from domain.database import refusal_of


@contextmanager
def refusals() -> Iterator[None]:
    """Raise the subject's error (see `domain.database`) when its constraint refuses a statement inside.

    The transaction cannot go on afterwards. The database's own error is dropped: its text carries values.
    """
    try:
        yield
    except DBAPIError as error:
        known = refusal_of(error)
        if known is None:
            raise
        raise known from None
