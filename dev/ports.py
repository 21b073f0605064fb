"""Ports on loopback: chosen once, kept, and named with their holder when somebody else has taken them."""

import http.client
import random
import socket
from collections.abc import Container

from dev import processes
from dev.state import State

LOOPBACK = "127.0.0.1"
# Below the range that systems take outgoing connections' ports from, so a kept port is not lost by chance.
RANGE = range(15_000, 30_000)


def is_open(port: int) -> bool:
    """Whether somebody answers there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def answers(port: int, path: str) -> bool:
    """Whether a server there says yes (200) to a plain request."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def choose(avoid: Container[int] = ()) -> int:
    """A free port, drawn by lot so that two stacks that start at once rarely meet."""
    while True:
        port = random.choice(RANGE)
        if port not in avoid and is_free(port):
            return port


def kept(state: State, *path: str) -> int:
    """The port of a server of ours that does not run now: the one it had, else a new one, which is kept from then on."""
    port = state.get(*path)
    if isinstance(port, int) and is_free(port):
        return port
    port = choose()
    state.put(port, *path)
    return port


def holder(port: int) -> str:
    """Who listens there, as words for a sentence."""
    found = processes.listener(port)
    return f"{found[1]} (process {found[0]})" if found else "another program"
