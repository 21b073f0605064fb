"""Immunizations: vaccines given, https://hl7.org/fhir/R4/immunization.html"""

import datetime as dt
import uuid
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Numeric
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.chart_entries import ChartEntry, Spot, enter
from domain.codings import VACCINES, Coding, coded
from domain.errors import Invalid
from domain.moments import day, past
from domain.plain_text import optional_identifier, optional_line
from domain.quantities import checked_quantity
from domain.state_tables import table


class ImmunizationState(StrEnum):
    """https://hl7.org/fhir/R4/valueset-immunization-status.html"""

    COMPLETED = "completed"
    NOT_DONE = "not-done"
    ENTERED_IN_ERROR = "entered-in-error"


class Immunization(ChartEntry):
    """A vaccine (CVX) that was given at `effective_at`, or was not; here, or elsewhere as the patient brought it along."""

    __tablename__ = "immunization"
    __resource__ = "immunization"
    __states__ = table("immunization", ImmunizationState)

    state: Mapped[str]
    lot_number: Mapped[str | None]
    expires_on: Mapped[dt.date | None]
    dose_quantity: Mapped[Decimal | None] = mapped_column(Numeric)
    dose_unit: Mapped[str | None]
    site: Mapped[str | None]
    practitioner_id: Mapped[uuid.UUID | None]

    @classmethod
    def own(cls, name: str) -> tuple[Any, ...]:
        return (
            CheckConstraint("dose_quantity is null or dose_unit is not null", name="dose_unit"),
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
    vaccine: Coding,
    *,
    state: ImmunizationState = ImmunizationState.COMPLETED,
    occurred_at: dt.datetime | None = None,
    lot_number: str | None = None,
    expires_on: dt.date | None = None,
    dose: Decimal | None = None,
    dose_unit: str | None = None,
    site: str | None = None,
    entry_id: uuid.UUID | None = None,
) -> Immunization:
    """Write down a vaccination. Raises Invalid, IllegalMove. Writes immunization."""
    when = past(occurred_at, agent, "occurredAt")
    expires = day(expires_on, agent, "expiresOn")
    if expires is not None and state is ImmunizationState.COMPLETED and expires < when.date():
        raise Invalid("The vaccine had expired.", path=("expiresOn",))
    if dose is not None:
        checked_quantity(dose, dose_unit, ("dose",), ("doseUnit",))
        if dose <= 0:
            raise Invalid("A dose is more than nothing.", path=("dose",))
    return await enter(
        session,
        agent,
        Immunization,
        spot,
        state,
        entry_id,
        **coded(vaccine, VACCINES, "vaccine"),
        effective_at=when,
        lot_number=optional_identifier(lot_number, "lotNumber", maximum=40),
        expires_on=expires,
        dose_quantity=dose,
        dose_unit=dose_unit if dose is not None else None,
        site=optional_line(site, "site"),
        practitioner_id=agent.practitioner_id,
    )
