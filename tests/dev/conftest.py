"""Folders and servers that these tests start, kill and start again; never those that other tests use."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import processes
from dev.commands import Commands
from dev.folder import Folder
from dev.servers import Stack, root_of_tests
from dev.state import State


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that the servers' account can reach, gone at the end with all processes that name it."""
    path = root_of_tests() / "places" / secrets.token_hex(6)
    path.mkdir(parents=True)
    yield path
    for pid in naming(path):
        processes.end(pid, patience=5)
    shutil.rmtree(path)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


@pytest.fixture
def state(place: Path) -> State:
    return State(place / "state.json")


@pytest.fixture
def commands(place: Path) -> Commands:
    return Commands(Folder.open(place))


@pytest.fixture
def stack(place: Path) -> Stack:
    """Servers of a folder of its own; none runs yet."""
    return Stack(place)


def naming(path: Path) -> list[int]:
    """The living processes with this folder in their command line."""
    return [pid for pid in processes.all_living() if str(path) in " ".join(processes.command(pid))]
