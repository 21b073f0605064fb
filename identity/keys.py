"""The public keys of an issuer, fetched from the address that the registry names and kept for a while.

Keycloak tells caches not to keep its keys; asking it for each token would make every request wait for it. So keys
are fresh for ten minutes, and serve up to a day while the issuer cannot be reached. A key id that is not among them
means a rotation: one more fetch, at once, so that nobody is refused over it; but two a minute for an issuer at the most,
however many requests ask and whatever ids they invent. Once these are spent, keys of a rotation come by the worker, which
reads of it (`identity/announced_keys.py`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from identity.errors import IdentityUnavailable

MAX_BYTES = 64 * 1024
SECONDS = 3.0
FRESH = 600.0
STALE = 86_400.0
MOST, WITHIN = 2, 60.0
"""Fetches from an issuer, in so many seconds."""
AGAIN_WITHOUT_ANY = 2.0
HEARD = 1.0
"""Seconds after which it is looked anew whether a rotation was announced."""

OWN = "own:"
"""Before a health system's id: keys of ours, which are read in its cell and not fetched."""

Keys = dict[str, ECKey]
Announced = tuple[bytes, float]
"""A JWK set, and how many seconds ago it was the issuer's."""


class _Unusable(Exception):
    """The answer is not a key set that we take."""


@dataclass
class _Entry:
    keys: Keys = field(default_factory=dict)
    fetched: float = float("-inf")
    tried: float = float("-inf")
    heard: float = float("-inf")
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=MOST))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeyCache:
    """Keys by issuer's key address and key id. For one event loop; `client` must not follow redirects.

    `own` answers the key set of a health system's issuer of our own, `announced` what was told of the one at an address.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        own: Callable[[UUID], Awaitable[bytes]] | None = None,
        announced: Callable[[str], Awaitable[Announced | None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if client.follow_redirects:
            raise ValueError("Keys come from the address in the registry, never from a redirect.")
        self._client = client
        self._own = own
        self._announced = announced
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    async def key(self, url: str, kid: str) -> ECKey | None:
        """The key of this id at this address; None when the issuer has none. Raises IdentityUnavailable."""
        entry = self._entries.setdefault(url, _Entry())
        now = self._clock()
        known = entry.keys.get(kid)
        if known is not None and now - entry.fetched < FRESH:
            return known
        if entry.lock.locked() or _may_ask(entry, now) or self._may_hear(entry, now):
            await self._renew(entry, url, now)
        if self._clock() - entry.fetched >= STALE:
            raise IdentityUnavailable("The issuer's key set")
        return entry.keys.get(kid)

    async def _renew(self, entry: _Entry, url: str, asked: float) -> None:
        """Ask the issuer where that may be, else look what was announced; one does for all that wait."""
        async with entry.lock:
            if max(entry.tried, entry.heard) >= asked:
                return
            if _may_ask(entry, asked):
                try:
                    entry.keys = await self._fetch(url)
                    entry.fetched = self._clock()
                except (httpx.HTTPError, TimeoutError, IdentityUnavailable, _Unusable):
                    pass
                entry.tried = self._clock()
                entry.recent.append(entry.tried)
            elif self._may_hear(entry, asked):
                await self._hear(entry, url)

    def _may_hear(self, entry: _Entry, now: float) -> bool:
        return self._announced is not None and now - entry.heard >= HEARD

    async def _hear(self, entry: _Entry, url: str) -> None:
        """Take what was announced, if it is newer than what was fetched: else a key that was removed would come back."""
        assert self._announced is not None
        try:
            told = await self._announced(url)
            if told is not None and (at := self._clock() - told[1]) > entry.fetched:
                entry.keys, entry.fetched = signing_keys(told[0]), at
        except (IdentityUnavailable, _Unusable):
            pass
        entry.heard = self._clock()

    async def _fetch(self, url: str) -> Keys:
        if url.startswith(OWN):
            if self._own is None:
                raise _Unusable
            return signing_keys(await self._own(UUID(url.removeprefix(OWN))))
        async with (
            asyncio.timeout(SECONDS),
            self._client.stream("GET", url, timeout=SECONDS) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise _Unusable
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise _Unusable
        return signing_keys(bytes(body))


def _may_ask(entry: _Entry, now: float) -> bool:
    if not entry.keys:
        return now - entry.tried >= AGAIN_WITHOUT_ANY
    return len(entry.recent) < MOST or now - entry.recent[0] >= WITHIN


def signing_keys(body: bytes) -> Keys:
    """The usable keys of a JWK set (RFC 7517): elliptic, on P-256, for signatures, with an id."""
    try:
        listed = orjson.loads(body)["keys"]
        return {jwk["kid"]: ECKey.import_key(_public(jwk)) for jwk in listed if _is_usable(jwk)}
    except (orjson.JSONDecodeError, JoseError, KeyError, TypeError, ValueError):
        raise _Unusable from None


def _is_usable(jwk: Any) -> bool:
    return (
        isinstance(jwk, dict)
        and isinstance(jwk.get("kid"), str)
        and jwk.get("kty") == "EC"
        and jwk.get("crv") == "P-256"
        and jwk.get("use") == "sig"
        and jwk.get("alg", "ES256") == "ES256"
    )


def _public(jwk: dict[str, str]) -> dict[str, str | list[str]]:
    return {name: jwk[name] for name in ("kty", "crv", "x", "y", "kid")}
