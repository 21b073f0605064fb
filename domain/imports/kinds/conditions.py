"""Condition, https://hl7.org/fhir/R4/condition.html"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from domain.codings import DIAGNOSES
from domain.conditions import Category, ClinicalStatus, Condition, VerificationStatus
from domain.imports.bundles import Entry
from domain.imports.chart import (
    day,
    happened,
    in_order,
    member,
    moment,
    placed,
    since,
    write_entries,
    zone_of,
)
from domain.imports.concepts import codes, first_code, needed_coding
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.work import Draft, Work

# US Core's health concerns are problems that somebody keeps an eye on.
LISTED = ("problem-list-item", "health-concern")


def draft(entry: Entry, work: Work) -> Draft:
    """Code, statuses and since when. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work)
    zone = zone_of(place, work)
    began = _day(resource, "onset", zone, work)
    over = _day(resource, "abatement", zone, work)
    in_order(resource, "abatementDateTime", began, over)
    recorded = moment(resource, "recordedDate", zone, work) or _known(resource, place, zone, work)
    values = {
        **place,
        **needed_coding(resource.part("code"), DIAGNOSES, work),
        "clinical_status": _clinical(resource, over=over is not None),
        "verification_status": _verification(resource),
        "state_before": None,  # as its source tells it: no step of ours
        "category": _category(resource).value,
        "onset_on": began,
        "abated_on": over,
        "recorded_at": happened(resource, "recordedDate", recorded, work),
    }
    return Draft(entry, work.local[entry.index], values)


def _known(resource: Reader, place: dict[str, Any], zone: str, work: Work) -> dt.datetime | None:
    """Since when it is known, where nobody says when it was recorded: since its visit, else since it began."""
    visit = work.visits.get(place["encounter_id"])
    return visit.started_at if visit else since(resource, "onset", zone, work)


def _day(resource: Reader, name: str, zone: str, work: Work) -> object:
    found = day(resource, f"{name}DateTime", zone, work)
    return found or day(resource.part(f"{name}Period"), "start", zone, work)


def _clinical(resource: Reader, *, over: bool) -> str:
    """As it says; else by whether it is over."""
    code = first_code(resource, "clinicalStatus")
    if code is None:
        return (ClinicalStatus.RESOLVED if over else ClinicalStatus.ACTIVE).value
    return member(resource, "clinicalStatus", code, ClinicalStatus).value


def _verification(resource: Reader) -> str:
    """As it says; what nobody says to be confirmed is not."""
    code = first_code(resource, "verificationStatus") or VerificationStatus.UNCONFIRMED
    return member(resource, "verificationStatus", code, VerificationStatus).value


def _category(resource: Reader) -> Category:
    said = {code for part in resource.parts("category") for _, code in codes(part)}
    listed = not said.isdisjoint(LISTED)
    return Category.PROBLEM_LIST_ITEM if listed else Category.ENCOUNTER_DIAGNOSIS


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await write_entries(work, Condition, drafts)


KIND = Kind(
    "Condition",
    draft,
    write,
    after=frozenset({"Encounter", "Patient"}),
    resources=frozenset({"condition"}),
)
