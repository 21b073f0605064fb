"""Fetches what a customer's address offers, without being led anywhere else by it.

The host is resolved once; every address that it has must be one of the internet, and the connection goes to one of
just these, whatever the DNS says a moment later. TLS is checked against the name. No redirects, 256 KB, 5 seconds.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx

from identity.metadata import MAX_BYTES, MetadataRefused, address
from identity.webhooks import is_public

SECONDS = 5.0
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, as text."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the resolver of this machine."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def fetched(
    url: str,
    *,
    loopback: bool = False,
    resolver: Resolve = resolve,
    transport: httpx.AsyncBaseTransport | None = None,
) -> str:
    """The text at an address. Raises MetadataRefused, which says what was wrong in words for whoever gave it.

    `loopback` also takes plain http on this machine, for development; `transport` is httpx's, for tests.
    """
    address(url, "The address", loopback=loopback)
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(SECONDS):
            to = await _pinned(host, port, resolver, loopback and host == "127.0.0.1")
            return await _got(url, host, to, transport)
    except (TimeoutError, httpx.HTTPError, OSError, UnicodeError):
        raise MetadataRefused("Nothing that could be read was found at the address.") from None


async def _pinned(host: str, port: int, resolver: Resolve, here: bool) -> str:
    """An address of the host, once all of them are looked at: one that leads inside spoils the name."""
    found = await resolver(host, port)
    if not found:
        raise MetadataRefused("The address has a host that nobody knows.")
    if not here and not all(map(is_public, found)):
        raise MetadataRefused("The address leads inside a network.")
    return found[0]


async def _got(url: str, host: str, to: str, transport: httpx.AsyncBaseTransport | None) -> str:
    pinned = httpx.URL(url).copy_with(host=to)
    headers = {"host": urlsplit(url).netloc, "accept": "application/json, application/xml, */*"}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=SECONDS, transport=transport) as http,
        # The certificate has to be the name's, not the number's.
        http.stream("GET", pinned, headers=headers, extensions={"sni_hostname": host}) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise MetadataRefused(f"The address answers with status {answer.status_code}.")
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise MetadataRefused("The metadata are longer than 256 KB.")
    return body.decode()
