"""The one run of `make up` that a folder has at a time: who it is, and which servers end with it."""

import fcntl
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from dev import processes
from dev.faults import Fault

PATIENCE = 90


class Run:
    """The notes of a run in `up.json`, and the lock `up.lock` that it holds as long as it lives."""

    def __init__(self, root: Path) -> None:
        self.notes = root / "up.json"
        self._lock = root / "up.lock"

    def pid(self) -> int | None:
        """The supervisor, if it lives."""
        return processes.recall(self.notes)

    def servers(self) -> set[str]:
        """The servers that end with the run that is noted, whether it lives or was killed."""
        return set(str(processes.noted(self.notes).get("servers") or "").split())

    def begin(self) -> int | None:
        """Become the run; answers the lock's handle, or None where another run is alive. Raises Fault."""
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except BlockingIOError:
                if self.pid() is not None:
                    os.close(handle)
                    return None
            # Its supervisor is gone; the guardian is stopping what it left.
            if time.monotonic() > deadline:
                os.close(handle)
                raise Fault(
                    "An earlier run is still being stopped: run `make down`, then `make up`."
                )
            time.sleep(0.1)

    def note(self, servers: Iterable[str], **more: object) -> None:
        """Write down that this process is the run, and what ends with it."""
        processes.note(
            self.notes, os.getpid(), servers=" ".join(sorted(servers)), more=json.dumps(more)
        )

    def details(self) -> dict[str, object]:
        """What else the run wrote down: the API's port, the children's process numbers."""
        found = json.loads(str(processes.noted(self.notes).get("more") or "{}"))
        return found if isinstance(found, dict) else {}

    def forget(self) -> None:
        """The run is over and nothing of it is left."""
        self.notes.unlink(missing_ok=True)
