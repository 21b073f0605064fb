"""What clinical resources have in common: of whom, at which visit, since when; and how their rows are written.

What belongs to a visit lies where the visit is. What belongs to none (an allergy) lies at the clinic that manages the
patient, else where the bundle has most visits of theirs, else at a clinic where they were seen before; and stays there.
"""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import select

from domain.encounters import Encounter
from domain.errors import Invalid
from domain.imports.fields import Reader
from domain.imports.rows import keep, stored
from domain.imports.work import Draft, Skip, Visit, Work, restriction
from domain.model import Identified
from domain.moments import past
from domain.patients import PatientSite

FIXED = ("patient_id", "clinic_id", "unit_id", "encounter_id")
NOBODY = ("Group", "Device", "Location")
NO_DAY = "a date without its day cannot be stored"
E = TypeVar("E", bound=StrEnum)


async def learn_visits(work: Work) -> None:
    """Look up the encounters of earlier imports that the bundle names."""
    ids = {local for key, local in work.names.items() if key.type == "Encounter"}
    known = await stored(work.session, Encounter, work.agent.tenant_id, ids) if ids else {}
    for id_, row in known.items():
        work.visits[id_] = Visit(row.clinic_id, row.unit_id, row.patient_id, row.started_at)


def placed(
    resource: Reader, work: Work, subject: str = "subject", encounter: str = "encounter"
) -> dict[str, Any]:
    """The columns that say of whom and where; without an encounter the place is found when the row is written.

    Raises Skip, Fault.
    """
    patient = patient_of(resource, subject, work)
    visit_id = work.refer(resource, encounter, "Encounter")
    if visit_id is None:
        return dict.fromkeys(FIXED) | {"patient_id": patient}
    return visited(resource, encounter, patient, visit_id, work)


def patient_of(resource: Reader, key: str, work: Work) -> uuid.UUID:
    """Whose it is. Raises Skip, Fault."""
    if restriction(resource):
        raise Skip("it is marked as restricted, and its patient is not")
    patient = work.refer(resource, key, "Patient", or_none=NOBODY)
    if patient is None:
        raise Skip("it is of no patient")
    return patient


def visited(
    resource: Reader, key: str, patient: uuid.UUID, visit_id: uuid.UUID, work: Work
) -> dict[str, Any]:
    """The columns of what belongs to a visit of the patient. Raises Fault."""
    visit = work.visits[visit_id]
    if visit.patient_id != patient:
        raise resource.fault(key, "The encounter is another patient's.")
    work.seen[patient].add(visit.clinic_id)
    return {
        "patient_id": patient,
        "clinic_id": visit.clinic_id,
        "unit_id": visit.unit_id,
        "encounter_id": visit_id,
    }


def zone_of(values: dict[str, Any], work: Work) -> str:
    """The time zone of the row's clinic; UTC where the place is not known yet."""
    clinic = values["clinic_id"]
    return "UTC" if clinic is None else work.rule.zone(clinic)


def moment(holder: Reader | None, key: str, zone: str, work: Work) -> dt.datetime | None:
    """A moment; a date without its day is left out and counted."""
    if holder is None:
        return None
    if holder.partial(key):
        work.leave_out(holder, key, NO_DAY)
        return None
    return holder.instant(key, zone)


def day(holder: Reader | None, key: str, zone: str, work: Work) -> dt.date | None:
    """The day of a date or moment in the zone; a date without its day is left out and counted."""
    if holder is None:
        return None
    if holder.partial(key):
        work.leave_out(holder, key, NO_DAY)
        return None
    text = holder.text(key) or ""
    if len(text) <= len("2020-01-01"):
        return holder.day(key)
    found = holder.instant(key, zone)
    return found.astimezone(ZoneInfo(zone)).date() if found else None


def since(holder: Reader, name: str, zone: str, work: Work) -> dt.datetime | None:
    """The beginning of a choice of dateTime, instant and Period: `effective`, `performed`, `occurrence`, …"""
    for kind in ("DateTime", "Instant"):
        if (found := moment(holder, f"{name}{kind}", zone, work)) is not None:
            return found
    return moment(holder.part(f"{name}Period"), "start", zone, work)


