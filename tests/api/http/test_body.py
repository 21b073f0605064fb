"""Request bodies of every kind: each that is not one well-formed request gets a plain 4xx with a stable code."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api.http import body
from tests.api.http.tiny import app, client, code

pytestmark = pytest.mark.anyio


async def post(content: bytes | AsyncIterator[bytes], **headers: str) -> httpx.Response:
    async with client(None, **headers) as http:
        return await http.post("/graphql", content=content)


GOOD = b'{"query":"{__typename}"}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b'"str"',
        b"17",
        b"true",
        b"[]",
        b'[{"query":"{__typename}"}]',
        b"{",
        b"\xff\xfe{}",
        b"{}",
        b'{"query":null}',
        b'{"query":17}',
        b'{"query":["{__typename}"]}',
        b'{"query":"{__typename}","variables":[]}',
        b'{"query":"{__typename}","variables":"{}"}',
        b'{"query":"{__typename}","operationName":{}}',
        b'{"query":"{__typename}","extensions":7}',
        b'{"query":"{__typename}","documentId":1}',
        b'{"query":"{__typename}","query":"{b}"}',
        b'{"query":"{__typename}","\\u0071uery":"{b}"}',
        b'{"query":"{__typename}","variables":{"\\u0061":1,"a":2}}',
        b'{"query":"{__typename}","variables":{"a":"\\ud800"}}',
        b'{"query":"{__typename}","variables":{"a":NaN}}',
        b'{"query":"{__typename}","variables":{"a":' + b"9" * 5000 + b"}}",
        b'{"query":"{__typename}","variables":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"query":"{__typename}","variables":{"a":' + b"[" * 500 + b"]" * 500 + b"}}",
        b'{"query":"{__typename}","extensions":{"a":' + b"[" * 500 + b"]" * 500 + b"}}",
        b'{"query":"{__typename}","v\\u0061":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b"[" * 100_000,
    ],
)
async def test_what_is_no_request(content: bytes) -> None:
    response = await post(content)
    assert response.status_code == 400
    assert code(response) == "BAD_USER_INPUT"
    assert "data" not in response.json()


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        b' {"query" : "{__typename}" , "variables" : null }',
        b'{"query":"{__typename}","variables":{"a":[{"query":1}]},"extensions":{}}',
        b'{"query":"{__typename}","unknown":[1,2,3]}',
        b'{"query":"{__typenam\\u0065}","variables":{"id":"\\u00e9"}}',
    ],
)
async def test_what_is_one(content: bytes) -> None:
    response = await post(content)
    assert response.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
        ("application/json; charset=utf-16", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/graphql", 415),
        ("", 415),
    ],
)
async def test_only_json_is_taken(media: str, status: int) -> None:
    assert (await post(GOOD, **{"content-type": media})).status_code == status


async def test_compressed_requests_are_not_taken() -> None:
    assert (await post(GOOD, **{"content-encoding": "gzip"})).status_code == 415


class Sender:
    """Sends a body in parts and counts what was asked for."""

    def __init__(self, part: bytes, parts: int) -> None:
        self.part, self.parts, self.taken = part, parts, 0

    async def receive(self) -> dict[str, Any]:
        self.taken += 1
        more = self.taken < self.parts
        return {"type": "http.request", "body": self.part, "more_body": more}


async def test_a_body_is_bounded_before_it_is_read() -> None:
    too_long = str(body.MAX_BYTES + 1)
    for length in (too_long, "9" * 5000, "-1", "0x10"):
        with pytest.raises(Exception, match="at most") as caught:
            body.check_headers([(b"content-length", length.encode())])
        assert caught.value.status == 413  # type: ignore[attr-defined]  # a Problem
    sender = Sender(b" " * 65536, 1000)
    with pytest.raises(Exception, match="at most"):
        await body.read(sender.receive)
    assert sender.taken == 5


async def test_a_body_in_parts() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield GOOD[:5]
        yield GOOD[5:]

    assert (await post(parts())).status_code == 200


async def test_a_body_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SECONDS", 0.05)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(Exception, match="in time") as caught:
        await body.read(receive)
    assert caught.value.status == 408  # type: ignore[attr-defined]  # a Problem


async def test_a_body_that_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SECONDS", 0.05)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(30)
        return {"type": "http.request", "body": b"{}", "more_body": False}

    with pytest.raises(Exception, match="in time") as caught:
        await asyncio.wait_for(body.read(receive), 5)
    assert caught.value.status == 408  # type: ignore[attr-defined]  # a Problem


async def test_a_sender_who_leaves_gets_nothing() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer t"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/graphql", "headers": headers}
    await app()(scope | {"query_string": b"", "root_path": ""}, receive, send)
    assert sent == []
