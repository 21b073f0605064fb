"""Coverage, https://hl7.org/fhir/R4/coverage.html: at each clinic of the bundle where the patient is seen."""

import uuid
from collections.abc import Sequence

from domain.imports.bundles import Entry
from domain.imports.chart import homes_of, patient_of
from domain.imports.kinds import Kind
from domain.imports.policies import Policy, covered, policy_of
from domain.imports.work import Draft, Skip, Work

POLICY = "policy"


def draft(entry: Entry, work: Work) -> Draft:
    """Whose it is, who pays, from when to when. Raises Fault, Skip."""
    resource = entry.resource
    patient = patient_of(resource, "beneficiary", work)
    policy = policy_of(resource, patient, "UTC", work)
    if policy is None:
        raise Skip("it names no payer")
    return Draft(entry, work.local[entry.index], {POLICY: policy})


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them; a coverage is known by the row at its first clinic."""
    if not drafts:
        return
    homes = await homes_of(work, {made.values[POLICY].patient_id for made in drafts})
    wanted: dict[int, list[tuple[uuid.UUID, Policy]]] = {}
    for made in drafts:
        policy = made.values[POLICY]
        clinics = work.seen[policy.patient_id] or {homes[policy.patient_id]}
        wanted[made.entry.index] = [(clinic, policy) for clinic in sorted(clinics)]
    found = await covered(work, (pair for pairs in wanted.values() for pair in pairs))
    touched = set(work.touched)
    for made in drafts:
        ids = [found[pair] for pair in wanted[made.entry.index]]
        work.local[made.entry.index] = ids[0]
        known = KIND.identity(made.entry) in work.names
        outcome = "unchanged" if touched.isdisjoint(ids) else "changed"
        work.count(outcome if known else "taken", made.entry)


KIND = Kind(
    "Coverage",
    draft,
    write,
    after=frozenset({"Encounter", "Patient"}),
    resources=frozenset({"coverage"}),
)
