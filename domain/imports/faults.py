"""What is wrong with something that was to be imported. No text here carries a value of the input."""

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
    """A fault and the file it is in. `entry` counts from 0; None: the file or bundle as a whole."""

    file: str
    entry: int | None
    path: str
    message: str

    @classmethod
    def of(cls, file: str, fault: Fault) -> "Problem":
        """The fault, in its file."""
        return cls(file, fault.entry, fault.path, fault.message)

    def __str__(self) -> str:
        entry = "" if self.entry is None else f", entry {self.entry}"
        path = f" ({self.path})" if self.path else ""
        return f"{self.file}{entry}{path}: {self.message}"
