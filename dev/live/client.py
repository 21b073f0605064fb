"""A client of one server: follows the clinic by a stream of events, asks again and again, posts a form."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dev.live.stage import body

FOLLOW = "subscription($clinic: ID!) { appointmentChanged(clinic: $clinic) { kind appointment { id version } } }"
ASK = "query($clinic: ID!) { appointments(node: $clinic, first: 1) { nodes { id } } }"
EACH = 0.01
"""Seconds between two questions."""


def post(path: str, content: bytes, *headers: str) -> bytes:
    """An HTTP/1.1 request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: localhost",
        *headers,
        f"content-length: {len(content)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def asking(token: str, query: str, accept: str) -> bytes:
    """A GraphQL request as somebody."""
    return post(
        "/graphql",
        body(query),
        f"authorization: Bearer {token}",
        f"accept: {accept}",
        "content-type: application/json",
    )


class Follower:
    """Somebody's stream of events at a server. `told` is called with the moment of each change."""

    def __init__(self, port: int, token: str, told: Callable[[float], None]) -> None:
        self.port, self.token, self.told = port, token, told
        self.listening = asyncio.Event()

    async def follow(self) -> float:
        """Read to the end; the moment of the end. Raises AssertionError where it does not even begin."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(asking(self.token, FOLLOW, "text/event-stream"))
        status = await reader.readline()
        assert b" 200 " in status, status
        try:
            while line := await reader.readline():
                if line.startswith(b"data: ") and b'"CHANGED"' in line:
                    self.told(time.perf_counter())
                elif b'"LISTENING"' in line:
                    self.listening.set()
                elif line.startswith(b"event: complete"):
                    break
            return time.perf_counter()
        finally:
            writer.close()


async def refused(port: int, token: str, asked: asyncio.Event, each: float = EACH) -> float:
    """Ask until nothing is shown any more; the moment when the first such answer was there. `asked`: once it was shown."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(asking(token, ASK, "application/json"))
            told = await answer(reader)
            if b'"Appointment:' not in told:
                assert asked.is_set(), f"nothing was shown from the first answer on: {told!r}"
                return time.perf_counter()
            asked.set()
            await asyncio.sleep(each)
    finally:
        writer.close()


async def cut_off(
    ports: Sequence[int], token: str, cut: Callable[[], Awaitable[float]], each: float = EACH
) -> float:
    """Cut somebody off who follows and asks at all servers; seconds until none tells or shows them anything.

    `cut` answers when it began.
    """
    followers = [Follower(port, token, lambda _: None) for port in ports]
    streams = [asyncio.ensure_future(follower.follow()) for follower in followers]
    shown = [asyncio.Event() for _ in ports]
    asked = [
        asyncio.ensure_future(refused(port, token, event, each))
        for port, event in zip(ports, shown, strict=True)
    ]
    effects: list[asyncio.Future[Any]] = [*streams, *asked]
    begins: asyncio.Future[Any] = asyncio.gather(
        *(f.listening.wait() for f in followers), *(e.wait() for e in shown)
    )
    async with asyncio.timeout(60):
        # What ends before it has begun says why.
        await asyncio.wait([begins, *effects], return_when=asyncio.FIRST_COMPLETED)
        for effect in effects:
            if effect.done():
                effect.result()
        await begins
        begun = await cut()
        ended = await asyncio.gather(*effects)
    return float(max(ended) - begun)


async def timed(cut: Awaitable[None]) -> float:
    """Carry out a cut; when it began."""
    begun = time.perf_counter()
    await cut
    return begun


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One whole answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
    return await reader.readexactly(length)


async def announce(port: int, path: str, token: str) -> None:
    """Send a logout token as an issuer does. Raises AssertionError where it is refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    form = "content-type: application/x-www-form-urlencoded"
    writer.write(post(path, b"logout_token=" + token.encode(), form))
    status = await reader.readline()
    writer.close()
    assert b" 200 " in status, status
