"""How often somebody may try what could be guessed, and how much of a process they may use up.

The counts of tries lie in Redis, which all serving processes share. Whoever cannot be counted is refused: a limit that
is off while Redis is away protects nothing. A process's own time is its own affair: `Tally` counts it in memory.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError

from identity.counts import SharedCounts

PREFIX = "caretree:rates"
SECONDS = 1.0
"""How long Redis may take to answer."""
LIMITS: Mapping[str, tuple[RateLimitItem, ...]] = MappingProxyType(
    # A desk admits one patient a minute or two; who guesses needs thousands of tries.
    {"patient:admit": (RateLimitItemPerMinute(10), RateLimitItemPerDay(200))}
)
"""Permission -> how often one person may try to use it."""


class RateLimited(Exception):
    """Too often; again in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too often")
        self.retry_after = retry_after


class RatesUnavailable(Exception):
    """Nobody can be counted: there is no Redis, or it does not answer."""


class Rates:
    """The counts of one serving process's people. `url` is Redis's or Valkey's, or None where there is none."""

    def __init__(self, url: str | None) -> None:
        self._shared = None if url is None else SharedCounts(url, PREFIX, SECONDS)
        if self._shared is not None:
            self._limiter = MovingWindowRateLimiter(self._shared.storage)

    async def count(self, permission: str, tenant_id: uuid.UUID, person_id: uuid.UUID) -> None:
        """Count one try. Raises RateLimited, RatesUnavailable."""
        if self._shared is None:
            raise RatesUnavailable()
        who = (permission, str(tenant_id), str(person_id))
        try:
            async with asyncio.timeout(2 * SECONDS):
                for limit in LIMITS[permission]:
                    if not await self._limiter.hit(limit, *who):
                        window = await self._limiter.get_window_stats(limit, *who)
                        raise RateLimited(max(1, round(window.reset_time - time.time())))
        except (StorageError, TimeoutError):
            raise RatesUnavailable() from None

    async def close(self) -> None:
        """Give the connections back."""
        if self._shared is not None:
            await self._shared.close()


Who = tuple[uuid.UUID, uuid.UUID]
"""A health system and a person of it."""


class Tally:
    """What people have used up in the present minute, in this process: a number for each who was active in it."""

    def __init__(self, most: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._minute = 0
        self._used: dict[Who, float] = {}

    def check(self, who: Who) -> None:
        """Raises RateLimited where the person has used up what a minute gives."""
        if self._now().get(who, 0) >= self.most:
            raise RateLimited(max(1, round(60 - self._clock() % 60)))

    def add(self, who: Who, amount: float = 1) -> None:
        """Count what the person has used."""
        used = self._now()
        used[who] = used.get(who, 0) + amount

    @contextmanager
    def spending(self, who: Who) -> Iterator[None]:
        """Count the processor's seconds that this takes. Raises RateLimited, before anything is done."""
        self.check(who)
        began = time.thread_time()
        try:
            yield
        finally:
            self.add(who, time.thread_time() - began)

    def _now(self) -> dict[Who, float]:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute = minute
            self._used.clear()
        return self._used
