"""An application that is started in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[None]:
    """Its lifespan, but for how a process that does nothing else collects garbage: other tests follow in this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.app.settle", lambda: None)
        async with app.router.lifespan_context(app):
            yield
