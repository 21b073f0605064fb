"""The processes in the foreground: started together, their words shown behind their names, ended together."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.commands import tethered
from dev.screen import ReaderGone, Screen

COLOURS = ("cyan", "magenta", "blue", "green")
LINE_LIMIT = 1 << 20
GRACE = 12


@dataclass(frozen=True)
class Ended:
    """The first child that ended, while nobody had asked it to."""

    name: str
    status: int


class Children:
    """Children of one run. Each has a process group of its own and ends with this process, also when that is killed."""

    def __init__(self, screen: Screen, cwd: Path) -> None:
        self.screen, self.cwd = screen, cwd
        self.stopping = asyncio.Event()
        self.ended: Ended | None = None
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def pids(self) -> dict[str, int]:
        """Their process numbers by name."""
        return {name: process.pid for name, process in self._processes.items()}

    async def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start one more."""
        process = await asyncio.create_subprocess_exec(
            *tethered(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            cwd=self.cwd,
            start_new_session=True,
            limit=LINE_LIMIT,
        )
        colour = COLOURS[len(self._processes) % len(COLOURS)]
        self._processes[name] = process
        for work in (self._show(name, colour, process), self._watch(name, process)):
            task = asyncio.create_task(work)
            # A child that cannot be shown any more ends the run, as Ctrl-C would.
            task.add_done_callback(self._after)
            self._tasks.append(task)

    def _after(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.stopping.set()

    async def _show(self, name: str, colour: str, process: asyncio.subprocess.Process) -> None:
        output = process.stdout
        while output is not None:
            try:
                line = await output.readline()
            except ValueError:  # longer than the limit: leave it out
                continue
            if not line:
                return
            self.screen.log(name, colour, line.decode(errors="replace").rstrip())

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if not self.stopping.is_set():
            self.ended = Ended(name, status)
            self.stopping.set()

    async def until_ready(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Wait until a question is answered with yes; not longer than a child lives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.stopping.is_set():
                    if await ready():
                        return True
                    await asyncio.sleep(0.1)
        return False

    async def until_stopped(self) -> None:
        """Wait for a child that ends, for somebody who asks to stop, or for our reader to go away. May raise ReaderGone."""
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self.stopping.wait()
            if self.screen.gone():
                raise ReaderGone

    async def stop(self) -> None:
        """End all of them: asked first, killed after some seconds."""
        self.stopping.set()
        for number, wait in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5)):
            running = [p for p in self._processes.values() if p.returncode is None]
            if not running:
                break
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            await asyncio.wait([asyncio.create_task(p.wait()) for p in running], timeout=wait)
        await asyncio.wait(self._tasks, timeout=1) if self._tasks else None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
