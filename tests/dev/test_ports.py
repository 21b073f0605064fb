"""Ports are chosen once and kept; who has taken one is said."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev import ports
from dev.faults import Fault
from dev.product import api_port
from dev.servers import Stack
from dev.state import State


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    """Somebody else's server."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        yield server.getsockname()[1]


def test_a_free_port_is_kept(state: State) -> None:
    port = ports.kept(state, "postgres", "port")
    assert port in ports.RANGE
    assert ports.kept(state, "postgres", "port") == port
    assert state.get("postgres", "port") == port


def test_a_port_that_somebody_took_is_replaced_and_the_new_one_kept(state: State) -> None:
    with listening() as taken:
        state.put(taken, "postgres", "port")
        port = ports.kept(state, "postgres", "port")
        assert port != taken
        assert ports.is_open(taken)
        assert not ports.is_free(taken)
        assert state.get("postgres", "port") == port


def test_the_holder_is_named() -> None:
    with listening() as taken:
        assert f"(process {os.getpid()})" in ports.holder(taken)


def test_the_api_gets_the_port_it_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = ports.choose()
    monkeypatch.setenv("CARETREE_PORT", str(port))
    assert port == api_port(Stack(place))


@pytest.mark.parametrize("told", ["0", "http", "99999", "-1"])
def test_a_port_that_is_none_is_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setenv("CARETREE_PORT", told)
    with pytest.raises(Fault, match="CARETREE_PORT"):
        api_port(Stack(place))


def test_a_told_port_that_is_taken_is_a_sentence_with_its_holder(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as taken:
        monkeypatch.setenv("CARETREE_PORT", str(taken))
        with pytest.raises(Fault, match=rf"taken by .*process {os.getpid()}.*set CARETREE_PORT"):
            api_port(Stack(place))
