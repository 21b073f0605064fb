"""The GraphQL endpoint: a pure ASGI callable between a socket and graphql-core.

    headers → actor → body → document (kept) → limits → before → execute → after → bytes

The order is the order of refusals: who is not let in learns nothing about the schema. Strawberry makes the schema;
its `Schema.execute` is not on the way, for each request would pay for extensions that the kept documents replace.
Source: GraphQL over HTTP (September 2025 draft), checked by its audit suite in the tests.
"""

import asyncio
import inspect
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import orjson
import strawberry
from graphql import ExecutionResult, GraphQLError, create_source_event_stream
from strawberry.execution import optimized_is_awaitable

from api.context import Context, Masked, StaleActor
from api.http import body
from api.http.documents import Compiling, Documents, Operation
from api.http.errors import Code, Problem, describe, located, origin, said_of, unauthenticated
from api.http.limits import Limits
from api.http.metrics import counter, timer
from api.http.negotiation import EVENTS, JSON, media_type
from api.http.respond import Scope, Send, respond, responding
from api.live.presences import Presence
from api.rates import Tally
from authz.actor import Actor
from domain.model import new_id
from domain.pipeline import OutcomeUnknown
from identity.errors import StepUpRequired

MakeContext = Callable[[Actor, uuid.UUID], Context]


class Authenticate(Protocol):
    """Who a bearer token stands for; `fresh` trusts nothing that is kept. Raises identity's errors."""

    def __call__(self, bearer: str, *, fresh: bool = False) -> Awaitable[Actor]: ...


Before = Callable[[Actor, int], Awaitable[None]]
After = Callable[[Actor, Operation, "list[bytes]", "list[Masked]"], Awaitable[None]]


@dataclass(frozen=True)
class Hooks:
    """What must happen around each operation, at either level of the engine.

    `before(actor, cost)` may refuse by a Problem, and nothing has been read then. `after(actor, operation, ids,
    masked)` comes when the answer is complete; the answer leaves only when it has returned.
    """

    before: Before | None = None
    after: After | None = None


@dataclass(frozen=True)
class Ports:
    """Where an endpoint gets its actors and contexts from."""

    authenticate: Authenticate
    context: MakeContext
    hooks: Hooks = Hooks()
    compiling: Tally = field(default_factory=lambda: Tally())


