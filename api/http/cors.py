"""Which other origins' pages may call: those of an allow-list, which is empty by default. Fetch standard, "CORS"."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware


def cors(origins: Sequence[str]) -> list[Middleware]:
    """The middleware for these origins; none for an empty list. Cookies are never allowed, we use none."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["x-request-id", "retry-after", "www-authenticate"],
            max_age=600,
        )
    ]


def origin_of(url: str) -> str:
    """The origin of an address (RFC 6454, section 6.2): scheme, host and a port that is not the scheme's own."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}"
