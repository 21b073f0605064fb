"""A server that is told to end, and one whose client goes wrong below the conversation: over real sockets."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from api.http.body import MAX_BYTES
from tests import web

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
FOR_EVER = "subscription { count(pause: 60) }"
INIT = {"type": "connection_init", "payload": {"authorization": "Bearer t"}}


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int

    def ended(self) -> float:
        """Seconds from the signal to the end of the process."""
        begun = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.perf_counter() - begun


@contextmanager
def served() -> Iterator[Server]:
    """A server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "tests.api.http.serve_tiny", str(listening.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[listening.fileno()])
        try:
            yield Server(process, listening.getsockname()[1])
        finally:
            process.kill()
            process.wait(20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server that the tests of this module share."""
    with served() as started:
        yield started


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that a test may end."""
    with served() as started:
        yield started


def socket_at(server: Server, **options: Any) -> connect:
    protocol = Subprotocol("graphql-transport-ws")
    url = f"ws://127.0.0.1:{server.port}/graphql"
    return connect(url, subprotocols=[protocol], proxy=None, open_timeout=60, **options)


async def subscribed(client: ClientConnection) -> None:
    await client.send(json.dumps(INIT))
    assert json.loads(await client.recv())["type"] == "connection_ack"
    payload = {"query": FOR_EVER}
    await client.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))


async def test_connections_are_closed_in_our_words_before_the_server_ends(own: Server) -> None:
    headers = {"accept": "text/event-stream", "authorization": "Bearer t"}
    async with socket_at(own) as client, web.client() as http:
        await subscribed(client)
        url = f"http://127.0.0.1:{own.port}/graphql"
        asked = http.stream("POST", url, json={"query": FOR_EVER}, headers=headers)
        async with asked as stream:
            ending = asyncio.create_task(asyncio.to_thread(own.ended))
            text = "".join([part async for part in stream.aiter_text()])
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "Going away")
        assert '"UNAVAILABLE"' in text
        assert text.endswith("event: complete\ndata:\n\n")
        assert await ending < 5


async def test_a_message_that_is_too_long_is_not_taken_in(server: Server) -> None:
    async with socket_at(server) as client:
        await client.send("x" * (MAX_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_page_elsewhere_is_refused_by_http(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket_at(server, origin="https://evil.test"):
            raise AssertionError("it may not connect")
    assert refused.value.response.status_code == 403


async def test_a_client_that_vanishes_leaves_nothing(server: Server) -> None:
    """Many of them: a place that is not given back would be missed."""
    for _ in range(30):
        client = await socket_at(server)
        await subscribed(client)
        client.transport.abort()
    await asyncio.sleep(0.5)
    async with socket_at(server) as last:
        await subscribed(last)
