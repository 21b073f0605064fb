"""Runs a command that ends when whoever started it ends, however that happens.

`python tethered.py PARENT UID GID COMMAND…`; UID and GID are `-` to stay who we are, COMMAND is a path. It becomes the command. A file on
its own, run without the project's packages: it starts in a few milliseconds and under any account.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Take on the account, tie the knot, become the command.

    Nothing may be imported after the change of account, which may not reach Python's own library.
    """
    parent, uid, gid, *command = sys.argv[1:]
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform.startswith("linux"):
        # After the change of account, which would undo it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
