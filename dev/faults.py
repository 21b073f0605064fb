"""What stops the stack, said so that a newcomer knows what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TAIL_LINES = 12
NO_SPACE = "No space left on device"


class Fault(Exception):
    """One sentence that says what happened and what to do; with `log`, the file whose end says more."""

    def __init__(self, sentence: str, log: Path | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.log = log

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """The last lines of the log, if there is one."""
        if self.log is None:
            return []
        try:
            return self.log.read_text(errors="replace").rstrip().splitlines()[-lines:]
        except OSError:
            return []


class Stopped(Exception):
    """Somebody asked to stop while a step was at work."""


class DiskFull(Fault):
    """There is no room left for what the stack writes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"The disk that holds {folder} is full: free some space (`df -h {folder}` shows how much"
            " there is), then run the same command again."
        )


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside `folder` into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(folder) from error
        if isinstance(error, PermissionError):
            raise Fault(
                f"{error.filename or folder} belongs to another account: run as the one that made it,"
                f" or remove {folder} and start again."
            ) from error
        raise
