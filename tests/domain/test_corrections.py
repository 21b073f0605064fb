"""A final finding is put right by a version of its own; what was said before stays and is found behind it."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain import observations
from domain.corrections import correct
from domain.encounters import Encounter
from domain.entered_in_error import mark_entered_in_error
from domain.errors import DomainError, IllegalMove, Invalid
from domain.observations import Finding, Observation, ObservationState, Value, loinc
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage
from tests.domain.test_chart import PRESSURE, PULSE, VITALS

pytestmark = pytest.mark.anyio
CORRECTED, AMENDED = ObservationState.CORRECTED, ObservationState.AMENDED
SLOWER = Value(Decimal(62), "/min")
PARTS = (
    Finding(loinc("8480-6"), Value(Decimal(131), "mm[Hg]")),
    Finding(loinc("8462-4"), Value(Decimal(81), "mm[Hg]")),
)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


@pytest.fixture
def visit(at: Stage, database: Database) -> Encounter:
    made = make.encounter(at.patient, at.clinic)
    make.save(database, made)
    return made


async def test_another_value_is_a_version_of_its_own(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        _, first = await observations.record(session, at.agent, visit, [PULSE], panel=VITALS)
        second = await correct(session, at.at(hours=1), first, 1, CORRECTED, SLOWER)
        third = await correct(session, at.agent, second, 1, AMENDED, Value(text="slow"))
        rows = {row.id: row for row in await session.scalars(select(Observation))}
        first, second, third = rows[first.id], rows[second.id], rows[third.id]
        assert [row.state for row in (first, second, third)] == ["final", "corrected", "amended"]
        assert (first.value_quantity, first.version) == (Decimal(72), 2)
        assert (second.value_quantity, third.value_text) == (Decimal(62), "slow")
        assert (first.replaced_by_id, second.replaced_by_id) == (second.id, third.id)
        assert third.replaced_by_id is None
        kept = ("code", "display", "effective_at", "part", "part_of_id", "encounter_id", "unit_id")
        for name in kept:
            assert getattr(third, name) == getattr(first, name)
        assert [a for a, _ in await audited(session, at.agent)].count("observation:correct") == 2


async def test_components_are_put_right_with_their_finding(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        (first,) = await observations.record(session, at.agent, visit, [PRESSURE])
        (part, *_) = await first.parts(session)
        assert (
            await refused(correct(session, at.agent, part, 1, CORRECTED, SLOWER)) == "A_COMPONENT"
        )
        second = await correct(session, at.agent, first, 1, CORRECTED, Value(), PARTS)
        holds = select(Observation).where(
            Observation.code == "8480-6", Observation.replaced_by_id.is_(None)
        )
        (systolic,) = await session.scalars(holds)
        assert (systolic.value_quantity, systolic.part_of_id) == (Decimal(131), second.id)
        # Struck out, the whole history of it is.
        struck = await mark_entered_in_error(session, at.agent, second, 1, "another patient's")
        states = await session.scalars(select(Observation.state))
        assert set(states) == {struck.state} == {"entered-in-error"}


async def test_a_panel_is_put_right_by_its_members(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    """It says nothing itself, and another version of it would have none of them."""
    async with acting(app_engine, at.tenant_id) as session:
        panel, _ = await observations.record(session, at.agent, visit, [PULSE], panel=VITALS)
        assert await refused(correct(session, at.agent, panel, 1, CORRECTED, SLOWER)) == "A_PANEL"


@pytest.mark.parametrize("state", ["registered", "preliminary", "cancelled", "unknown"])
async def test_only_what_is_final_is_put_right(
    at: Stage, app_engine: AsyncEngine, visit: Encounter, database: Database, state: str
) -> None:
    row = make.observation(visit, state=state)
    make.save(database, row)
    async with acting(app_engine, at.tenant_id) as session:
        found = await session.get_one(Observation, (at.tenant_id, row.id))
        with pytest.raises(IllegalMove):
            await correct(session, at.agent, found, 1, CORRECTED, SLOWER)


async def refused(command: Any) -> str:
    with pytest.raises(Invalid) as caught:
        await command
    return caught.value.code


async def test_what_a_correction_must_say(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        (first,) = await observations.record(session, at.agent, visit, [PULSE])
        for value in (Value(), Value(text=" "), Value(Decimal(1), "per min")):
            assert await refused(correct(session, at.agent, first, 1, CORRECTED, value))
        with pytest.raises(IllegalMove):
            await correct(session, at.agent, first, 1, ObservationState.FINAL, SLOWER)
        await correct(session, at.agent, first, 1, CORRECTED, SLOWER)
        first = await session.get_one(Observation, (at.tenant_id, first.id), populate_existing=True)
        assert await refused(correct(session, at.agent, first, 2, CORRECTED, SLOWER)) == "REPLACED"


async def test_of_two_at_once_one_holds(
    at: Stage, app_engine: AsyncEngine, visit: Encounter
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        (first,) = await observations.record(session, at.agent, visit, [PULSE])

    async def one() -> str:
        try:
            async with acting(app_engine, at.tenant_id) as session:
                row = await session.get_one(Observation, (at.tenant_id, first.id))
                await correct(session, at.agent, row, 1, CORRECTED, SLOWER)
        except DomainError as error:
            return error.code
        return "DONE"

    ended = await asyncio.gather(*(one() for _ in range(4)))
    assert ended.count("DONE") == 1
    assert set(ended) <= {"DONE", "STALE_VERSION", "REPLACED"}
    async with acting(app_engine, at.tenant_id) as session:
        assert len((await session.scalars(select(Observation))).all()) == 2
