"""Observation, https://hl7.org/fhir/R4/observation.html, with its components, as part of its panel or report."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from domain.codings import FINDINGS
from domain.imports.bundles import Entry
from domain.imports.chart import (
    happened,
    member,
    moment,
    placed,
    since,
    write_entries,
    zone_of,
)
from domain.imports.concepts import needed_coding
from domain.imports.faults import Fault, Faults
from domain.imports.findings import value_of
from domain.imports.kinds import Kind
from domain.imports.rows import change, keep, stored
from domain.imports.work import Draft, Work, possible
from domain.model import in_a_row
from domain.observations import MOST, Observation, ObservationState, Part

COMPONENTS = "components"
PLACE = ("clinic_id", "unit_id", "sensitivity")
"""What a component has of its whole, known once that is written."""


def draft(entry: Entry, work: Work) -> Draft:
    """Code, value, when, and the components as drafts of their own. Raises Fault, Skip."""
    resource, id_ = entry.resource, work.local[entry.index]
    place = placed(resource, work)
    zone = zone_of(place, work)
    when = since(resource, "effective", zone, work) or moment(resource, "issued", zone, work)
    shared = {
        **place,
        "state": member(resource, "status", resource.text("status"), ObservationState).value,
        "state_before": None,  # as its source tells it: no step of ours
        "effective_at": happened(resource, "effectiveDateTime", when, work),
    }
    parts = resource.parts("component")
    if len(parts) > MOST:
        raise resource.fault("component", f"At most {MOST} components.")
    values = {
        **shared,
        **needed_coding(resource.part("code"), FINDINGS, work),
        **value_of(resource, work),
    }
    components = [
        {
            **shared,
            **needed_coding(part.part("code"), FINDINGS, work),
            **value_of(part, work),
            "part": Part.COMPONENT.value,
            "part_of_id": id_,
        }
        for part in parts
    ]
    belong(entry, "hasMember", work)
    return Draft(entry, id_, values | {COMPONENTS: components})


def belong(entry: Entry, key: str, work: Work) -> None:
    """The observations that the entry lists belong to it. One of two panels stays with the first."""
    id_ = work.local[entry.index]
    for part in entry.resource.parts(key):
        reference = part.text("reference") or ""
        target = work.target(reference)
        if target is None:
            named = (work.names.get(name) for name in possible(reference, ["Observation"]))
            found = next((known for known in named if known is not None), None)
        else:
            found = work.local[target.index] if target.type == "Observation" else None
        if found is None:
            work.leave_out(entry.resource, key, "not an observation of this or an earlier bundle")
        elif work.groups.setdefault(found, id_) != id_:
            work.leave_out(entry.resource, key, "it belongs to another panel or report")


async def join_earlier(work: Work, drafts: Sequence[Draft], key: str) -> None:
    """Findings of earlier bundles become members of these panels and reports, unless they belong to others.

    Whose they are is asked of the row: a list of another patient's findings is left out.
    """
    groups = {made.id: made for made in drafts}
    here = set(work.local.values())
    wanted = {found: of for found, of in work.groups.items() if of in groups and found not in here}
    rows = await stored(work.session, Observation, work.agent.tenant_id, wanted)
    joining = {"part": Part.MEMBER.value}
    for id_, row in rows.items():
        made = groups[wanted[id_]]
        fits = row.patient_id == made.values["patient_id"] and row.error_reason is None
        if not fits or row.part_of_id not in (None, made.id) or row.part == Part.COMPONENT:
            work.leave_out(made.entry.resource, key, "it belongs to another panel or report")
        elif row.part_of_id is None:
            await change(work, Observation, id_, joining | {"part_of_id": made.id})


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them: those that others belong to first, components last."""
    components: list[Draft] = []
    wholes: list[Draft] = []
    for made in drafts:
        values = made.values.pop(COMPONENTS)
        ids = in_a_row(uuid.UUID(int=made.id.int + 1), len(values))
        components += [Draft(made.entry, id_, each) for id_, each in zip(ids, values, strict=True)]
        wholes += [made] * len(values)
        if (group := work.groups.get(made.id)) is not None:
            made.values.update(part_of_id=group, part=Part.MEMBER.value)
    skipped = set(work.skipped)
    await write_entries(work, Observation, _parents_first(drafts, work.groups))
    struck = work.skipped - skipped
    for part, whole in zip(components, wholes, strict=True):
        part.values.update({name: whole.values[name] for name in PLACE})
    alive = [part for part in components if part.entry.index not in struck]
    await keep(work, Observation, alive, counted=False)
    await join_earlier(work, drafts, "hasMember")


def _parents_first(drafts: Sequence[Draft], groups: Mapping[uuid.UUID, uuid.UUID]) -> list[Draft]:
    """In the order in which foreign keys allow them. Raises Faults where they belong to each other in a circle."""
    return sorted(drafts, key=lambda made: depth(made, groups))


def depth(made: Draft, groups: Mapping[uuid.UUID, uuid.UUID]) -> int:
    """How many groups are above it."""
    above: list[uuid.UUID] = []
    at: Any = made.id
    while (at := groups.get(at)) is not None:
        if at in above or at == made.id:
            text = "Observations belong to each other in a circle."
            raise Faults(Fault(text, path="Observation.hasMember", entry=made.entry.index))
        above.append(at)
    return len(above)


KIND = Kind(
    "Observation",
    draft,
    write,
    after=frozenset({"Encounter", "Patient", "DiagnosticReport"}),
    resources=frozenset({"observation"}),
)
