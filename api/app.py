"""The application: lifespan, middleware, routes; nothing else."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from api.http.cors import cors, origin_of
from api.http.entrance import Entrance
from api.http.events import Events
from api.http.graphiql import graphiql
from api.http.graphql import GraphQLEndpoint, Ports
from api.http.health import Readyz, livez
from api.http.logs import configure
from api.http.metrics import Metrics
from api.http.sockets import Sockets
from api.leaving import first
from api.live.presences import Presences
from api.schema import build_schema
from api.settings import Settings, load
from api.wiring import Wiring, wired
from authz.templates import load_all
from identity.direct.routes import routes as routes_of_direct
from identity.routes import routes as routes_of_identity
from identity.saml.parties import check_libraries
from identity.scim.routes import routes as routes_of_scim

log = structlog.get_logger("api")


def create_app(settings: Settings) -> Starlette:
    """The ASGI application. Its parts are opened when it starts serving and closed when it stops."""
    running: list[tuple[Wiring, Ports]] = []
    check_libraries()
    load_all()  # stale or hand-edited templates keep the process from starting

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with wired(settings) as wiring:
            ports = Ports(wiring.actors.actor, wiring.context, compiling=wiring.compiling)
            running.append((wiring, ports))
            settle()
            log.info("started", environment=settings.environment)
            with first(wiring.presences.leave):
                yield
            running.clear()
        log.info("stopped")

    endpoint = GraphQLEndpoint(
        build_schema(),
        lambda: running[0][1],
        deadline=settings.operation_seconds,
        open_=settings.is_development,
        page=graphiql() if settings.is_development else None,
    )

    def presences() -> Presences:
        return running[0][0].presences

    pages = frozenset({*settings.cors_origins, origin_of(settings.public_url)})
    events, sockets = Events(endpoint, presences), Sockets(endpoint, presences, pages)
    ready = Readyz(lambda: bool(running) and running[0][0].pipeline.ready())
    token = settings.metrics_token
    metrics = Metrics(token.get_secret_value() if token else None)
    routes = [
        Route("/livez", livez),
        Route("/readyz", ready.answer),
        Route("/metrics", metrics.answer),
        *routes_of_identity(lambda: running[0][0].doors),
        *routes_of_direct(lambda: running[0][0].counter),
        *routes_of_scim(lambda: running[0][0].directories),
    ]
    return Starlette(
        routes=routes,
        middleware=[*cors(settings.cors_origins), Middleware(Entrance, endpoint, events, sockets)],
        lifespan=lifespan,
    )


def settle() -> None:
    """Take what was loaded at the start out of garbage collection's rounds: p99 went from 45 to 15 ms by it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 10, 1000)


def from_environment() -> Starlette:
    """The application for a server process that reads its settings itself."""
    settings = load()
    configure(settings.is_development)
    return create_app(settings)
