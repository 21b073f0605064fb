"""What is wrong with something that was to be imported. No text here carries a value of the input."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass


class Fault(Exception):
    """The bundle cannot be taken. `path` is a FHIRPath-like place in the entry, such as `Patient.name[0].family`."""

    def __init__(self, message: str, *, path: str = "", entry: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.entry = entry

    def at(self, entry: int) -> "Fault":
        """The same, with the entry's index."""
        return Fault(self.message, path=self.path, entry=entry)


class Faults(Exception):
    """Everything that is wrong with one bundle."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


@dataclass(frozen=True)
class Problem:
    """A fault and the file it is in. `entry` counts from 0; None: the file or bundle as a whole.

    `type` and `id` are those of the resource, as far as they can be told: an id that is no UUID may be a record
    number, and is not repeated.
    """

    file: str
    entry: int | None
    path: str
    message: str
    type: str | None = None
    id: str | None = None

    @classmethod
    def of(
        cls, file: str, fault: Fault, names: Mapping[int, tuple[str, str | None]] | None = None
    ) -> "Problem":
        """The fault, in its file. `names` gives type and id by entry."""
        known = (names or {}).get(-1 if fault.entry is None else fault.entry, (None, None))
        return cls(file, fault.entry, fault.path, fault.message, known[0], harmless(known[1]))

    def __str__(self) -> str:
        entry = "" if self.entry is None else f", entry {self.entry}"
        path = f" ({self.path})" if self.path else ""
        return f"{self.file}{entry}{path}: {self.message}"


def harmless(name: str | None) -> str | None:
    """The name, if it is a UUID: nothing that people are known by."""
    try:
        uuid.UUID((name or "").removeprefix("urn:uuid:"))
    except ValueError:
        return None
    return name
