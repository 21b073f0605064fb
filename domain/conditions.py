"""Conditions: problems and diagnoses, https://hl7.org/fhir/R4/condition.html"""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.encounters import OfEncounter, follows_encounter
from domain.model import Stamped, one_of


class ClinicalStatus(StrEnum):
    """https://hl7.org/fhir/R4/valueset-condition-clinical.html"""

    ACTIVE = "active"
    RECURRENCE = "recurrence"
    RELAPSE = "relapse"
    INACTIVE = "inactive"
    REMISSION = "remission"
    RESOLVED = "resolved"


class VerificationStatus(StrEnum):
    """https://hl7.org/fhir/R4/valueset-condition-ver-status.html"""

    UNCONFIRMED = "unconfirmed"
    PROVISIONAL = "provisional"
    DIFFERENTIAL = "differential"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    ENTERED_IN_ERROR = "entered-in-error"


class Condition(Stamped, OfEncounter):
    """A coded problem or diagnosis (ICD-10-CM or SNOMED CT) recorded at an encounter."""

    __tablename__ = "condition"
    __resource__ = "condition"
    __table_args__ = (
        one_of("clinical_status", ClinicalStatus),
        one_of("verification_status", VerificationStatus),
        follows_encounter("condition"),
        ForeignKeyConstraint(
            ["tenant_id", "recorded_by"],
            ["person.tenant_id", "person.id"],
            name="fk_condition_recorded_by",
        ),
        Index("ix_condition_patient", "tenant_id", "patient_id", "id"),
        Index("ix_condition_encounter", "tenant_id", "encounter_id", "id"),
    )

    clinical_status: Mapped[str] = mapped_column(server_default="active")
    verification_status: Mapped[str] = mapped_column(server_default="confirmed")
    code_system: Mapped[str]
    code: Mapped[str]
    display: Mapped[str | None]
    onset_on: Mapped[dt.date | None]
    recorded_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]
