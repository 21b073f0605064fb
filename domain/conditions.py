"""Conditions: problems and diagnoses, https://hl7.org/fhir/R4/condition.html"""

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import ForeignKeyConstraint, Index
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.audit import record as audit
from domain.encounters import Encounter, OfEncounter, documentable, follows_encounter
from domain.errors import Invalid
from domain.model import Stamped, new_id, one_of
from domain.plain_text import optional_line
from domain.practitioners import practising

ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
SNOMED = "http://snomed.info/sct"
CODES: Mapping[str, re.Pattern[str]] = {
    ICD_10_CM: re.compile(r"[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?"),
    # A SNOMED CT identifier: 6 to 18 digits, https://confluence.ihtsdotools.org/display/DOCRELFMT/6+SNOMED+CT+Identifiers
    SNOMED: re.compile(r"[1-9][0-9]{5,17}"),
}
"""The code systems of conditions and what their codes look like."""


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


async def record(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    code_system: str,
    code: str,
    *,
    display: str | None = None,
    onset_on: dt.date | None = None,
    clinical_status: ClinicalStatus = ClinicalStatus.ACTIVE,
) -> Condition:
    """Record a diagnosis, as a practitioner. Raises Invalid, NotAPractitioner. Writes condition."""
    at = documentable(encounter)
    pattern = CODES.get(code_system)
    if pattern is None:
        raise Invalid("The code system is ICD-10-CM or SNOMED CT.", path=("codeSystem",))
    if not pattern.fullmatch(code):
        raise Invalid("This is no code of the code system.", path=("code",))
    if onset_on is not None and onset_on > agent.now.date() + dt.timedelta(days=1):
        raise Invalid("This day is in the future.", path=("onsetOn",))
    await practising(session, agent)
    condition = Condition(
        tenant_id=agent.tenant_id,
        id=new_id(),
        clinic_id=at.clinic_id,
        unit_id=at.unit_id,
        patient_id=at.patient_id,
        encounter_id=at.id,
        sensitivity=at.sensitivity,
        clinical_status=clinical_status.value,
        verification_status=VerificationStatus.CONFIRMED.value,
        code_system=code_system,
        code=code,
        display=optional_line(display, "display"),
        onset_on=onset_on,
        recorded_at=agent.now,
        recorded_by=agent.person_id,
    )
    session.add(condition)
    await session.flush()
    audit(session, agent, "condition:record", condition.id, at.id, clinic_id=condition.clinic_id)
    return condition
