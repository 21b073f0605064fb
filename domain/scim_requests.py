"""What directories asked of a health system over SCIM, as its administrators see it on the sync page.

Written shortly after each answer and kept for some weeks. What a request changed is on record in `audit_event`, by the
same request id and in the change's own transaction.
"""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import (
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    and_,
    delete,
    func,
    or_,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.model import Identified, one_of

KEPT, KEPT_DONE = dt.timedelta(days=30), dt.timedelta(days=7)


class Asked(StrEnum):
    """What kind of thing a request was about."""

    USER = "user"
    GROUP = "group"
    BULK = "bulk"
    OTHER = "other"


class ScimRequest(Identified):
    """A request of a directory and how it was answered; `id` is our request id, as audit events have it.

    `resource_id` is the user's (the person's) or group's. `subject` is the user or group name that was sent with what was
    refused, since what is not there has no id. `cause` is one plain sentence, of what was refused only.
    `outside_request_id` is the directory's own name for the request.
    """

    __tablename__ = "scim_request"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "token_id"], ["scim_token.tenant_id", "scim_token.id"]),
        one_of("asked", Asked),
        Index("ix_scim_request_tenant_created", "tenant_id", "created_at", "id"),
        Index(
            "ix_scim_request_failed",
            *("tenant_id", "created_at", "id"),
            postgresql_where=text("status >= 400"),
        ),
        Index("ix_scim_request_resource", "tenant_id", "resource_id", "created_at", "id"),
    )

    token_id: Mapped[uuid.UUID]
    method: Mapped[str]
    asked: Mapped[str]
    resource_id: Mapped[uuid.UUID | None]
    subject: Mapped[str | None]
    status: Mapped[int] = mapped_column(SmallInteger)
    cause: Mapped[str | None]
    milliseconds: Mapped[int] = mapped_column(Integer)
    outside_request_id: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


async def forget_requests(session: AsyncSession, agent: Agent) -> None:
    """Remove what is shown no longer: what was refused after `KEPT`, what was carried out after `KEPT_DONE`."""
    done = and_(ScimRequest.status < 400, ScimRequest.created_at < agent.now - KEPT_DONE)
    await session.execute(
        delete(ScimRequest).where(
            ScimRequest.tenant_id == agent.tenant_id,
            or_(done, ScimRequest.created_at < agent.now - KEPT),
        ),
        execution_options={"synchronize_session": False},
    )
