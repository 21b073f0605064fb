"""What was done that costs, at an encounter: priced on the day of service, rounded once."""

import datetime as dt
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.billing.claim_record import Claim, ClaimItem
from domain.billing.coverage_record import FinancialState
from domain.billing.money import LARGEST, line_amount
from domain.billing.prices import price_at
from domain.billing.record import ChargeItem, ChargeState
from domain.conditions import Condition, VerificationStatus
from domain.encounters import Encounter, EncounterState
from domain.errors import Invalid
from domain.locks import hold
from domain.model import new_id
from domain.organization import OrgUnit
from domain.versions import change

LOCK = "encounter billing"
MOST = 4
"""Modifiers and diagnosis pointers of a charge, as a line of CMS-1500 has them."""
MODIFIER = re.compile(r"[A-Z0-9]{2}")
MOST_UNITS = Decimal("999999.999")
NOT_YET = frozenset(
    {EncounterState.PLANNED, EncounterState.CANCELLED, EncounterState.ENTERED_IN_ERROR}
)
"""States of an encounter in which nothing was done."""


@dataclass(frozen=True)
class Charging:
    """What is charged: a code of the price list, how many, 2-character modifiers, diagnoses (the main one first)."""

    code_system: str
    code: str
    units: Decimal = Decimal(1)
    modifiers: tuple[str, ...] = ()
    diagnosis_ids: tuple[uuid.UUID, ...] = ()
    occurred_at: dt.datetime | None = None


async def record_charge(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    asked: Charging,
    *,
    charge_id: uuid.UUID | None = None,
) -> ChargeItem:
    """Charge something done at an encounter, at its place. Raises Invalid. Writes charge_item."""
    await check_took_place(session, agent, encounter, "encounterId")
    units = _units(asked.units)
    modifiers = _modifiers(asked.modifiers)
    occurred_at = asked.occurred_at or encounter.started_at
    if not encounter.started_at - dt.timedelta(days=1) <= occurred_at <= agent.now:
        raise Invalid("This was before the encounter or is still to come.", path=("occurredAt",))
    await check_diagnoses(session, agent, encounter.id, asked.diagnosis_ids)
    day = occurred_at.astimezone(await zone_of(session, agent, encounter.clinic_id)).date()
    price = await price_at(
        session, agent, encounter.unit_id, asked.code_system, asked.code.strip().upper(), day
    )
    amount = line_amount(units, price.price_minor)
    if amount > LARGEST:
        raise Invalid("This amount is too large.", path=("units",))
    charge = ChargeItem(
        tenant_id=agent.tenant_id,
        id=charge_id or new_id(),
        clinic_id=encounter.clinic_id,
        unit_id=encounter.unit_id,
        patient_id=encounter.patient_id,
        sensitivity=encounter.sensitivity,
        encounter_id=encounter.id,
        charge_master_id=price.id,
        state=ChargeState.BILLABLE.value,
        code_system=price.code_system,
        code=price.code,
        description=price.description,
        units=units,
        modifiers=list(modifiers),
        diagnosis_ids=list(asked.diagnosis_ids),
        unit_price_minor=price.price_minor,
        amount_minor=amount,
        occurred_at=occurred_at,
        recorded_by=agent.person_id,
    )
    session.add(charge)
    await session.flush()
    record(session, agent, "charge:record", charge.id, encounter.id, clinic_id=encounter.clinic_id)
    return charge


async def check_took_place(
    session: AsyncSession, agent: Agent, encounter: Encounter, *path: str
) -> None:
    """Hold the visit's bills, so that it is not struck out meanwhile. Raises Invalid where it did not take place."""
    await hold(session, LOCK, agent.tenant_id, encounter.id)
    here = (Encounter.tenant_id == agent.tenant_id, Encounter.id == encounter.id)
    state = await session.scalar(select(Encounter.state).where(*here))  # as of now
    if EncounterState(state or encounter.state) in NOT_YET:
        message = "Nothing is charged or claimed for an encounter that did not take place."
        raise Invalid(message, path=path, code="NOT_CHARGEABLE")


