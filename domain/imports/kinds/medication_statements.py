"""MedicationStatement, https://hl7.org/fhir/R4/medicationstatement.html"""

from collections.abc import Sequence

from domain.imports.bundles import Entry
from domain.imports.chart import happened, member, placed, since, write_entries, zone_of
from domain.imports.kinds import Kind
from domain.imports.medicines import asserted, directions, medicine, period
from domain.imports.work import Draft, Work
from domain.medications import MedicationStatement, StatementState


def draft(entry: Entry, work: Work) -> Draft:
    """What is taken, how, since when and until when. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work, encounter="context")
    zone = zone_of(place, work)
    told = asserted(resource, zone, work, "dateAsserted") or since(
        resource, "effective", zone, work
    )
    values = {
        **place,
        **medicine(resource, work),
        **period(resource.part("effectivePeriod"), zone, work),
        "state": member(resource, "status", resource.text("status"), StatementState).value,
        "state_before": None,  # as its source tells it: no step of ours
        "effective_at": happened(resource, "dateAsserted", told, work),
        "dosage": directions(resource, "dosage", work),
        "request_id": None,
    }
    return Draft(entry, work.local[entry.index], values)


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await write_entries(work, MedicationStatement, drafts)


KIND = Kind(
    "MedicationStatement",
    draft,
    write,
    after=frozenset({"Encounter", "Patient"}),
    resources=frozenset({"medication_statement"}),
)
