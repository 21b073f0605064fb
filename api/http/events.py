"""Answers as server-sent events, on a connection for each operation.

Source: GraphQL over Server-Sent Events ("distinct connections mode" of graphql-sse's PROTOCOL.md); HTML standard, 9.2.
Who is not let in, or sends no request at all, is answered as by the endpoint; what is wrong with the operation comes as
an event, for a client that asked for a stream cannot read anything else.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import orjson

from api.http import body
from api.http.errors import Problem, describe
from api.http.graphql import GraphQLEndpoint
from api.http.metrics import open_streams, streams_ended
from api.http.negotiation import EVENTS, JSON
from api.http.respond import Message, Scope, Send, respond, responding
from api.http.streaming import BEAT, PATIENCE, answers
from api.live.feeds import TooSlow
from api.live.presences import Presence, Presences
from domain.model import new_id

UNBUFFERED = ((b"x-accel-buffering", b"no"),)  # to nginx and those who follow it
COMMENT = b":\n\n"
COMPLETE = b"event: complete\ndata:\n\n"
ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""PostgreSQL breaks lines between the parts of its JSON; inside of texts they are escaped."""


class Events:
    """The door of /graphql for who accepts nothing rather than text/event-stream."""

    def __init__(
        self,
        endpoint: GraphQLEndpoint,
        presences: Callable[[], Presences],
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
    ) -> None:
        self.endpoint, self.presences = endpoint, presences
        self.beat, self.patience = beat, patience

    async def __call__(self, scope: Scope, receive: body.Receive, send: Send) -> None:
        """Answer one operation for as long as it goes on."""
        request_id = new_id()
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            try:
                async with asyncio.timeout(self.patience):
                    await send(message)
            except TimeoutError:
                raise TooSlow() from None

        try:
            token, _ = self.endpoint.enter(scope)
            with self.presences().place():
                actor = await self.endpoint.actor(token)
                body.check_headers(scope["headers"])
                asked = body.parse(await body.read(receive))
                with self.presences().enter(token, actor) as presence:
                    await sending(responding(200, EVENTS, None, request_id, UNBUFFERED))
                    with open_streams("events").track_inprogress():
                        await self.tell(presence, asked, receive, sending)
        except body.Disconnected:
            return
        except TooSlow:
            streams_ended("events", "TOO_SLOW").inc()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            problem = describe(error, request_id)
            if not started:
                await refuse(send, problem, request_id)

    async def tell(
        self, presence: Presence, asked: body.Asked, receive: body.Receive, send: Send
    ) -> None:
        """Send the answers, then the end; what goes wrong is an answer too. Raises TooSlow."""
        outcome = "COMPLETE"
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            if not await self.pump(presence, asked, gone, send):
                outcome = "GONE"
                return
        except Exception as error:
            problem = describe(error, new_id())
            outcome = problem.code.text
            await send(part(event(orjson.dumps({"errors": [problem.formatted()]}))))
        finally:
            gone.cancel()
            streams_ended("events", outcome).inc()
        await send(part(COMPLETE, last=True))

    async def pump(
        self, presence: Presence, asked: body.Asked, gone: "asyncio.Future[None]", send: Send
    ) -> bool:
        """Send each answer as it comes, and a comment into each silence; False where the client has gone before the end."""
        found = answers(self.endpoint, presence, asked)
        coming = asyncio.ensure_future(anext(found, None))
        try:
            while True:
                waiting: set[asyncio.Future[Any]] = {coming, gone, presence.ended}
                done, _ = await asyncio.wait(
                    waiting, timeout=self.beat, return_when=asyncio.FIRST_COMPLETED
                )
                if gone in done:
                    return False
                if presence.ended in done:
                    raise presence.ended.result()
                if coming not in done:
                    await send(part(COMMENT))
                    continue
                answer = coming.result()
                if answer is None:
                    return True
                await send(part(event(answer)))
                coming = asyncio.ensure_future(anext(found, None))
        finally:
            coming.cancel()
            await asyncio.wait({coming})
            await found.aclose()


def event(answer: bytes) -> bytes:
    """An answer as an event."""
    return b"event: next\ndata: " + answer.translate(ONE_LINE) + b"\n\n"


def part(text: bytes, *, last: bool = False) -> Message:
    """A piece of the body."""
    return {"type": "http.response.body", "body": text, "more_body": not last}


async def disconnected(receive: body.Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def refuse(send: Send, problem: Problem, request_id: uuid.UUID) -> None:
    """Answer a request that is no operation, or nobody's."""
    answer = orjson.dumps({"errors": [problem.formatted()]})
    await respond(send, problem.status, JSON, answer, request_id, problem.headers)
