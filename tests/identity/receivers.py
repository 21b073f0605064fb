"""Receivers of reminders on this machine: a real SMTP server and a real HTTP one, which keep what they are given."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

Answers = Callable[[Message], Awaitable[str]]


@dataclass
class Postbox:
    """A mail server that takes what it gets, unless told otherwise. `answer` is asked before it answers DATA."""

    port: int = 0
    taken: list[Message] = field(default_factory=list)
    answer: Answers | None = None
    recipient: str = "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail: Any = message_from_bytes(content, policy=default)
        self.taken.append(mail)
        return await self.answer(mail) if self.answer else "250 Taken"

    @property
    def ids(self) -> set[str]:
        """The Message-IDs: what a mailbox that knows repeats keeps."""
        return {str(mail["Message-ID"]) for mail in self.taken}


@asynccontextmanager
async def postbox(**options: Any) -> AsyncIterator[Postbox]:
    """A mail server on a port of its own."""
    box = Postbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, hostname="localhost", **options), "127.0.0.1", 0
    )
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None


@dataclass
class Hook:
    """An HTTP server: each request's head and body; `status` is what it answers, `silent` what it waits for before."""

    port: int = 0
    status: str = "204 No Content"
    more: str = ""
    silent: asyncio.Event | None = None
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@asynccontextmanager
async def hook(tls: ssl.SSLContext | None = None) -> AsyncIterator[Hook]:
    """A receiver of webhooks on a port of its own."""
    kept = Hook()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(row.lower().split(": ", 1) for row in head[1:] if ": " in row)
            exact = dict(row.split(": ", 1) for row in head[1:] if ": " in row)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            kept.paths.append(head[0].split()[1])
            kept.requests.append(({k.lower(): v for k, v in exact.items()}, body))
            if kept.silent is not None:
                await kept.silent.wait()
            writer.write(f"HTTP/1.1 {kept.status}\r\n{kept.more}content-length: 0\r\n\r\n".encode())
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    kept.port = server.sockets[0].getsockname()[1]
    try:
        yield kept
    finally:
        server.close()


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
