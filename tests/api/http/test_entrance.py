"""Routes beside GraphQL: safe headers, and no exception gets past; logs that say who and where, not what."""

import asyncio
import logging
from typing import Any

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from api.http.entrance import Entrance
from api.http.logs import WithoutValues, configure
from api.http.respond import Scope, Send
from domain.errors import NotFound
from tests.api.http.tiny import SECRET, code

pytestmark = pytest.mark.anyio


async def graphql(_scope: Scope, _receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def broken(_request: Request) -> Response:
    raise RuntimeError(SECRET)


async def missing(_request: Request) -> Response:
    raise NotFound()


async def cancelled(_request: Request) -> Response:
    raise asyncio.CancelledError()


async def half(_request: Request) -> Response:
    async def parts() -> Any:
        yield b"half"
        raise RuntimeError(SECRET)

    return StreamingResponse(parts(), headers={"Cache-Control": "max-age=60"})


def application() -> Starlette:
    routes = [Route(f"/{e.__name__}", e) for e in (broken, missing, cancelled, half)]
    return Starlette(routes=routes, middleware=[Middleware(Entrance, graphql=graphql)])


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application()), base_url="http://test")


async def test_graphql_answers_for_itself() -> None:
    async with client() as http:
        response = await http.put("/graphql")
    assert (response.status_code, dict(response.headers)) == (204, {})


async def test_an_exception_becomes_an_answer() -> None:
    async with client() as http:
        response = await http.get("/broken")
        other = await http.get("/missing")
    assert (response.status_code, code(response)) == (500, "INTERNAL")
    assert SECRET not in response.text
    assert response.headers["x-request-id"]
    assert (other.status_code, code(other)) == (404, "NOT_FOUND")


async def test_an_answer_that_has_begun_is_cut_off() -> None:
    sent = await messages({"type": "http", "path": "/half", "method": "GET"})
    headers = [pair for pair in sent[0]["headers"] if pair[0].lower() == b"cache-control"]
    assert headers == [(b"cache-control", b"max-age=60")]
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    assert [m["body"] for m in sent[1:]] == [b"half"]
    assert sent[-1]["more_body"]


async def test_a_cancelled_request_is_nobodys_fault() -> None:
    async with client() as http:
        with pytest.raises(asyncio.CancelledError):
            await http.get("/cancelled")


async def test_nothing_but_http_is_served() -> None:
    sent = await messages({"type": "websocket", "path": "/graphql"})
    assert sent == [{"type": "websocket.close", "code": 1000}]


async def messages(scope: dict[str, Any]) -> list[Any]:
    """What the application sends, to whoever speaks ASGI."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.sleep(5)

    rest = {"headers": [], "query_string": b"", "root_path": "", "http_version": "1.1"}
    await application()(rest | scope, receive, send)
    return sent


def record(name: str, text: str, error: Exception | None = None) -> str:
    thrown = (type(error), error, None) if error else None
    made = logging.LogRecord(name, logging.ERROR, "f.py", 1, text, (), thrown)
    return WithoutValues().format(made)


def test_libraries_are_not_quoted() -> None:
    assert record("sqlalchemy.pool", f"lost {SECRET}") == "ERROR sqlalchemy.pool"
    assert record("asyncio", SECRET, RuntimeError(SECRET)) == "ERROR asyncio RuntimeError"
    assert record("uvicorn.error", SECRET, KeyError(SECRET)) == "ERROR uvicorn.error KeyError"
    assert record("uvicorn.error", "Port taken") == "ERROR uvicorn.error Port taken"


def test_configuring_takes_the_root_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    try:
        configure()
        assert any(isinstance(h.formatter, WithoutValues) for h in root.handlers)
    finally:
        structlog.reset_defaults()