class GraphQLEndpoint:
    """Serves one schema. `ports` is asked at the first request, when the application has started.

    `open_` (development) allows introspection and suggestions, and shows `page` to a browser.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        ports: Callable[[], Ports],
        *,
        limits: Limits | None = None,
        deadline: float = 10.0,
        open_: bool = False,
        page: str | None = None,
        trusted: Mapping[str, str] | None = None,
    ) -> None:
        self.core = schema._schema
        self.execution: Any = schema.execution_context_class
        self.ports = ports
        self.documents = Documents(self.core, limits or Limits(), open_=open_, trusted=trusted)
        self.deadline = deadline
        self.open = open_
        self.page = page.encode() if page and open_ else None

    async def __call__(self, scope: Scope, receive: body.Receive, send: Send) -> None:
        """Answer one request; whatever happens, in the client's terms."""
        started = time.perf_counter()
        request_id, kind, media, wellformed = new_id(), "none", JSON, False
        try:
            token, media = self.enter(scope)
            if not token and self.page and scope["method"] == "GET":
                await respond(send, 200, b"text/html; charset=utf-8", self.page, request_id)
                return
            actor = await self.actor(token)
            body.check_headers(scope["headers"])
            asked = body.parse(await body.read(receive))
            wellformed = True
            task = self.task(asked, actor, token, request_id)
            kind = task.operation.kind
            if task.operation.is_subscription or media is EVENTS:
                raise body.refused("Only a stream of events answers this.", 406)
            result, context, cost = await self.run(task)
            status, answer, outcome = answer_of(result, context, cost, request_id)
            headers = challenge_of(result, request_id)
            if headers:
                status = 401
        except body.Disconnected:
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:
            problem = describe(error, request_id)
            status, outcome, headers = problem.status, problem.code.text, problem.headers
            if wellformed and media is JSON and status == 400:
                status = 200  # what clients of before the specification take for "read the errors"
            answer = orjson.dumps({"errors": [problem.formatted()]})
        counter(kind, outcome).inc()
        timer(kind).observe(time.perf_counter() - started)
        await send(responding(status, media, len(answer), request_id, headers))
        await send({"type": "http.response.body", "body": answer})

    def enter(self, scope: Scope) -> tuple[str, bytes]:
        """The bearer token ("" without any) and the media type of the answer. Raises Problem."""
        accept: list[bytes] = []
        proofs: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"accept":
                accept.append(value)
            elif name == b"authorization":
                proofs.append(value)
        if scope["method"] != "POST" and not (self.page and b"text/html" in b",".join(accept)):
            raise Problem(
                Code.BAD_USER_INPUT,
                "Operations are sent by POST.",
                status=405,
                headers=((b"allow", b"POST"),),
            )
        if scope["method"] != "POST":
            return "", JSON
        media = media_type(b",".join(accept))
        if media is None:
            raise body.refused(
                "The answer is application/graphql-response+json, application/json or"
                " text/event-stream.",
                406,
            )
        return bearer(proofs), media

    async def actor(self, token: str) -> Actor:
        if not token:
            raise unauthenticated()
        return await self.ports().authenticate(token)

    def compiling(self, asked: body.Asked, actor: Actor) -> Compiling:
        """Around what is made of an operation; trusted documents are few, so nobody is held to account for them."""
        if asked.query is None:
            return nullcontext
        return partial(self.ports().compiling.spending, (actor.tenant_id, actor.person_id))

    def context(self, task: "Task") -> Context:
        """What one execution works with."""
        context = self.ports().context(task.actor, task.request_id)
        context.compiling = task.compiling
        context.presence = task.presence
        return context

    def task(self, asked: body.Asked, actor: Actor, token: str, request_id: uuid.UUID) -> "Task":
        """What is asked for, found good. Raises Problem."""
        compiling = self.compiling(asked, actor)
        document = self.documents.find(asked.query, asked.document_id, compiling)
        operation = document.operation(asked.operation_name)
        return Task(operation, asked.variables, actor, token, request_id, compiling)

    async def run(self, task: "Task") -> tuple[ExecutionResult, Context, int]:
        """Execute, once more for a reader who has changed meanwhile. The result, what it was made with, its cost."""
        ports = self.ports()
        cost = self.documents.cost(task.operation, task.variables)
        if ports.hooks.before is not None:
            await ports.hooks.before(task.actor, cost)
        context = self.context(task)
        async with asyncio.timeout(self.deadline):
            result = await self.execute(task, context)
            if await self.worth_another(task, result, context):
                context = self.context(task)
                result = await self.execute(task, context)
            if ports.hooks.after is not None:
                await ports.hooks.after(task.actor, task.operation, context.ids, context.masked)
        return result, context, cost

    async def worth_another(self, task: "Task", result: ExecutionResult, context: Context) -> bool:
        """Whether it was answered for an actor who has changed, or its connection died under it, and left nothing behind."""
        met = [origin(error) for error in result.errors or ()]
        if not context.stamped:
            # The database was not asked for anything, so nothing has said yet that the actor still stands.
            met.append(await _stale(context))
        stale = [error for error in met if isinstance(error, StaleActor)]
        if stale:
            # Known from now on, also to the request that follows a refused mutation.
            task.actor = await self.ports().authenticate(task.token, fresh=True)
        elif not any(isinstance(error, OutcomeUnknown) for error in met):
            return False
        # Of a mutation each field was turned away before its command began: nothing was done, or noted as refused.
        untouched = not context.begun and len(stale) == len(met) == len(result.data or ())
        return task.operation.only_reads or untouched

    async def execute(self, task: "Task", context: Context) -> ExecutionResult:
        """Execute a document that is known to be valid. Raises Problem for bad variables."""
        prepared = task.operation.prepared
        if prepared is not None:
            found = await prepared.run(task.variables, context)
            if isinstance(found, GraphQLError):
                raise said_of(found, Code.BAD_USER_INPUT)
            return found
        result = self.executor(task, context).execute_operation()
        if not isinstance(result, ExecutionResult):
            result = await result
        return cast(ExecutionResult, result)

    async def events(self, task: "Task") -> AsyncGenerator[Any, None]:
        """The events of a subscription, each to be run as the task's `event`. Raises what its resolver raises."""
        found = create_source_event_stream(self.executor(task, self.context(task)))
        if inspect.isawaitable(found):
            found = await found
        if isinstance(found, ExecutionResult):
            error = (found.errors or [])[0]
            raise origin(error) or said_of(error, Code.BAD_USER_INPUT)
        return cast("AsyncGenerator[Any, None]", found)

    def executor(self, task: "Task", context: Context) -> Any:
        """graphql-core's own, for what is not prepared."""
        executor = self.execution.build(
            self.core,
            task.operation.document,
            root_value=task.event,
            context_value=context,
            raw_variable_values=task.variables,
            operation_name=task.operation.name,
            is_awaitable=optimized_is_awaitable,
            max_coercion_errors=1,
            hide_suggestions=not self.open,
        )
        if isinstance(executor, list):
            raise said_of(executor[0], Code.BAD_USER_INPUT)
        return executor


