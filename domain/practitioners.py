"""Practitioners, and everything else that an appointment can block: rooms and devices."""

import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Base, Identified, Stamped, one_of


class ResourceKind(StrEnum):
    """What a bookable resource is."""

    PRACTITIONER = "practitioner"
    ROOM = "room"
    DEVICE = "device"


class Practitioner(Stamped, Identified):
    """Somebody who treats patients (FHIR Practitioner). Linked to a person where they log in."""

    __tablename__ = "practitioner"
    __resource__ = "practitioner"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        UniqueConstraint("tenant_id", "person_id"),
        UniqueConstraint("tenant_id", "npi"),
        Index("ix_practitioner_name", "tenant_id", "family_name", "id"),
    )

    person_id: Mapped[uuid.UUID | None]
    given_name: Mapped[str]
    family_name: Mapped[str]
    specialty: Mapped[str | None]
    npi: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")


class BookableResource(Stamped, Identified):
    """Something that can be in one place at a time. A practitioner's resource has the practitioner's id."""

    __tablename__ = "bookable_resource"
    __resource__ = "bookable_resource"
    __table_args__ = (
        one_of("kind", ResourceKind),
        CheckConstraint("(kind = 'practitioner') = (practitioner_id is not null)", name="whose"),
        CheckConstraint("practitioner_id is null or practitioner_id = id", name="same_id"),
        ForeignKeyConstraint(
            ["tenant_id", "practitioner_id"], ["practitioner.tenant_id", "practitioner.id"]
        ),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    )

    kind: Mapped[str]
    name: Mapped[str]
    practitioner_id: Mapped[uuid.UUID | None]
    active: Mapped[bool] = mapped_column(server_default="true")


class ResourceAssignment(Base):
    """The resource may be booked at the unit: a whole clinic (unit = clinic) or one department of it."""

    __tablename__ = "resource_assignment"
    __resource__ = "bookable_resource"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "resource_id"], ["bookable_resource.tenant_id", "bookable_resource.id"]
        ),
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "clinic_id"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
        ),
        Index("ix_resource_assignment_clinic", "tenant_id", "clinic_id", "resource_id"),
    )

    resource_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    unit_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    clinic_id: Mapped[uuid.UUID]
