"""Claims: made for an encounter and a coverage, moved from desk to desk, answered by the payer."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.billing.charges import check_took_place, zone_of
from domain.billing.claim_record import (
    CANCELLABLE,
    Claim,
    ClaimItem,
    ClaimKind,
    ClaimQueue,
    ClaimStep,
    move,
)
from domain.billing.coverage_record import Coverage, FinancialState
from domain.billing.record import ChargeItem, ChargeState
from domain.constraints import refusals
from domain.encounters import Encounter
from domain.errors import DomainError, IllegalMove, Invalid
from domain.model import new_id
from domain.plain_text import line
from domain.versions import change

CLAIMED = (ChargeState.BILLABLE.value, ChargeState.BILLED.value)
"""The charges that go onto a claim."""


class ClaimExists(DomainError):
    """The encounter has a claim of this payer order already."""

    code = "CLAIM_EXISTS"
    constraints = ("uq_claim_of_encounter",)

    def __init__(self) -> None:
        super().__init__("There is a claim of this order for the encounter.", path=("coverage",))


@dataclass(frozen=True)
class Step:
    """Why a claim comes to a queue, and what the audit event says of it."""

    queue: ClaimQueue
    action: str
    reason: str | None = None
    subjects: tuple[uuid.UUID, ...] = ()


async def create_claim(
    session: AsyncSession,
    agent: Agent,
    encounter: Encounter,
    coverage: Coverage,
    *,
    kind: ClaimKind = ClaimKind.PROFESSIONAL,
    claim_id: uuid.UUID | None = None,
) -> Claim:
    """Ask the payer of a coverage for all charges of an encounter. It needs coding first.

    Raises Invalid, ClaimExists. Writes claim, claim_item, claim_step.
    """
    await check_took_place(session, agent, encounter, "encounter")
    await check_covered(session, agent, encounter, coverage)
    charges = await charges_of(session, agent, encounter.id)
    if not charges:
        raise Invalid("The encounter has no charges.", path=("encounter",), code="NO_CHARGES")
    claim = Claim(
        tenant_id=agent.tenant_id,
        id=claim_id or new_id(),
        clinic_id=encounter.clinic_id,
        unit_id=encounter.unit_id,
        patient_id=encounter.patient_id,
        sensitivity=encounter.sensitivity,
        encounter_id=encounter.id,
        coverage_id=coverage.id,
        priority=coverage.priority,
        kind=kind.value,
        state=FinancialState.DRAFT.value,
        queue=ClaimQueue.NEEDS_CODING.value,
        step=0,
        total_minor=sum(charge.amount_minor for charge in charges),
        recorded_at=agent.now,
        recorded_by=agent.person_id,
    )
    session.add(claim)
    with refusals():
        await session.flush()
    session.add(step_of(claim, agent, 0, None, claim.queue, None))
    session.add_all(item_of(claim, charge, i) for i, charge in enumerate(charges, 1))
    await session.flush()
    record(session, agent, "claim:create", claim.id, encounter.id, clinic_id=claim.clinic_id)
    return claim


async def check_covered(
    session: AsyncSession, agent: Agent, encounter: Encounter, coverage: Coverage
) -> None:
    """Raises Invalid unless the coverage is the patient's, of the clinic, active, and covers the day."""
    same = (coverage.patient_id, coverage.clinic_id) == (encounter.patient_id, encounter.clinic_id)
    if not same:
        raise Invalid(
            "The coverage is of another patient or clinic.", path=("coverage",), code="NOT_COVERED"
        )
    zone = await zone_of(session, agent, encounter.clinic_id)
    day = encounter.started_at.astimezone(zone).date()
    begun = coverage.starts_on is None or coverage.starts_on <= day
    over = coverage.ends_on is not None and coverage.ends_on < day
    if coverage.state != FinancialState.ACTIVE or not begun or over:
        raise Invalid(
            "The coverage does not cover the day of the encounter.",
            path=("coverage",),
            code="NOT_COVERED",
        )


async def charges_of(
    session: AsyncSession, agent: Agent, encounter_id: uuid.UUID
) -> Sequence[ChargeItem]:
    """What is charged for an encounter, oldest first, as far as the session shows it."""
    found = await session.scalars(
        select(ChargeItem)
        .where(
            ChargeItem.tenant_id == agent.tenant_id,
            ChargeItem.encounter_id == encounter_id,
            ChargeItem.state.in_(CLAIMED),
        )
        .order_by(ChargeItem.occurred_at, ChargeItem.id),
        execution_options={"populate_existing": True},
    )
    return found.all()


