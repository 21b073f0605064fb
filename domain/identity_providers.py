"""Identity providers that a health system has of its own, whom they speak of, and every login through them."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, delete, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from domain.audit import Agent
from domain.model import Identified, Stamped, one_of

SIGN_INS_KEPT = dt.timedelta(days=400)
"""How long logins are listed; the audit trail has what people did, for as long as it is kept."""
CERTIFICATES = 2
"""How many certificates of one provider are taken at a time: the present one and the one that follows it."""


class Protocol(StrEnum):
    """What the provider speaks."""

    OIDC = "oidc"
    SAML = "saml"


class ProviderState(StrEnum):
    """Nobody comes in through a provider that is not ACTIVE; TESTED is one whose test login went well."""

    DRAFT = "draft"
    TESTED = "tested"
    ACTIVE = "active"
    SUSPENDED = "suspended"


class IdentityProvider(Stamped, Identified):
    """A provider as Keycloak is to know it; its id is its alias there. A `direct` one (SAML) Keycloak never learns of:
    the API itself speaks with it (`identity/direct/`).

    `issuer` is the issuer of OpenID Connect or the entity id of SAML and never changes, because people are linked by
    it. `endpoints` are addresses by the names of the specification; `certificates` (SAML) are PEM, the present one
    first. Its description is read again each day at `metadata_url`; `expires_at` is when nothing that it signs with, or
    the client's secret, counts any more. `attributes` says which of the provider's attributes supplies which of ours (`identity/assertions.py`).
    `creates`: its logins may make people. `of_directory`: it proves the people whom the directory pushes, and its ids of
    them are the directory's external ids. Until `test_until` somebody may log in for a test. Who comes with one of `mfa_contexts` asserted needs no further
    second factor: values of its `acr`, `amr`, or of SAML's authentication context.
    """

    __tablename__ = "identity_provider"
    __resource__ = "tenant"
    __table_args__ = (
        one_of("protocol", Protocol),
        one_of("state", ProviderState),
        CheckConstraint(
            "protocol <> 'oidc' or (client_id is not null and cardinality(certificates) = 0)",
            name="oidc_client",
        ),
        CheckConstraint("cardinality(certificates) <= 2", name="rollover"),
        CheckConstraint("not direct or protocol = 'saml'", name="direct"),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        Index("ix_identity_provider_name", "tenant_id", "name", "id"),
    )

    protocol: Mapped[str]
    direct: Mapped[bool] = mapped_column(server_default="false")
    vendor: Mapped[str]
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="draft")
    issuer: Mapped[str]
    endpoints: Mapped[dict[str, Any]]
    certificates: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    client_id: Mapped[str | None]
    client_secret_sealed: Mapped[bytes | None]
    attributes: Mapped[dict[str, Any]]
    creates: Mapped[bool] = mapped_column(server_default="true")
    mfa_contexts: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    of_directory: Mapped[bool] = mapped_column(server_default="false")
    test_until: Mapped[dt.datetime | None]
    metadata_url: Mapped[str | None]
    metadata_read_at: Mapped[dt.datetime | None]
    metadata_problem: Mapped[str | None]
    expires_at: Mapped[dt.datetime | None]


class IdentityLink(Stamped, Identified):
    """A person as a provider knows them: by its subject, which never changes, not by a name or an address.

    `asserted` is what the provider last said of them, value lists by our names of attributes.
    """

    __tablename__ = "identity_link"
    __resource__ = "tenant"
    __table_args__ = (
        UniqueConstraint("tenant_id", "identity_provider_id", "subject"),
        UniqueConstraint(
            "tenant_id",
            "person_id",
            "identity_provider_id",
            name="uq_identity_link_person_once",
        ),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "identity_provider_id"],
            ["identity_provider.tenant_id", "identity_provider.id"],
        ),
        Index(
            "ix_identity_link_external_id",
            *("tenant_id", "identity_provider_id"),
            text("(asserted -> 'externalId')"),
        ),
    )

    person_id: Mapped[uuid.UUID]
    identity_provider_id: Mapped[uuid.UUID]
    subject: Mapped[str]
    asserted: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class Outcome(StrEnum):
    """How a login through a provider ended here."""

    ADMITTED = "admitted"
    HELD = "held"
    TEST = "test"


class SignIn(Identified):
    """One login of one session through a provider, and in a plain word why it was held where it was.

    `contexts`: how the person proved who they are there, as the provider asserts it; `proven_at`: when, if it says so.
    """

    __tablename__ = "sign_in"
    __resource__ = "tenant"
    __table_args__ = (
        one_of("outcome", Outcome),
        CheckConstraint("(outcome = 'held') = (cause is not null)", name="cause"),
        CheckConstraint("outcome <> 'admitted' or person_id is not null", name="admitted"),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "identity_provider_id"],
            ["identity_provider.tenant_id", "identity_provider.id"],
        ),
        Index("ix_sign_in_session", "tenant_id", "sid", "authenticated_at"),
        Index("ix_sign_in_person", "tenant_id", "person_id", "created_at", "id"),
        Index("ix_sign_in_tenant_created", "tenant_id", "created_at", "id"),
    )

    identity_provider_id: Mapped[uuid.UUID]
    person_id: Mapped[uuid.UUID | None]
    subject: Mapped[str]
    sid: Mapped[str]
    authenticated_at: Mapped[dt.datetime]
    outcome: Mapped[str]
    cause: Mapped[str | None]
    contexts: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    proven_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=text("now()"))


class ProviderTest(Stamped, Identified):
    """A login that only tries a provider: nobody comes in by it. `steps` is the verdict, a line for each step."""

    __tablename__ = "provider_test"
    __resource__ = "tenant"
    __table_args__ = (
        CheckConstraint("(finished_at is null) = (passed is null)", name="finished"),
        ForeignKeyConstraint(
            ["tenant_id", "identity_provider_id"],
            ["identity_provider.tenant_id", "identity_provider.id"],
        ),
        ForeignKeyConstraint(
            ["tenant_id", "started_by"],
            ["person.tenant_id", "person.id"],
            name="fk_provider_test_started_by",
        ),
        Index("ix_provider_test_provider", "tenant_id", "identity_provider_id", "created_at"),
    )

    identity_provider_id: Mapped[uuid.UUID]
    started_by: Mapped[uuid.UUID | None]
    until: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    passed: Mapped[bool | None]
    steps: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")


class HeldReason(StrEnum):
    """Why somebody whom a provider has proven, or a directory means, is nobody here: what an administrator decides about."""

    NOT_KNOWN = "NOT_KNOWN"
    NAME_TAKEN = "NAME_TAKEN"
    DOMAIN_NOT_PROVEN = "DOMAIN_NOT_PROVEN"
    INCOMPLETE = "INCOMPLETE"
    AMBIGUOUS = "AMBIGUOUS"


class Decision(StrEnum):
    """What became of somebody who was held."""

    OPEN = "open"
    LINKED = "linked"
    CREATED = "created"
    DISMISSED = "dismissed"


class HeldAccount(Stamped, Identified):
    """Somebody whom a provider has proven and of whom nobody here knows who they are, or whether they may come in.

    Without a provider it is somebody whom a directory means, and `subject` is its id or name of them. `person_id` is the person who has their user name, later the one whom they turned out to be.
    """

    __tablename__ = "held_account"
    __resource__ = "tenant"
    __table_args__ = (
        one_of("reason", HeldReason),
        one_of("state", Decision),
        CheckConstraint(
            "(state = 'open') = (decided_by is null) and (decided_by is null) = (decided_at is null)",
            name="decided",
        ),
        CheckConstraint(
            "state not in ('linked', 'created') or person_id is not null", name="whose"
        ),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "decided_by"],
            ["person.tenant_id", "person.id"],
            name="fk_held_account_decided_by",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "identity_provider_id"],
            ["identity_provider.tenant_id", "identity_provider.id"],
        ),
        Index(
            "uq_held_account_open",
            *("tenant_id", "identity_provider_id", "subject"),
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where="state = 'open'",
        ),
        Index("ix_held_account_tenant_created", "tenant_id", "created_at", "id"),
    )

    identity_provider_id: Mapped[uuid.UUID | None]
    subject: Mapped[str]
    asserted: Mapped[dict[str, Any]]
    reason: Mapped[str]
    person_id: Mapped[uuid.UUID | None]
    state: Mapped[str] = mapped_column(server_default="open")
    decided_by: Mapped[uuid.UUID | None]
    decided_at: Mapped[dt.datetime | None]


async def forget_sign_ins(session: AsyncSession, agent: Agent) -> None:
    """Remove the logins that were long ago."""
    await session.execute(
        delete(SignIn).where(
            SignIn.tenant_id == agent.tenant_id, SignIn.created_at < agent.now - SIGN_INS_KEPT
        ),
        execution_options={"synchronize_session": False},
    )
