"""A websocket and a stream of events of the small application, spoken to without a socket, so that each word is seen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.applications import Starlette

PROTOCOL = "graphql-transport-ws"
INIT = {"type": "connection_init", "payload": {"authorization": "Bearer t"}}


class Closed(Exception):
    """The server has closed the websocket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Talk:
    """The client's end of a websocket. `stuck`: what the server sends is not read any more."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.stuck = asyncio.Event()

    async def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else orjson.dumps(message).decode()
        await self.said.put({"type": "websocket.receive", "text": text})

    async def receive(self) -> Any:
        """The next message as it was said. Raises Closed."""
        async with asyncio.timeout(5):
            message = await self.heard.get()
        if message["type"] == "websocket.close":
            raise Closed(message.get("code", 1000), message.get("reason", ""))
        if message["type"] != "websocket.send":
            return message
        return orjson.loads(message["text"])

    async def closed(self) -> tuple[int, str]:
        """How the server closes; whatever it says before is passed over."""
        try:
            while True:
                await self.receive()
        except Closed as close:
            return close.code, close.reason

    async def subscribe(self, query: str, name: str = "1", **further: Any) -> None:
        payload = {"query": query, **further}
        await self.send({"id": name, "type": "subscribe", "payload": payload})

    async def let_in(self) -> None:
        await self.send(INIT)
        assert await self.receive() == {"type": "connection_ack", "payload": {}}


@asynccontextmanager
async def talking(
    app: Starlette,
    *protocols: str,
    path: str = "/graphql",
    client: str = "127.0.0.1",
    **headers: str,
) -> AsyncIterator[Talk]:
    """A websocket that wishes to connect; the first word of the server says whether it may."""
    talk = Talk()
    scope = {
        "type": "websocket",
        "path": path,
        "client": (client, 1),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "subprotocols": list(protocols or (PROTOCOL,)),
        "extensions": {"websocket.http.response": {}},
        "query_string": b"",
        "state": {},
    }

    async def send(message: Any) -> None:
        if talk.stuck.is_set():
            await asyncio.Event().wait()
        await talk.heard.put(message)
        if message["type"] == "websocket.close":
            code = message.get("code", 1000)
            await talk.said.put({"type": "websocket.disconnect", "code": code})

    await talk.said.put({"type": "websocket.connect"})
    task = asyncio.ensure_future(app(scope, talk.said.get, send))
    try:
        yield talk
    finally:
        await talk.said.put({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(5):
            await task


@asynccontextmanager
async def connected(app: Starlette, **headers: str) -> AsyncIterator[Talk]:
    """A websocket that is accepted."""
    async with talking(app, **headers) as talk:
        assert await talk.receive() == {"type": "websocket.accept", "subprotocol": PROTOCOL}
        yield talk


class Stream:
    """The client's end of a stream of events."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.stuck = asyncio.Event()
        self.text = b""
        self.more = True

    async def start(self) -> tuple[int, dict[str, str]]:
        """Status and headers."""
        async with asyncio.timeout(5):
            message = await self.heard.get()
        assert message["type"] == "http.response.start"
        return message["status"], {k.decode(): v.decode() for k, v in message["headers"]}

    async def event(self) -> tuple[str, Any]:
        """The next event's name and data; a comment has the name "". After the end: ("end", None)."""
        while b"\n\n" not in self.text and self.more:
            async with asyncio.timeout(5):
                message = await self.heard.get()
            self.text += message["body"]
            self.more = message.get("more_body", False)
        if not self.text:
            return "end", None
        text, _, self.text = self.text.partition(b"\n\n")
        fields = dict(line.split(b":", 1) for line in text.split(b"\n"))
        assert len(fields) == text.count(b"\n") + 1
        data = fields.get(b"data", b"").strip()
        return fields.get(b"event", b"").strip().decode(), orjson.loads(data) if data else None

    async def rest(self) -> list[tuple[str, Any]]:
        """All events to the end."""
        found = []
        while (event := await self.event())[0] != "end":
            found.append(event)
        return found


@asynccontextmanager
async def streaming(
    app: Starlette, query: str, *, body: bytes | None = None, **headers: str
) -> AsyncIterator[Stream]:
    """An operation that is posted by who accepts a stream of events."""
    stream = Stream()
    named = {
        "accept": "text/event-stream",
        "authorization": "Bearer t",
        "content-type": "application/json",
        **headers,
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "headers": [(k.encode(), v.encode()) for k, v in named.items()],
        "query_string": b"",
        "state": {},
    }
    given = [{"type": "http.request", "body": body or orjson.dumps({"query": query})}]

    async def receive() -> Any:
        if given:
            return given.pop()
        await stream.gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if stream.stuck.is_set():
            await asyncio.Event().wait()
        await stream.heard.put(message)

    task = asyncio.ensure_future(app(scope, receive, send))
    try:
        yield stream
    finally:
        stream.gone.set()
        async with asyncio.timeout(5):
            await task
