"""Findings that are put right: another value is a version of its own, linked to the one that it takes the place of.

What was final stays as it was, as a signed note does, and is shown as the version before. FHIR keeps versions of one
resource; its states say what became of a result, https://hl7.org/fhir/R4/valueset-observation-status.html
"""

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.audit import record as audit
from domain.chart_entries import Spot
from domain.codings import Coding
from domain.errors import IllegalMove, Invalid
from domain.model import new_id
from domain.observations import (
    PUT_RIGHT,
    Finding,
    Observation,
    ObservationState,
    Part,
    Value,
    finding_columns,
    finding_row,
)
from domain.versions import change

DONE = frozenset({ObservationState.FINAL, ObservationState.AMENDED, ObservationState.CORRECTED})
"""States of a result that is put right by a further version; before, it is brought on (`observations.update`)."""


async def correct(
    session: AsyncSession,
    agent: Agent,
    observation: Observation,
    version: int,
    state: ObservationState,
    value: Value,
    components: Sequence[Finding] = (),
    *,
    correction_id: uuid.UUID | None = None,
) -> Observation:
    """The version of a final finding that holds from now on, with another value or other components.

    Amended: something is added; corrected: it was wrong. Code, time, panel and place stay. Raises Invalid (A_COMPONENT,
    A_PANEL, REPLACED), IllegalMove, StaleVersion. Writes observation.
    """
    if state not in PUT_RIGHT or ObservationState(observation.state) not in DONE:
        raise IllegalMove("observation", observation.state, state.value)
    if observation.part == Part.COMPONENT:
        raise Invalid(
            "A component is put right with its finding.", path=("id",), code="A_COMPONENT"
        )
    if await _parts(session, observation, Part.MEMBER):
        raise Invalid("The findings of a panel are put right.", path=("id",), code="A_PANEL")
    if observation.replaced_by_id is not None:
        raise Invalid("A later version of this holds.", path=("id",), code="REPLACED")
    code = Coding(observation.code_system, observation.code, observation.display)
    told = Finding(code, value, state, observation.effective_at, tuple(components))
    columns, parts = finding_columns(agent, told, ())
    at = Spot(
        observation.clinic_id,
        observation.unit_id,
        observation.patient_id,
        observation.sensitivity,
        observation.encounter_id,
    )
    part = None if observation.part is None else Part(observation.part)
    made = correction_id or new_id()
    fresh = finding_row(agent, at, made, columns, observation.part_of_id, part)
    session.add(fresh)
    await session.flush()
    session.add_all(finding_row(agent, at, new_id(), p, made, Part.COMPONENT) for p in parts)
    await session.flush()
    replaced = await change(session, agent, observation, version, replaced_by_id=made)
    for each in await _parts(session, replaced, Part.COMPONENT):
        await change(session, agent, each, each.version, replaced_by_id=made)
    audit(session, agent, "observation:correct", made, replaced.id, clinic_id=at.clinic_id)
    return fresh


async def _parts(
    session: AsyncSession, observation: Observation, part: Part
) -> Sequence[Observation]:
    found = await session.scalars(
        select(Observation).where(
            Observation.tenant_id == observation.tenant_id,
            Observation.part_of_id == observation.id,
            Observation.part == part.value,
        )
    )
    return found.all()
