"""The operators' application: their realm's tokens, the platform's database role, a schema without a patient in it.

It shares no door with the API: a token of an operator opens nothing there, nobody else's opens anything here. The same
process carries out what was ordered, from where a crash left it.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import strawberry
import structlog
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http import body
from api.http.documents import Documents
from api.http.errors import Code, Problem, describe, located, unauthenticated
from api.http.graphql import bearer
from api.http.health import Readyz, livez
from api.http.limits import Limits
from api.http.logs import configure
from api.http.respond import respond
from api.platform.graph import Desk, schema
from api.settings import Settings, load
from domain.model import new_id
from identity.keycloak import Account
from identity.keys import KeyCache
from identity.operators import OperatorLoader
from identity.order_runs import carry_out, due
from identity.platform import open_platform, portals_at
from identity.tenants import Platform

log = structlog.get_logger("platform")
LOOK_AGAIN = 5.0
"""Seconds between two looks for what another process has approved, or what failed in a way that passes."""
SECONDS = 30.0


@dataclass
class Running:
    """The parts of a running process. `wanted` is set when there is something to carry out."""

    platform: Platform
    operators: OperatorLoader
    wanted: asyncio.Event
    two: bool
    wait: dt.timedelta


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Platform]:
    """The platform as the settings describe it. Raises SettingsError."""
    async with open_platform(
        control_url=settings.control_url("platform_database_url"),
        cell_url=settings.required("platform_database_url"),
        master=Account(
            settings.required("keycloak_admin_client_id"),
            settings.required("keycloak_admin_client_secret"),
        ),
        key_file=Path(settings.required("key_file")),
        portals=portals_at(settings.portal_url or settings.public_url, settings.public_url),
        codes_serve_twice=settings.is_development,
        redis_url=settings.redis_url.get_secret_value() if settings.redis_url else None,
        exports=settings.export_folder,
    ) as platform:
        yield platform


def create_app(settings: Settings) -> Starlette:
    """The ASGI application; what it works with is opened when it starts serving."""
    running: list[Running] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with opened(settings) as platform, httpx.AsyncClient(follow_redirects=False) as http:
            operators = OperatorLoader(platform.control, KeyCache(http))
            wait = dt.timedelta(hours=settings.erase_wait_hours)
            parts = Running(platform, operators, asyncio.Event(), settings.second_operator, wait)
            running.append(parts)
            working = asyncio.create_task(work(parts))
            try:
                yield
            finally:
                working.cancel()
                await asyncio.wait({working})
                running.clear()

    endpoint = Endpoint(schema(), lambda: running[0], open_=settings.is_development)
    ready = Readyz(lambda: bool(running))
    routes = [
        Route("/livez", livez),
        Route("/readyz", ready.answer),
        Route("/graphql", endpoint, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def work(running: Running) -> None:
    """Carry out what is due, for ever; what cannot be done now is looked at again."""
    while True:
        running.wanted.clear()
        try:
            for order_id in await due(running.platform.control):
                await carry_out(running.platform, order_id)
        except asyncio.CancelledError:
            raise
        except Exception:
            # Whatever it was, the order stays approved and is taken up again.
            log.exception("orders")
        try:
            async with asyncio.timeout(LOOK_AGAIN):
                await running.wanted.wait()
        except TimeoutError:
            continue


class Endpoint:
    """Answers GraphQL over HTTP, to operators. Pure ASGI."""

    def __init__(self, made: strawberry.Schema, running: object, *, open_: bool) -> None:
        self._schema = made
        self._running = running
        self._documents = Documents(made._schema, Limits(), open_=open_)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one answer."""
        request_id = new_id()
        try:
            answer = await self._answered(scope, receive, request_id)
            status = 200
        except body.Disconnected:
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:
            problem = describe(error, request_id)
            status, answer = problem.status, {"errors": [problem.formatted()]}
        said = orjson.dumps(answer)
        await respond(send, status, b"application/graphql-response+json", said, request_id)

    async def _answered(
        self, scope: Scope, receive: Receive, request_id: uuid.UUID
    ) -> dict[str, object]:
        running: Running = self._running()  # type: ignore[operator] # see create_app
        proofs = [value for name, value in scope["headers"] if name == b"authorization"]
        token = bearer(proofs)
        if not token:
            raise unauthenticated()
        operator = await running.operators.operator(token)
        body.check_headers(scope["headers"])
        asked = body.parse(await body.read(receive))
        if asked.query is None:
            raise Problem(Code.PERSISTED_QUERY_NOT_FOUND, "No document has this id.")
        document = self._documents.find(asked.query, None)
        self._documents.cost(document.operation(asked.operation_name), asked.variables)
        desk = Desk(operator, running.platform, running.wanted, running.two, running.wait)
        async with asyncio.timeout(SECONDS):
            result = await self._schema.execute(
                asked.query,
                variable_values=asked.variables,
                operation_name=asked.operation_name,
                context_value=desk,
            )
        answer: dict[str, object] = {"data": result.data}
        if result.errors:
            answer["errors"] = [located(error, request_id) for error in result.errors]
        return answer


def from_environment() -> Starlette:
    """The application for a server process that reads its settings itself."""
    settings = load()
    configure(settings.is_development)
    return create_app(settings)
