"""Processes that outlive a run: recognised by number and birth, never by number alone, and a zombie counts as dead."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def living(pid: int) -> psutil.Process | None:
    """The process, unless it is gone or only waits to be reaped (in many containers process 1 never does)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.Error, ValueError, OverflowError):
        return None


def birth(pid: int) -> float | None:
    """When a living process began (seconds since 1970)."""
    process = living(pid)
    try:
        return process.create_time() if process else None
    except psutil.Error:
        return None


def note(path: Path, pid: int, **more: str) -> None:
    """Write down a process of ours, whole or not at all."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps({"pid": pid, "born": birth(pid), **more}))
    fresh.replace(path)


def noted(path: Path) -> dict[str, object]:
    """What was written down, or nothing."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def recall(path: Path) -> int | None:
    """The number of the process that was written down, if that very process still lives."""
    found = noted(path)
    pid = found.get("pid")
    if not isinstance(pid, int):
        return None
    born = birth(pid)
    return pid if born is not None and born == found.get("born") else None


def group(leader: int) -> list[int]:
    """The living members of a process group, also when its leader is gone."""
    members = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members


def end_group(leader: int, patience: float = 20) -> None:
    """End a process group of ours: asked first, killed after `patience` seconds."""
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        if not group(leader):
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)
        until(lambda: not group(leader), wait)


def end(pid: int, patience: float = 20) -> None:
    """End one process of ours: asked first, killed after `patience` seconds."""
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        if living(pid) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        until(lambda: living(pid) is None, wait)


def command(pid: int) -> list[str]:
    """The command line of a living process, or nothing."""
    process = living(pid)
    try:
        return list(process.cmdline()) if process else []
    except psutil.Error:
        return []


def listener(port: int) -> tuple[int, str] | None:
    """Number and name of the process that listens on a TCP port, as far as we may know."""
    with contextlib.suppress(psutil.Error):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr[1] == port and found.pid:
                return found.pid, str(psutil.Process(found.pid).name())
    return None


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def all_living() -> list[int]:
    """Every process of the machine but those that only wait to be reaped."""
    return [pid for pid in psutil.pids() if living(pid) is not None]
