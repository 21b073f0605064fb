"""What was done inside Keycloak to people who are in, read from a realm's events and followed here.

Back-channel logout is the fast way; Keycloak sends none when a user is disabled or deleted, gets another password,
when all of a realm are logged out, or the realm or a portal's client is closed. So both logs of a realm are read, again
and again (`identity/watching.py`). What our own account did there follows what was done here before, and is passed over.
Everything may be followed twice: each event says by its own time what it ends, so a cursor that lags behind misses
nothing and ends nothing more.

A realm that is disabled gives its own accounts no tokens either: then the provisioning client reads on.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, record
from domain.logins import RealmCursor
from domain.people import Person, touch
from identity.administrators import LastAdministrator
from identity.announced_keys import announce, key_set_of
from identity.deferral import defer_end_sessions, defer_sync
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Denied, NotFound
from identity.provisioning import deactivate_person
from identity.realms import SVC_IDENTITY
from identity.revocation import cut_everybody, note_end
from identity.sync import cell_session
from identity.tokens import CLIENTS

log = logging.getLogger(__name__)

MARGIN = 120_000
"""Milliseconds of the past that are read again each time: clocks differ, and an event is seen when it is committed."""
NEAR = 45_000
"""The same for a look that has to be cheap: clocks that agree within 30 s, and 15 s for a commit."""
KEPT_EVERY = 60_000
"""Milliseconds after which a cursor is written down though nothing has happened."""
PAGE = 100
OF_ADMINISTRATORS: Mapping[str, Any] = {
    "operationTypes": ["UPDATE", "DELETE", "ACTION"],
    "resourceTypes": ["USER", "USER_SESSION", "REALM", "CLIENT", "COMPONENT"],
}
MADE: Mapping[str, Any] = {"operationTypes": ["CREATE", *OF_ADMINISTRATORS["operationTypes"]]}
"""With what was made there: keys. A directory has many users made, so not every look asks for these."""
OF_USERS: Mapping[str, Any] = {"type": ["LOGOUT", "USER_DISABLED_BY_PERMANENT_LOCKOUT"]}


class Kind(Enum):
    """What may have ended."""

    SESSION = auto()
    LOGGED_OUT = auto()
    PASSWORD = auto()
    USER = auto()
    EVERYBODY = auto()
    REALM = auto()
    CLIENT = auto()
    KEYS = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that may end access, or a change of keys. `what`: an id of a session, user or client; `at`: milliseconds since 1970, Keycloak's."""

    id: str
    at: int
    kind: Kind
    what: str = ""

    @property
    def second(self) -> int:
        """As tokens count time."""
        return self.at // 1000


def of_administrator(said: Json) -> Event | None:
    """What an event of Keycloak's administration means to us, if anything."""
    path = str(said.get("resourcePath") or "").split("/")
    found: tuple[Kind, str] | None = None
    match said.get("resourceType"), said.get("operationType"), path:
        case "USER_SESSION", "DELETE", ["sessions", sid]:
            found = Kind.SESSION, sid
        case "USER", "UPDATE" | "DELETE", ["users", user]:
            found = Kind.USER, user
        case "USER", "ACTION", ["users", user, "logout"]:
            found = Kind.LOGGED_OUT, user
        case "USER", "ACTION", ["users", user, "reset-password"]:
            found = Kind.PASSWORD, user
        case "REALM", "ACTION", ["logout-all"]:
            found = Kind.EVERYBODY, ""
        case "REALM", "UPDATE", [""]:
            found = Kind.REALM, ""
        case "CLIENT", "UPDATE" | "DELETE", ["clients", client]:
            found = Kind.CLIENT, client
        case "COMPONENT", _, ["components", _]:
            found = Kind.KEYS, ""
    return Event(said["id"], said["time"], *found) if found else None


def of_user(said: Json) -> Event | None:
    """What an event of a user's own means to us, if anything."""
    if said.get("type") == "LOGOUT":
        sid = said.get("sessionId")
        return Event(said["id"], said["time"], Kind.SESSION, sid) if sid else None
    user = said.get("userId")
    return Event(said["id"], said["time"], Kind.USER, user) if user else None


Console = Callable[[], Awaitable[Realm]]
"""The realm as the provisioning client sees it: whatever became of it, and its clients, which our own account cannot."""


