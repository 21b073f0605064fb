"""Observations: measurements and findings, https://hl7.org/fhir/R4/observation.html"""

import datetime as dt
import re
import uuid
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.audit import record as audit
from domain.encounters import EARLY, Encounter, OfEncounter, documentable, follows_encounter
from domain.errors import Invalid
from domain.model import Stamped, new_id, one_of
from domain.plain_text import optional_line, optional_passage

LOINC = re.compile(r"[0-9]{1,7}-[0-9]")
# UCUM's case-sensitive terminal symbols: printable ASCII without white space (https://ucum.org/ucum, section 4).
UCUM = re.compile(r"[!-~]{1,40}")
DIGITS = 18


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


async def record(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    code: str,
    *,
    quantity: Decimal | None = None,
    unit: str | None = None,
    text_value: str | None = None,
    display: str | None = None,
    effective_at: dt.datetime | None = None,
) -> Observation:
    """Record a finding by its LOINC code: a quantity with its UCUM unit, or a text; not both, and one of them.

    `effective_at` is when it was measured, by default now. Raises Invalid. Writes observation.
    """
    at = documentable(encounter)
    if not LOINC.fullmatch(code):
        raise Invalid("This is no LOINC code; write it as 8867-4.", path=("code",))
    said = optional_passage(text_value, "text")
    if (quantity is None) == (said is None):
        raise Invalid("Either a quantity or a text.", path=("quantity",))
    if quantity is not None:
        checked_quantity(quantity, unit)
    measured = effective_at or agent.now
    if measured.tzinfo is None or measured > agent.now + EARLY:
        raise Invalid("A time of the past, with its offset from UTC.", path=("effectiveAt",))
    observation = Observation(
        tenant_id=agent.tenant_id,
        id=new_id(),
        clinic_id=at.clinic_id,
        unit_id=at.unit_id,
        patient_id=at.patient_id,
        encounter_id=at.id,
        sensitivity=at.sensitivity,
        state=ObservationState.FINAL.value,
        code_system="http://loinc.org",
        code=code,
        display=optional_line(display, "display"),
        value_quantity=quantity,
        value_text=said,
        unit=unit if quantity is not None else None,
        effective_at=measured,
        recorded_by=agent.person_id,
    )
    session.add(observation)
    await session.flush()
    audit(
        session,
        agent,
        "observation:record",
        observation.id,
        at.id,
        clinic_id=observation.clinic_id,
    )
    return observation


def checked_quantity(quantity: Decimal, unit: str | None) -> None:
    """Raises Invalid for no number, one of too many digits, or a missing unit (a count has the unit 1)."""
    parts = quantity.as_tuple()
    if not quantity.is_finite() or len(parts.digits) > DIGITS or abs(quantity.adjusted()) > DIGITS:
        raise Invalid(f"A number of at most {DIGITS} digits.", path=("quantity",))
    if unit is None or not UCUM.fullmatch(unit):
        raise Invalid("A quantity has a unit of UCUM, as mm[Hg] or /min.", path=("unit",))
