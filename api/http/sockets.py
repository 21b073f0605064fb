"""Operations over a websocket.

Source: GraphQL over WebSocket (`graphql-transport-ws`, PROTOCOL.md of graphql-ws); RFC 6455. Strawberry keeps the
conversation; this is what it talks through, who may begin one, and what an operation answers. The token comes in the
payload of `connection_init` as `authorization: Bearer …`, never in the address.

Closed with: 1001 the server ends, 1009 too long a message, 1013 try again (RATE_LIMITED, UNAVAILABLE), 4400 no message
of the protocol, 4401 not yet let in, 4403 not let in or not any more (UNAUTHENTICATED, MFA_REQUIRED, FORBIDDEN), 4406 another
protocol, 4408 nothing said, 4409 an id twice, 4429 begun twice.
"""

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, aclosing
from datetime import timedelta
from typing import Any, cast

import orjson
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.async_base_view import AsyncWebSocketAdapter
from strawberry.http.exceptions import (
    NonJsonMessageReceived,
    NonTextMessageReceived,
    WebSocketDisconnected,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
    Operation,
)

from api.http import body
from api.http.errors import Code, Problem, describe
from api.http.graphql import GraphQLEndpoint, bearer
from api.http.metrics import open_streams, streams_ended
from api.http.respond import NOTHING_RUNS, SECURITY, Scope, Send
from api.http.streaming import PATIENCE, answers
from api.live.feeds import TooSlow
from api.live.presences import Full, Leaving, Presence, Presences
from domain.model import new_id
from identity.errors import AccountHeld, MfaRequired, Unauthenticated

PROTOCOL = "graphql-transport-ws"
INIT = 10.0
"""Seconds in which a client has to say who it is."""
OPERATIONS = 20
"""Operations of one connection at once."""
ID = 128
"""Characters of an operation's id."""
CODES = {
    Code.UNAUTHENTICATED: 4403,
    Code.MFA_REQUIRED: 4403,
    Code.FORBIDDEN: 4403,
    Code.UNAVAILABLE: 1013,
    Code.RATE_LIMITED: 1013,
}


class Wire(AsyncWebSocketAdapter):
    """Messages as JSON texts, each way; after it is closed nothing is sent any more."""

    def __init__(self, receive: body.Receive, send: Send, patience: float) -> None:
        self._receive, self._send, self._patience = receive, send, patience
        self.closed = False

    async def iter_json(
        self, *, ignore_parsing_errors: bool = False
    ) -> AsyncGenerator[object, None]:
        """What the client says. Raises what Strawberry closes the connection for."""
        del ignore_parsing_errors  # none is ignored
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect" or self.closed:
                raise WebSocketDisconnected()
            text = message.get("text")
            if text is None:
                raise NonTextMessageReceived()
            if len(text) > body.MAX_BYTES:
                await self.close(1009, "Message too long")
                continue
            try:
                yield orjson.loads(text)
            except orjson.JSONDecodeError:
                raise NonJsonMessageReceived() from None

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Say something that is no answer."""
        await self.send(orjson.dumps(message))

    async def send(self, text: bytes) -> None:
        """Raises TooSlow where the client does not read."""
        if not self.closed:
            await self._within({"type": "websocket.send", "text": text.decode()})

    async def close(self, code: int, reason: str) -> None:
        """Once; a client that does not read is left to itself."""
        if self.closed:
            return
        self.closed = True
        streams_ended("websocket", reason if reason in _REASONS else str(code)).inc()
        try:
            await self._within({"type": "websocket.close", "code": code, "reason": reason})
        except TooSlow:
            return

    async def _within(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            raise TooSlow() from None


_REASONS = frozenset(code.text for code in CODES)


class Conversation(BaseGraphQLTransportWSHandler[Any, Any]):
    """One connection, from its first message to its last."""

    wire: Wire

    def __init__(
        self, wire: Wire, endpoint: GraphQLEndpoint, presences: Presences, init: float
    ) -> None:
        super().__init__(
            view=cast(Any, self),  # of a view it asks for `on_ws_connect` only
            websocket=wire,
            context={},
            root_value=None,
            schema=cast(Any, None),  # operations are run here
            connection_init_wait_timeout=timedelta(seconds=init),
        )
        self.wire, self.endpoint, self.presences = wire, endpoint, presences
        self.presence: Presence | None = None
        self.over: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.staying = ExitStack()
        self.unknown = ExitStack()
        self.asked: dict[str, body.Asked] = {}

    async def on_ws_connect(self, context: dict[str, Any]) -> Any:
        """Let a client in by its token, or close the connection."""
        payload = context["connection_params"]
        given = payload.get("authorization", payload.get("Authorization"))
        token = bearer([given.encode()]) if isinstance(given, str) else ""
        try:
            actor = await self.endpoint.actor(token)
            self.presence = self.staying.enter_context(self.presences.enter(token, actor))
        except Exception as error:
            await self.wire.close(*closing(error))
            raise ConnectionRejectionError() from None
        self.unknown.close()
        self.presence.ended.add_done_callback(lambda ended: self.end(ended.result()))
        return {}

    def end(self, reason: Exception) -> None:
        """Say that the connection is to be closed."""
        if not self.over.done():
            self.over.set_result(reason)

    async def handle_message(self, message: Any) -> None:
        """Take one message; what is none of the protocol's closes the connection."""
        fault = self.fault(message)
        if fault:
            await self.handle_invalid_message(fault)
        elif self.is_one_too_many(message):
            problem = Problem(Code.RATE_LIMITED, f"At most {OPERATIONS} operations at once.")
            await self.refuse(message["id"], problem)
        else:
            await super().handle_message(message)

    def fault(self, message: Any) -> str | None:
        """What is wrong with a message's form; of a subscription that is good, what it asks for is kept."""
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            return "A message is an object with a type"
        payload = message.get("payload")
        if payload is None:
            message.pop("payload", None)
        elif not isinstance(payload, dict):
            return "A payload is an object"
        if message["type"] not in ("subscribe", "complete"):
            return None
        name = message.get("id")
        if not isinstance(name, str) or not 0 < len(name) <= ID:
            return f"An id is a text of 1 to {ID} characters"
        if message["type"] == "subscribe" and name not in self.operations:
            try:
                body.check_depth(payload)
                asked = body.asked(payload or {})
            except Problem as problem:
                return problem.message
            # What was refused, or ended before it began, is taken by nobody.
            self.asked = {k: v for k, v in self.asked.items() if k in self.operations}
            self.asked[name] = asked
            message["payload"] = {"query": ""}  # what is asked for is kept already
        return None

    def is_one_too_many(self, message: Any) -> bool:
        return (
            message["type"] == "subscribe"
            and self.connection_acknowledged
            and message["id"] not in self.operations
            and len(self.operations) >= OPERATIONS
        )

    async def run_operation(self, operation: Operation[Any, Any]) -> None:
        """Send an operation's answers and its end."""
        assert self.presence is not None
        name = orjson.dumps(operation.id)
        asked = self.asked.pop(operation.id)
        try:
            async with aclosing(answers(self.endpoint, self.presence, asked)) as found:
                async for answer in found:
                    await self.wire.send(
                        b'{"id":' + name + b',"type":"next","payload":' + answer + b"}"
                    )
            await operation.send_operation_message({"id": operation.id, "type": "complete"})
        except (Unauthenticated, AccountHeld, MfaRequired, TooSlow) as reason:
            self.end(reason)
        except Exception as error:
            self.operations.pop(operation.id, None)
            await self.refuse(operation.id, describe(error, new_id()))

    async def refuse(self, name: str, problem: Problem) -> None:
        """End an operation by its error."""
        told = {"id": name, "type": "error", "payload": [problem.formatted()]}
        try:
            await self.wire.send_json(told)
        except TooSlow as reason:
            self.end(reason)


