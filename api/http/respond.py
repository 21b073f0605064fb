"""How every answer leaves: its length, its request's id, and headers that keep browsers from anything clever."""

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Pairs = tuple[tuple[bytes, bytes], ...]

# OWASP's REST security headers: nothing is cached, sniffed, framed or run.
SECURITY: Pairs = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
NOTHING_RUNS: Pairs = ((b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),)


def responding(
    status: int, media: bytes, length: int | None, request_id: uuid.UUID, headers: Pairs = ()
) -> Message:
    """The message that starts a response; `length` None is of one whose end is not known."""
    if media.endswith(b"json"):
        media += b"; charset=utf-8"
    csp = () if media.startswith(b"text/html") else NOTHING_RUNS
    own = ((b"content-type", media), (b"x-request-id", str(request_id).encode()))
    known = () if length is None else ((b"content-length", b"%d" % length),)
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [*own, *known, *SECURITY, *csp, *headers],
    }


async def respond(
    send: Send, status: int, media: bytes, answer: bytes, request_id: uuid.UUID, headers: Pairs = ()
) -> None:
    """Send a whole response."""
    await send(responding(status, media, len(answer), request_id, headers))
    await send({"type": "http.response.body", "body": answer})
