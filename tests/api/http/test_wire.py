"""A client that stops reading loses its connection too, which the server alone would keep for ever."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from api.commands.serve import SERVED
from api.http import wire

pytestmark = pytest.mark.anyio


async def endless(_scope: Any, _receive: Any, send: Any) -> None:
    """Sends for as long as it is taken, and gives up soon, as our doors do."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        try:
            async with asyncio.timeout(0.1):
                body = {"type": "http.response.body", "body": b"x" * 65_536, "more_body": True}
                await send(body)
        except TimeoutError:
            return


async def test_who_takes_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "UNREAD", 1)
    options = SERVED | {"loop": "asyncio", "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(endless, host="127.0.0.1", port=0, **options))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # the library tells no other way
        await asyncio.sleep(0.01)
    address = server.servers[0].sockets[0].getsockname()
    with socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        connections = server.server_state.connections
        async with asyncio.timeout(30):
            while not connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while connections:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    server.should_exit = True
    await running