async def follow(
    cell: AsyncEngine, realm: Realm, console: Console, tenant_id: UUID, event: Event
) -> None:
    """End here what has ended there. Safe to repeat. Raises KeycloakFailure and what the database raises."""
    agent = Agent(tenant_id=tenant_id, now=datetime.now(UTC))
    user = await _user(realm, event.what) if event.kind is Kind.USER else None
    keys = await key_set_of(realm) if event.kind is Kind.KEYS else ""
    everybody = await _everybodys_end(realm, console, event)
    async with cell_session(cell, tenant_id) as session:
        match event.kind:
            case Kind.SESSION:
                await note_end(session, agent, None, event.what, event.second)
            case Kind.LOGGED_OUT:
                await note_end(session, agent, event.what, None, event.second)
            case Kind.PASSWORD:
                # Keycloak ends nothing by it: who has a refresh token would go on.
                if await note_end(session, agent, event.what, None, event.second):
                    await _end_there(session, agent, event.what)
            case Kind.USER:
                await _as_the_user(session, agent, event, user)
            case Kind.KEYS:
                until = datetime.fromtimestamp((event.at - MARGIN) / 1000, UTC)
                await announce(session, tenant_id, keys, until)
            case _ if everybody:
                await _everybody(session, agent, everybody)


async def _user(realm: Realm, subject: str) -> Json | None:
    try:
        return await realm.user(subject)
    except NotFound:
        return None


async def _everybodys_end(realm: Realm, console: Console, event: Event) -> int:
    """The last second (since 1970) whose tokens everybody loses by an event; 0 where they lose none."""
    match event.kind:
        case Kind.EVERYBODY:
            return event.second
        case Kind.REALM:
            return _closed_by(await realm.read(), event.second)
        case Kind.CLIENT:
            return event.second if await _closes_a_portal(await console(), event.what) else 0
    return 0


def _closed_by(realm: Json, second: int) -> int:
    if not realm["enabled"]:
        return second
    # A token of that very second counts (OpenID Connect's `iat` against Keycloak's not-before).
    return max(int(realm.get("notBefore") or 0) - 1, 0)


async def _closes_a_portal(console: Realm, changed: str) -> bool:
    """Whether a change of a client, or its end, was that of a portal.

    Then everybody's tokens are cut: who came by the other portal, or may come by this one again, has theirs renewed.
    """
    clients = {client["id"]: client for client in await console.clients()}
    if changed in clients:
        client = clients[changed]
        return client["clientId"] in CLIENTS and not client["enabled"]
    return not CLIENTS.issubset(client["clientId"] for client in clients.values())


async def _everybody(session: AsyncSession, agent: Agent, second: int) -> None:
    if await cut_everybody(session, agent, second):
        record(session, agent, "tenant:configure", agent.tenant_id)


async def _person(session: AsyncSession, agent: Agent, subject: str) -> Person | None:
    query = select(Person).where(Person.tenant_id == agent.tenant_id, Person.subject == subject)
    found: Person | None = await session.scalar(query)
    return found


async def _end_there(session: AsyncSession, agent: Agent, subject: str) -> None:
    person = await _person(session, agent, subject)
    if person is not None:
        await defer_end_sessions(session, agent.tenant_id, person.id)


async def _as_the_user(
    session: AsyncSession, agent: Agent, event: Event, user: Json | None
) -> None:
    """Shut out whom somebody has disabled or removed there; without it the next job would let them in again."""
    person = await _person(session, agent, event.what)
    if person is None:  # nobody of ours, or somebody who is another user by now
        return
    enabled = user is not None and bool(user["enabled"])
    if enabled == person.active:
        return
    if enabled:  # who may come in is said here
        await defer_sync(session, agent.tenant_id, [person.id])
        return
    try:
        await deactivate_person(session, agent, person.id)
        await touch(session, agent, person.id, shut_out=True)  # no directory lets them in again
    except LastAdministrator:
        log.warning(
            "The last administrator's user was disabled in Keycloak: sessions end, no more."
        )
        if not await note_end(session, agent, event.what, None, event.second):
            return
    await defer_end_sessions(session, agent.tenant_id, person.id)


