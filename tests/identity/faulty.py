"""A small HTTP server in front of a real one, which answers as that does until it is told to be at fault once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

import httpx

from tests import web


class Fault(Enum):
    """What happens to one request. `is_done`: whether the server behind has carried it out."""

    DROPPED = auto()
    LOST = auto()
    UNAUTHORIZED = auto()
    FORBIDDEN = auto()
    UNAVAILABLE = auto()
    FAILED_AFTERWARDS = auto()
    SLOW = auto()
    CUT = auto()
    NO_JSON = auto()

    @property
    def is_done(self) -> bool:
        return self in (Fault.LOST, Fault.FAILED_AFTERWARDS, Fault.SLOW, Fault.CUT, Fault.NO_JSON)


STATUS = {
    Fault.UNAUTHORIZED: 401,
    Fault.FORBIDDEN: 403,
    Fault.UNAVAILABLE: 503,
    Fault.FAILED_AFTERWARDS: 500,
}


class Front:
    """Hands requests on to `target`. `fault` befalls the next one that is not for a token; `asked` counts those."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.fault: Fault | None = None
        self.asked: Counter[str] = Counter()
        self.url = ""
        self.ended = asyncio.Event()
        self._http = web.client(timeout=30)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await self._one(line, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _one(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, path, _ = line.decode().split()
        headers: dict[str, str] = {}
        while (header := await reader.readline()) != b"\r\n":
            name, _, value = header.decode().strip().partition(": ")
            headers[name.lower()] = value
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        fault = self._befalls(method, path)
        if fault is Fault.DROPPED:
            raise ConnectionError
        answer = httpx.Response(STATUS.get(fault, 0) if fault else 0, content=b'{"error": "x"}')
        if fault is None or fault.is_done:
            sent = {k: v for k, v in headers.items() if k not in ("host", "content-length")}
            found = await self._http.request(method, self.target + path, headers=sent, content=body)
            answer = answer if fault is Fault.FAILED_AFTERWARDS else found
        if fault is Fault.SLOW:
            await self.ended.wait()
        if fault in (Fault.LOST, Fault.SLOW):
            raise ConnectionError
        writer.write(written(answer, fault))
        if fault is Fault.CUT:
            await writer.drain()
            raise ConnectionError

    def _befalls(self, method: str, path: str) -> Fault | None:
        if path.endswith("/token"):
            return None
        self.asked[method] += 1
        fault, self.fault = self.fault, None
        return fault


def written(answer: httpx.Response, fault: Fault | None) -> bytes:
    """An answer as it goes over the line."""
    content = b'{"realm": "o' if fault is Fault.NO_JSON else answer.content
    lines = [f"HTTP/1.1 {answer.status_code} x", "content-type: application/json"]
    if location := answer.headers.get("location"):
        lines.append(f"location: {location}")
    if fault is Fault.CUT:
        lines.append(f"content-length: {len(content) + 100}")
    elif answer.status_code == httpx.codes.NO_CONTENT:
        content = b""
    else:
        lines.append(f"content-length: {len(content)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@asynccontextmanager
async def before(target: str) -> AsyncIterator[Front]:
    """The server, in front of the one at `target`."""
    front = Front(target)
    server = await asyncio.start_server(front.answer, "127.0.0.1", 0)
    front.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield front
        front.ended.set()
    await front._http.aclose()
