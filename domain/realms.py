"""What Keycloak was told of each person, and how the nightly comparisons of a realm with the cell ended."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Base, Identified


class PersonSync(Base):
    """How far a person's user in Keycloak follows. `digest` is of what it was last brought to, at `synced_at`.

    `cause` is the code of the last try's failure, empty where it went well; `failed` once nothing tries again by itself.
    """

    __tablename__ = "person_sync"
    __resource__ = "person"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        CheckConstraint("not failed or cause is not null", name="failed"),
    )

    person_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    digest: Mapped[str | None]
    synced_at: Mapped[dt.datetime | None]
    cause: Mapped[str | None]
    tried_at: Mapped[dt.datetime]
    failed: Mapped[bool] = mapped_column(server_default="false")


class RealmCheck(Identified):
    """One comparison of the realm's users with the people, both ways: written when it is done, or asked for.

    `findings` are lines, a kind and whom it is about by ids, at most some hundred; `repaired` counts the people whose
    users are brought up to date because of it.
    """

    __tablename__ = "realm_check"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        Index("ix_realm_check_tenant_started", "tenant_id", "started_at", "id"),
    )

    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    people: Mapped[int] = mapped_column(server_default="0")
    users: Mapped[int] = mapped_column(server_default="0")
    repaired: Mapped[int] = mapped_column(server_default="0")
    findings: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