def closing(reason: Exception) -> tuple[int, str]:
    """The code and the words to close a connection with."""
    if isinstance(reason, Leaving):
        return 1001, "Going away"
    problem = describe(reason, new_id())
    return CODES.get(problem.code, 1011), problem.code.text


class Sockets:
    """The door of /graphql for websockets. `origins`: of pages that may connect; clients that are no browsers name none."""

    def __init__(
        self,
        endpoint: GraphQLEndpoint,
        presences: Callable[[], Presences],
        origins: frozenset[str],
        *,
        init: float = INIT,
        patience: float = PATIENCE,
    ) -> None:
        self.endpoint, self.presences, self.origins = endpoint, presences, origins
        self.init, self.patience = init, patience

    async def __call__(self, scope: Scope, receive: body.Receive, send: Send) -> None:
        """Hold one conversation."""
        await receive()  # the wish to connect
        if not self.may_come_from(scope):
            await deny(send, scope, 403)
            return
        try:
            with self.presences().place(), ExitStack() as unknown:
                unknown.enter_context(self.presences().unknown(network_of(scope)))
                await self.converse(scope, receive, send, unknown)
        except (Full, Leaving) as error:
            await deny(send, scope, describe(error, new_id()).status)

    def may_come_from(self, scope: Scope) -> bool:
        """A page elsewhere must not talk as the person who looks at it (RFC 6455, section 10.2)."""
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        return not origins or (len(origins) == 1 and origins[0] in self.origins)

    async def converse(
        self, scope: Scope, receive: body.Receive, send: Send, unknown: ExitStack
    ) -> None:
        """`unknown`: what is given back as soon as the client has said who it is."""
        wire = Wire(receive, send, self.patience)
        spoken = PROTOCOL in scope["subprotocols"]
        accepted = {"subprotocol": PROTOCOL} if spoken else {}
        await send({"type": "websocket.accept", **accepted})
        if not spoken:
            await wire.close(4406, "Subprotocol not acceptable")
            return
        conversation = Conversation(wire, self.endpoint, self.presences(), self.init)
        conversation.unknown = unknown
        with open_streams("websocket").track_inprogress(), conversation.staying:
            await attend(conversation)


def network_of(scope: Scope) -> str:
    """What one sender has of addresses: one of IPv4, 2^64 of IPv6; a proxy's, where it hides whom it speaks for."""
    try:
        found = ipaddress.ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return ""
    return str(ipaddress.ip_network((found, 64 if found.version == 6 else 32), strict=False))


async def attend(conversation: Conversation) -> None:
    """Hold the conversation until the client or the server ends it."""
    talk = asyncio.ensure_future(conversation.handle())
    over = conversation.over
    try:
        waiting: set[asyncio.Future[Any]] = {talk, over}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        reason = over.result() if over.done() else talk.exception()
        if isinstance(reason, Exception):
            await conversation.wire.close(*closing(reason))
    finally:
        talk.cancel()
        await asyncio.wait({talk})


async def deny(send: Send, scope: Scope, status: int) -> None:
    """Refuse the handshake."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1000})
        return
    headers = [(b"content-length", b"0"), *SECURITY, *NOTHING_RUNS]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})
