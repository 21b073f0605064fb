"""A contestant as an ASGI application: the product itself, or one of the limits over the same parts."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from api.app import create_app, settle
from api.settings import load
from api.wiring import wired
from dev.bench.limits import Limit


def application() -> Any:
    """What BENCH_CONTESTANT names: product, bare or fair."""
    name = os.environ["BENCH_CONTESTANT"]
    settings = load()
    if name == "product":
        return create_app(settings)
    limit = Limit(None)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            wiring = await stack.enter_async_context(wired(settings))
            limit.pipeline = wiring.pipeline
            limit.authenticate = wiring.actors.actor if name == "fair" else None
            settle()
            yield

    return Served(limit, lifespan)


class Served:
    """A bare ASGI application with a lifespan."""

    def __init__(self, limit: Limit, lifespan: Any) -> None:
        self.limit, self.lifespan = limit, lifespan

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self.limit(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
