"""How often a health system's directories may ask: a limit of each serving process, counted by health system."""

import time
import uuid
from collections.abc import Callable

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from identity.scim.refusals import Later
from identity.scim.schemas import MAX_OPERATIONS

REQUESTS = 500
SECONDS = 10
"""Fifty a second over ten seconds: directories send bursts of 25."""


class Limit:
    """Counts requests; a bulk request as often as it has operations."""

    def __init__(self, requests: int = REQUESTS, clock: Callable[[], float] = time.time) -> None:
        self._item = RateLimitItemPerSecond(max(requests, 1), SECONDS)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._clock = clock

    def count(self, tenant_id: uuid.UUID, cost: int) -> None:
        """Count a request of so many operations. Raises Later (429) where it is one too many."""
        cost = min(cost, self._item.amount, MAX_OPERATIONS)
        if not self._limiter.hit(self._item, str(tenant_id), cost=cost):
            window = self._limiter.get_window_stats(self._item, str(tenant_id))
            raise Later(429, max(1, round(window.reset_time - self._clock())))
