"""Patient, https://hl7.org/fhir/R4/patient.html"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import select, tuple_

from domain.errors import Invalid
from domain.imports.bundles import Entry, Key
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.names import former, nickname, official
from domain.imports.patient_rows import FORMER, NATIONAL_ID, NUMBER, PATHS, SENSITIVITY, write
from domain.imports.work import Draft, Work, restriction
from domain.patients import Demographics, Mrn, Patient, checked
from domain.patients.commands import FORMER_NAMES_KEPT

# HL7 v2 table 0203. Only names that no authority gave out may be remembered in the clear.
RECORD = "MR"
HARMLESS = ("MR", "PI", "PT", "RI", "")
NATIONAL = ("SS", "NI", "SB")
NATIONAL_SYSTEMS = ("http://hl7.org/fhir/sid/us-ssn",)
# A field of these that cannot be stored is left out; without the others there is no patient.
OPTIONAL = {
    "phone": "telecom",
    "email": "telecom",
    "language": "communication",
    "postalCode": "address.postalCode",
    "country": "address.country",
    "addressLine": "address.line",
    "city": "address.city",
    "preferredName": "name",
    "nationalId": "identifier",
}
COLUMN = {
    "postalCode": "postal_code",
    "addressLine": "address_line",
    "preferredName": "preferred_name",
    "nationalId": "national_id",
}


def names(entry: Entry) -> Iterable[Key]:
    """Medical record numbers first, then what else a system of the source calls its patient; never a national id."""
    found = [(key, code) for key, code, use in entry.identifiers() if use not in ("old", "temp")]
    usable = [(k, c) for k, c in found if c in HARMLESS and k.source not in NATIONAL_SYSTEMS]
    return [key for key, _ in sorted(usable, key=lambda pair: pair[1] != RECORD)]


def record_key(entry: Entry) -> Mrn | None:
    """The medical record number and who gave it out."""
    for key, code, _ in entry.identifiers():
        if code == RECORD:
            return Mrn(key.source, key.value)
    return None


def national_id(entry: Entry) -> str | None:
    """The first identifier that a country gave out."""
    for key, code, _ in entry.identifiers():
        if code in NATIONAL or code.startswith("NN") or key.source in NATIONAL_SYSTEMS:
            return key.value
    return None


def draft(entry: Entry, work: Work) -> Draft:
    """Demographics. Raises Fault, Faults, Skip (its organization was left out)."""
    resource, patient_id = entry.resource, work.local[entry.index]
    home = work.refer(resource, "managingOrganization", "Organization")
    if home is not None:
        work.home[patient_id] = home
    values = _columns(entry, work)
    values["active"] = resource.flag("active") is not False
    values[SENSITIVITY] = restriction(resource)
    values[FORMER] = former(resource)[:FORMER_NAMES_KEPT]
    values[NUMBER] = record_key(entry)
    return Draft(entry, patient_id, values)


def demographics(entry: Entry) -> dict[str, Any]:
    """What FHIR says, by the names of `Demographics`. Raises Fault."""
    resource = entry.resource
    called = official(resource)
    home = _first(resource.parts("address"), "home")
    lines = [*home.texts("line")] if home else []
    return {
        "family_name": called.family or "",
        "given_name": called.given or "",
        "preferred_name": nickname(resource),
        "birth_date": resource.day("birthDate"),
        "sex": resource.text("gender") or "unknown",
        "phone": _telecom(resource, "phone"),
        "email": _telecom(resource, "email"),
        "language": _language(resource),
        "address_line": ", ".join(lines) or None,
        "city": home.text("city") if home else None,
        "postal_code": home.text("postalCode") if home else None,
        "country": home.text("country") if home else None,
        "deceased_on": _died(resource),
        NATIONAL_ID: national_id(entry),
    }


def _columns(entry: Entry, work: Work) -> dict[str, Any]:
    """The demographics as the domain stores them; optional fields that it refuses are left out and counted."""
    given = demographics(entry)
    while True:
        try:
            columns = checked(cast(Demographics, given), work.agent.now.date())
        except Invalid as error:
            field = error.path[0] if error.path else ""
            if field not in OPTIONAL:
                path = PATHS.get(field, field)
                raise entry.resource.fault(path, error.message) from None
            given[COLUMN.get(field, field)] = None
            reason = f"{OPTIONAL[field]}: {error.message.rstrip('.')}"
            work.tally.left_out[entry.type, reason] += 1
        else:
            return columns | {NATIONAL_ID: given[NATIONAL_ID]}


def _first(parts: Sequence[Reader], use: str) -> Reader | None:
    """The part of this use, else the first that is not an old one."""
    current = [part for part in parts if part.text("use") != "old"]
    return next((p for p in current if p.text("use") == use), current[0] if current else None)


def _telecom(resource: Reader, system: str) -> str | None:
    parts = [p for p in resource.parts("telecom") if p.text("system") == system]
    chosen = _first(parts, "home")
    return chosen.text("value") if chosen else None


def _language(resource: Reader) -> str | None:
    spoken = resource.parts("communication")
    chosen = next((p for p in spoken if p.flag("preferred")), spoken[0] if spoken else None)
    language = chosen.part("language") if chosen else None
    codings = language.parts("coding") if language else []
    return codings[0].text("code") if codings else None


def _died(resource: Reader) -> Any:
    """The day of death; a death without a day cannot be stored."""
    moment = resource.text("deceasedDateTime")
    if moment is None or len(moment) <= len("2020-01-01"):
        return resource.day("deceasedDateTime")
    instant = resource.instant("deceasedDateTime", "UTC")
    return instant.date() if instant else None


async def find(work: Work, entries: Sequence[Entry]) -> Mapping[int, uuid.UUID]:
    """Patients of the health system with the same medical record number of the same assigner."""
    wanted = {(n.assigner, n.value): e.index for e in entries if (n := record_key(e)) is not None}
    if not wanted:
        return {}
    columns = (Patient.mrn_assigner, Patient.mrn)
    query = select(*columns, Patient.id).where(
        Patient.tenant_id == work.agent.tenant_id, tuple_(*columns).in_(list(wanted))
    )
    return {wanted[a, m]: row_id for a, m, row_id in await work.session.execute(query)}


KIND = Kind(
    "Patient",
    draft,
    write,
    names=names,
    find=find,
    after=frozenset({"Organization"}),
    resources=frozenset({"patient"}),
)
