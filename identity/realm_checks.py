"""A realm compared with the people of its health system, both ways: each night, and when somebody asks for it.

What is ours to say is repaired, by the same job that follows a change of the person: users that are missing, called
otherwise, let in or shut out against our word, or asked for a second factor otherwise. What is not ours is only told:
users whom nobody here is, and second users of one person; somebody may have made them by hand for a reason, and their
tokens open nothing here.

Cheap: users come a hundred at a time, with a pause, and nothing is held open meanwhile. People who change while it runs
have jobs of their own and are left out.
"""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from authz.grants import SECOND_FACTOR
from domain.audit import Agent, record
from domain.errors import Invalid
from domain.model import any_of, new_id
from domain.organization import MfaPolicy, Tenant, TenantState
from domain.people import Person, RoleGrant
from domain.realms import PersonSync, RealmCheck
from domain.setup import SOURCE as SETUP
from identity.administrators import lock_offices
from identity.deferral import defer_check_realm, defer_sync
from identity.keycloak import Json, Realm
from identity.mfa import MfaRule, is_marked, rule_of
from identity.realms import MARKER
from identity.sync import cell_session

PAGE = 100
PAUSE = 0.1
"""Seconds between pages: at most a thousand users a second, of which Keycloak feels little."""
TOLD = 300
KEPT = dt.timedelta(days=90)
LONGEST = dt.timedelta(hours=1)
"""After so long a comparison that has not ended keeps nobody from asking for another."""
_SERVICE = "service-account-"


class Drift(StrEnum):
    """How a realm can differ. The last two are told and not repaired."""

    MISSING = "MISSING"
    DIFFERS = "DIFFERS"
    LET_IN = "LET_IN"
    SHUT_OUT = "SHUT_OUT"
    SECOND_FACTOR = "SECOND_FACTOR"
    UNLINKED = "UNLINKED"
    SECOND_USER = "SECOND_USER"
    STRANGER = "STRANGER"


OURS = frozenset(Drift) - {Drift.SECOND_USER, Drift.STRANGER}


class CheckUnderWay(Invalid):
    """The realm is being compared already."""

    code = "CHECK_UNDER_WAY"

    def __init__(self) -> None:
        super().__init__(
            "The realm is being compared already: its report will come.", code=self.code
        )


@dataclass
class Check:
    """A comparison under way."""

    tenant_id: UUID
    started_at: dt.datetime
    rule: MfaRule
    marked: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    people: int = 0
    users: int = 0
    repaired: int = 0
    findings: list[str] = field(default_factory=list)
    counts: Counter[Drift] = field(default_factory=Counter)

    def found(self, kind: Drift, person: UUID | None, user: str | None) -> None:
        """Keep a difference."""
        self.counts[kind] += 1
        if len(self.findings) < TOLD:
            about = (("person", person), ("user", user))
            told = " ".join(f"{what} {id_}" for what, id_ in about if id_ is not None)
            self.findings.append(f"{kind} {told}")


async def ask_check(session: AsyncSession, agent: Agent, check_id: UUID | None = None) -> UUID:
    """Have the realm compared once the caller's transaction is committed; its report has this id.

    Raises CheckUnderWay where another was asked for within the hour and has not ended.
    """
    await lock_offices(session, agent)  # of two who ask at once one is the first
    under_way = select(RealmCheck.id).where(
        RealmCheck.tenant_id == agent.tenant_id,
        RealmCheck.started_at > agent.now - LONGEST,
        RealmCheck.finished_at.is_(None),
    )
    if await session.scalar(under_way.limit(1)) is not None:
        raise CheckUnderWay()
    asked = RealmCheck(
        tenant_id=agent.tenant_id, id=check_id or new_id(), started_at=agent.now, findings=[]
    )
    session.add(asked)
    record(session, agent, "tenant:configure", asked.id)
    await session.flush()
    await defer_check_realm(session, agent.tenant_id, asked.id)
    return asked.id


async def check_realm(
    cell: AsyncEngine,
    realm: Realm,
    tenant_id: UUID,
    check_id: UUID | None = None,
    *,
    page: int = PAGE,
    pause: float = PAUSE,
) -> Check | None:
    """Compare, let repairs follow, keep the report. `realm` speaks as svc-identity. Safe to repeat.

    So many users come on a `page`, with a `pause` of so many seconds between two. `check_id` is of a report that was
    asked for (`ask_check`).

    None for a health system that is suspended: its realm answers nobody. Raises KeycloakFailure.
    """
    async with cell_session(cell, tenant_id) as session:
        tenant = await session.get(Tenant, tenant_id)
        now = await session.scalar(select(func.now()))
    if tenant is None or tenant.state != TenantState.ACTIVE:
        return None
    assert now is not None
    check = Check(tenant_id, now, rule_of(tenant))
    if check.rule.of_realm is MfaPolicy.ADMINS:
        async for some in _pages(realm, f"roles/{MARKER}/users", page, pause):
            check.marked.update(str(user["id"]) for user in some)
    async for some in _pages(realm, "users", page, pause, briefRepresentation="false"):
        await _of_users(cell, check, some)
    await _of_people(cell, check)
    await _keep(cell, check, check_id)
    return check


async def _pages(
    realm: Realm, path: str, page: int, pause: float, **query: str
) -> AsyncIterator[list[Json]]:
    first = 0
    while True:
        some = await realm.get(path, first=str(first), max=str(page), **query)
        if some:
            yield list(some)
        if len(some) < page:
            return
        first += page
        await asyncio.sleep(pause)


