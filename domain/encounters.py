"""Encounters: a patient's visits, https://hl7.org/fhir/R4/encounter.html"""

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
)
from sqlalchemy.orm import Mapped, mapped_column

from domain.model import Identified, OfPatient, Stamped, Wall, one_of, sorted_by


class EncounterState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-encounter-status.html"""

    PLANNED = "planned"
    ARRIVED = "arrived"
    TRIAGED = "triaged"
    IN_PROGRESS = "in-progress"
    ONLEAVE = "onleave"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"


class Encounter(Stamped, OfPatient):
    """A visit at a clinic or one of its departments. `kind` is the FHIR class code (AMB, EMER, IMP, VR, HH …)."""

    __tablename__ = "encounter"
    __resource__ = "encounter"

    practitioner_id: Mapped[uuid.UUID | None]
    appointment_id: Mapped[uuid.UUID | None]
    state: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="AMB")
    reason: Mapped[str | None]
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("state", EncounterState),
            CheckConstraint("ended_at is null or ended_at >= started_at", name="period"),
            ForeignKeyConstraint(
                ["tenant_id", "practitioner_id"], ["practitioner.tenant_id", "practitioner.id"]
            ),
            ForeignKeyConstraint(
                ["tenant_id", "appointment_id"], ["appointment.tenant_id", "appointment.id"]
            ),
            UniqueConstraint(
                "tenant_id",
                "id",
                "clinic_id",
                "unit_id",
                "patient_id",
                "sensitivity",
                name="uq_encounter_place",
            ),
            *sorted_by(name, "started_at"),
            Index("ix_encounter_patient", "tenant_id", "patient_id", "started_at", "id"),
        )


class OfEncounter(Identified):
    """A row that follows its encounter: place, patient and sensitivity are the encounter's by foreign key."""

    __abstract__ = True
    __wall__ = Wall.PLACED

    clinic_id: Mapped[uuid.UUID] = mapped_column(sort_order=-98)
    unit_id: Mapped[uuid.UUID] = mapped_column(sort_order=-97)
    patient_id: Mapped[uuid.UUID] = mapped_column(sort_order=-96)
    encounter_id: Mapped[uuid.UUID] = mapped_column(sort_order=-95)
    sensitivity: Mapped[int] = mapped_column(
        SmallInteger, default=0, server_default="0", sort_order=-94
    )


def follows_encounter(name: str) -> ForeignKeyConstraint:
    """The foreign key that keeps a row at its encounter's place."""
    columns = ("clinic_id", "unit_id", "patient_id", "sensitivity")
    return ForeignKeyConstraint(
        ["tenant_id", "encounter_id", *columns],
        ["encounter.tenant_id", "encounter.id", *(f"encounter.{c}" for c in columns)],
        name=f"fk_{name}_encounter",
        onupdate="CASCADE",
    )
