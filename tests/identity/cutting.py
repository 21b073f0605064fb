"""A proxy in front of Keycloak that loses answers, or is not there: what happens to a network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_END = b"\r\n\r\n"


@dataclass
class Cutting:
    """`url` leads to the server. `lose`: a method and the end of a path whose answers are lost, though it did its work.

    `down`: nobody answers at all. While `free` is not set everybody waits. `lost` counts the answers that were thrown away.
    """

    url: str
    lose: tuple[str, str] | None = None
    down: bool = False
    lost: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    async def serve(
        self, server: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection, one request."""
        try:
            await self._exchange(server, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _exchange(
        self, server: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(_END)
        await self.free.wait()
        if self.down:
            return
        lines = head[: -len(_END)].split(b"\r\n")
        named = {n.strip().lower(): v.strip() for n, _, v in (x.partition(b":") for x in lines[1:])}
        body = await reader.readexactly(int(named.get(b"content-length", b"0")))
        kept = [x for x in lines if not x.lower().startswith(b"connection:")]
        to = urlsplit(server)
        there, sender = await asyncio.open_connection(to.hostname, to.port)
        sender.write(b"\r\n".join([*kept, b"Connection: close"]) + _END + body)
        answer = await there.read()
        sender.close()
        method, path, _ = lines[0].decode().split(" ")
        if self.lose is not None and (method, True) == (
            self.lose[0],
            urlsplit(path).path.endswith(self.lose[1]),
        ):
            self.lost += 1
            return
        writer.write(answer)
        await writer.drain()


@asynccontextmanager
async def cutting(server: str) -> AsyncIterator[Cutting]:
    """A proxy in front of the server at this URL."""
    made = Cutting("")
    listener = await asyncio.start_server(lambda r, w: made.serve(server, r, w), "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listener.close()
        made.free.set()
