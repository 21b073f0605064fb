"""The body of a GraphQL request: bounded before it is read, checked before it is believed.

GraphQL over HTTP, "Request Parameters" and "JSON Encoding"; RFC 8259 for what JSON leaves open.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson

from api.http.errors import Code, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
SECONDS = 10.0  # that a sender may take for the whole body

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = Iterable[tuple[bytes, bytes]]

_NAMES = (b'"query"', b'"documentId"', b'"operationName"', b'"variables"', b'"extensions"')


class Disconnected(Exception):
    """The sender has gone before the request was whole."""


@dataclass(slots=True)
class Asked:
    """The parameters of a request. One of `query` and `document_id` is given."""

    query: str | None
    document_id: str | None
    operation_name: str | None
    variables: dict[str, Any]


def refused(message: str, status: int = 400) -> Problem:
    return Problem(Code.BAD_USER_INPUT, message, status=status)


def check_headers(headers: Headers) -> None:
    """Refuse by the headers alone. A form's content types are not taken, so no other site's form can post."""
    content_type = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            if not value.isdigit() or len(value) > 9 or int(value) > MAX_BYTES:
                raise refused(f"A request has at most {MAX_BYTES} bytes.", 413)
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise refused("A compressed request is not taken.", 415)
    if content_type != b"application/json" and not _is_json(content_type):
        raise refused("A request is application/json, in UTF-8.", 415)


def _is_json(content_type: bytes) -> bool:
    media, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [p[8:].strip(b'"') for p in parameters if p.startswith(b"charset=")]
    return media == b"application/json" and all(c in (b"utf-8", b"utf8") for c in charsets)


async def read(receive: Receive) -> bytes:
    """The whole body. Raises Problem for one that is too long or too slow (its first byte too), Disconnected."""
    try:
        async with asyncio.timeout(SECONDS):
            body = await _whole(receive)
    except TimeoutError:
        raise refused("The request did not arrive in time.", 408) from None
    if len(body) > MAX_BYTES:
        raise refused(f"A request has at most {MAX_BYTES} bytes.", 413)
    return body


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= MAX_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected()
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def parse(body: bytes) -> Asked:
    """The parameters. Raises Problem for everything that is not one well-formed request."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:  # also too deep, not UTF-8, a number out of every range
        raise refused("The body is not JSON, or not JSON that can be taken.") from None
    if type(found) is not dict:
        if type(found) is list:
            raise refused("One request at a time: the body is an object, not a list.")
        raise refused("The body is a JSON object.")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        check_depth(found)
    _check_names(body, found)
    return asked(found)


def asked(found: dict[str, Any]) -> Asked:
    """The parameters in an object. Raises Problem."""
    query, document_id = _typed(found, "query", str), _typed(found, "documentId", str)
    if query is None and document_id is None:
        raise refused("`query` is missing.")
    return Asked(
        query,
        document_id,
        _typed(found, "operationName", str),
        _typed(found, "variables", dict) or {},
    )


def _typed(found: dict[str, Any], name: str, kind: type) -> Any:
    value = found.get(name)
    if value is not None and type(value) is not kind:
        what = "an object" if kind is dict else "a string"
        raise refused(f"`{name}` is {what}.")
    return value


def _check_names(body: bytes, found: dict[str, Any]) -> None:
    """Refuse the same parameter twice: who reads the first and who the last would see two requests."""
    if type(found.get("extensions", {})) not in (dict, type(None)):
        raise refused("`extensions` is an object.")
    named = sum([body.count(name) for name in _NAMES])
    # An escape (\u0071uery) would hide a name from the count.
    if named > len(found) or b"\\u00" in body:
        json.loads(body, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise refused("A name stands twice in one object.")
    return made


def check_depth(value: Any) -> None:
    """Raise Problem for what is nested more deeply than any request has to be."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise refused("The request is nested too deeply.")
        inner: list[Any] = []
        for item in level:
            if type(item) is dict:
                inner.extend(item.values())
            elif type(item) is list:
                inner.extend(item)
        level = inner
