"""Builds FHIR R4 transaction bundles as other systems send them."""

import io
import tarfile
import uuid
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]
MR = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
SSN = "http://hl7.org/fhir/sid/us-ssn"
NPI = "http://hl7.org/fhir/sid/us-npi"
HOSPITAL = "http://hospital.example"


def url_of(name: str) -> str:
    """The fullUrl of a resource: the same for the same name."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


def entry(name: str, resource: Json, **more: Any) -> Json:
    """An entry that creates the resource."""
    type_ = resource["resourceType"]
    return {
        "fullUrl": url_of(name),
        "resource": resource,
        "request": {"method": "POST", "url": type_},
    } | more


def bundle(*entries: Json, **more: Any) -> bytes:
    """A transaction bundle."""
    document = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return orjson.dumps(document | more)


def patient(called: str = "patient", /, **more: Any) -> Json:
    """A patient with a record number."""
    return entry(
        called,
        {
            "resourceType": "Patient",
            "identifier": [{"type": MR, "system": HOSPITAL, "value": f"mr-{called}"}],
            "name": [{"use": "official", "family": "Kutch", "given": ["Zoë", "Ann"]}],
            "gender": "female",
            "birthDate": "1972-11-25",
        }
        | more,
    )


def organization(called: str = "organization", /, **more: Any) -> Json:
    """A hospital."""
    return entry(
        called,
        {
            "resourceType": "Organization",
            "identifier": [{"system": "urn:orgs", "value": f"org-{called}"}],
            "name": f"Hospital {called}",
        }
        | more,
    )


def practitioner(called: str = "practitioner", /, **more: Any) -> Json:
    """A physician."""
    return entry(
        called,
        {
            "resourceType": "Practitioner",
            "identifier": [{"system": NPI, "value": f"npi-{called}"}],
            "name": [{"family": "Gleason", "given": ["Mariam"], "prefix": ["Dr."]}],
        }
        | more,
    )


def ref(name: str) -> Json:
    """A reference to what has the name."""
    return {"reference": url_of(name)}


def encounter(called: str = "encounter", /, **more: Any) -> Json:
    """A finished visit of `patient` with `practitioner` at `organization`."""
    return entry(
        called,
        {
            "resourceType": "Encounter",
            "status": "finished",
            "class": {"code": "AMB"},
            "type": [{"text": "Check-up"}],
            "subject": ref("patient"),
            "participant": [{"individual": ref("practitioner")}],
            "period": {"start": "1991-01-19T15:06:54+00:00", "end": "1991-01-19T15:36:54+00:00"},
            "serviceProvider": ref("organization"),
        }
        | more,
    )


def visit(**more: Any) -> bytes:
    """A bundle with one of each."""
    return bundle(patient(), organization(), practitioner(), encounter(**more))


def archive(path: Path, bundles: dict[str, bytes]) -> Path:
    """A .tar.gz of files, packed as fast as can be."""
    with tarfile.open(path, "w:gz", compresslevel=1) as made:
        for name, raw in bundles.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            made.addfile(member, io.BytesIO(raw))
    return path
