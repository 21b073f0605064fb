"""The ground that every record of a cell stands on: keys, placement and the walls around them.

Rules that a test holds for every table: `tenant_id` comes first in each key, foreign key and index, so that
"never across health systems" is a fact of the database and each table can be distributed by tenant.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    DateTime,
    ForeignKeyConstraint,
    Index,
    MetaData,
    SmallInteger,
    Text,
    Uuid,
    cast,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from uuid_utils.compat import uuid7

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Wall(StrEnum):
    """Which rows of a table row-level security shows (see docs/decisions/walls.md).

    TENANT: all of the tenant. PLACED: those whose clinic or unit lies in `app.scope_<resource>`.
    SITE: a patient's sites in `app.scope_patient`. PATIENT: patients with such a site.
    """

    TENANT = "tenant"
    PLACED = "placed"
    SITE = "site"
    PATIENT = "patient"


class Base(DeclarativeBase):
    """Every table of a cell. `__resource__` is the name that policies use, `__wall__` the kind of policy.

    `__told__`: of a placed row, whether `domain.changes` tells that it was written.
    `__vouches__`: of what stamps look at, whether it tells that somebody may not stand any more.

    `__whole__` of a table that lacks what its policy decides by: the table whose rows these are parts of, and the
    column that names the row. A part is read with its whole.
    """

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: Uuid(),
        str: Text(),
        dt.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
    }
    __resource__: ClassVar[str | None] = None
    __wall__: ClassVar[Wall] = Wall.TENANT
    __told__: ClassVar[bool] = False
    __vouches__: ClassVar[bool] = False
    __whole__: ClassVar[tuple[str, str] | None] = None

    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-100)


class Identified(Base):
    """A row with an id of its own, unique within its tenant."""

    __abstract__ = True

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, default=lambda: new_id(), sort_order=-99
    )


class Stamped:
    """When a row was made and last changed, and the number of its present version (from 1, for CONFLICT)."""

    version: Mapped[int] = mapped_column(default=1, server_default="1", sort_order=90)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), sort_order=91)
    updated_at: Mapped[dt.datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now(), sort_order=92
    )


class OfPatient(Identified):
    """A row about a patient at a place.

    Two foreign keys to `patient_site` make a row at a place where the patient is not visible impossible, and
    keep `sensitivity` equal to the patient's: raising it there cascades to every row at once.
    """

    __abstract__ = True
    __wall__ = Wall.PLACED

    clinic_id: Mapped[uuid.UUID] = mapped_column(sort_order=-98)
    unit_id: Mapped[uuid.UUID] = mapped_column(sort_order=-97)
    patient_id: Mapped[uuid.UUID] = mapped_column(sort_order=-96)
    sensitivity: Mapped[int] = mapped_column(
        SmallInteger, default=0, server_default="0", sort_order=-95
    )

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        name = cls.__tablename__
        return (*placement(name), *cls.further(name))

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:  # noqa: ARG003 - the name is for those who override
        """Constraints and indexes of this table beyond its placement."""
        return ()


def placement(name: str) -> tuple[Any, ...]:
    """The foreign keys that hold a patient's row at its place."""
    return (
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "clinic_id"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
            name=f"fk_{name}_unit",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "clinic_id", "patient_id", "sensitivity"],
            [f"patient_site.{c}" for c in ("tenant_id", "unit_id", "patient_id", "sensitivity")],
            name=f"fk_{name}_patient_at_clinic",
            onupdate="CASCADE",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "patient_id"],
            ["patient_site.tenant_id", "patient_site.unit_id", "patient_site.patient_id"],
            name=f"fk_{name}_patient_at_unit",
        ),
    )


def sorted_by(name: str, *columns: str) -> tuple[Index, ...]:
    """The two ordered indexes of a placed table: over the tenant and over one clinic, both ended by the id.

    Ascending: read backwards they serve newest-first pages, and a keyset comparison fits both directions.
    """
    plain = "_".join(columns)
    return (
        Index(f"ix_{name}_tenant_{plain}", "tenant_id", *columns, "id"),
        Index(f"ix_{name}_clinic_{plain}", "tenant_id", "clinic_id", *columns, "id"),
    )


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """The column holds a member of the enumeration."""
    listed = ", ".join(f"'{v.value}'" for v in values)
    return CheckConstraint(f"{column} in ({listed})", name=column)


def new_id() -> uuid.UUID:
    """A UUID version 7 (RFC 9562 section 5.7): unique everywhere, ascending with time."""
    return uuid7()


def in_a_row(first: uuid.UUID, number: int) -> Iterator[uuid.UUID]:
    """Ids that follow each other, so that all are known again from the first."""
    return (uuid.UUID(int=first.int + i) for i in range(number))


def any_of(ids: Iterable[uuid.UUID]) -> ColumnElement[Any]:
    """To compare with (`column == any_of(ids)`): one value of a statement, however many ids."""
    return func.any(cast(sorted(set(ids)), ARRAY(Uuid)))
