"""What is kept of the identity provider: the sessions with which people have come, one row each from its first token
on; how far the events of a realm were read; the logout tokens that it has sent."""

import datetime as dt
import uuid

from sqlalchemy import ForeignKeyConstraint, Index, UniqueConstraint, delete, func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.model import Base, Identified

KEPT = dt.timedelta(days=2)
"""How long a session is known; it lasts a day at the most."""


class LoginSession(Identified):
    """A session (`sid`) of a person; `started_at` is when they proved who they are, `client` the portal they came by."""

    __tablename__ = "login_session"
    __table_args__ = (
        UniqueConstraint("tenant_id", "sid"),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        Index("ix_login_session_person", "tenant_id", "person_id", "started_at", "id"),
    )

    person_id: Mapped[uuid.UUID]
    sid: Mapped[str]
    client: Mapped[str]
    started_at: Mapped[dt.datetime]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class RealmCursor(Base):
    """Until when, by Keycloak's clock, the events of a health system's realm were read and followed.

    `keys`: the JWK set that it signed with at `keys_at`, when its events had last told of a change.
    """

    __tablename__ = "realm_cursor"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    read_until: Mapped[dt.datetime]
    keys: Mapped[str | None]
    keys_at: Mapped[dt.datetime | None]


class LogoutToken(Base):
    """A logout token (`jti`) that was taken, until it expires: it is taken once."""

    __tablename__ = "logout_token"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    jti: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[dt.datetime]


async def forget_sessions(session: AsyncSession, agent: Agent) -> None:
    """Remove the sessions that have been over for a while, whatever became of them."""
    await session.execute(
        delete(LoginSession).where(
            LoginSession.tenant_id == agent.tenant_id, LoginSession.started_at < agent.now - KEPT
        ),
        execution_options={"synchronize_session": False},
    )
