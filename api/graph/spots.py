"""Where something is written into a chart: at a visit, or at a place where the patient is seen."""

from typing import Any

from api.plan.write import Work
from domain.audit import Agent
from domain.chart_entries import Spot, at_encounter, at_place
from domain.encounters import Encounter as Encounters
from domain.errors import Invalid

ENCOUNTER = "The visit that it is recorded at; else name a patient and a unit."
PATIENT = "Whose chart, where it is recorded at no visit."
UNIT = "The clinic or department, where it is recorded at no visit."


async def at_visit(work: Work, permission: str, encounter: str) -> tuple[Agent, Encounters]:
    """A visit by its opaque id, judged for a row about to be made there. Raises NotFound, Forbidden."""
    visit = await work.load(Encounters, encounter, "Encounter", "encounter")
    place = work.context.actor.tree.units[visit.unit_id]
    new = work.new_row(place, recorded_by=work.agent.person_id)
    return await work.create(permission, new), visit


async def at(work: Work, permission: str, given: Any) -> tuple[Agent, Spot]:
    """The spot that an input names by `encounter`, or by `patient` and `unit`; judged. Raises Invalid as well."""
    beside = (given.patient, given.unit)
    if (given.encounter is None) == (None in beside) or (given.encounter and any(beside)):
        raise Invalid("Either an encounter, or a patient and a unit.", path=("encounter",))
    if given.encounter is not None:
        agent, visit = await at_visit(work, permission, given.encounter)
        return agent, at_encounter(visit)
    place = work.unit(given.unit, "unit")
    patient, _ = await work.patient(given.patient, "patient")
    new = work.new_row(place, recorded_by=work.agent.person_id)
    agent = await work.create(permission, new, "patient")
    return agent, await at_place(work.session, agent, patient.id, place)