def happened(resource: Reader, key: str, found: dt.datetime | None, work: Work) -> dt.datetime:
    """A moment that there must be, not in the future. Raises Skip, Fault."""
    if found is None:
        raise Skip("it does not say on which day it was")
    try:
        return past(found, work.agent)
    except Invalid as error:
        raise resource.fault(key, error.message) from None


def in_order(holder: Reader, key: str, start: Any, end: Any) -> None:
    """Raises Fault where a period ends before it starts."""
    if start is not None and end is not None and end < start:
        raise holder.fault(key, "The end comes before the start.")


def member(holder: Reader, key: str, code: str | None, kind: type[E]) -> E:
    """The code as a member of FHIR's value set. Raises Fault."""
    if code is None:
        raise holder.fault(key, "This is missing.")
    if code not in kind.__members__.values():
        raise holder.fault(key, f"This is none of {', '.join(kind)}.")
    return kind(code)


def optional_member(
    holder: Reader, key: str, code: str | None, kind: type[E], work: Work
) -> str | None:
    """The code, if it is one of the set; another one is left out and counted."""
    if code is None or code in kind.__members__.values():
        return code
    work.leave_out(holder, key, "not one of the codes that are kept")
    return None


def practitioner(
    holder: Reader, lists: Iterable[tuple[str, str]], single: str | None, work: Work
) -> uuid.UUID | None:
    """The first practitioner among the references `single` and `list[].key`; others are passed over."""
    places = [(holder, single)] if single else []
    places += [(part, key) for name, key in lists for part in holder.parts(name)]
    for part, key in places:
        named = part.part(key)
        if named is None or not named.text("reference"):
            continue
        target = work.target(named.need("reference"))
        if target is not None and target.type == "Practitioner" and target.index in work.skipped:
            continue
        found = work.refer(part, key, "Practitioner", or_none=ACTORS)
        if found is not None:
            return found
    return None


ACTORS = (
    "PractitionerRole",
    "RelatedPerson",
    "Organization",
    "Patient",
    "Device",
    "CareTeam",
    "HealthcareService",
)


async def write_entries(work: Work, model: type[Identified], drafts: Sequence[Draft]) -> None:
    """Store rows of patients, with their patients' sensitivity; those without a place get one."""
    await place_others(work, model, drafts)
    for made in drafts:
        made.values["sensitivity"] = work.sensitivity[made.values["patient_id"]]
    await keep(work, model, drafts, fixed=FIXED)


async def place_others(work: Work, model: Any, drafts: Sequence[Draft]) -> None:
    """Where a row lies that belongs to no visit: where it lay before, else where its patient is at home."""
    others = [made for made in drafts if made.values["clinic_id"] is None]
    if not others:
        return
    known = await stored(work.session, model, work.agent.tenant_id, (d.id for d in others))
    homes = await homes_of(work, {made.values["patient_id"] for made in others})
    for made in others:
        if (row := known.get(made.id)) is not None:
            made.values.update(clinic_id=row.clinic_id, unit_id=row.unit_id)
        else:
            home = homes[made.values["patient_id"]]
            made.values.update(clinic_id=home, unit_id=home)


async def homes_of(work: Work, patients: Collection[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """The clinic where each patient is at home."""
    query = select(PatientSite.patient_id, PatientSite.clinic_id, PatientSite.sensitivity).where(
        PatientSite.tenant_id == work.agent.tenant_id,
        PatientSite.patient_id.in_(patients),
        PatientSite.unit_id == PatientSite.clinic_id,
    )
    often = Counter((v.patient_id, v.clinic_id) for v in work.visits.values())
    sites: dict[uuid.UUID, list[tuple[bool, int, uuid.UUID]]] = {}
    for patient, clinic, sensitivity in await work.session.execute(query):
        work.sensitivity.setdefault(patient, sensitivity)
        rank = (work.home.get(patient) == clinic, often[patient, clinic], clinic)
        sites.setdefault(patient, []).append(rank)
    return {patient: max(ranks)[2] for patient, ranks in sites.items()}
