"""Ending access. The order is always: deny here, then end sessions in Keycloak, then disable there.

Denying here is a row in the cell, looked at with every request, so it holds from the next request on whatever
Keycloak does or fails to do; the rest is done by jobs after the commit. Keycloak's back-channel logout is no ground
to stand on: it does not come when a user is disabled or deleted or a password is reset.
"""

import datetime as dt
import uuid
from collections.abc import Sequence

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import NotFound
from domain.logins import LoginSession, LogoutToken
from domain.organization import Tenant
from domain.people import Person, RevokedSession
from identity.deferral import defer_end_session, defer_end_sessions
from identity.tokens import LEEWAY, Logout

# A session lasts a day at most (realms.LONGEST_SESSION), even where Keycloak was never told of its end.
LONGEST = dt.timedelta(days=1)
KEPT = dt.timedelta(days=2)
MOST = 100
"""Sessions of one person that are listed."""


class Replayed(Exception):
    """A logout token came a second time (OpenID Connect Back-Channel Logout 1.0, section 2.6)."""


async def revoke_session(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, sid: str
) -> None:
    """Refuse every token of one session from the next request on. Repeating it is no error."""
    await _forget_ended(session, agent)
    await session.execute(_revoked(agent, sid))
    record(session, agent, "person:manage", person_id)
    await defer_end_session(session, agent.tenant_id, person_id, sid)


async def sessions_of(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID
) -> Sequence[LoginSession]:
    """The sessions of a person that may still open something, the latest first."""
    cut = (
        select(func.greatest(Person.tokens_valid_from, Tenant.tokens_valid_from))
        .join(Tenant, Tenant.tenant_id == Person.tenant_id)
        .where(
            Person.tenant_id == agent.tenant_id,
            Tenant.tenant_id == agent.tenant_id,
            Person.id == person_id,
        )
    )
    since = max(filter(None, (await session.scalar(cut), agent.now - LONGEST)))
    ended = exists().where(
        RevokedSession.tenant_id == agent.tenant_id, RevokedSession.sid == LoginSession.sid
    )
    found = await session.scalars(
        select(LoginSession)
        .where(
            LoginSession.tenant_id == agent.tenant_id,
            LoginSession.person_id == person_id,
            LoginSession.started_at > since,
            ~ended,
        )
        .order_by(LoginSession.started_at.desc(), LoginSession.id)
        .limit(MOST)
    )
    return found.all()


async def note_logout(session: AsyncSession, agent: Agent, logout: Logout) -> bool:
    """Refuse the tokens of what Keycloak announces to have ended; answers whether that was news.

    Raises Replayed for an announcement that was followed before.
    """
    await _take_once(session, agent, logout)
    return await note_end(session, agent, logout.subject, logout.session, logout.issued_at)


async def note_end(
    session: AsyncSession, agent: Agent, subject: str | None, sid: str | None, second: int
) -> bool:
    """Refuse the tokens of a session or, without one, of all sessions of a subject; answers whether that was news.

    Of a subject those that were issued no later than that second (since 1970). One of both is named.
    """
    person_id = await _whose(session, agent, subject, sid)
    if person_id is None and subject is not None:
        return False  # nobody of ours
    if sid is not None:
        await _forget_ended(session, agent)
        ended = _revoked(agent, sid).returning(RevokedSession.sid)
        news = await session.scalar(ended) is not None
    else:
        assert person_id is not None  # one of both is named
        news = await _cut_person(session, agent, person_id, second)
    if news:
        record(session, agent, "person:manage", *([person_id] if person_id else ()))
    return news


async def _whose(
    session: AsyncSession, agent: Agent, subject: str | None, sid: str | None
) -> uuid.UUID | None:
    """The person of the subject; where only a session is named, the one who came with it, if anybody has yet."""
    if subject is not None:
        query = select(Person.id).where(
            Person.tenant_id == agent.tenant_id, Person.subject == subject
        )
    else:
        query = select(LoginSession.person_id).where(
            LoginSession.tenant_id == agent.tenant_id, LoginSession.sid == sid
        )
    found: uuid.UUID | None = await session.scalar(query)
    return found


async def _take_once(session: AsyncSession, agent: Agent, logout: Logout) -> None:
    """Keep an announcement's id until it expires. Two at the same moment wait for each other here."""
    here = LogoutToken.tenant_id == agent.tenant_id
    await session.execute(
        delete(LogoutToken).where(here, LogoutToken.until < agent.now),
        execution_options={"synchronize_session": False},
    )
    until = dt.datetime.fromtimestamp(logout.expires_at + LEEWAY, dt.UTC)
    taken = (
        insert(LogoutToken)
        .values(tenant_id=agent.tenant_id, jti=logout.jti, until=until)
        .on_conflict_do_nothing()
        .returning(LogoutToken.jti)
    )
    if await session.scalar(taken) is None:
        raise Replayed()


async def _cut_person(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, second: int
) -> bool:
    cut = _end_of(second)
    found = await session.scalar(
        update(Person)
        .where(
            Person.tenant_id == agent.tenant_id,
            Person.id == person_id,
            or_(Person.tokens_valid_from.is_(None), Person.tokens_valid_from < cut),
        )
        .values(tokens_valid_from=cut, version=Person.version + 1, updated_at=agent.now)
        .returning(Person.id),
        execution_options={"synchronize_session": False},
    )
    return found is not None


async def revoke_sessions(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> None:
    """Refuse every token that a person holds now, on all devices. They may log in anew. Raises NotFound.

    Tokens carry whole seconds, so one issued in this very second is refused too.
    """
    found = await session.scalar(
        update(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id == person_id)
        .values(tokens_valid_from=agent.now, version=Person.version + 1, updated_at=agent.now)
        .returning(Person.id),
        execution_options={"synchronize_session": False},
    )
    if found is None:
        raise NotFound()
    record(session, agent, "person:manage", person_id)
    await defer_end_sessions(session, agent.tenant_id, person_id)


async def cut_everybody(session: AsyncSession, agent: Agent, second: int) -> bool:
    """Refuse everybody's tokens of that second (since 1970) and before: one row, however many people there are."""
    cut = _end_of(second)
    found = await session.scalar(
        update(Tenant)
        .where(
            Tenant.tenant_id == agent.tenant_id,
            or_(Tenant.tokens_valid_from.is_(None), Tenant.tokens_valid_from < cut),
        )
        .values(tokens_valid_from=cut, version=Tenant.version + 1, updated_at=agent.now)
        .returning(Tenant.tenant_id),
        execution_options={"synchronize_session": False},
    )
    return found is not None


def _end_of(second: int) -> dt.datetime:
    """Tokens carry whole seconds: those of a cut's own second are of before."""
    return dt.datetime.fromtimestamp(second, dt.UTC) + dt.timedelta(milliseconds=999)


def _revoked(agent: Agent, sid: str) -> Insert:
    return (
        insert(RevokedSession)
        .values(tenant_id=agent.tenant_id, sid=sid, until=agent.now + KEPT)
        .on_conflict_do_nothing()
    )


async def _forget_ended(session: AsyncSession, agent: Agent) -> None:
    """Remove the tenant's revoked sessions whose tokens have all expired, so that the table stays small."""
    await session.execute(
        delete(RevokedSession).where(
            RevokedSession.tenant_id == agent.tenant_id, RevokedSession.until < agent.now
        ),
        execution_options={"synchronize_session": False},
    )
