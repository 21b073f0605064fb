"""MedicationRequest, https://hl7.org/fhir/R4/medicationrequest.html"""

from collections.abc import Sequence

from domain.imports.bundles import Entry
from domain.imports.chart import (
    happened,
    member,
    moment,
    placed,
    practitioner,
    write_entries,
    zone_of,
)
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.medicines import bounds, directions, medicine, period
from domain.imports.work import Draft, Work
from domain.medications import MedicationRequest, RequestIntent, RequestState


def draft(entry: Entry, work: Work) -> Draft:
    """The medicine, its direction, who ordered it and for how long. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work)
    zone = zone_of(place, work)
    ordered = moment(resource, "authoredOn", zone, work)
    if ordered is None and place["encounter_id"] is not None:
        ordered = work.visits[place["encounter_id"]].started_at
    values = {
        **place,
        **medicine(resource, work),
        **period(_validity(resource) or bounds(resource), zone, work),
        "state": member(resource, "status", resource.text("status"), RequestState).value,
        "state_before": None,  # as its source tells it: no step of ours
        "intent": member(resource, "intent", resource.text("intent"), RequestIntent).value,
        "effective_at": happened(resource, "authoredOn", ordered, work),
        "dosage": directions(resource, "dosageInstruction", work),
        "practitioner_id": practitioner(resource, (), "requester", work),
    }
    return Draft(entry, work.local[entry.index], values)


def _validity(resource: Reader) -> Reader | None:
    dispensed = resource.part("dispenseRequest")
    return dispensed.part("validityPeriod") if dispensed else None


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await write_entries(work, MedicationRequest, drafts)


KIND = Kind(
    "MedicationRequest",
    draft,
    write,
    after=frozenset({"Encounter", "Patient", "Practitioner"}),
    resources=frozenset({"medication_request"}),
)
