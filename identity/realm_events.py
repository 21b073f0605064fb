"""What was done inside Keycloak to people who are in, read from a realm's events and followed here.

Back-channel logout is the fast way; Keycloak sends none when a user is disabled or deleted, gets another password, or
when all of a realm are logged out. So both logs of a realm are read, again and again (`identity/watching.py`). What our
own account did there follows what was done here before, and is passed over. Everything may be followed twice: each
event says by its own time what it ends, so a cursor that lags behind misses nothing and ends nothing more.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
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
from identity.deferral import defer_end_sessions, defer_sync
from identity.keycloak import Json, Realm
from identity.keycloak_failures import NotFound
from identity.provisioning import deactivate_person
from identity.realms import SVC_IDENTITY
from identity.revocation import cut_everybody, note_end
from identity.sync import cell_session

log = logging.getLogger(__name__)

MARGIN = 120_000
"""Milliseconds of the past that are read again each time: clocks differ, and an event is seen when it is committed."""
KEPT_EVERY = 60_000
"""Milliseconds after which a cursor is written down though nothing has happened."""
PAGE = 100
OF_ADMINISTRATORS: Mapping[str, Any] = {
    "operationTypes": ["UPDATE", "DELETE", "ACTION"],
    "resourceTypes": ["USER", "USER_SESSION", "REALM"],
}
OF_USERS: Mapping[str, Any] = {"type": ["LOGOUT", "USER_DISABLED_BY_PERMANENT_LOCKOUT"]}


class Kind(Enum):
    """What may have ended."""

    SESSION = auto()
    LOGGED_OUT = auto()
    PASSWORD = auto()
    USER = auto()
    EVERYBODY = auto()
    REALM = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that may end access. `what`: the session's id or the user's; `at`: milliseconds since 1970, Keycloak's."""

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
    return Event(said["id"], said["time"], *found) if found else None


def of_user(said: Json) -> Event | None:
    """What an event of a user's own means to us, if anything."""
    if said.get("type") == "LOGOUT":
        sid = said.get("sessionId")
        return Event(said["id"], said["time"], Kind.SESSION, sid) if sid else None
    user = said.get("userId")
    return Event(said["id"], said["time"], Kind.USER, user) if user else None


async def follow(cell: AsyncEngine, realm: Realm, tenant_id: UUID, event: Event) -> None:
    """End here what has ended there. Safe to repeat. Raises KeycloakFailure and what the database raises."""
    agent = Agent(tenant_id=tenant_id, now=datetime.now(UTC))
    user = await _user(realm, event.what) if event.kind is Kind.USER else None
    not_before = await _not_before(realm) if event.kind is Kind.REALM else 0
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
            case Kind.EVERYBODY:
                await _everybody(session, agent, event.second)
            case Kind.REALM if not_before:
                # A token of that very second counts (OpenID Connect's `iat` against Keycloak's not-before).
                await _everybody(session, agent, not_before - 1)


async def _user(realm: Realm, subject: str) -> Json | None:
    try:
        return await realm.user(subject)
    except NotFound:
        return None


async def _not_before(realm: Realm) -> int:
    return int((await realm.read()).get("notBefore") or 0)


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
        self, cell: AsyncEngine, tenant_id: UUID, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._cell, self._tenant_id, self._clock = cell, tenant_id, clock
        self._cursor: int | None = None
        self._kept = 0
        self._seen: dict[str, int] = {}
        self._own: str | None = None

    async def look(self, realm: Realm, *, whole: bool = True) -> int:
        """Follow what has happened since the last look; how much that was. `realm` speaks as svc-identity.

        Without `whole` what users did themselves waits for another look: of that Keycloak announces what matters.
        Raises KeycloakFailure and what the database raises: then the next look begins where this one did.
        """
        begun = int(self._clock() * 1000)
        if self._cursor is None:
            self._kept = await self._stored() or 0
            self._cursor = self._kept or begun - MARGIN
        if self._own is None:
            self._own = str((await realm.find_user(f"service-account-{SVC_IDENTITY}") or {})["id"])
        happened = sorted(
            await self._happened(realm, self._cursor, whole), key=lambda event: event.at
        )
        failed: Exception | None = None
        for event in happened:
            try:
                await follow(self._cell, realm, self._tenant_id, event)
            except Exception as error:  # one that cannot be followed must not keep back the others
                failed = error
            else:
                self._seen[event.id] = event.at
        if failed is not None:
            raise failed
        cursor = max(self._cursor, begun - MARGIN)
        if happened or cursor - self._kept >= KEPT_EVERY:
            await self._store(cursor)
        self._cursor = cursor
        self._seen = {name: at for name, at in self._seen.items() if at >= cursor}
        return len(happened)

    async def _happened(self, realm: Realm, since: int, whole: bool) -> list[Event]:
        """Of a user who was changed ten times the last event: it is looked at as it is now."""
        found = [
            event
            async for said in realm.events("admin-events", since, PAGE, OF_ADMINISTRATORS)
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
    users: dict[str, Event] = {}
    for event in events:
        if event.kind is Kind.USER:
            users[event.what] = event
        else:
            yield event
    yield from users.values()
