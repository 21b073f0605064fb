"""Logins by SAML without the broker: keys of our own, what waits for an answer, what was brought, and the sessions."""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import ForeignKeyConstraint, Index, delete, func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.model import Base, Identified, one_of

_PROVIDER = (
    ["tenant_id", "identity_provider_id"],
    ["identity_provider.tenant_id", "identity_provider.id"],
)


class KeyPurpose(StrEnum):
    """What a key signs: tokens of the health system's own issuer (ES256), messages to its providers (RSA)."""

    TOKENS = "tokens"
    SAML = "saml"


class SigningKey(Identified):
    """A key of the health system's; its id is the key id. `public`: a JWK, or a certificate in PEM."""

    __tablename__ = "signing_key"
    __table_args__ = (
        one_of("purpose", KeyPurpose),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        Index("ix_signing_key_purpose", "tenant_id", "purpose", "created_at"),
    )

    purpose: Mapped[str]
    public: Mapped[str]
    private_sealed: Mapped[bytes]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class SamlRequest(Identified):
    """A login or logout that we asked a provider for; taken away with the first answer to it.

    `redirect_uri`, `state`: where the browser goes then, as OAuth has them; a login has a `challenge` (RFC 7636).
    """

    __tablename__ = "saml_request"
    __table_args__ = (
        ForeignKeyConstraint(*_PROVIDER),
        Index("ix_saml_request_until", "tenant_id", "until"),
    )

    identity_provider_id: Mapped[uuid.UUID]
    client: Mapped[str]
    redirect_uri: Mapped[str]
    state: Mapped[str | None]
    challenge: Mapped[str | None]
    until: Mapped[dt.datetime]


class SamlMessage(Base):
    """A provider's assertion or logout request that was taken: none is taken twice."""

    __tablename__ = "saml_message"
    __table_args__ = (
        ForeignKeyConstraint(*_PROVIDER),
        Index("ix_saml_message_until", "tenant_id", "until"),
    )

    identity_provider_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[dt.datetime]


class DirectSession(Identified):
    """A session of the health system's own issuer; its id is the `sid` of its tokens.

    `name_id`, `name_format`, `provider_session` are the provider's, for logging out there. A code opens it once, with the
    verifier of `challenge` and the same `redirect_uri`; then each refresh token does, once. Of both, hashes are kept.
    """

    __tablename__ = "direct_session"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        ForeignKeyConstraint(*_PROVIDER),
        Index("ix_direct_session_name", "tenant_id", "identity_provider_id", "name_id"),
        Index("ix_direct_session_ends", "tenant_id", "ends_at"),
    )

    person_id: Mapped[uuid.UUID]
    identity_provider_id: Mapped[uuid.UUID]
    client: Mapped[str]
    redirect_uri: Mapped[str]
    challenge: Mapped[str]
    name_id: Mapped[str]
    name_format: Mapped[str | None]
    provider_session: Mapped[str | None]
    code_hash: Mapped[bytes | None]
    refresh_hash: Mapped[bytes | None]
    used_at: Mapped[dt.datetime]
    authenticated_at: Mapped[dt.datetime]
    ends_at: Mapped[dt.datetime]


class ProviderWarning(Base):
    """That people were written to, so many days ahead, that a provider's certificates or secret end then."""

    __tablename__ = "provider_warning"
    __table_args__ = (ForeignKeyConstraint(*_PROVIDER),)

    identity_provider_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    expires_at: Mapped[dt.datetime] = mapped_column(primary_key=True)
    days: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


async def forget_direct(session: AsyncSession, agent: Agent) -> None:
    """Remove what no longer waits for anything: requests, messages and sessions that are over."""
    for model, over in (
        (SamlRequest, SamlRequest.until),
        (SamlMessage, SamlMessage.until),
        (DirectSession, DirectSession.ends_at),
    ):
        await session.execute(
            delete(model).where(model.tenant_id == agent.tenant_id, over < agent.now),
            execution_options={"synchronize_session": False},
        )
