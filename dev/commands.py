"""Runs the tools of the servers: in a group of their own, as the servers' account, ended when we are asked to stop."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from dev.faults import NO_SPACE, DiskFull, Fault, Stopped, told
from dev.folder import Folder

TETHERED = Path(__file__).with_name("tethered.py")
TICK = 0.02


class Failed(Exception):
    """A tool ended with another status than 0; `output` is all that it said."""

    def __init__(self, tool: str, status: int, output: str) -> None:
        super().__init__(f"{tool} ended with status {status}")
        self.output = output.strip()


def tethered(command: Sequence[str | Path], uid: str = "-", gid: str = "-") -> list[str]:
    """The command as one that ends with this process."""
    program = [sys.executable, "-S", "-s", "-E", str(TETHERED), str(os.getpid()), uid, gid]
    found = shutil.which(str(command[0])) or str(command[0])
    return [*program, found, *map(str, command[1:])]


class Commands:
    """The tools that run for one stack; `stop` ends all of them and lets no other begin."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Make what runs, and what waits, raise Stopped."""
        self._stopping.set()

    def resume(self) -> None:
        """Let tools run again, to stop the servers with."""
        self._stopping.clear()

    def pause(self, seconds: float = TICK) -> None:
        """Wait a little. Raises Stopped."""
        if self._stopping.wait(seconds):
            raise Stopped

    def environment(self, **more: str) -> dict[str, str]:
        """What servers see of our environment: nothing but where programs are."""
        home = str(self.folder.data)
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": home, **more}

    def run(
        self,
        command: Sequence[str | Path],
        *,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        as_we_are: bool = False,
        heard: Callable[[str], None] | None = None,
    ) -> str:
        """Run a tool and answer what it said; `heard` gets its newest line while it runs.

        Raises Failed, Fault (too slow, no room), Stopped.
        """
        account = None if as_we_are else self.folder.account
        ids = (str(account.uid), str(account.gid)) if account else ("-", "-")
        with told(self.folder.data), tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                tethered(command, *ids),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else self.environment(),
                cwd=self.folder.root if as_we_are else self.folder.data,
                start_new_session=True,
            )
            try:
                self._wait(process, Path(command[0]).name, timeout, _Ear(output, heard))
            finally:
                _end(process)
            output.seek(0)
            said = output.read().decode(errors="replace")
        if process.returncode and NO_SPACE in said:
            raise DiskFull(self.folder.data)
        if process.returncode:
            raise Failed(Path(command[0]).name, process.returncode, said)
        return said

    def _wait(
        self, process: subprocess.Popen[bytes], tool: str, timeout: float, ear: "_Ear"
    ) -> None:
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            self.pause()
            ear.listen()
            if time.monotonic() > deadline:
                raise Fault(f"{tool} was not done after {timeout:.0f} s: run the same again.")


class _Ear:
    """Hears the newest whole line of a growing file."""

    def __init__(self, output: IO[bytes], heard: Callable[[str], None] | None) -> None:
        self.output, self.heard, self.size = output, heard, 0

    def listen(self) -> None:
        size = os.fstat(self.output.fileno()).st_size
        if self.heard is None or size == self.size:
            return
        # The tool writes through the same open file: reading by position leaves its place alone.
        lines = os.pread(self.output.fileno(), size - self.size, self.size).split(b"\n")
        self.size = size - len(lines[-1])
        if len(lines) > 1:
            self.heard(lines[-2].decode(errors="replace").strip())


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for number, wait in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait)
                return
