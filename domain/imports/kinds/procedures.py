"""Procedure, https://hl7.org/fhir/R4/procedure.html"""

from collections.abc import Sequence

from domain.codings import TREATMENTS
from domain.imports.bundles import Entry
from domain.imports.chart import (
    happened,
    in_order,
    member,
    moment,
    placed,
    practitioner,
    since,
    write_entries,
    zone_of,
)
from domain.imports.concepts import needed_coding, several_lines, words
from domain.imports.kinds import Kind
from domain.imports.work import Draft, Work
from domain.procedures import Procedure, ProcedureState

ACTORS = (("performer", "actor"),)


def draft(entry: Entry, work: Work) -> Draft:
    """What was done, when and by whom. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work)
    zone = zone_of(place, work)
    period = resource.part("performedPeriod")
    began = happened(resource, "performed", since(resource, "performed", zone, work), work)
    over = moment(period, "end", zone, work)
    in_order(resource, "performedPeriod.end", began, over)
    outcome = words(resource.part("outcome"))
    values = {
        **place,
        **needed_coding(resource.part("code"), TREATMENTS, work),
        "state": member(resource, "status", resource.text("status"), ProcedureState).value,
        "state_before": None,  # as its source tells it: no step of ours
        "effective_at": began,
        "ended_at": over,
        "outcome": several_lines(outcome, resource, "outcome", work),
        "practitioner_id": practitioner(resource, ACTORS, None, work),
    }
    return Draft(entry, work.local[entry.index], values)


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await write_entries(work, Procedure, drafts)


KIND = Kind(
    "Procedure",
    draft,
    write,
    after=frozenset({"Encounter", "Patient", "Practitioner"}),
    resources=frozenset({"procedure"}),
)
