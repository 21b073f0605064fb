"""Payers and coverages: who pays for whom, from when until when, and who is asked first."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.billing.coverage_record import Coverage, FinancialState, Payer, Relationship
from domain.constraints import refusals
from domain.errors import DomainError, Invalid
from domain.model import new_id
from domain.organization import Place
from domain.patients import fold, seen_at
from domain.plain_text import line, name, optional_identifier, optional_line
from domain.versions import change

ORDERS = range(1, 10)


class CoverageOverlaps(DomainError):
    """Another coverage of the patient at the clinic has this order at this time."""

    code = "COVERAGE_OVERLAPS"
    constraints = ("ex_coverage_priority",)

    def __init__(self) -> None:
        super().__init__(
            "Another coverage has this order at this time; end it first.", path=("priority",)
        )


class PayerTaken(DomainError):
    """Another payer has this identifier."""

    code = "PAYER_TAKEN"
    constraints = ("uq_payer_identifier",)

    def __init__(self) -> None:
        super().__init__("Another payer has this identifier.", path=("identifier",))


@dataclass(frozen=True)
class CoverageTerms:
    """What the card says. `ends_on` is the last day; without, it goes on."""

    payer: Payer
    priority: int
    member_id: str
    starts_on: dt.date
    ends_on: dt.date | None = None
    group_number: str | None = None
    relationship: Relationship = Relationship.SELF


async def record_coverage(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    patient_id: uuid.UUID,
    terms: CoverageTerms,
    *,
    coverage_id: uuid.UUID | None = None,
) -> Coverage:
    """Record what covers a patient, at `place`. Raises Invalid, NotFound, CoverageOverlaps. Writes coverage."""
    values = _checked(terms)
    site = await seen_at(session, agent, patient_id, place)
    coverage = Coverage(
        tenant_id=agent.tenant_id,
        id=coverage_id or new_id(),
        clinic_id=site.clinic_id,
        unit_id=site.unit_id,
        patient_id=patient_id,
        sensitivity=site.sensitivity,
        state=FinancialState.ACTIVE.value,
        **values,
    )
    session.add(coverage)
    with refusals():
        await session.flush()
    record(session, agent, "coverage:record", coverage.id, patient_id, clinic_id=coverage.clinic_id)
    return coverage


async def change_coverage(
    session: AsyncSession,
    agent: Agent,
    coverage: Coverage,
    version: int,
    terms: CoverageTerms,
    state: FinancialState = FinancialState.ACTIVE,
) -> Coverage:
    """Correct or end a coverage. Raises Invalid, StaleVersion, CoverageOverlaps. Writes coverage."""
    values = _checked(terms, coverage.payer_id)
    if coverage.state == FinancialState.ENTERED_IN_ERROR:
        raise Invalid("The coverage was entered in error.", path=("id",))
    with refusals():
        changed = await change(session, agent, coverage, version, state=state.value, **values)
    record(session, agent, "coverage:record", changed.id, clinic_id=changed.clinic_id)
    return changed


def _checked(terms: CoverageTerms, known: uuid.UUID | None = None) -> dict[str, Any]:
    """The columns. `known` is whose coverage it is already: that may be ended or corrected when the payer is closed."""
    if terms.priority not in ORDERS:
        raise Invalid("The order is 1 to 9.", path=("priority",))
    if terms.ends_on is not None and terms.ends_on < terms.starts_on:
        raise Invalid("It ends before it begins.", path=("endsOn",))
    if not terms.payer.active and terms.payer.id != known:
        raise Invalid("This payer is no longer in use.", path=("payer",))
    return {
        "payer_id": terms.payer.id,
        "priority": terms.priority,
        "member_id": line(terms.member_id, "memberId", maximum=80),
        "group_number": optional_line(terms.group_number, "groupNumber", maximum=80),
        "relationship": terms.relationship.value,
        "starts_on": terms.starts_on,
        "ends_on": terms.ends_on,
    }


async def add_payer(
    session: AsyncSession,
    agent: Agent,
    payer_name: str,
    *,
    identifier_system: str | None = None,
    identifier: str | None = None,
    payer_id: uuid.UUID | None = None,
) -> Payer:
    """Enter a payer into the list. Raises Invalid, PayerTaken. Writes payer."""
    values = _named(payer_name, identifier_system, identifier)
    payer = Payer(tenant_id=agent.tenant_id, id=payer_id or new_id(), active=True, **values)
    session.add(payer)
    with refusals():
        await session.flush()
    record(session, agent, "payer:edit", payer.id)
    return payer


async def change_payer(
    session: AsyncSession,
    agent: Agent,
    payer: Payer,
    version: int,
    payer_name: str,
    *,
    identifier_system: str | None = None,
    identifier: str | None = None,
    active: bool = True,
) -> Payer:
    """Correct a payer, or close it: coverages and claims go on, new coverages are refused.

    Raises Invalid, PayerTaken, StaleVersion. Writes payer.
    """
    values = _named(payer_name, identifier_system, identifier)
    with refusals():
        changed = await change(session, agent, payer, version, active=active, **values)
    record(session, agent, "payer:edit", changed.id)
    return changed


def _named(payer_name: str, system: str | None, value: str | None) -> dict[str, Any]:
    """The columns by which a payer is known. Raises Invalid."""
    kept = optional_line(system, "identifierSystem")
    known = optional_identifier(value, "identifier", maximum=80)
    if (kept is None) != (known is None):
        raise Invalid("An identifier has a system and a value.", path=("identifier",))
    called = name(payer_name, "name")
    return {
        "name": called,
        "name_key": fold(called),
        "identifier_system": kept,
        "identifier": known,
    }
