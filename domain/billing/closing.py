"""Closing a clinic's day: what was posted on it, written down once and compared ever after."""

import datetime as dt
import uuid

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, Wall


class DailyClose(Identified):
    """The sums of a clinic's day, in the clinic's zone, in minor units. Append-only, once a day."""

    __tablename__ = "daily_close"
    __resource__ = "daily_close"
    __wall__ = Wall.PLACED
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "clinic_id"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
            name="fk_daily_close_unit",
        ),
        UniqueConstraint("tenant_id", "unit_id", "day", name="uq_daily_close_day"),
        Index("ix_daily_close_tenant_day", "tenant_id", "day", "id"),
        Index("ix_daily_close_clinic_day", "tenant_id", "clinic_id", "day", "id"),
    )

    clinic_id: Mapped[uuid.UUID] = mapped_column(sort_order=-98)
    unit_id: Mapped[uuid.UUID] = mapped_column(sort_order=-97)
    day: Mapped[dt.date]
    charged_minor: Mapped[int] = mapped_column(BigInteger)
    paid_minor: Mapped[int] = mapped_column(BigInteger)
    adjusted_minor: Mapped[int] = mapped_column(BigInteger)
    transferred_minor: Mapped[int] = mapped_column(BigInteger)
    closed_at: Mapped[dt.datetime]
    closed_by: Mapped[uuid.UUID | None]
