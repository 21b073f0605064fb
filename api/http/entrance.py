"""The outermost layer of ours: every answer has a request id and safe headers, no exception gets past."""

import asyncio

import orjson
from starlette.types import ASGIApp

from api.http.body import Receive
from api.http.errors import describe
from api.http.respond import NOTHING_RUNS, SECURITY, Message, Scope, Send, respond
from domain.model import new_id


class Entrance:
    """Pure ASGI middleware. An endpoint that has set `x-request-id` itself is left as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on; complete the headers; turn an exception into an answer while none has started."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        if scope["path"] == "/graphql" and scope["method"] == "POST":
            await self.app(scope, receive, send)
            return
        request_id = new_id()
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = message["headers"]
                if not any(name == b"x-request-id" for name, _ in headers):
                    own = (b"x-request-id", str(request_id).encode())
                    message["headers"] = [*headers, own, *SECURITY, *NOTHING_RUNS]
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
