"""The layer around all routes: every answer has a request id and safe headers, no exception gets past."""

import asyncio
import uuid

import orjson
from starlette.types import ASGIApp

from api.http.body import Receive
from api.http.errors import describe
from api.http.respond import NOTHING_RUNS, SECURITY, Message, Scope, Send, respond
from domain.model import new_id


class Entrance:
    """Pure ASGI middleware. `graphql` does all of this itself and is called without a detour over the router."""

    def __init__(self, app: ASGIApp, graphql: ASGIApp) -> None:
        self.app = app
        self.graphql = graphql

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on; complete the headers; turn an exception into an answer while none has started."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["path"] == "/graphql":
            await self.graphql(scope, receive, send)
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


def complete(headers: list[tuple[bytes, bytes]], request_id: uuid.UUID) -> None:
    """Add what a response has not said itself."""
    said = {name.lower() for name, _ in headers}
    if (
        b"x-request-id" not in said
    ):  # else the GraphQL endpoint has made it, its page for browsers included
        headers.append((b"x-request-id", str(request_id).encode()))
        headers.extend(pair for pair in (*SECURITY, *NOTHING_RUNS) if pair[0] not in said)