async def _of_users(cell: AsyncEngine, check: Check, users: list[Json]) -> None:
    """Compare a page of the realm's users with the people whom they say they are."""
    mine = [user for user in users if not str(user["username"]).startswith(_SERVICE)]
    check.users += len(mine)
    check.seen.update(str(user["id"]) for user in mine)
    claimed = {str(user["id"]): _person_id(user) for user in mine}
    async with cell_session(cell, check.tenant_id) as session:
        found = await _people(session, check, claimed)
        held = await _grants(session, check, found)
        by_subject = {row.subject: row for row in found if row.subject is not None}
        by_id = {row.id: row for row in found}
        repairs: set[UUID] = set()
        for user in mine:
            user_id = str(user["id"])
            person_id = claimed[user_id]
            person = by_subject.get(user_id) or (by_id.get(person_id) if person_id else None)
            if person is None:
                check.found(Drift.STRANGER, None, user_id)
            elif person.updated_at <= check.started_at:
                for kind in _drift(check, user, person, held.get(person.id, ())):
                    check.found(kind, person.id, user_id)
                    if kind in OURS:
                        repairs.add(person.id)
        await _repair(session, check, repairs)


def _person_id(user: Json) -> UUID | None:
    told = user.get("attributes", {}).get("person_id") or [""]
    try:
        return UUID(str(told[0]))
    except ValueError:
        return None


async def _people(
    session: AsyncSession, check: Check, claimed: dict[str, UUID | None]
) -> list[Person]:
    """The people of these users."""
    found = await session.scalars(
        select(Person).where(
            Person.tenant_id == check.tenant_id,
            or_(
                Person.id == any_of(filter(None, claimed.values())),
                Person.subject.in_(list(claimed)),
            ),
        )
    )
    return list(found)


async def _grants(
    session: AsyncSession, check: Check, people: Iterable[Person]
) -> dict[UUID, list[RoleGrant]]:
    """All that these people ever held of what asks for a second factor."""
    out: dict[UUID, list[RoleGrant]] = {}
    for grant in await session.scalars(
        select(RoleGrant).where(
            RoleGrant.tenant_id == check.tenant_id,
            RoleGrant.person_id == any_of(person.id for person in people),
            RoleGrant.role.in_(SECOND_FACTOR),
        )
    ):
        out.setdefault(grant.person_id, []).append(grant)
    return out


def _drift(check: Check, user: Json, person: Person, held: Iterable[RoleGrant]) -> Iterable[Drift]:
    user_id = str(user["id"])
    if person.subject is None or _person_id(user) != person.id:
        yield Drift.UNLINKED
    elif person.subject != user_id:
        yield Drift.SECOND_USER
        return
    if user["enabled"] and not person.active:
        yield Drift.LET_IN
    if person.active and not user["enabled"]:
        yield Drift.SHUT_OUT
    names = (person.user_name.lower(), person.given_name, person.family_name, person.email or "")
    told = ("username", "firstName", "lastName", "email")
    if tuple(user.get(name) or "" for name in told) != names:
        yield Drift.DIFFERS
    asked = person.active and is_marked(check.rule, person, held, check.started_at)
    if (user_id in check.marked) != asked:
        yield Drift.SECOND_FACTOR


async def _of_people(cell: AsyncEngine, check: Check) -> None:
    """Find the people who should have a user and were seen with none."""
    last = UUID(int=0)
    while True:
        async with cell_session(cell, check.tenant_id) as session:
            rows = (
                await session.execute(
                    select(Person.id, Person.subject, Person.active, Person.updated_at)
                    .where(
                        Person.tenant_id == check.tenant_id,
                        Person.id > last,
                        Person.source != SETUP,  # they come by their link, not by the realm
                    )
                    .order_by(Person.id)
                    .limit(10 * PAGE)
                )
            ).all()
            if not rows:
                return
            last = rows[-1].id
            check.people += len(rows)
            missing = {
                row.id
                for row in rows
                if row.active
                and row.subject not in check.seen
                and row.updated_at <= check.started_at
            }
            for person_id in sorted(missing):
                check.found(Drift.MISSING, person_id, None)
            await _repair(session, check, missing)


async def _repair(session: AsyncSession, check: Check, people: set[UUID]) -> None:
    """Let the usual job bring them up to date; until it has, they are not synced."""
    if not people:
        return
    check.repaired += len(people)
    await session.execute(
        update(PersonSync)
        .where(PersonSync.tenant_id == check.tenant_id, PersonSync.person_id == any_of(people))
        .values(digest=None),
        execution_options={"synchronize_session": False},
    )
    await defer_sync(session, check.tenant_id, sorted(people))


async def _keep(cell: AsyncEngine, check: Check, check_id: UUID | None) -> None:
    """Keep the report, its counts first; forget those of long ago."""
    counts = [f"{kind} {number}" for kind, number in sorted(check.counts.items())]
    told = {
        "finished_at": dt.datetime.now(dt.UTC),
        "people": check.people,
        "users": check.users,
        "repaired": check.repaired,
        "findings": [*counts, *check.findings],
    }
    key = {"tenant_id": check.tenant_id, "id": check_id or new_id()}
    made = insert(RealmCheck).values(**key, started_at=check.started_at, **told)
    async with cell_session(cell, check.tenant_id) as session:
        await session.execute(
            made.on_conflict_do_update(index_elements=["tenant_id", "id"], set_=told)
        )
        await session.execute(
            delete(RealmCheck).where(
                RealmCheck.tenant_id == check.tenant_id,
                RealmCheck.started_at < check.started_at - KEPT,
            ),
            execution_options={"synchronize_session": False},
        )