async def void_charge(
    session: AsyncSession, agent: Agent, charge: ChargeItem, version: int
) -> ChargeItem:
    """Mark a charge that nobody has billed or claimed as entered in error. Raises Invalid, StaleVersion."""
    await hold(session, LOCK, agent.tenant_id, charge.encounter_id)
    claimed = select(ClaimItem.id).join(
        Claim, (Claim.tenant_id == ClaimItem.tenant_id) & (Claim.id == ClaimItem.claim_id)
    )
    live = (FinancialState.DRAFT.value, FinancialState.ACTIVE.value)
    mine = claimed.where(
        ClaimItem.tenant_id == agent.tenant_id,
        ClaimItem.charge_item_id == charge.id,
        Claim.state.in_(live),
    )
    if charge.state != ChargeState.BILLABLE or await session.scalar(mine.limit(1)):
        raise Invalid("The charge is billed or claimed.", path=("id",), code="NOT_BILLABLE")
    voided = await change(session, agent, charge, version, state=ChargeState.ENTERED_IN_ERROR.value)
    record(session, agent, "charge:void", charge.id, clinic_id=charge.clinic_id)
    return voided


async def point_to(
    session: AsyncSession,
    agent: Agent,
    charge: ChargeItem,
    version: int,
    diagnosis_ids: Sequence[uuid.UUID],
) -> ChargeItem:
    """Say which diagnoses a charge is for. Raises Invalid, StaleVersion."""
    if charge.encounter_id is None or not diagnosis_ids:
        raise Invalid(
            "A charge is for at least one diagnosis of its encounter.", path=("diagnoses",)
        )
    await check_diagnoses(session, agent, charge.encounter_id, diagnosis_ids)
    coded = await change(session, agent, charge, version, diagnosis_ids=list(diagnosis_ids))
    record(session, agent, "charge:code", charge.id, clinic_id=charge.clinic_id)
    return coded


async def check_diagnoses(
    session: AsyncSession, agent: Agent, encounter_id: uuid.UUID, ids: Sequence[uuid.UUID]
) -> None:
    """Raises Invalid unless these are conditions of the encounter that the asker reads and nobody struck out."""
    if len(ids) > MOST or len(set(ids)) < len(ids):
        raise Invalid(f"At most {MOST} different diagnoses.", path=("diagnoses",))
    if not ids:
        return
    struck = VerificationStatus.ENTERED_IN_ERROR.value
    found = await session.scalars(
        select(Condition.id).where(
            Condition.tenant_id == agent.tenant_id,
            Condition.encounter_id == encounter_id,
            Condition.id.in_(ids),
            Condition.verification_status != struck,
        )
    )
    if set(found) != set(ids):
        raise Invalid(
            "These are not diagnoses of the encounter.", path=("diagnoses",), code="NOT_A_DIAGNOSIS"
        )


async def zone_of(session: AsyncSession, agent: Agent, clinic_id: uuid.UUID) -> ZoneInfo:
    """The clinic's time zone."""
    clinic = await session.get_one(OrgUnit, {"tenant_id": agent.tenant_id, "id": clinic_id})
    return ZoneInfo(clinic.zone or "UTC")


def _units(units: Decimal) -> Decimal:
    """Raises Invalid for what numeric(9,3) cannot hold, zero and less."""
    if (
        not units.is_finite()
        or not 0 < units <= MOST_UNITS
        or units != units.quantize(Decimal("0.001"))
    ):
        raise Invalid(
            "Units are above zero, with at most three digits after the point.", path=("units",)
        )
    return units


def _modifiers(modifiers: Sequence[str]) -> Sequence[str]:
    if len(modifiers) > MOST or len(set(modifiers)) < len(modifiers):
        raise Invalid(f"At most {MOST} different modifiers.", path=("modifiers",))
    if not all(MODIFIER.fullmatch(modifier) for modifier in modifiers):
        raise Invalid("A modifier is two capital letters or digits.", path=("modifiers",))
    return modifiers
