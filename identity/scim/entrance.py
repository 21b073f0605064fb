"""Whose a request is, as far as it has to be known before it may cost anything: before its body is read.

A token that was good a while ago is counted on its health system at once; whether it is good still is looked at in the
request's own transaction. Any other is looked up first, and one that opens nothing is counted on the address it came from:
whoever guesses uses up nobody's share but their own.
"""

import datetime as dt
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from scim2_models import UnauthorizedException

from domain.pipeline import Pipeline
from identity.scim.journal import Visit
from identity.scim.limits import Limit
from identity.scim.tokens import bearer_of, digest_of
from identity.scim.units import Unit

REMEMBERED = 3600.0
MOST = 10_000
Key = tuple[UUID, bytes]


class Entrance:
    """Lets requests in, for one process. `pipeline` as the API's role."""

    def __init__(
        self, pipeline: Pipeline, limit: Limit, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._pipeline = pipeline
        self._clock = clock
        self._good: OrderedDict[Key, tuple[UUID, float]] = OrderedDict()

    async def admit(self, visit: Visit, tenant_id: UUID, header: str | None, address: str) -> None:
        """Count a request, and note whose it is. Raises UnauthorizedException, TokenEnded, Later (429)."""
        key = (tenant_id, digest_of(header) or b"")
        token_id, until = self._good.get(key, (None, -math.inf))
        if until < self._clock():
            token_id = await self._look_up(tenant_id, header, address)
            self._good[key] = token_id, self._clock() + REMEMBERED
            if len(self._good) > MOST:
                self._good.popitem(last=False)
        visit.token_id = token_id
        await self.limit.count(tenant_id)

    def forget(self, tenant_id: UUID, header: str | None) -> None:
        """A token that turned out to open nothing any more is a stranger's from now on."""
        self._good.pop((tenant_id, digest_of(header) or b""), None)

    async def _look_up(self, tenant_id: UUID, header: str | None, address: str) -> UUID:
        await self.limit.check_stranger(address)
        try:
            unit = Unit(self._pipeline, tenant_id)
            bearer = await bearer_of(unit, header, dt.datetime.now(dt.UTC))
            if bearer is None:
                raise UnauthorizedException()
        except UnauthorizedException:
            await self.limit.count_stranger(address)
            raise
        return bearer.token_id
