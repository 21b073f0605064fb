"""Takes orders, one a line: sends each request once, over so many connections, and prints what it saw as a line."""

import asyncio
import sys
import time
from typing import Any

import orjson
import uvloop

from dev.bench.load import Connection
from dev.bench_scim.data import SLUG, TOKEN


def wire(method: str, path: str, body: Any) -> bytes:
    """A request as it is sent."""
    content = b"" if body is None else orjson.dumps(body)
    head = (
        f"{method} /{SLUG}/scim/v2{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
        f"content-type: application/scim+json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def load(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out an order: `port`, `connections`, and `requests`, each a method, a path and a body or null."""
    requests = iter([wire(*request) for request in order["requests"]])
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(requests), "127.0.0.1", order["port"])
        for _ in range(order["connections"])
    ]
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
    for line in sys.stdin.buffer:
        print(orjson.dumps(asyncio.run(load(orjson.loads(line)))).decode(), flush=True)
