"""The layer around all routes: every answer has a request id and safe headers, no exception gets past."""

import asyncio
import uuid

import orjson
from starlette.types import ASGIApp

from api.http.body import Receive
from api.http.errors import describe
from api.http.negotiation import EVENTS, media_type
from api.http.respond import NOTHING_RUNS, SECURITY, Message, Scope, Send, respond
from domain.model import new_id


class Entrance:
    """Pure ASGI middleware. The doors of /graphql do all of this themselves, without a detour over the router.

    `graphql` answers requests, `events` those that want a stream of events, `sockets` websockets.
    """

    def __init__(
        self,
        app: ASGIApp,
        graphql: ASGIApp,
        events: ASGIApp | None = None,
        sockets: ASGIApp | None = None,
    ) -> None:
        self.app = app
        self.graphql = graphql
        self.events = events
        self.sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on; complete the headers; turn an exception into an answer while none has started."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            if self.sockets is not None and scope["path"] == "/graphql":
                await self.sockets(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1000})
            return
        if scope["path"] == "/graphql":
            streamed = self.events if wants_events(scope) else None
            await (streamed or self.graphql)(scope, receive, send)
            return
        request_id = new_id()
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                complete(message["headers"], request_id)
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            problem = describe(error, request_id)
            if not started:
                answer = orjson.dumps({"errors": [problem.formatted()]})
                await respond(send, problem.status, b"application/json", answer, request_id)


def wants_events(scope: Scope) -> bool:
    """Whether the client would rather have a stream of events than JSON."""
    accept = b",".join([value for name, value in scope["headers"] if name == b"accept"])
    return EVENTS in accept and media_type(accept) is EVENTS


def complete(headers: list[tuple[bytes, bytes]], request_id: uuid.UUID) -> None:
    """Add what a response has not said itself."""
    said = {name.lower() for name, _ in headers}
    if (
        b"x-request-id" not in said
    ):  # else the GraphQL endpoint has made it, its page for browsers included
        headers.append((b"x-request-id", str(request_id).encode()))
        headers.extend(pair for pair in (*SECURITY, *NOTHING_RUNS) if pair[0] not in said)
