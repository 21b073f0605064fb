"""What is stored of appointments, https://hl7.org/fhir/R4/appointment.html, and of the time they block."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, OfPatient, Stamped, Wall, one_of, sorted_by


class AppointmentState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-appointmentstatus.html"""

    PROPOSED = "proposed"
    PENDING = "pending"
    BOOKED = "booked"
    ARRIVED = "arrived"
    CHECKED_IN = "checked-in"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    NOSHOW = "noshow"
    ENTERED_IN_ERROR = "entered-in-error"
    WAITLIST = "waitlist"


BLOCKING = ("pending", "booked", "arrived", "checked-in", "fulfilled")
"""The states in which an appointment keeps its resources' time."""


class Appointment(Stamped, OfPatient):
    """A visit that is planned. A rescheduled one is a new row that names the old one."""

    __tablename__ = "appointment"
    __resource__ = "appointment"
    __told__ = True

    practitioner_id: Mapped[uuid.UUID]
    state: Mapped[str]
    starts_at: Mapped[dt.datetime]
    ends_at: Mapped[dt.datetime]
    reason: Mapped[str | None]
    comment: Mapped[str | None]
    rescheduled_from_id: Mapped[uuid.UUID | None]
    booked_by: Mapped[uuid.UUID | None]
    service_id: Mapped[uuid.UUID | None]
    series_id: Mapped[uuid.UUID | None]
    expires_at: Mapped[dt.datetime | None]  # of a hold: pending, and from then on worth nothing

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("state", AppointmentState),
            CheckConstraint("ends_at > starts_at", name="period"),
            UniqueConstraint("tenant_id", "id", "state", name="uq_appointment_state"),
            UniqueConstraint("tenant_id", "rescheduled_from_id", name="uq_appointment_rescheduled"),
            ForeignKeyConstraint(
                ["tenant_id", "practitioner_id"], ["practitioner.tenant_id", "practitioner.id"]
            ),
            ForeignKeyConstraint(
                ["tenant_id", "rescheduled_from_id"],
                ["appointment.tenant_id", "appointment.id"],
                name="fk_appointment_rescheduled_from",
            ),
            ForeignKeyConstraint(
                ["tenant_id", "service_id"],
                ["healthcare_service.tenant_id", "healthcare_service.id"],
            ),
            ForeignKeyConstraint(
                ["tenant_id", "series_id"],
                ["appointment_series.tenant_id", "appointment_series.id"],
                name="fk_appointment_series",
            ),
            Index(
                "ix_appointment_series",
                "tenant_id",
                "series_id",
                "starts_at",
                "id",
                postgresql_where=text("series_id is not null"),
            ),
            *sorted_by(name, "starts_at"),
            Index("ix_appointment_patient", "tenant_id", "patient_id", "starts_at", "id"),
            Index("ix_appointment_practitioner", "tenant_id", "practitioner_id", "starts_at", "id"),
            Index(
                "ix_appointment_holds",
                "tenant_id",
                "expires_at",
                "id",
                postgresql_where=text("state = 'pending'"),
            ),
        )


class AppointmentBlock(Identified):
    """The time that an appointment keeps a resource. The exclusion constraint is what forbids double booking.

    `state` is the appointment's, kept equal by the foreign key, so that cancelling frees the time at once.
    Blocks of different lanes may overlap; lane 0 is the ordinary one.
    """

    __tablename__ = "appointment_block"
    __resource__ = "appointment"
    __wall__ = Wall.PLACED
    __whole__ = ("appointment", "appointment_id")
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "clinic_id"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
        ),
        ForeignKeyConstraint(
            ["tenant_id", "appointment_id", "state"],
            ["appointment.tenant_id", "appointment.id", "appointment.state"],
            name="fk_appointment_block_appointment",
            onupdate="CASCADE",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "resource_id"], ["bookable_resource.tenant_id", "bookable_resource.id"]
        ),
        ExcludeConstraint(
            ("tenant_id", "="),
            ("resource_id", "="),
            ("lane", "="),
            ("block", "&&"),
            name="ex_appointment_block_slot",
            using="gist",
            where=text("state in ({})".format(", ".join(f"'{s}'" for s in BLOCKING))),
        ),
        Index("ix_appointment_block_appointment", "tenant_id", "appointment_id"),
        Index(
            "ix_appointment_block_lanes",
            "tenant_id",
            "resource_id",
            "id",
            postgresql_where=text("lane > 0"),
        ),
    )

    clinic_id: Mapped[uuid.UUID]
    unit_id: Mapped[uuid.UUID]
    appointment_id: Mapped[uuid.UUID]
    resource_id: Mapped[uuid.UUID]
    state: Mapped[str]
    lane: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    block: Mapped[Range[dt.datetime]] = mapped_column(TSTZRANGE)
