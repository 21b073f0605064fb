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
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.appointments import Appointment
from domain.appointments import fulfil as fulfil_appointment
from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid
from domain.model import Identified, OfPatient, Stamped, Wall, new_id, sorted_by
from domain.moments import EARLY, day, past
from domain.organization import Place
from domain.patients import seen_at
from domain.plain_text import optional_passage
from domain.practitioners import require_active
from domain.state_tables import Stateful, become, table


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


class Encounter(Stateful, Stamped, OfPatient):
    """A visit at a clinic or one of its departments. `kind` is the FHIR class code (AMB, EMER, IMP, VR, HH …)."""

    __tablename__ = "encounter"
    __resource__ = "encounter"
    __states__ = table(
        "encounter",
        EncounterState,
        planned=("arrived", "in-progress", "cancelled"),
        arrived=("triaged", "in-progress", "cancelled"),
        triaged=("in-progress", "cancelled"),
        in_progress=("onleave", "finished", "cancelled"),
        onleave=("in-progress", "finished"),
    )

    practitioner_id: Mapped[uuid.UUID | None]
    appointment_id: Mapped[uuid.UUID | None]
    state: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="AMB")
    reason: Mapped[str | None]
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]
    recorded_by: Mapped[uuid.UUID | None]

    @classmethod
    def further(cls, name: str) -> tuple[Any, ...]:
        return (
            *cls.__states__.constraints(),
            ForeignKeyConstraint(
                ["tenant_id", "recorded_by"],
                ["person.tenant_id", "person.id"],
                name="fk_encounter_recorded_by",
            ),
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


KINDS = frozenset(
    {"AMB", "EMER", "FLD", "HH", "IMP", "ACUTE", "NONAC", "OBSENC", "PRENC", "SS", "VR"}
)
"""Classes of encounters, http://terminology.hl7.org/CodeSystem/v3-ActCode (value set ActEncounterCode)."""

OPENING = frozenset(
    {
        EncounterState.PLANNED,
        EncounterState.ARRIVED,
        EncounterState.TRIAGED,
        EncounterState.IN_PROGRESS,
    }
)
"""The states in which an encounter may begin."""
PROGRESS = frozenset({EncounterState.TRIAGED, EncounterState.IN_PROGRESS, EncounterState.ONLEAVE})
VOID = frozenset({EncounterState.CANCELLED, EncounterState.ENTERED_IN_ERROR})
"""The states in which nothing is documented any more."""


async def start(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    patient_id: uuid.UUID,
    *,
    kind: str = "AMB",
    reason: str | None = None,
    practitioner_id: uuid.UUID | None = None,
    appointment: Appointment | None = None,
    state: EncounterState = EncounterState.IN_PROGRESS,
    started_at: dt.datetime | None = None,
    encounter_id: uuid.UUID | None = None,
) -> Encounter:
    """Begin a visit at `place`, of somebody who walked in or of whom the appointment is for; that is then fulfilled.

    The practitioner is the one given, else the appointment's, else the agent. Raises Invalid, NotFound (patient
    not visible at the clinic), IllegalMove. Writes encounter; patient_site at the first visit to a department;
    appointment.
    """
    if kind not in KINDS:
        raise Invalid("This is no class of encounters.", path=("kind",))
    if state not in OPENING:
        raise IllegalMove("encounter", "new", state.value)
    begins = began(started_at, agent, planned=state is EncounterState.PLANNED)
    whose = practitioner_id or (appointment.practitioner_id if appointment else None)
    if whose is not None:
        await require_active(session, agent, whose)
    site = await seen_at(session, agent, patient_id, place)
    if appointment is not None:
        if (appointment.patient_id, appointment.unit_id) != (patient_id, place.id):
            raise Invalid("The appointment is for another visit.", path=("appointmentId",))
        await fulfil_appointment(session, agent, appointment)
    encounter = Encounter(
        tenant_id=agent.tenant_id,
        id=encounter_id or new_id(),
        clinic_id=site.clinic_id,
        unit_id=site.unit_id,
        patient_id=patient_id,
        sensitivity=site.sensitivity,
        practitioner_id=whose or agent.practitioner_id,
        appointment_id=appointment.id if appointment else None,
        state=state.value,
        kind=kind,
        reason=optional_passage(reason, "reason"),
        started_at=begins,
        ended_at=None,
        recorded_by=agent.person_id,
        state_before=None,
        error_reason=None,
    )
    session.add(encounter)
    await session.flush()
    record(session, agent, "encounter:start", encounter.id, patient_id, clinic_id=site.clinic_id)
    return encounter


def began(given: dt.datetime | None, agent: Agent, *, planned: bool) -> dt.datetime:
    """The start of an encounter: now, a given moment of the past, or for a planned one any. Raises Invalid."""
    if not planned or given is None:
        return past(given, agent, "startedAt")
    if given.tzinfo is None:
        raise Invalid("A time needs its offset from UTC.", path=("startedAt",))
    day(given.astimezone(dt.UTC).date(), agent, "startedAt")
    return given


async def arrive(
    session: AsyncSession, agent: Agent, encounter: Encounter, version: int
) -> Encounter:
    """The patient of a planned encounter is here. Raises IllegalMove, StaleVersion. Writes encounter."""
    return await _become(session, agent, encounter, version, EncounterState.ARRIVED, "arrive")


async def progress(
    session: AsyncSession, agent: Agent, encounter: Encounter, version: int, wanted: EncounterState
) -> Encounter:
    """Triage, treat, send on leave or take back. Raises IllegalMove, StaleVersion. Writes encounter."""
    if wanted not in PROGRESS:
        raise IllegalMove("encounter", encounter.state, wanted.value)
    return await _become(session, agent, encounter, version, wanted, "progress")


async def finish(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    version: int,
    ended_at: dt.datetime | None = None,
) -> Encounter:
    """End the visit, now or at a moment since its start. Raises IllegalMove, Invalid, StaleVersion. Writes encounter."""
    ends = ended_at or agent.now
    if ends.tzinfo is None:
        raise Invalid("A time needs its offset from UTC.", path=("endedAt",))
    if not encounter.started_at <= ends <= agent.now + EARLY:
        raise Invalid("The end lies between the start and now.", path=("endedAt",))
    return await _become(
        session, agent, encounter, version, EncounterState.FINISHED, "finish", ended_at=ends
    )


async def cancel(
    session: AsyncSession, agent: Agent, encounter: Encounter, version: int
) -> Encounter:
    """The visit does not take place. Raises IllegalMove, StaleVersion. Writes encounter."""
    return await _become(session, agent, encounter, version, EncounterState.CANCELLED, "cancel")


def documentable(encounter: Encounter) -> Encounter:
    """The encounter, if something may be documented at it (also after its end). Raises Invalid."""
    if encounter.state in VOID:
        raise Invalid(
            "Nothing is documented at this encounter any more.",
            path=("encounterId",),
            code="ENCOUNTER_CLOSED",
        )
    return encounter


async def _become(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    version: int,
    wanted: EncounterState,
    action: str,
    **values: dt.datetime,
) -> Encounter:
    changed = await become(session, agent, encounter, version, wanted, **values)
    record(session, agent, f"encounter:{action}", changed.id, clinic_id=changed.clinic_id)
    return changed
