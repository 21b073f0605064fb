"""Small tables that commands of every subject use: counters, idempotency keys, sources of imported rows, data keys."""

import datetime as dt
import uuid

from sqlalchemy import BigInteger, ForeignKeyConstraint, LargeBinary, func
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Base


class Counter(Base):
    """The last number given out of a gapless series of the tenant (`mrn`, `invoice`)."""

    __tablename__ = "counter"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, server_default="0")


class IdempotencyKey(Base):
    """A mutation that was carried out: the same key again answers its result, another input is refused."""

    __tablename__ = "idempotency"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
    )

    person_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    input_hash: Mapped[bytes] = mapped_column(LargeBinary)
    result_id: Mapped[uuid.UUID]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class ExternalReference(Base):
    """Which local row an imported resource became, so that a second import changes nothing."""

    __tablename__ = "external_reference"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    source: Mapped[str] = mapped_column(primary_key=True)
    resource_type: Mapped[str] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    local_id: Mapped[uuid.UUID]


class DataKey(Base):
    """The key that seals one table's columns, wrapped by the tenant's key at the key provider."""

    __tablename__ = "data_key"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    purpose: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
