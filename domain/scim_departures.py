"""Whom directories shut out or take roles from, counted: a wave of departures is held until an administrator lets it pass."""

import datetime as dt
import uuid

from sqlalchemy import ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Base, Identified


class ScimDeparture(Base):
    """Somebody whom a directory let go at `asked_at`; with `refused_at` it was not done, last at that time.

    `id` is the person's.
    """

    __tablename__ = "scim_departure"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "id"], ["person.tenant_id", "person.id"]),
        Index("ix_scim_departure_asked", "tenant_id", "asked_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    asked_at: Mapped[dt.datetime]
    refused_at: Mapped[dt.datetime | None]


class ScimRelease(Identified):
    """An administrator's word that departures are meant: until then none is held."""

    __tablename__ = "scim_release"
    __resource__ = "tenant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        ForeignKeyConstraint(["tenant_id", "released_by"], ["person.tenant_id", "person.id"]),
        Index("ix_scim_release_until", "tenant_id", "until"),
    )

    until: Mapped[dt.datetime]
    released_by: Mapped[uuid.UUID | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
