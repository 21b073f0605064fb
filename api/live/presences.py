"""Who is connected for longer than an answer takes, and whether they still may be.

Each event is read under the policy and the stamp of its moment, so nothing leaves for somebody who was cut off
(docs/decisions/freshness.md). Closing what they have open needs a look at those of whom nothing happens: one statement
for each health system with somebody connected asks which actors stand no more. It is asked as soon as the database
tells that something was committed which stamps look at (`domain.changes`), and twice a second whatever was told.
"""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Protocol

import structlog

from api.live.feeds import Feed, Feeds
from authz.actor import Actor
from domain.pipeline import DatabaseError
from identity.errors import IdentityUnavailable

log = structlog.get_logger("api.live")

LOOK = 0.5
"""Seconds between two looks at everybody who is connected, of whom nothing was told."""
PAUSE = 0.02
"""Seconds between two looks: many changes in a row are one."""
AT_ONCE = 500
"""Actors that one statement asks about."""
RENEWALS = 20
"""Actors read anew at a time: a change of the tree is one of everybody's."""
TURNS = 32
"""Events of a process that are read at a time: a clinic full of followers must not stand before everybody's requests."""
UNKNOWN = 50
"""Connections from one network that have not yet said whose they are, in one process."""
OF_PERSON = 20
"""Connections that one person may have open, in one process."""


class Full(Exception):
    """The process or the person has as many connections open as there may be. `own`: the person has."""

    def __init__(self, *, own: bool) -> None:
        super().__init__("too many connections")
        self.own = own


class Leaving(Exception):
    """The process is about to end; another one goes on."""


class Actors(Protocol):
    """Where actors come from: `identity.actors.ActorLoader`."""

    def actor(self, bearer: str, *, fresh: bool = False) -> Awaitable[Actor]: ...
    def fallen(self, actors: Sequence[Actor]) -> Awaitable[list[int]]: ...


class Presence:
    """A connection: whose it is now, and, once it has to be closed, why (`ended`)."""

    def __init__(self, token: str, actor: Actor, feeds: Feeds, turns: asyncio.Semaphore) -> None:
        self.token, self.actor, self.turns = token, actor, turns
        self.ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._feeds = feeds
        self._following: set[Feed] = set()

    @asynccontextmanager
    async def follow(
        self, subject: str, clinic_id: uuid.UUID, judge: Callable[[Actor], None]
    ) -> AsyncIterator[Feed]:
        """The changes of a subject at a clinic, for as long as `judge` finds nothing against the actor."""
        tenant_id = self.actor.tenant_id
        opened = self._feeds.open(tenant_id, subject, clinic_id, lambda: judge(self.actor))
        async with opened as feed:
            self._following.add(feed)
            try:
                yield feed
            finally:
                self._following.discard(feed)

    def renew(self, actor: Actor) -> None:
        """Go on as what the person is by now."""
        if actor is not self.actor:
            self.actor = actor
            for feed in self._following:
                feed.wake()

    def end(self, reason: Exception) -> None:
        """Say that the connection is to be closed."""
        if not self.ended.done():
            self.ended.set_result(reason)


