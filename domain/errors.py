"""Why a command refused. The code is stable and meant for programs, the message for people.

    DomainError
    ├── NotFound      it does not exist, or not for the asker
    ├── Invalid       the input cannot be taken as it is: `path` names the field
    │   └── Several   more than one such, each with its path
    ├── StaleVersion  somebody changed the row since it was read; `current` is its version
    ├── IllegalMove   the state machine has no such step; the message names both states
    └── NotAllowed    the asker may not, whatever the input: FORBIDDEN, with the code as its reason

A subject adds its own beside its commands (`SlotTaken` in `appointments.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any


class DomainError(Exception):
    """A command's refusal that a person can mend. Carries no value of any row.

    `attempted` names the action of an attempt that must stay on record although the transaction is undone; `details`
    is what programs need to mend it, beyond code and path (times that are free instead).
    """

    code = "INVALID"
    attempted: str | None = None
    details: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, message: str, *, path: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


@contextmanager
def part(name: str) -> Iterator[None]:
    """Refusals inside speak of fields of this part of the input."""
    try:
        yield
    except DomainError as error:
        error.path = (name, *error.path)
        raise


class NotFound(DomainError):
    """Not there, or not visible to the asker: both answer alike."""

    code = "NOT_FOUND"

    def __init__(self, message: str = "Not found.", *, path: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)


class Invalid(DomainError):
    """Input that cannot be taken; nothing was changed."""

    def __init__(self, message: str, *, path: tuple[str, ...] = (), code: str = "INVALID") -> None:
        super().__init__(message, path=path)
        self.code = code


class StaleVersion(DomainError):
    """The row has a newer version than the one that the change was based on."""

    code = "STALE_VERSION"

    def __init__(self, current: int) -> None:
        super().__init__(f"The record has another version by now: {current}.")
        self.current = current


class IllegalMove(DomainError):
    """The state machine has no step from the present state to the wanted one."""

    code = "ILLEGAL_STATE"

    def __init__(self, what: str, now: str, wanted: str) -> None:
        super().__init__(f"A {what} that is {now} cannot become {wanted}.")


class NotAllowed(DomainError):
    """A rule of the subject, beyond roles and places, forbids it to the asker. `code` is the reason."""

    code = "NOT_ALLOWED"


class NoLongerYours(NotAllowed):
    """The row has the version that the change was based on, but what decides about it has changed since it was judged."""

    code = "NO_LONGER_YOURS"

    def __init__(self) -> None:
        super().__init__("Your access to this record has just changed.")


def unchanged(current: int | None, version: int | None) -> DomainError:
    """Why a change that was based on `version` found no row to write; `current` is that of the row that is seen."""
    if current is None:
        return NotFound()
    return NoLongerYours() if version in (None, current) else StaleVersion(current)


class Several(Invalid):
    """Several refusals of one input, each with its own path; nothing was changed."""

    def __init__(self, errors: Sequence[DomainError]) -> None:
        super().__init__("Some of this cannot be taken.")
        self.errors = tuple(errors)
