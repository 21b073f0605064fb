"""Conditions: problems and diagnoses, https://hl7.org/fhir/R4/condition.html"""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.audit import record as audit
from domain.codings import DIAGNOSES, Coded, Coding, coded
from domain.encounters import Encounter, documentable, follows_encounter
from domain.model import OfPatient, Stamped, new_id, one_of
from domain.moments import in_order, past_day
from domain.practitioners import practising
from domain.state_tables import Stateful, revised, table
from domain.versions import change


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


class Category(StrEnum):
    """Whether it is a problem of the patient's or what one visit came to.

    https://hl7.org/fhir/R4/valueset-condition-category.html
    """

    PROBLEM_LIST_ITEM = "problem-list-item"
    ENCOUNTER_DIAGNOSIS = "encounter-diagnosis"


PRESENT = frozenset({ClinicalStatus.ACTIVE, ClinicalStatus.RECURRENCE, ClinicalStatus.RELAPSE})
"""What is on the problem list; the others are over or asleep."""
_ANY = ("unconfirmed", "provisional", "differential", "confirmed", "refuted")


class Condition(Stateful, Coded, Stamped, OfPatient):
    """A coded problem or diagnosis (ICD-10-CM or SNOMED CT) recorded at an encounter, or brought along."""

    __tablename__ = "condition"
    __resource__ = "condition"
    __states__ = table(
        "condition",
        VerificationStatus,
        "verification_status",
        **{state: [other for other in _ANY if other != state] for state in _ANY},
    )

    encounter_id: Mapped[uuid.UUID | None] = mapped_column(sort_order=-94)
    clinical_status: Mapped[str] = mapped_column(server_default="active")
    verification_status: Mapped[str] = mapped_column(server_default="confirmed")
    category: Mapped[str] = mapped_column(server_default="encounter-diagnosis")
    onset_on: Mapped[dt.date | None]
    abated_on: Mapped[dt.date | None]
    recorded_at: Mapped[dt.datetime]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            *cls.__states__.constraints(),
            one_of("clinical_status", ClinicalStatus),
            one_of("category", Category),
            CheckConstraint("abated_on is null or abated_on >= onset_on", name="period"),
            follows_encounter(name),
            ForeignKeyConstraint(
                ["tenant_id", "recorded_by"],
                ["person.tenant_id", "person.id"],
                name="fk_condition_recorded_by",
            ),
            Index("ix_condition_patient", "tenant_id", "patient_id", "id"),
            Index("ix_condition_encounter", "tenant_id", "encounter_id", "id"),
        )


async def record(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    diagnosis: Coding,
    *,
    clinical_status: ClinicalStatus = ClinicalStatus.ACTIVE,
    verification: VerificationStatus = VerificationStatus.CONFIRMED,
    category: Category = Category.ENCOUNTER_DIAGNOSIS,
    onset_on: dt.date | None = None,
    condition_id: uuid.UUID | None = None,
) -> Condition:
    """Record a diagnosis, as a practitioner. Raises Invalid, IllegalMove, NotAPractitioner. Writes condition."""
    at = documentable(encounter)
    values = coded(diagnosis, DIAGNOSES, "diagnosis")
    began = past_day(onset_on, agent, "onsetOn")
    await practising(session, agent)
    condition = Condition(
        tenant_id=agent.tenant_id,
        id=condition_id or new_id(),
        clinic_id=at.clinic_id,
        unit_id=at.unit_id,
        patient_id=at.patient_id,
        encounter_id=at.id,
        sensitivity=at.sensitivity,
        **values,
        clinical_status=clinical_status.value,
        verification_status=Condition.__states__.first(verification),
        category=category.value,
        onset_on=began,
        abated_on=None,
        recorded_at=agent.now,
        recorded_by=agent.person_id,
        state_before=None,
        error_reason=None,
    )
    session.add(condition)
    await session.flush()
    audit(session, agent, "condition:record", condition.id, at.id, clinic_id=condition.clinic_id)
    return condition


async def update(
    session: AsyncSession,
    agent: Agent,
    condition: Condition,
    version: int,
    *,
    clinical_status: ClinicalStatus | None = None,
    verification: VerificationStatus | None = None,
    category: Category | None = None,
    abated_on: dt.date | None = None,
) -> Condition:
    """Say how it stands by now, as a practitioner; None leaves a value as it is.

    Raises Invalid, IllegalMove, NotAPractitioner, StaleVersion. Writes condition.
    """
    over = past_day(abated_on, agent, "abatedOn")
    in_order(condition.onset_on, over, "abatedOn")
    values: dict[str, Any] = dict(revised(condition, verification))
    if clinical_status is not None:
        values["clinical_status"] = clinical_status.value
    if category is not None:
        values["category"] = category.value
    if over is not None:
        values["abated_on"] = over
    await practising(session, agent)
    changed = await change(session, agent, condition, version, **values)
    audit(session, agent, "condition:record", changed.id, clinic_id=changed.clinic_id)
    return changed