def item_of(claim: Claim, charge: ChargeItem, sequence: int) -> ClaimItem:
    """The charge as the claim has it."""
    return ClaimItem(
        **_shared(claim),
        charge_item_id=charge.id,
        sequence=sequence,
        units=charge.units,
        total_minor=charge.amount_minor,
    )


def step_of(
    claim: Claim, agent: Agent, step: int, from_queue: str | None, queue: str, reason: str | None
) -> ClaimStep:
    """The claim comes to a queue."""
    return ClaimStep(
        **_shared(claim),
        step=step,
        from_queue=from_queue,
        queue=queue,
        reason=reason,
        moved_at=agent.now,
        moved_by=agent.person_id,
    )


def _shared(claim: Claim) -> dict[str, Any]:
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    return {name: getattr(claim, name) for name in names} | {"id": new_id(), "claim_id": claim.id}


async def advance(
    session: AsyncSession, agent: Agent, claim: Claim, version: int, to: Step, **values: Any
) -> Claim:
    """Bring a claim to another queue, with what is written on it then. Raises IllegalMove, StaleVersion.

    Writes claim, claim_step.
    """
    if claim.state not in (FinancialState.DRAFT, FinancialState.ACTIVE):
        raise IllegalMove("claim", claim.state, to.queue.value)
    wanted = move(claim.queue, to.queue)
    draft = to.queue is ClaimQueue.NEEDS_CODING
    state = FinancialState.DRAFT if draft else FinancialState.ACTIVE
    before, step = claim.queue, claim.step + 1
    moved = await change(
        session, agent, claim, version, queue=wanted, step=step, state=state.value, **values
    )
    session.add(step_of(moved, agent, step, before, wanted, to.reason))
    await session.flush()
    record(session, agent, to.action, claim.id, *to.subjects, clinic_id=claim.clinic_id)
    return moved


async def queue_claim(session: AsyncSession, agent: Agent, claim: Claim, version: int) -> Claim:
    """The claim is coded and may be filed: each charge says its diagnoses. Raises Invalid, IllegalMove, StaleVersion."""
    uncoded = await session.scalar(
        select(ChargeItem.id)
        .join(
            ClaimItem,
            (ClaimItem.tenant_id == ChargeItem.tenant_id)
            & (ClaimItem.charge_item_id == ChargeItem.id),
        )
        .where(
            ClaimItem.tenant_id == agent.tenant_id,
            ClaimItem.claim_id == claim.id,
            func.cardinality(ChargeItem.diagnosis_ids) == 0,
        )
        .limit(1)
    )
    move(claim.queue, ClaimQueue.QUEUED)
    if uncoded is not None:
        raise Invalid("A charge of the claim has no diagnosis.", path=("id",), code="NOT_CODED")
    return await advance(session, agent, claim, version, Step(ClaimQueue.QUEUED, "claim:queue"))


async def recode_claim(
    session: AsyncSession, agent: Agent, claim: Claim, version: int, reason: str
) -> Claim:
    """Send a claim back to coding. Raises Invalid, IllegalMove, StaleVersion."""
    told = line(reason, "reason")
    to = Step(ClaimQueue.NEEDS_CODING, "claim:recode", told)
    return await advance(session, agent, claim, version, to)


async def file_claim(session: AsyncSession, agent: Agent, claim: Claim, version: int) -> Claim:
    """The claim went to the payer. Raises IllegalMove, StaleVersion."""
    to = Step(ClaimQueue.FILED, "claim:file")
    return await advance(session, agent, claim, version, to, filed_at=agent.now)


async def reject_claim(
    session: AsyncSession, agent: Agent, claim: Claim, version: int, reason: str
) -> Claim:
    """The payer or the clearing house did not take it. Raises Invalid, IllegalMove, StaleVersion."""
    told = line(reason, "reason")
    to = Step(ClaimQueue.REJECTED, "claim:reject", told)
    return await advance(session, agent, claim, version, to)


async def cancel_claim(session: AsyncSession, agent: Agent, claim: Claim, version: int) -> Claim:
    """Take back a claim that does not lie with the payer. Raises IllegalMove, StaleVersion. Writes claim."""
    live = claim.state in (FinancialState.DRAFT, FinancialState.ACTIVE)
    if not live or ClaimQueue(claim.queue) not in CANCELLABLE:
        raise IllegalMove("claim", claim.queue, FinancialState.CANCELLED.value)
    cancelled = await change(session, agent, claim, version, state=FinancialState.CANCELLED.value)
    record(session, agent, "claim:cancel", claim.id, clinic_id=claim.clinic_id)
    return cancelled