@dataclass(slots=True)
class Task:
    """One operation that somebody asks for; of a subscription, one event."""

    operation: Operation
    variables: dict[str, Any]
    actor: Actor
    token: str
    request_id: uuid.UUID
    compiling: Compiling
    presence: Presence | None = None  # of a connection that stays open
    event: Any = None  # of a subscription: what the answer is about


async def _stale(context: Context) -> StaleActor | None:
    try:
        await context.still_valid()
    except StaleActor as error:
        return error
    return None


def bearer(proofs: list[bytes]) -> str:
    """RFC 6750, section 2.1: once, and by header only."""
    if len(proofs) != 1 or proofs[0][:7].lower() != b"bearer ":
        return ""
    return proofs[0][7:].strip().decode("latin-1")


def answer_of(
    result: ExecutionResult, context: Context, cost: int, request_id: uuid.UUID
) -> tuple[int, bytes, str]:
    """HTTP status, body, outcome."""
    extensions: dict[str, Any] = {"cost": cost}
    if context.masked:
        extensions["masked"] = masked_summary(context.masked)
    if not result.errors:
        return 200, orjson.dumps({"data": result.data, "extensions": extensions}), "OK"
    errors = [located(error, request_id) for error in result.errors]
    whole = {"errors": errors, "data": result.data, "extensions": extensions}
    return 200, orjson.dumps(whole), errors[0]["extensions"]["code"]


def challenge_of(result: ExecutionResult, request_id: uuid.UUID) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of an answer that is nothing but the demand to step up (RFC 9470, section 3): a 401."""
    met = [origin(error) for error in result.errors or ()]
    asked = [error for error in met if isinstance(error, StepUpRequired)]
    nothing = all(value is None for value in (result.data or {}).values())
    if asked and len(asked) == len(met) and nothing:
        return describe(asked[0], request_id).headers
    return ()


def masked_summary(masked: list[Masked]) -> list[dict[str, Any]]:
    """`extensions.masked`: one entry for each path (without indices) and group, with the number of values."""
    counts: dict[tuple[tuple[str, ...], str], int] = {}
    for path, group, count in masked:
        counts[path, group] = counts.get((path, group), 0) + count
    return [
        {"path": path, "group": group, "reason": "NO_ROLE", "count": count}
        for (path, group), count in counts.items()
    ]
