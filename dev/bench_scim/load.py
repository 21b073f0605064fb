"""Takes orders, one a line: sends each request once, over so many connections, and prints what it saw as a line."""

import asyncio
import sys
from typing import Any

import orjson
import uvloop

from dev.bench.load import Connection, timed
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
    return await timed(lambda: Connection(requests), order["port"], order["connections"])


if __name__ == "__main__":
    uvloop.install()
    for line in sys.stdin.buffer:
        print(orjson.dumps(asyncio.run(load(orjson.loads(line)))).decode(), flush=True)
