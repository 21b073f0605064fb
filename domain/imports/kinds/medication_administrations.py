"""MedicationAdministration, https://hl7.org/fhir/R4/medicationadministration.html: a statement that it was taken."""

import uuid
from collections.abc import Sequence

from domain.imports.bundles import Entry
from domain.imports.chart import day, happened, placed, since, write_entries, zone_of
from domain.imports.concepts import several_lines
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.medicines import medicine, period
from domain.imports.work import Draft, Skip, Work
from domain.medications import MedicationStatement, StatementState

S = StatementState
# https://hl7.org/fhir/R4/valueset-medication-admin-status.html
STATES = {
    "in-progress": S.ACTIVE,
    "not-done": S.NOT_TAKEN,
    "on-hold": S.ON_HOLD,
    "completed": S.COMPLETED,
    "entered-in-error": S.ENTERED_IN_ERROR,
    "stopped": S.STOPPED,
    "unknown": S.UNKNOWN,
}


def draft(entry: Entry, work: Work) -> Draft:
    """What was given, when, and by which order. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work, encounter="context")
    zone = zone_of(place, work)
    status = resource.need("status")
    if status not in STATES:
        raise resource.fault("status", f"This is none of {', '.join(STATES)}.")
    dosage = resource.part("dosage")
    told = dosage.text("text") if dosage else None
    days = period(resource.part("effectivePeriod"), zone, work)
    if days["starts_on"] is None:
        days = dict.fromkeys(days, day(resource, "effectiveDateTime", zone, work))
    values = {
        **place,
        **medicine(resource, work),
        **days,
        "state": STATES[status].value,
        "state_before": None,  # as its source tells it: no step of ours
        "effective_at": happened(
            resource, "effectiveDateTime", since(resource, "effective", zone, work), work
        ),
        "dosage": several_lines(told, resource, "dosage", work),
        "request_id": _request(resource, work),
    }
    return Draft(entry, work.local[entry.index], values)


def _request(resource: Reader, work: Work) -> uuid.UUID | None:
    try:
        return work.refer(resource, "request", "MedicationRequest")
    except Skip:
        return None


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await write_entries(work, MedicationStatement, drafts)


KIND = Kind(
    "MedicationAdministration",
    draft,
    write,
    after=frozenset({"Encounter", "Patient", "MedicationRequest"}),
    resources=frozenset({"medication_statement"}),
)
