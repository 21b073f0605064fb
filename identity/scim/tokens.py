"""Bearer tokens of directories: made once, shown once, kept as a hash; several live at once, so that they rotate.

A token opens one health system: it is looked up under the tenant that the address names, and nowhere else.
"""

import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scim2_models import UnauthorizedException
from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import Invalid, NotFound
from domain.model import new_id
from domain.pipeline import Statement
from domain.plain_text import line
from domain.scim import ScimToken
from identity.scim.units import Unit, encoded

READ, USERS, GROUPS = "read", "users", "groups"
SCOPES = (READ, USERS, GROUPS)
"""To read anything; to write users; to write groups. Who may write may read."""
PREFIX = "scim_"
A_YEAR = dt.timedelta(days=365)
LONGEST = dt.timedelta(days=730)
A_WEEK = dt.timedelta(days=7)
LONGEST_OVERLAP = dt.timedelta(days=30)
USED = dt.timedelta(minutes=1)
"""So exact is the note of a token's last use."""


@dataclass(frozen=True)
class Made:
    """A new token; its text is never to be had again."""

    id: uuid.UUID
    expires_at: dt.datetime
    text: str = field(repr=False)


class TokenEnded(UnauthorizedException):
    """A token that opened something once; the answer is that of any other, the cause is for the sync page."""

    def __init__(self, token_id: uuid.UUID, cause: str) -> None:
        super().__init__()
        self.token_id = token_id
        self.cause = cause


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
    new: uuid.UUID | None = None,
) -> Made:
    """Make a token for a directory, called so; `new` is its id to be. Raises Invalid (name, scopes, lasts)."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise Invalid(f"Scopes are some of {', '.join(SCOPES)}.", path=("scopes",))
    if not dt.timedelta(0) < lasts <= LONGEST:
        raise Invalid(f"A token lasts up to {LONGEST.days} days.", path=("lasts",))
    text = PREFIX + secrets.token_urlsafe(32)
    row = ScimToken(
        tenant_id=agent.tenant_id,
        id=new or new_id(),
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


async def rotate_token(
    session: AsyncSession,
    agent: Agent,
    token_id: uuid.UUID,
    *,
    overlap: dt.timedelta = A_WEEK,
    lasts: dt.timedelta = A_YEAR,
    new: uuid.UUID | None = None,
) -> Made:
    """Make the successor of a token, of the same name and scopes; the old one opens for `overlap` more.

    Raises NotFound for a token that opens nothing any more, Invalid (overlap, lasts).
    """
    if not dt.timedelta(0) <= overlap <= LONGEST_OVERLAP:
        days = LONGEST_OVERLAP.days
        raise Invalid(f"The old token opens for up to {days} days more.", path=("overlap",))
    old = await session.scalar(
        select(ScimToken)
        .where(ScimToken.tenant_id == agent.tenant_id, ScimToken.id == token_id)
        .with_for_update(key_share=True)
    )
    if old is None or ended(old, agent.now) is not None:
        raise NotFound("There is no such token, or it has ended.", path=("id",))
    made = await make_token(session, agent, old.name, scopes=old.scopes, lasts=lasts, new=new)
    await _end(session, agent, token_id, agent.now + overlap)
    return made


async def revoke_token(session: AsyncSession, agent: Agent, token_id: uuid.UUID) -> None:
    """Refuse a token from the next request on. Repeating it is no error. Raises NotFound."""
    here = (ScimToken.tenant_id == agent.tenant_id, ScimToken.id == token_id)
    if await session.scalar(select(ScimToken.id).where(*here)) is None:
        raise NotFound("There is no such token.", path=("id",))
    await _end(session, agent, token_id, agent.now)


async def _end(
    session: AsyncSession, agent: Agent, token_id: uuid.UUID, moment: dt.datetime
) -> None:
    """Let a token end at this moment, unless it ends before."""
    later = or_(ScimToken.revoked_at.is_(None), ScimToken.revoked_at > moment)
    await session.execute(
        update(ScimToken)
        .where(ScimToken.tenant_id == agent.tenant_id, ScimToken.id == token_id, later)
        .values(revoked_at=moment),
        execution_options={"synchronize_session": False},
    )
    record(session, agent, "tenant:configure", token_id)


def ended(token: ScimToken | Row[Any], now: dt.datetime) -> str | None:
    """Why a token opens nothing any more, None for one that does."""
    return why_ended(token.revoked_at, token.expires_at, now=now)


def why_ended(
    revoked_at: dt.datetime | None, expires_at: dt.datetime | None, *, now: dt.datetime
) -> str | None:
    """As `ended`, of when a token ends."""
    if revoked_at is not None and revoked_at <= now:
        return "The token was revoked, or replaced by another."
    return "The token has expired." if expires_at is None or expires_at <= now else None


def digest_of(header: str | None) -> bytes | None:
    """The hash of the token in an `Authorization` header, None where there is none of ours."""
    text = _text_in(header)
    return None if text is None else _hash(text)


def _text_in(header: str | None) -> str | None:
    scheme, _, text = (header or "").strip().partition(" ")
    text = text.strip()
    ours = scheme.lower() == "bearer" and text.startswith(PREFIX) and len(text) <= 200
    return text if ours else None


_BEARER = """
select t.id, array_to_string(t.scopes, ' '), coalesce(t.last_used_at < $3::timestamptz, true), t.revoked_at, t.expires_at
from scim_token t join tenant n on n.tenant_id = t.tenant_id
where n.tenant_id = $1::uuid and n.state = 'active' and t.tenant_id = $1::uuid and t.token_hash = $2::bytea"""
_USED = """
update scim_token set last_used_at = $3::timestamptz
where tenant_id = $1::uuid and id in (
    select id from scim_token
    where tenant_id = $1::uuid and id = $2::uuid and (last_used_at is null or last_used_at < $4::timestamptz)
    for update skip locked)"""
"""Without waiting for another request that is just noting it."""


async def bearer_of(unit: Unit, header: str | None, now: dt.datetime) -> Bearer | None:
    """Whose word an `Authorization` header is; None for one that never opened anything here.

    Raises TokenEnded for one that did.
    """
    text = _text_in(header)
    if text is None:
        return None
    tenant, stale = encoded(unit.tenant_id), encoded(now - USED)
    (rows,) = await unit.run(Statement(_BEARER, (tenant, encoded(_hash(text)), stale)))
    if not rows:
        return None
    of, scopes, is_stale, *ends = [(value or b"").decode() for value in rows[0]]
    token_id = uuid.UUID(of)
    cause = why_ended(*(dt.datetime.fromisoformat(end) if end else None for end in ends), now=now)
    if cause is not None:
        raise TokenEnded(token_id, cause)
    if is_stale == "t":
        await unit.run(Statement(_USED, (tenant, encoded(token_id), encoded(now), stale)))
    return Bearer(token_id, frozenset(scopes.split()), _hash(f"cursors of {text}"))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
