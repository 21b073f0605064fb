"""Allergies and intolerances, https://hl7.org/fhir/R4/allergyintolerance.html"""

import datetime as dt
import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from domain.audit import Agent
from domain.chart_entries import ChartEntry, Spot, enter, revise
from domain.codings import SUBSTANCES, Coding, coded
from domain.model import one_of
from domain.moments import past, past_day
from domain.plain_text import optional_line
from domain.practitioners import practising
from domain.state_tables import table


class AllergyStatus(StrEnum):
    """https://hl7.org/fhir/R4/valueset-allergyintolerance-clinical.html"""

    ACTIVE = "active"
    INACTIVE = "inactive"
    RESOLVED = "resolved"


class AllergyVerification(StrEnum):
    """https://hl7.org/fhir/R4/valueset-allergyintolerance-verification.html"""

    UNCONFIRMED = "unconfirmed"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    ENTERED_IN_ERROR = "entered-in-error"


class AllergyKind(StrEnum):
    """https://hl7.org/fhir/R4/valueset-allergy-intolerance-type.html"""

    ALLERGY = "allergy"
    INTOLERANCE = "intolerance"


class AllergyCategory(StrEnum):
    """https://hl7.org/fhir/R4/valueset-allergy-intolerance-category.html"""

    FOOD = "food"
    MEDICATION = "medication"
    ENVIRONMENT = "environment"
    BIOLOGIC = "biologic"


class Criticality(StrEnum):
    """https://hl7.org/fhir/R4/valueset-allergy-intolerance-criticality.html"""

    LOW = "low"
    HIGH = "high"
    UNABLE_TO_ASSESS = "unable-to-assess"


class AllergyIntolerance(ChartEntry):
    """A substance (RxNorm or SNOMED CT) that the patient does not bear. `reaction` is what happens, in words."""

    __tablename__ = "allergy_intolerance"
    __resource__ = "allergy"
    __states__ = table(
        "allergy",
        AllergyVerification,
        "verification_status",
        unconfirmed=("confirmed", "refuted"),
        confirmed=("unconfirmed", "refuted"),
        refuted=("unconfirmed", "confirmed"),
    )

    clinical_status: Mapped[str]
    verification_status: Mapped[str]
    kind: Mapped[str | None]
    category: Mapped[str | None]
    criticality: Mapped[str | None]
    reaction: Mapped[str | None]
    onset_on: Mapped[dt.date | None]

    @classmethod
    def own(cls, name: str) -> tuple[CheckConstraint, ...]:  # noqa: ARG003 - names are made by the columns
        return (
            one_of("clinical_status", AllergyStatus),
            one_of("kind", AllergyKind),
            one_of("category", AllergyCategory),
            one_of("criticality", Criticality),
        )


async def record(
    session: AsyncSession,
    agent: Agent,
    spot: Spot,
    substance: Coding,
    *,
    clinical_status: AllergyStatus = AllergyStatus.ACTIVE,
    verification: AllergyVerification = AllergyVerification.CONFIRMED,
    kind: AllergyKind | None = None,
    category: AllergyCategory | None = None,
    criticality: Criticality | None = None,
    reaction: str | None = None,
    onset_on: dt.date | None = None,
    recorded_at: dt.datetime | None = None,
    entry_id: uuid.UUID | None = None,
) -> AllergyIntolerance:
    """Record an allergy, as a practitioner. Raises Invalid, IllegalMove, NotAPractitioner. Writes allergy."""
    values = coded(substance, SUBSTANCES, "substance")
    when = past(recorded_at, agent, "recordedAt")
    began = past_day(onset_on, agent, "onsetOn")
    happens = optional_line(reaction, "reaction")
    await practising(session, agent)
    return await enter(
        session,
        agent,
        AllergyIntolerance,
        spot,
        verification,
        entry_id,
        **values,
        effective_at=when,
        clinical_status=clinical_status.value,
        kind=kind and kind.value,
        category=category and category.value,
        criticality=criticality and criticality.value,
        reaction=happens,
        onset_on=began,
    )


async def update(
    session: AsyncSession,
    agent: Agent,
    allergy: AllergyIntolerance,
    version: int,
    *,
    clinical_status: AllergyStatus | None = None,
    verification: AllergyVerification | None = None,
    criticality: Criticality | None = None,
) -> AllergyIntolerance:
    """Say how it stands by now, as a practitioner; None leaves a value as it is.

    Raises IllegalMove, NotAPractitioner, StaleVersion. Writes allergy.
    """
    await practising(session, agent)
    return await revise(
        session,
        agent,
        allergy,
        version,
        verification,
        clinical_status=clinical_status,
        criticality=criticality,
    )