class Reader:
    """Reads one realm's events from where it stopped. For one event loop."""

    def __init__(
        self,
        cell: AsyncEngine,
        tenant_id: UUID,
        console: Console,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cell, self._tenant_id, self._console, self._clock = cell, tenant_id, console, clock
        self._cursor: int | None = None
        self._kept = self._read = 0
        self._seen: dict[str, int] = {}
        self._own = ""
        self._gone = False

    async def look(self, realm: Realm, *, whole: bool = True) -> int:
        """Follow what has happened since the last look; how much that was. `realm` speaks as svc-identity.

        Without `whole` what users did themselves waits for another look (of that Keycloak announces what matters), and
        so does what was committed late. Raises KeycloakFailure and what the database raises: then the next look begins
        where this one did.
        """
        try:
            found = await self._look(realm, whole=whole)
        except (Denied, NotFound):
            found = await self._look_from_outside()
        self._gone = False
        return found

    async def _look_from_outside(self) -> int:
        """Look at a realm that lets our own account in no more; where there is none, nobody is of it any more."""
        outside = await self._console()
        try:
            return await self._look(outside, whole=True)
        except NotFound:
            if not self._gone:
                agent = Agent(tenant_id=self._tenant_id, now=datetime.now(UTC))
                async with cell_session(self._cell, self._tenant_id) as session:
                    await _everybody(session, agent, int(self._clock()))
                self._gone = True
            raise

    async def _look(self, realm: Realm, *, whole: bool) -> int:
        begun = int(self._clock() * 1000)
        if self._cursor is None:
            self._kept = await self._stored() or 0
            self._cursor = self._kept or begun - MARGIN
        if not self._own:
            account = await realm.find_user(f"service-account-{SVC_IDENTITY}")
            self._own = str(account["id"]) if account else ""
        since = self._cursor if whole else max(self._cursor, self._read - NEAR)
        happened = sorted(await self._happened(realm, since, whole), key=lambda event: event.at)
        failed: Exception | None = None
        for event in happened:
            try:
                await follow(self._cell, realm, self._console, self._tenant_id, event)
            except Exception as error:  # one that cannot be followed must not keep back the others
                failed = error
            else:
                self._seen[event.id] = event.at
        if failed is not None:
            raise failed
        cursor = max(self._cursor, begun - MARGIN)
        if happened or cursor - self._kept >= KEPT_EVERY:
            await self._store(cursor)
        self._cursor, self._read = cursor, begun
        self._seen = {name: at for name, at in self._seen.items() if at >= cursor}
        return len(happened)

    async def _happened(self, realm: Realm, since: int, whole: bool) -> list[Event]:
        """Of a user who was changed ten times the last event: it is looked at as it is now."""
        kinds = {**OF_ADMINISTRATORS, **(MADE if whole else {})}
        found = [
            event
            async for said in realm.events("admin-events", since, PAGE, kinds)
            if (said.get("authDetails") or {}).get("userId") != self._own
            and (event := of_administrator(said)) is not None
        ]
        if whole:
            found += [
                event
                async for said in realm.events("events", since, PAGE, OF_USERS)
                if (event := of_user(said)) is not None
            ]
        return list(_last_of_each(event for event in found if event.id not in self._seen))

    async def _stored(self) -> int | None:
        async with cell_session(self._cell, self._tenant_id) as session:
            query = select(RealmCursor.read_until).where(RealmCursor.tenant_id == self._tenant_id)
            found: datetime | None = await session.scalar(query)
        return int(found.timestamp() * 1000) if found else None

    async def _store(self, cursor: int) -> None:
        until = {"read_until": datetime.fromtimestamp(cursor / 1000, UTC)}
        row = insert(RealmCursor).values(tenant_id=self._tenant_id, **until)
        async with cell_session(self._cell, self._tenant_id) as session:
            await session.execute(
                row.on_conflict_do_update(index_elements=["tenant_id"], set_=until)
            )
        self._kept = cursor


def _last_of_each(events: Iterator[Event]) -> Iterator[Event]:
    last: dict[tuple[Kind, str], Event] = {}
    for event in events:
        if event.kind in (Kind.USER, Kind.KEYS):
            last[event.kind, event.what] = event
        else:
            yield event
    yield from last.values()
