"""What a run shows: a terminal with moving parts, or a pipe with a line for each fact."""

import select
import sys

from rich.console import Console
from rich.text import Text


class ReaderGone(Exception):
    """Whoever read our output went away (`make up | head`)."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process; we have servers to stop first."""
        raise ReaderGone


class Screen:
    """Our standard output."""

    def __init__(self) -> None:
        self.console = _Console(highlight=False, soft_wrap=True)

    @property
    def moves(self) -> bool:
        """Whether it is a terminal."""
        return self.console.is_terminal

    def line(self, text: str, *, style: str = "") -> None:
        """One line, as it is. Raises ReaderGone."""
        self.console.print(Text(text, style=style))

    def log(self, name: str, colour: str, text: str) -> None:
        """One line of a child's output behind its name. Raises ReaderGone."""
        self.console.print(Text.assemble((f"{name:<7}", colour), "│ ", Text.from_ansi(text)))

    def gone(self) -> bool:
        """Whether nobody reads a pipe of ours any more; known without writing to it."""
        try:
            poll = select.poll()
            poll.register(sys.stdout.fileno(), 0)
            return any(event & select.POLLERR for _, event in poll.poll(0))
        except (OSError, ValueError):
            return False
