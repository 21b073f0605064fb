"""Sessions of a health system's own issuer: opened by a code, kept by refresh tokens, told by access tokens.

OAuth 2.0 (RFC 6749) for public clients with PKCE (RFC 7636), as the realms have it: each refresh token is good once,
and one that comes again ends its session (RFC 9700, section 4.14.2). What a session may do is not said here: its
tokens are verified as all others are, and the row of the person decides at each request.
"""

import base64
import datetime as dt
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from uuid import UUID

import orjson
from joserfc import jws
from joserfc.jwk import ECKey
from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.direct_logins import DirectSession, KeyPurpose
from domain.identity_providers import IdentityProvider, ProviderState
from domain.model import new_id
from domain.organization import Tenant, TenantState
from domain.people import Person, RevokedSession
from domain.sealing import TenantKeys
from identity.direct.keys import signing
from identity.revocation import revoke_session
from identity.tokens import AUDIENCE, Issuer

LIVES = 300
"""Seconds that an access token is good for, as the realms' are."""
REDEEMED = dt.timedelta(seconds=60)


@dataclass(frozen=True)
class Tokens:
    """What a portal is given."""

    access: str
    refresh: str


def drawn(session_id: UUID) -> tuple[str, bytes]:
    """A code or refresh token for a session, and the hash of it that is kept."""
    token = f"{session_id.hex}.{secrets.token_urlsafe(32)}"
    return token, _hash(token)


async def redeem(
    session: AsyncSession,
    agent: Agent,
    keys: TenantKeys,
    issuer: Issuer,
    *,
    client: str,
    code: str,
    redirect_uri: str,
    verifier: str,
) -> Tokens | None:
    """The first tokens of a session, for its code: once, within a minute, by whoever asked for it; None for others.

    A code that comes a second time ends the session (RFC 6749, section 4.1.2), so the caller commits in any case.
    """
    found = await _locked(session, agent, client, code)
    if found is None:
        return None
    if found.code_hash is None:
        await _end(session, agent, found)
        return None
    good = (
        hmac.compare_digest(found.code_hash, _hash(code))
        and found.redirect_uri == redirect_uri
        and _fits(verifier, found.challenge)
        and agent.now < found.used_at + REDEEMED
    )
    if not good:
        return None
    found.code_hash = None
    return await _tokens(session, agent, keys, issuer, found)


async def refresh(
    session: AsyncSession,
    agent: Agent,
    keys: TenantKeys,
    issuer: Issuer,
    *,
    client: str,
    token: str,
) -> Tokens | None:
    """New tokens for a refresh token, which is good once; one that comes again ends its session, and None is answered.

    The caller commits in any case.
    """
    found = await _locked(session, agent, client, token)
    if found is None:
        return None
    if not _is_present(found, token):
        await _end(session, agent, found)
        return None
    return await _tokens(session, agent, keys, issuer, found)


async def end(session: AsyncSession, agent: Agent, client: str, token: str) -> DirectSession | None:
    """End a session by its refresh token; answers it, or None for a token that was not its last."""
    found = await _locked(session, agent, client, token)
    if found is None:
        return None
    await _end(session, agent, found)
    return found if _is_present(found, token) else None


async def end_named(
    session: AsyncSession,
    agent: Agent,
    provider_id: UUID,
    name_id: str,
    indexes: frozenset[str],
) -> int:
    """End the sessions that a provider ends: those of its indexes, or all of somebody. Answers how many."""
    found = await session.scalars(
        select(DirectSession)
        .where(
            DirectSession.tenant_id == agent.tenant_id,
            DirectSession.identity_provider_id == provider_id,
            DirectSession.name_id == name_id,
            *([DirectSession.provider_session.in_(indexes)] if indexes else []),
        )
        .with_for_update()
    )
    ended = found.all()
    for one in ended:
        await _end(session, agent, one)
    return len(ended)


async def _end(session: AsyncSession, agent: Agent, found: DirectSession) -> None:
    await revoke_session(session, agent, found.person_id, str(found.id))


async def _locked(
    session: AsyncSession, agent: Agent, client: str, token: str
) -> DirectSession | None:
    """The session that a code or token names, locked; only one whose person may still come in."""
    try:
        named = UUID(token.partition(".")[0])
    except ValueError:
        return None
    found = await session.scalar(
        select(DirectSession)
        .where(
            DirectSession.tenant_id == agent.tenant_id,
            DirectSession.id == named,
            DirectSession.client == client,
        )
        .with_for_update()
    )
    if found is None or not await _stands(session, agent, found):
        return None
    return found


def _is_present(found: DirectSession, token: str) -> bool:
    kept = found.refresh_hash
    return kept is not None and hmac.compare_digest(kept, _hash(token))


async def _stands(session: AsyncSession, agent: Agent, found: DirectSession) -> bool:
    """Whether a session was neither ended nor left alone for too long, and all that it hangs on is open."""
    ended = exists().where(
        RevokedSession.tenant_id == agent.tenant_id, RevokedSession.sid == str(found.id)
    )
    row = (
        await session.execute(
            select(
                Tenant.session_idle,
                func.greatest(Person.tokens_valid_from, Tenant.tokens_valid_from).label("cut"),
            )
            .select_from(Person)
            .join(Tenant, Tenant.tenant_id == Person.tenant_id)
            .join(IdentityProvider, IdentityProvider.tenant_id == Person.tenant_id)
            .where(
                Person.tenant_id == agent.tenant_id,
                Tenant.tenant_id == agent.tenant_id,
                IdentityProvider.tenant_id == agent.tenant_id,
                Person.id == found.person_id,
                Person.active,
                Tenant.state == TenantState.ACTIVE,
                IdentityProvider.id == found.identity_provider_id,
                IdentityProvider.state == ProviderState.ACTIVE,
                ~ended,
            )
        )
    ).one_or_none()
    if row is None or (row.cut is not None and found.authenticated_at <= row.cut):
        return False
    return agent.now < min(found.ends_at, found.used_at + dt.timedelta(seconds=row.session_idle))


async def _tokens(
    session: AsyncSession, agent: Agent, keys: TenantKeys, issuer: Issuer, found: DirectSession
) -> Tokens:
    refresh_token, found.refresh_hash = drawn(found.id)
    found.used_at = agent.now
    await session.flush()
    signer = await signing(session, agent, keys, KeyPurpose.TOKENS)
    issued = int(agent.now.timestamp())
    claims = {
        "iss": issuer.issuer,
        "sub": str(found.person_id),
        "sid": str(found.id),
        "azp": found.client,
        "aud": AUDIENCE,
        "typ": "Bearer",
        "iat": issued,
        "exp": min(issued + LIVES, int(found.ends_at.timestamp())),
        "auth_time": int(found.authenticated_at.timestamp()),
        "jti": str(new_id()),
        "acr": "1",
        "amr": ["fed"],
        "tenant_id": str(agent.tenant_id),
        "idp": str(found.identity_provider_id),
    }
    header = {"alg": "ES256", "typ": "JWT", "kid": signer.key_id}
    key = ECKey.import_key(signer.private)
    access = jws.serialize_compact(header, orjson.dumps(claims), key, algorithms=["ES256"])
    return Tokens(access, refresh_token)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _fits(verifier: str, challenge: str) -> bool:
    """Whether the verifier is the one of a challenge (RFC 7636, section 4.6, S256)."""
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(made, challenge)
