"""How often directories may ask: each health system, and each address from which tokens come that open nothing.

The counts lie in Redis, which all serving processes share. While it is away each process counts in its own memory and
asks Redis again after some seconds: the limit is then one of each process, never off, and whoever leaves is shut out
all the same (refusing everybody would keep leavers in).
"""

import asyncio
import ipaddress
import math
import time
import uuid
from collections.abc import Callable

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.strategies import SlidingWindowCounterRateLimiter as Shared
from limits.errors import StorageError
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter as Own

from identity.counts import SharedCounts
from identity.scim.refusals import Later
from identity.scim.schemas import MAX_OPERATIONS

REQUESTS = 600
WINDOW = 10
"""Sixty a second over ten seconds, of a health system: directories send 25, and some have two of them."""
STRANGERS = 120
MINUTE = 60
"""Two a second over a minute, from one address, with tokens that open nothing."""
SECONDS = 0.5
"""How long Redis may take."""
AWAY = 10.0
"""So long it is left alone once it did not answer."""
PREFIX = "caretree:scim"


class Limit:
    """Counts requests; a bulk request as often as it has operations. `url` is Redis's or Valkey's, or None."""

    def __init__(
        self,
        url: str | None,
        requests: int = REQUESTS,
        strangers: int = STRANGERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant = RateLimitItemPerSecond(max(requests, 1), WINDOW)
        self._address = RateLimitItemPerSecond(max(strangers, 1), MINUTE)
        self._clock = clock
        self._back_at = -math.inf
        self._own = Own(MemoryStorage())
        self._counts = None if url is None else SharedCounts(url, PREFIX, SECONDS)
        if self._counts is not None:
            self._shared = Shared(self._counts.storage)

    async def count(self, tenant_id: uuid.UUID, cost: int = 1) -> None:
        """Count a request of so many operations. Raises Later (429) where it is one too many."""
        if cost < 1:
            return
        cost = min(cost, self._tenant.amount, MAX_OPERATIONS)
        await self._hit(self._tenant, f"tenant:{tenant_id}", cost)

    async def count_stranger(self, address: str) -> None:
        """Count a token that opens nothing. Raises Later (429) where there were too many from this address."""
        await self._hit(self._address, f"address:{network_of(address)}", 1)

    async def check_stranger(self, address: str) -> None:
        """Raises Later (429) where too many tokens that open nothing came from this address."""
        await self._hit(self._address, f"address:{network_of(address)}", 0)

    async def close(self) -> None:
        """Give the connections back."""
        if self._counts is not None:
            await self._counts.close()

    async def _hit(self, item: RateLimitItem, who: str, cost: int) -> None:
        if self._counts is not None and self._clock() >= self._back_at:
            try:
                async with asyncio.timeout(2 * SECONDS):
                    if await _within(self._shared, item, who, cost):
                        return
                    reset = (await self._shared.get_window_stats(item, who)).reset_time
            except (StorageError, TimeoutError):
                self._back_at = self._clock() + AWAY
            else:
                raise _later(reset)
        hit = self._own.hit(item, who, cost=cost) if cost else self._own.test(item, who)
        if not hit:
            raise _later(self._own.get_window_stats(item, who).reset_time)


async def _within(limiter: Shared, item: RateLimitItem, who: str, cost: int) -> bool:
    return await (limiter.hit(item, who, cost=cost) if cost else limiter.test(item, who))


def _later(reset: float) -> Later:
    return Later(429, max(1, math.ceil(reset - time.time())))


def network_of(address: str) -> str:
    """What one sender has of addresses: one of IPv4, 2^64 of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "none"
    return str(ipaddress.ip_network((found, 64 if found.version == 6 else 32), strict=False))
