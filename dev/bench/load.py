"""Sends requests over a fixed number of connections for some seconds; prints what it saw as one line of JSON.

A process of its own, so that its work is not the server's. Each connection sends its next request when the answer to
the last has come; an answer that is no success, or that says `errors` or a user's error, counts as bad.
"""

import asyncio
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import uvloop

from dev.bench.operations import requests

HEAD = (
    "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    "accept: application/json\r\nauthorization: Bearer {token}\r\ncontent-length: "
)
REFUSED = b'"userErrors":[{'
"""How a command says that it did nothing, near the beginning of its answer."""


class Connection(asyncio.Protocol):
    """One connection and the times of its answers, in seconds."""

    def __init__(self, bodies: Iterator[bytes], until: float = math.inf) -> None:
        self.bodies, self.until = bodies, until
        self.times: list[float] = []
        self.bad = 0
        self.kept = b""
        self.ended = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        body = next(self.bodies, None)
        if body is None:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(body)

    def data_received(self, data: bytes) -> None:
        kept = self.kept + data if self.kept else data
        head = kept.find(b"\r\n\r\n")
        if head < 0:
            self.kept = kept
            return
        at = kept.lower().find(b"content-length: ", 0, head)
        length = int(kept[at + 16 : kept.find(b"\r\n", at)]) if at >= 0 else 0
        if len(kept) < head + 4 + length:
            self.kept = kept
            return
        self.kept = b""
        now = time.perf_counter()
        self.times.append(now - self.sent)
        if (
            kept[9:10] != b"2"
            or b'"errors":' in kept[head : head + 40]
            or kept.find(REFUSED, head, head + 2000) >= 0
        ):
            self.bad += 1
        if now < self.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def load(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out an order: `port`, `token`, `operation`, `seconds`, `connections`, and what `requests` takes."""
    head = HEAD.format(token=order["token"]).encode()
    drawn = requests(
        order["operation"], order["clinics"], order["patients"], order["seed"], order["within"]
    )
    made = itertools.islice(drawn, order["bodies"])
    bodies = [head + b"%d\r\n\r\n" % len(b) + b for b in map(orjson.dumps, made)]
    cycle = itertools.cycle(bodies)
    until = time.perf_counter() + order["seconds"]
    return await timed(lambda: Connection(cycle, until), order["port"], order["connections"])


async def timed(make: Callable[[], Connection], port: int, number: int) -> dict[str, Any]:
    """What so many connections saw until the last of them ended; `seconds` from before the first was made."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [await loop.create_connection(make, "127.0.0.1", port) for _ in range(number)]
    connections = [protocol for _, protocol in made]
    await asyncio.gather(*(c.ended for c in connections))
    took = time.perf_counter() - began
    times = sorted(t for c in connections for t in c.times)
    return {
        "requests": len(times),
        "seconds": took,
        "bad": sum(c.bad for c in connections),
        "p50": times[len(times) // 2] * 1e3,
        "p99": times[int(len(times) * 0.99)] * 1e3,
    }


if __name__ == "__main__":
    uvloop.install()
    print(orjson.dumps(asyncio.run(load(orjson.loads(sys.argv[1])))).decode())
