"""Keys of a health system's own: for the tokens of its issuer (ES256), and for messages to its providers (RSA).

The private halves lie sealed with the health system's key. A key for tokens is replaced after three months; its
predecessor stays published until everything that it signed has long expired.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain import locks
from domain.audit import Agent
from domain.direct_logins import KeyPurpose, SigningKey
from domain.model import new_id
from domain.sealing import TenantKeys
from identity.errors import IdentityUnavailable
from identity.sync import cell_session

PRIVATE = "signing_key.private_sealed"
RENEWED = dt.timedelta(days=90)
KEPT = dt.timedelta(days=2)
"""How long a key that no longer signs is published: its tokens live for minutes."""
CERTIFIED = dt.timedelta(days=3650)


@dataclass(frozen=True)
class Signing:
    """A key to sign with. `private` is PEM."""

    key_id: str
    public: str
    private: bytes


async def signing(
    session: AsyncSession, agent: Agent, keys: TenantKeys, purpose: KeyPurpose
) -> Signing:
    """The present key, made where there is none or it has served its time."""
    found = await _newest(session, agent, purpose)
    if found is None or _is_over(found, agent):
        await locks.hold(session, "signing-key", agent.tenant_id, purpose.value)
        found = await _newest(session, agent, purpose)
    if found is None or _is_over(found, agent):
        await _forget(session, agent, purpose)
        found = await _made(session, agent, keys, purpose)
    return Signing(str(found.id), found.public, keys.open(PRIVATE, found.id, found.private_sealed))


async def published(
    session: AsyncSession, tenant_id: UUID, purpose: KeyPurpose
) -> list[SigningKey]:
    """Every key of a purpose that may be met, the newest first."""
    found = await session.scalars(
        select(SigningKey)
        .where(SigningKey.tenant_id == tenant_id, SigningKey.purpose == purpose.value)
        .order_by(SigningKey.created_at.desc(), SigningKey.id)
    )
    return list(found)


async def _newest(session: AsyncSession, agent: Agent, purpose: KeyPurpose) -> SigningKey | None:
    return next(iter(await published(session, agent.tenant_id, purpose)), None)


def _is_over(key: SigningKey, agent: Agent) -> bool:
    """Providers are told the certificate by hand, so theirs is never replaced by itself."""
    return key.purpose == KeyPurpose.TOKENS and key.created_at < agent.now - RENEWED


async def _forget(session: AsyncSession, agent: Agent, purpose: KeyPurpose) -> None:
    await session.execute(
        delete(SigningKey).where(
            SigningKey.tenant_id == agent.tenant_id,
            SigningKey.purpose == purpose.value,
            SigningKey.created_at < agent.now - RENEWED - KEPT,
        ),
        execution_options={"synchronize_session": False},
    )


async def _made(
    session: AsyncSession, agent: Agent, keys: TenantKeys, purpose: KeyPurpose
) -> SigningKey:
    made = new_id()
    drawn = _curve if purpose is KeyPurpose.TOKENS else _certified
    public, private = await asyncio.to_thread(drawn, made, agent.now)
    row = SigningKey(
        tenant_id=agent.tenant_id,
        id=made,
        purpose=purpose.value,
        public=public,
        private_sealed=keys.seal(PRIVATE, made, private),
        created_at=agent.now,
    )
    session.add(row)
    await session.flush()
    return row


def _curve(key_id: UUID, _: dt.datetime) -> tuple[str, bytes]:
    key = ECKey.generate_key("P-256")
    jwk = {**key.as_dict(private=False), "kid": str(key_id), "use": "sig", "alg": "ES256"}
    return orjson.dumps(jwk).decode(), key.as_pem(private=True)


def _certified(_: UUID, now: dt.datetime) -> tuple[str, bytes]:
    """An RSA key, which every provider can verify, in a certificate by itself: what counts is that it is known."""
    key = rsa.generate_private_key(65537, 3072)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "caretree")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + CERTIFIED)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private


def key_set(found: Sequence[SigningKey]) -> bytes:
    """The keys as a JWK set (RFC 7517)."""
    return orjson.dumps({"keys": [orjson.loads(key.public) for key in found]})


async def own_key_set(cell: AsyncEngine, tenant_id: UUID) -> bytes:
    """What the health system's issuer publishes. Raises IdentityUnavailable."""
    try:
        async with cell_session(cell, tenant_id) as session:
            return key_set(await published(session, tenant_id, KeyPurpose.TOKENS))
    except (SQLAlchemyError, OSError):
        raise IdentityUnavailable("The key set") from None
