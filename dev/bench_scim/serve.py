"""A contestant as an ASGI application: the product's routes, or the stock core of scim2-server over the same storage."""

import datetime as dt
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
from scim2_server.handler import AsyncScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.service import ScimService
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.app import settle
from api.settings import load
from api.wiring import wired
from dev.bench_scim.data import SLUG, TENANT
from domain.audit import Agent
from domain.model import new_id
from identity.scim.entrance import Entrance
from identity.scim.limits import Limit
from identity.scim.routes import METHODS, Directories, routes
from identity.scim.schemas import PROVIDER
from identity.scim.storage import Directory
from identity.scim.tokens import bearer_of
from identity.scim.units import Unit
from identity.sync import cell_session

UNLIMITED = 10**9


def application() -> Starlette:
    """What BENCH_CONTESTANT names: product or stock."""
    settings = load()
    running: list[Directories] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with wired(settings) as wiring:
            made = wiring.directories
            unlimited = Entrance(made.pipeline, Limit(None, UNLIMITED))
            running.append(replace(made, entrance=unlimited))
            settle()
            yield

    if os.environ["BENCH_CONTESTANT"] == "product":
        return Starlette(routes=routes(lambda: running[0]), lifespan=lifespan)
    return Starlette(routes=stock(lambda: running[0]), lifespan=lifespan)


def stock(directories: Callable[[], Directories]) -> list[Route]:
    """The core's own way of everything: each resource is a model, a change reads and writes all of it."""
    service = ScimService(PROVIDER, secret=secrets.token_bytes(32))

    async def answer(request: Request) -> Response:
        base = f"http://bench/{SLUG}/scim/v2"
        asked = ScimRequest(request.method, base, "/" + request.path_params["path"])
        asked.query, asked.headers = dict(request.query_params), list(request.headers.items())
        asked.body = await request.body()
        agent = Agent(tenant_id=TENANT, now=dt.datetime.now(dt.UTC), request_id=new_id())
        async with cell_session(directories().cell, TENANT) as session:
            header = asked.header("Authorization")
            unit = Unit(directories().pipeline, TENANT)
            bearer = await bearer_of(unit, header, agent.now)
            assert bearer is not None
            storage = Directory(session, agent, bearer.token_id)
            said = await AsyncScimHandler(service, storage).handle(asked)
        body = b"" if said.body is None else orjson.dumps(said.body)
        return Response(body, int(said.status), said.headers)

    return [Route(f"/{SLUG}/scim/v2/{{path:path}}", answer, methods=METHODS)]
