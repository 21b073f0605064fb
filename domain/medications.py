"""Medications: what is ordered, https://hl7.org/fhir/R4/medicationrequest.html, and what a patient takes,
https://hl7.org/fhir/R4/medicationstatement.html. Coded by RxNorm, which is kept as data."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.chart_entries import ChartEntry, Spot, enter, revise
from domain.codings import MEDICINES, Coding, coded
from domain.errors import Invalid
from domain.model import one_of
from domain.moments import day, in_order, past, past_day
from domain.plain_text import optional_passage
from domain.practitioners import practising
from domain.state_tables import table


class RequestState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-medicationrequest-status.html"""

    DRAFT = "draft"
    ACTIVE = "active"
    ON_HOLD = "on-hold"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"
    UNKNOWN = "unknown"


class RequestIntent(StrEnum):
    """https://hl7.org/fhir/R4/valueset-medicationrequest-intent.html"""

    PROPOSAL = "proposal"
    PLAN = "plan"
    ORDER = "order"
    ORIGINAL_ORDER = "original-order"
    REFLEX_ORDER = "reflex-order"
    FILLER_ORDER = "filler-order"
    INSTANCE_ORDER = "instance-order"
    OPTION = "option"


class StatementState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-medication-statement-status.html"""

    INTENDED = "intended"
    ACTIVE = "active"
    ON_HOLD = "on-hold"
    NOT_TAKEN = "not-taken"
    COMPLETED = "completed"
    STOPPED = "stopped"
    ENTERED_IN_ERROR = "entered-in-error"
    UNKNOWN = "unknown"


class MedicationRequest(ChartEntry):
    """An order of a medicine by a practitioner. `dosage` is the direction in words, `effective_at` when it was given."""

    __tablename__ = "medication_request"
    __resource__ = "medication_request"
    __states__ = table(
        "medication request",
        RequestState,
        draft=("active", "cancelled"),
        active=("on-hold", "completed", "stopped", "cancelled"),
        on_hold=("active", "completed", "stopped", "cancelled"),
        unknown=("active", "on-hold", "completed", "stopped", "cancelled"),
    )

    state: Mapped[str]
    intent: Mapped[str] = mapped_column(server_default="order")
    dosage: Mapped[str | None]
    practitioner_id: Mapped[uuid.UUID | None]
    starts_on: Mapped[dt.date | None]
    ends_on: Mapped[dt.date | None]

    @classmethod
    def own(cls, name: str) -> tuple[Any, ...]:
        return (
            one_of("intent", RequestIntent),
            CheckConstraint("ends_on is null or ends_on >= starts_on", name="period"),
            ForeignKeyConstraint(
                ["tenant_id", "practitioner_id"],
                ["practitioner.tenant_id", "practitioner.id"],
                name=f"fk_{name}_practitioner",
            ),
        )


class MedicationStatement(ChartEntry):
    """What a patient takes, took or will take, as told or seen; `request_id` is the order that it follows."""

    __tablename__ = "medication_statement"
    __resource__ = "medication_statement"
    __states__ = table(
        "medication statement",
        StatementState,
        intended=("active", "not-taken"),
        active=("on-hold", "completed", "stopped"),
        on_hold=("active", "completed", "stopped"),
        not_taken=("active",),
        unknown=("active", "on-hold", "not-taken", "completed", "stopped"),
    )

    state: Mapped[str]
    dosage: Mapped[str | None]
    request_id: Mapped[uuid.UUID | None]
    starts_on: Mapped[dt.date | None]
    ends_on: Mapped[dt.date | None]

    @classmethod
    def own(cls, name: str) -> tuple[Any, ...]:
        return (
            CheckConstraint("ends_on is null or ends_on >= starts_on", name="period"),
            ForeignKeyConstraint(
                ["tenant_id", "request_id"],
                ["medication_request.tenant_id", "medication_request.id"],
                name=f"fk_{name}_request",
            ),
        )


async def order(
    session: AsyncSession,
    agent: Agent,
    spot: Spot,
    medicine: Coding,
    *,
    state: RequestState = RequestState.ACTIVE,
    intent: RequestIntent = RequestIntent.ORDER,
    dosage: str | None = None,
    starts_on: dt.date | None = None,
    ends_on: dt.date | None = None,
    entry_id: uuid.UUID | None = None,
) -> MedicationRequest:
    """Order a medicine, as a practitioner; it begins as a draft or active.

    Raises Invalid, IllegalMove, NotAPractitioner. Writes medication_request.
    """
    if state not in (RequestState.DRAFT, RequestState.ACTIVE):
        raise Invalid("An order begins as a draft or active.", path=("state",))
    values = coded(medicine, MEDICINES, "medicine")
    begins = day(starts_on, agent, "startsOn") or agent.now.date()
    ends = day(ends_on, agent, "endsOn")
    in_order(begins, ends, "endsOn")
    direction = optional_passage(dosage, "dosage")
    return await enter(
        session,
        agent,
        MedicationRequest,
        spot,
        state,
        entry_id,
        **values,
        effective_at=agent.now,
        intent=intent.value,
        dosage=direction,
        practitioner_id=await practising(session, agent),
        starts_on=begins,
        ends_on=ends,
    )


async def update_order(
    session: AsyncSession,
    agent: Agent,
    request: MedicationRequest,
    version: int,
    *,
    state: RequestState | None = None,
    ends_on: dt.date | None = None,
) -> MedicationRequest:
    """Hold, resume, complete, stop or withdraw an order, as a practitioner.

    Raises Invalid, IllegalMove, NotAPractitioner, StaleVersion. Writes medication_request.
    """
    in_order(request.starts_on, day(ends_on, agent, "endsOn"), "endsOn")
    await practising(session, agent)
    return await revise(session, agent, request, version, state, ends_on=ends_on)


async def state_taken(
    session: AsyncSession,
    agent: Agent,
    spot: Spot,
    medicine: Coding,
    *,
    state: StatementState = StatementState.ACTIVE,
    dosage: str | None = None,
    starts_on: dt.date | None = None,
    ends_on: dt.date | None = None,
    request: MedicationRequest | None = None,
    entry_id: uuid.UUID | None = None,
) -> MedicationStatement:
    """Write down what a patient takes. Raises Invalid, IllegalMove. Writes medication_statement."""
    if request is not None and request.patient_id != spot.patient_id:
        raise Invalid("The order is another patient's.", path=("request",))
    if state is StatementState.INTENDED:
        begins = day(starts_on, agent, "startsOn")
    else:
        begins = past_day(starts_on, agent, "startsOn")
    in_order(begins, day(ends_on, agent, "endsOn"), "endsOn")
    return await enter(
        session,
        agent,
        MedicationStatement,
        spot,
        state,
        entry_id,
        **coded(medicine, MEDICINES, "medicine"),
        effective_at=past(None, agent),
        dosage=optional_passage(dosage, "dosage"),
        request_id=request and request.id,
        starts_on=begins,
        ends_on=ends_on,
    )


async def update_statement(
    session: AsyncSession,
    agent: Agent,
    statement: MedicationStatement,
    version: int,
    *,
    state: StatementState | None = None,
    ends_on: dt.date | None = None,
) -> MedicationStatement:
    """Say how it goes on. Raises Invalid, IllegalMove, StaleVersion. Writes medication_statement."""
    in_order(statement.starts_on, day(ends_on, agent, "endsOn"), "endsOn")
    return await revise(session, agent, statement, version, state, ends_on=ends_on)
