"""Bearer tokens of directories: made once, shown once, kept as a hash; several live at once, so that they rotate.

A token opens one health system: it is looked up under the tenant that the address names, and nowhere else.
"""

import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import Invalid, NotFound
from domain.model import new_id
from domain.organization import Tenant, TenantState
from domain.plain_text import line
from domain.scim import ScimToken

READ, USERS, GROUPS = "read", "users", "groups"
SCOPES = (READ, USERS, GROUPS)
"""To read anything; to write users; to write groups. Who may write may read."""
PREFIX = "scim_"
A_YEAR = dt.timedelta(days=365)
LONGEST = dt.timedelta(days=730)
USED = dt.timedelta(minutes=1)
"""So exact is the note of a token's last use."""


@dataclass(frozen=True)
class Made:
    """A new token; its text is never to be had again."""

    id: uuid.UUID
    expires_at: dt.datetime
    text: str = field(repr=False)


@dataclass(frozen=True)
class Bearer:
    """Whose word a request is. With `secret` its cursors are sealed, so that they open with this token alone."""

    token_id: uuid.UUID
    scopes: frozenset[str]
    secret: bytes = field(repr=False)


async def make_token(
    session: AsyncSession,
    agent: Agent,
    name: str,
    *,
    scopes: Sequence[str] = SCOPES,
    lasts: dt.timedelta = A_YEAR,
) -> Made:
    """Make a token for a directory, called so. Raises Invalid (name, scopes, lasts)."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise Invalid(f"Scopes are some of {', '.join(SCOPES)}.", path=("scopes",))
    if not dt.timedelta(0) < lasts <= LONGEST:
        raise Invalid(f"A token lasts up to {LONGEST.days} days.", path=("lasts",))
    text = PREFIX + secrets.token_urlsafe(32)
    row = ScimToken(
        tenant_id=agent.tenant_id,
        id=new_id(),
        token_hash=_hash(text),
        name=line(name, "name"),
        scopes=sorted(set(scopes)),
        expires_at=agent.now + lasts,
        created_at=agent.now,
    )
    session.add(row)
    record(session, agent, "tenant:configure", row.id)
    await session.flush()
    return Made(row.id, row.expires_at, text)


async def tokens_of(session: AsyncSession, tenant_id: uuid.UUID) -> Sequence[ScimToken]:
    """All tokens of a health system, the revoked and expired ones too, newest first."""
    found = await session.scalars(
        select(ScimToken).where(ScimToken.tenant_id == tenant_id).order_by(ScimToken.id.desc())
    )
    return found.all()


async def revoke_token(session: AsyncSession, agent: Agent, token_id: uuid.UUID) -> None:
    """Refuse a token from the next request on. Repeating it is no error. Raises NotFound."""
    here = (ScimToken.tenant_id == agent.tenant_id, ScimToken.id == token_id)
    if await session.scalar(select(ScimToken.id).where(*here)) is None:
        raise NotFound("There is no such token.")
    await session.execute(
        update(ScimToken).where(*here, ScimToken.revoked_at.is_(None)).values(revoked_at=agent.now),
        execution_options={"synchronize_session": False},
    )
    record(session, agent, "tenant:configure", token_id)


async def bearer_of(
    session: AsyncSession, tenant_id: uuid.UUID, header: str | None, now: dt.datetime
) -> Bearer | None:
    """Whose word an `Authorization` header is; None for one that opens nothing here, whatever the reason."""
    scheme, _, text = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not text.startswith(PREFIX) or len(text) > 200:
        return None
    found = (
        await session.execute(
            select(ScimToken.id, ScimToken.scopes, ScimToken.last_used_at)
            .join(Tenant, Tenant.tenant_id == ScimToken.tenant_id)
            .where(
                Tenant.tenant_id == tenant_id,
                Tenant.state == TenantState.ACTIVE,
                ScimToken.tenant_id == tenant_id,
                ScimToken.token_hash == _hash(text.strip()),
                ScimToken.revoked_at.is_(None),
                ScimToken.expires_at > now,
            )
        )
    ).one_or_none()
    if found is None:
        return None
    if found.last_used_at is None or found.last_used_at < now - USED:
        await _note(session, tenant_id, found.id, now)
    return Bearer(found.id, frozenset(found.scopes), _hash(f"cursors of {text}"))


async def _note(
    session: AsyncSession, tenant_id: uuid.UUID, token_id: uuid.UUID, now: dt.datetime
) -> None:
    """Note the use, without waiting for another request that is just noting it."""
    stale = or_(ScimToken.last_used_at.is_(None), ScimToken.last_used_at < now - USED)
    here = (ScimToken.tenant_id == tenant_id, ScimToken.id == token_id)
    free = select(ScimToken.id).where(*here, stale).with_for_update(skip_locked=True)
    await session.execute(
        update(ScimToken)
        .where(*here, ScimToken.id.in_(free.scalar_subquery()))
        .values(last_used_at=now),
        execution_options={"synchronize_session": False},
    )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
