"""AllergyIntolerance, https://hl7.org/fhir/R4/allergyintolerance.html"""

import datetime as dt
from collections.abc import Sequence

from domain.allergies import (
    AllergyCategory,
    AllergyIntolerance,
    AllergyKind,
    AllergyStatus,
    AllergyVerification,
    Criticality,
)
from domain.codings import SUBSTANCES
from domain.imports.bundles import Entry
from domain.imports.chart import (
    day,
    happened,
    member,
    moment,
    optional_member,
    placed,
    since,
    write_entries,
    zone_of,
)
from domain.imports.concepts import first_code, needed_coding, one_line, words
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.work import Draft, Work


def draft(entry: Entry, work: Work) -> Draft:
    """Substance, statuses, how bad, and since when. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work, subject="patient")
    zone = zone_of(place, work)
    categories = resource.texts("category")
    if len(categories) > 1:
        work.leave_out(resource, "category", "further categories")
    clinical = first_code(resource, "clinicalStatus") or AllergyStatus.ACTIVE
    verified = first_code(resource, "verificationStatus") or AllergyVerification.UNCONFIRMED
    kind = optional_member(resource, "type", resource.text("type"), AllergyKind, work)
    category = categories[0] if categories else None
    how_bad = resource.text("criticality")
    values = {
        **place,
        **needed_coding(resource.part("code"), SUBSTANCES, work),
        "clinical_status": member(resource, "clinicalStatus", clinical, AllergyStatus).value,
        "verification_status": member(
            resource, "verificationStatus", verified, AllergyVerification
        ).value,
        "state_before": None,  # as its source tells it: no step of ours
        "kind": kind,
        "category": optional_member(resource, "category", category, AllergyCategory, work),
        "criticality": optional_member(resource, "criticality", how_bad, Criticality, work),
        "reaction": one_line(_reaction(resource), resource, "reaction", work),
        "onset_on": day(resource, "onsetDateTime", zone, work),
        "effective_at": happened(resource, "recordedDate", _known(resource, zone, work), work),
    }
    return Draft(entry, work.local[entry.index], values)


def _known(resource: Reader, zone: str, work: Work) -> dt.datetime | None:
    """Since when it is known: recorded, else begun, else when its source last wrote it."""
    return (
        moment(resource, "recordedDate", zone, work)
        or since(resource, "onset", zone, work)
        or moment(resource.part("meta"), "lastUpdated", zone, work)
    )


def _reaction(resource: Reader) -> str | None:
    """What happens, in words."""
    shown = [
        text
        for reaction in resource.parts("reaction")
        for concept in reaction.parts("manifestation")
        if (text := words(concept))
    ]
    return ", ".join(dict.fromkeys(shown)) or None


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await write_entries(work, AllergyIntolerance, drafts)


KIND = Kind(
    "AllergyIntolerance",
    draft,
    write,
    after=frozenset({"Encounter", "Patient"}),
    resources=frozenset({"allergy"}),
)