class Presences:
    """The connections of a process. `most`: how many at once."""

    def __init__(self, actors: Actors, feeds: Feeds, most: int, *, look: float = LOOK) -> None:
        self._actors, self._feeds, self._most, self._look = actors, feeds, most, look
        self._present: set[Presence] = set()
        self._of_person: Counter[tuple[uuid.UUID, uuid.UUID]] = Counter()
        self._turns = asyncio.Semaphore(TURNS)
        self._unknown: Counter[str] = Counter()
        self._places = 0
        self._leaving = False
        self._empty = asyncio.Event()
        self._told: set[uuid.UUID] = set()
        self._gap = False
        self._woken = asyncio.Event()
        feeds.fallen = self.told

    def told(self, tenant_id: uuid.UUID | None) -> None:
        """Somebody of a health system may not stand any more; None: of any."""
        if tenant_id is None:
            self._gap = True
        else:
            self._told.add(tenant_id)
        self._woken.set()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for a connection, whoever it will be. Raises Full, Leaving."""
        if self._leaving:
            raise Leaving()
        if self._places >= self._most:
            raise Full(own=False)
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1
            if not self._places:
                self._empty.set()

    @contextmanager
    def unknown(self, network: str) -> Iterator[None]:
        """A place for somebody who has not yet said who they are, of one network's. Raises Full."""
        if self._unknown[network] >= UNKNOWN:
            raise Full(own=True)
        self._unknown[network] += 1
        try:
            yield
        finally:
            self._unknown[network] -= 1
            if not self._unknown[network]:
                del self._unknown[network]

    @contextmanager
    def enter(self, token: str, actor: Actor) -> Iterator[Presence]:
        """Be present as the actor of a token. Raises Full, Leaving."""
        who = (actor.tenant_id, actor.person_id)
        if self._leaving:
            raise Leaving()
        if self._of_person[who] >= OF_PERSON:
            raise Full(own=True)
        presence = Presence(token, actor, self._feeds, self._turns)
        self._present.add(presence)
        self._of_person[who] += 1
        try:
            with self._feeds.attending(actor.tenant_id):
                yield presence
        finally:
            self._present.discard(presence)
            self._of_person[who] -= 1
            if not self._of_person[who]:
                del self._of_person[who]

    async def leave(self, patience: float = 3.0) -> None:
        """Close all connections, and take no more; returns when they are closed, or after so many seconds."""
        self._leaving = True
        for presence in tuple(self._present):
            presence.end(Leaving())
        self._empty.clear()
        if self._places:
            try:
                async with asyncio.timeout(patience):
                    await self._empty.wait()
            except TimeoutError:
                return

    async def watch(self) -> None:
        """Look again and again who still stands, until cancelled."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._look
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
            self._woken.clear()
            told: set[uuid.UUID] | None = self._told
            self._told = set()
            if self._gap or clock() >= due:
                self._gap, due = False, clock() + self._look
                told = None
            try:
                await self.look(told)
            except Exception as error:  # a fault of ours must not be the last look
                log.error("look_failed", kind=type(error).__qualname__)
            await asyncio.sleep(PAUSE)

    async def look(self, only: Collection[uuid.UUID] | None = None) -> None:
        """End the connections of those who stand no more; let those whose rights have changed go on with the new ones.

        `only`: the health systems to look at, None for all.
        """
        tenants: dict[uuid.UUID, list[Presence]] = {}
        for presence in self._present:
            if only is None or presence.actor.tenant_id in only:
                tenants.setdefault(presence.actor.tenant_id, []).append(presence)
        parts = [
            of_one[at : at + AT_ONCE]
            for of_one in tenants.values()
            for at in range(0, len(of_one), AT_ONCE)
        ]
        found = await asyncio.gather(*(self._fallen(part) for part in parts))
        fallen = [presence for part in found for presence in part]
        for at in range(0, len(fallen), RENEWALS):
            await asyncio.gather(*(self._renew(p) for p in fallen[at : at + RENEWALS]))

    async def _fallen(self, part: list[Presence]) -> list[Presence]:
        """Those whose actor is no longer what it was made of, or whose time is over."""
        now = dt.datetime.now(dt.UTC)
        late = {at for at, presence in enumerate(part) if presence.actor.valid_until <= now}
        # A database that is away tells nobody anything either; what has changed is found with the next look.
        with suppress(DatabaseError):
            late.update(await self._actors.fallen([presence.actor for presence in part]))
        return [part[at] for at in sorted(late)]

    async def _renew(self, presence: Presence) -> None:
        try:
            with suppress(DatabaseError, IdentityUnavailable):
                presence.renew(await self._actors.actor(presence.token, fresh=True))
        except Exception as refusal:  # whatever it is, nobody vouches for them
            presence.end(refusal)
