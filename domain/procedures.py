"""Procedures: what was done to a patient, https://hl7.org/fhir/R4/procedure.html"""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from domain.audit import Agent
from domain.chart_entries import ChartEntry, Spot, enter, revise
from domain.codings import TREATMENTS, Coding, coded
from domain.moments import in_order, past
from domain.plain_text import optional_passage
from domain.practitioners import practising
from domain.state_tables import table


class ProcedureState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-event-status.html"""

    PREPARATION = "preparation"
    IN_PROGRESS = "in-progress"
    NOT_DONE = "not-done"
    ON_HOLD = "on-hold"
    STOPPED = "stopped"
    COMPLETED = "completed"
    ENTERED_IN_ERROR = "entered-in-error"
    UNKNOWN = "unknown"


class Procedure(ChartEntry):
    """Something done to a patient (SNOMED CT, ICD-10-PCS or CPT), from `effective_at` to `ended_at`, by a practitioner."""

    __tablename__ = "procedure"
    __resource__ = "procedure"
    __states__ = table(
        "procedure",
        ProcedureState,
        preparation=("in-progress", "not-done"),
        in_progress=("on-hold", "stopped", "completed"),
        on_hold=("in-progress", "stopped"),
        unknown=("in-progress", "not-done", "stopped", "completed"),
    )

    state: Mapped[str]
    practitioner_id: Mapped[uuid.UUID | None]
    ended_at: Mapped[dt.datetime | None]
    outcome: Mapped[str | None]

    @classmethod
    def own(cls, name: str) -> tuple[Any, ...]:
        return (
            CheckConstraint("ended_at is null or ended_at >= effective_at", name="period"),
            ForeignKeyConstraint(
                ["tenant_id", "practitioner_id"],
                ["practitioner.tenant_id", "practitioner.id"],
                name=f"fk_{name}_practitioner",
            ),
        )


async def record(
    session: AsyncSession,
    agent: Agent,
    spot: Spot,
    what: Coding,
    *,
    state: ProcedureState = ProcedureState.COMPLETED,
    performed_at: dt.datetime | None = None,
    ended_at: dt.datetime | None = None,
    outcome: str | None = None,
    entry_id: uuid.UUID | None = None,
) -> Procedure:
    """Write down what is done or was done, as the practitioner who did it.

    Raises Invalid, IllegalMove, NotAPractitioner. Writes procedure.
    """
    values = coded(what, TREATMENTS, "procedure")
    begun = past(performed_at, agent, "performedAt")
    over = None if ended_at is None else past(ended_at, agent, "endedAt")
    in_order(begun, over, "endedAt")
    came_of_it = optional_passage(outcome, "outcome")
    return await enter(
        session,
        agent,
        Procedure,
        spot,
        state,
        entry_id,
        **values,
        effective_at=begun,
        ended_at=over,
        outcome=came_of_it,
        practitioner_id=await practising(session, agent),
    )


async def update(
    session: AsyncSession,
    agent: Agent,
    procedure: Procedure,
    version: int,
    *,
    state: ProcedureState | None = None,
    ended_at: dt.datetime | None = None,
    outcome: str | None = None,
) -> Procedure:
    """Say how it goes on and how it ended, as a practitioner.

    Raises Invalid, IllegalMove, NotAPractitioner, StaleVersion. Writes procedure.
    """
    over = None if ended_at is None else past(ended_at, agent, "endedAt")
    in_order(procedure.effective_at, over, "endedAt")
    came_of_it = optional_passage(outcome, "outcome")
    await practising(session, agent)
    return await revise(
        session, agent, procedure, version, state, ended_at=over, outcome=came_of_it
    )
