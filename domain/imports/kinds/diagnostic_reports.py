"""DiagnosticReport, https://hl7.org/fhir/R4/diagnosticreport.html: an observation whose members are the results.

Its conclusion is the observation's text. Forms and images are left out.
"""

from collections.abc import Sequence

from domain.codings import FINDINGS
from domain.imports.bundles import Entry
from domain.imports.chart import happened, moment, placed, since, write_entries, zone_of
from domain.imports.concepts import needed_coding, several_lines
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.kinds.observations import belong, join_earlier
from domain.imports.work import Draft, Work
from domain.observations import Observation, ObservationState, Value, value_columns

# https://hl7.org/fhir/R4/valueset-diagnostic-report-status.html: two that observations do not have
OTHERWISE = {"partial": ObservationState.PRELIMINARY, "appended": ObservationState.AMENDED}
LEFT_OUT = ("presentedForm", "media", "imagingStudy")


def draft(entry: Entry, work: Work) -> Draft:
    """Code, conclusion, when, and which observations belong to it. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work)
    zone = zone_of(place, work)
    when = since(resource, "effective", zone, work) or moment(resource, "issued", zone, work)
    conclusion = several_lines(resource.text("conclusion"), resource, "conclusion", work)
    values = {
        **place,
        **needed_coding(resource.part("code"), FINDINGS, work),
        **value_columns(Value(text=conclusion), ()),
        "state": _state(resource).value,
        "state_before": None,  # as its source tells it: no step of ours
        "effective_at": happened(resource, "effectiveDateTime", when, work),
    }
    for key in LEFT_OUT:
        if resource.value.get(key):
            work.leave_out(resource, key, "documents and images are not kept here")
    belong(entry, "result", work)
    return Draft(entry, work.local[entry.index], values)


def _state(resource: Reader) -> ObservationState:
    status = resource.need("status")
    if status in OTHERWISE:
        return OTHERWISE[status]
    if status not in ObservationState.__members__.values():
        raise resource.fault("status", "This is no status of a report.")
    return ObservationState(status)


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them; results of earlier bundles join theirs."""
    await write_entries(work, Observation, drafts)
    await join_earlier(work, drafts, "result")


KIND = Kind(
    "DiagnosticReport",
    draft,
    write,
    after=frozenset({"Encounter", "Patient"}),
    resources=frozenset({"observation"}),
)
