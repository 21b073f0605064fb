"""Observations: measurements and findings, https://hl7.org/fhir/R4/observation.html"""

import datetime as dt
import uuid
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from domain.encounters import OfEncounter, follows_encounter
from domain.model import Stamped, one_of


class ObservationState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-observation-status.html"""

    REGISTERED = "registered"
    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"
    CORRECTED = "corrected"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"
    UNKNOWN = "unknown"


class Observation(Stamped, OfEncounter):
    """A coded measurement (LOINC): a quantity with its UCUM unit, or a text."""

    __tablename__ = "observation"
    __resource__ = "observation"
    __table_args__ = (
        one_of("state", ObservationState),
        CheckConstraint("num_nonnulls(value_quantity, value_text) <= 1", name="one_value"),
        CheckConstraint("value_quantity is null or unit is not null", name="unit"),
        follows_encounter("observation"),
        ForeignKeyConstraint(
            ["tenant_id", "recorded_by"],
            ["person.tenant_id", "person.id"],
            name="fk_observation_recorded_by",
        ),
        Index("ix_observation_patient", "tenant_id", "patient_id", "effective_at", "id"),
        Index("ix_observation_encounter", "tenant_id", "encounter_id", "id"),
    )

    state: Mapped[str] = mapped_column(server_default="final")
    code_system: Mapped[str] = mapped_column(server_default="http://loinc.org")
    code: Mapped[str]
    display: Mapped[str | None]
    value_quantity: Mapped[Decimal | None] = mapped_column(Numeric)
    value_text: Mapped[str | None]
    unit: Mapped[str | None]
    effective_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]
