"""Probes: whether the process lives, and whether it can serve. They say yes or no, never why."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


async def livez(_request: Request) -> Response:
    """200 while the event loop turns."""
    return JSONResponse({"status": "ok"})


class Readyz:
    """200 while `ready` holds, else 503, so that a balancer sends requests elsewhere."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready

    async def answer(self, _request: Request) -> Response:
        if self.ready():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable"}, 503, headers={"retry-after": "2"})
