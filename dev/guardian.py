"""Ends what a killed run left: a small process that waits for the supervisor's end and then stops its servers.

`python -m dev.guardian ROOT`. Its standard input is a pipe from the supervisor: `done` means that everything was
stopped, an end without it that the supervisor was killed. It holds the supervisor's lock too, so the next run waits
until it is through.
"""

import os
import subprocess
import sys
from pathlib import Path

from dev.folder import CHECKOUT

DONE = b"done\n"


class Guardian:
    """The supervisor's end of the pipe."""

    def __init__(self, root: Path, lock: int) -> None:
        reading, self._pipe = os.pipe()
        subprocess.Popen(
            [sys.executable, "-m", "dev.guardian", str(root)],
            cwd=CHECKOUT,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,
        )
        os.close(reading)

    def dismiss(self) -> None:
        """Everything is stopped: there is nothing left to guard."""
        os.write(self._pipe, DONE)
        os.close(self._pipe)


def main() -> None:
    """Wait; then, if the supervisor was killed, do what it can no longer do."""
    if sys.stdin.buffer.read() == DONE:
        return
    # Only now: until here this process should cost next to nothing.
    from dev.runs import Run
    from dev.servers import Stack

    root = Path(sys.argv[1])
    stack, run = Stack(root), Run(root)
    stack.stop(run.servers())
    run.forget()


if __name__ == "__main__":
    main()
