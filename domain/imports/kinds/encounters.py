"""Encounter, https://hl7.org/fhir/R4/encounter.html, at the clinic of its service provider."""

import uuid
from collections.abc import Sequence
from typing import Any

from domain.encounters import Encounter, EncounterState
from domain.errors import Invalid
from domain.imports.bundles import Entry
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.rows import keep
from domain.imports.work import Draft, Skip, Visit, Work, concept, restriction
from domain.plain_text import identifier, optional_passage

# https://terminology.hl7.org/CodeSystem-v3-ParticipationType.html: who treats comes before who is merely there.
TREATING = ("PPRF", "ATND", "SPRF", "")
OTHERS = ("PractitionerRole", "RelatedPerson")
PLACED = ("patient_id", "clinic_id", "unit_id")
KIND_LENGTH = 16


def draft(entry: Entry, work: Work) -> Draft:
    """Who, where, when and why. Raises Fault, Skip."""
    resource = entry.resource
    if restriction(resource):
        raise Skip("it is marked as restricted, and its patient is not")
    state = _state(resource)
    patient = work.refer(resource, "subject", "Patient")
    if patient is None:
        raise Skip("it has no subject")
    clinic = _clinic(resource, work)
    values: dict[str, Any] = {
        "clinic_id": clinic,
        "unit_id": clinic,
        "patient_id": patient,
        "practitioner_id": _practitioner(resource, work),
        "state": state.value,
        "state_before": None,  # as its source tells it: no step of ours
        **_times(resource, work.rule.zone(clinic)),
        **_texts(resource),
    }
    work.seen[patient].add(clinic)
    started = values["started_at"]
    work.visits[work.local[entry.index]] = Visit(clinic, clinic, patient, started)
    return Draft(entry, work.local[entry.index], values)


def _state(resource: Reader) -> EncounterState:
    status = resource.need("status")
    if status == "unknown":
        raise Skip("its status is unknown")
    if status not in EncounterState.__members__.values():
        raise resource.fault("status", "This is no status of an encounter.")
    return EncounterState(status)


def _clinic(resource: Reader, work: Work) -> uuid.UUID:
    clinic = work.refer(resource, "serviceProvider", "Organization") or work.rule.otherwise
    if clinic is None:
        raise Skip("it has no service provider, and no clinic is given for such")
    return clinic


def _practitioner(resource: Reader, work: Work) -> uuid.UUID | None:
    """The practitioner who treated, by the order of TREATING."""
    found: dict[str, uuid.UUID] = {}
    for participant in reversed(resource.parts("participant")):
        who = work.refer(participant, "individual", "Practitioner", or_none=OTHERS)
        if who is not None:
            found |= dict.fromkeys(_roles(participant), who)
    return next((found[role] for role in (*TREATING, *found) if role in found), None)


def _roles(participant: Reader) -> list[str]:
    kinds = participant.parts("type")
    codes = [coding.text("code") for kind in kinds for coding in kind.parts("coding")]
    return [code for code in codes if code] or [""]


def _times(resource: Reader, zone: str) -> dict[str, Any]:
    period = resource.part("period")
    started = period.instant("start", zone) if period else None
    if period is None or started is None:
        raise Skip("it has no beginning")
    ended = period.instant("end", zone)
    if ended is not None and ended < started:
        raise period.fault("end", "The end comes before the start.")
    return {"started_at": started, "ended_at": ended}


def _texts(resource: Reader) -> dict[str, object]:
    """The class (ambulatory, emergency, …) and why the patient came; else what sort of visit it was."""
    class_ = resource.part("class")
    if class_ is None:
        raise resource.fault("class", "This is missing.")
    code = class_.need("code")
    try:
        kind = identifier(code, "class", maximum=KIND_LENGTH)
        reason = optional_passage(
            concept(resource, "reasonCode") or concept(resource, "type"), "reasonCode"
        )
    except Invalid as error:
        raise resource.fault(error.path[0], error.message) from None
    return {"kind": kind, "reason": reason}


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them, with their patients' sensitivity."""
    for made in drafts:
        made.values["sensitivity"] = work.sensitivity[made.values["patient_id"]]
    await keep(work, Encounter, drafts, fixed=PLACED)


KIND = Kind(
    "Encounter",
    draft,
    write,
    after=frozenset({"Organization", "Patient", "Practitioner"}),
    resources=frozenset({"encounter"}),
)
