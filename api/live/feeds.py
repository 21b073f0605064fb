"""What a process hears of changes, handed to those of its streams that are about the clinic.

A feed keeps which rows have changed and not what: whoever reads it selects the row anew. So a row that changes twice
while a client is busy is told once, and as it is by then.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from domain.changes import STANDING, Change, channel
from domain.listening import Listener

MOST = 1000
"""Changed rows that wait for one stream; whose reader is further behind is too slow."""

Key = tuple[str, str, uuid.UUID]
"""A channel, a subject and a clinic."""


class TooSlow(Exception):
    """The client takes what it is told slower than it happens."""


class Feed:
    """The changes at one clinic that one stream has not told yet: ids of rows, and None where some may be missing.

    None comes first, as soon as nothing is missed any more, and again after a gap. `judge` is asked before each and
    whenever the actor has changed; what it raises ends the feed.
    """

    def __init__(self, judge: Callable[[], None], most: int = MOST) -> None:
        self._judge, self._most = judge, most
        self._pending: dict[uuid.UUID, None] = {}
        self._gap = True
        self._full = False
        self._woken = asyncio.Event()

    def told(self, row_id: uuid.UUID) -> None:
        """A row has changed."""
        if len(self._pending) >= self._most and row_id not in self._pending:
            self._full = True
            self._pending.clear()
        if not self._full:
            self._pending[row_id] = None
        self._woken.set()

    def missed(self) -> None:
        """Changes may have gone unheard: whoever follows begins anew, which makes up for what waits."""
        self._pending.clear()
        self._gap = True
        self._woken.set()

    def wake(self) -> None:
        """Ask the judge."""
        self._woken.set()

    async def __anext__(self) -> uuid.UUID | None:
        while True:
            self._judge()
            if self._full:
                raise TooSlow()
            if self._gap:
                self._gap = False
                return None
            if self._pending:
                return self._next()
            self._woken.clear()
            await self._woken.wait()

    def __aiter__(self) -> AsyncIterator[uuid.UUID | None]:
        return self

    def _next(self) -> uuid.UUID:
        row_id = next(iter(self._pending))
        del self._pending[row_id]
        return row_id


class Feeds:
    """The feeds of a process. `dsn`: the cell, by a connection that PostgreSQL's LISTEN outlives statements on.

    `fallen` is called with a health system of which somebody may not stand any more, with None where nobody knows.
    """

    def __init__(self, dsn: str) -> None:
        self.listener = Listener(dsn, self._heard, self._missed)
        self.fallen: Callable[[uuid.UUID | None], None] = lambda _: None
        self._open: dict[Key, set[Feed]] = {}
        self._channels: Counter[str] = Counter()

    @asynccontextmanager
    async def open(
        self, tenant_id: uuid.UUID, subject: str, clinic_id: uuid.UUID, judge: Callable[[], None]
    ) -> AsyncIterator[Feed]:
        """A feed that misses nothing which is committed from now on. Raises Unavailable."""
        feed, name = Feed(judge), channel(tenant_id)
        key = (name, subject, clinic_id)
        self._open.setdefault(key, set()).add(feed)
        self._channels[name] += 1
        try:
            await self.listener.listen(name)
            yield feed
        finally:
            self._open[key].discard(feed)
            if not self._open[key]:
                del self._open[key]
            self._release(name)

    @contextmanager
    def attending(self, tenant_id: uuid.UUID) -> Iterator[None]:
        """Hear of a health system who may not stand any more."""
        name = channel(tenant_id)
        self._channels[name] += 1
        if self._channels[name] == 1:
            self.listener.hear(name)
        try:
            yield
        finally:
            self._release(name)

    def _release(self, name: str) -> None:
        self._channels[name] -= 1
        if not self._channels[name]:
            del self._channels[name]
            self.listener.forget(name)

    def _heard(self, name: str, payload: str) -> None:
        try:
            change = Change.read(payload)
        except ValueError:  # whoever may connect to the database may say anything
            return
        if change.subject == STANDING:
            self.fallen(change.id)
            return
        for feed in self._open.get((name, change.subject, change.clinic_id), ()):
            feed.told(change.id)

    def _missed(self) -> None:
        self.fallen(None)
        for feeds in self._open.values():
            for feed in feeds:
                feed.missed()
