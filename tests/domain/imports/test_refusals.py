"""Input that cannot be taken is refused with its place, without its values, and leaves nothing behind."""

from typing import Any

import orjson
import pytest

from tests.domain.imports.bundles import (
    bundle,
    encounter,
    entry,
    organization,
    patient,
    practitioner,
    ref,
    visit,
)
from tests.domain.imports.conftest import Target

pytestmark = pytest.mark.anyio
SECRET = "Xyzzy"


def whole(change: dict[str, Any]) -> bytes:
    return bundle(patient(), **change)


def one(**change: Any) -> bytes:
    return bundle(patient(**change))


REFUSED: list[tuple[str, bytes, int | None, str, str]] = [
    ("cut short", visit()[:-9], None, "", "This is no JSON"),
    ("empty", b"", None, "", "This is no JSON"),
    ("not UTF-8", b'{"a": "\xff"}', None, "", "This is no JSON"),
    ("a list", b"[]", None, "resourceType", "no FHIR Bundle"),
    ("a patient", orjson.dumps(patient()["resource"]), None, "resourceType", "no FHIR Bundle"),
    ("a search result", whole({"type": "searchset"}), None, "type", "Only transaction bundles"),
    ("entries of another kind", whole({"entry": {}}), None, "entry", "must be a list"),
    ("an entry of another kind", whole({"entry": [SECRET]}), 0, "", "must be an object"),
    ("an entry without resource", whole({"entry": [{}]}), 0, "resource", "missing"),
    (
        "a type that FHIR has not",
        bundle(entry("x", {"resourceType": SECRET})),
        0,
        "resource.resourceType",
        "no resource type of FHIR R4",
    ),
    (
        "a deletion",
        bundle(patient() | {"request": {"method": "DELETE", "url": "Patient/1"}}),
        0,
        "request.method",
        "Only POST and PUT",
    ),
    (
        "a request for another type",
        bundle(patient() | {"request": {"method": "POST", "url": "Encounter"}}),
        0,
        "request.url",
        "another resource type",
    ),
    ("one fullUrl twice", bundle(patient(), patient()), 1, "fullUrl", "Another entry"),
    ("a number for a date", one(birthDate=1972), 0, "Patient.birthDate", "must be a string"),
    ("no date", one(birthDate=SECRET), 0, "Patient.birthDate", "no date"),
    ("a day that is not", one(birthDate="1972-02-30"), 0, "Patient.birthDate", "does not exist"),
    ("a year only", one(birthDate="1972"), 0, "Patient.birthDate", "without its day"),
    ("a birth to come", one(birthDate="2972-01-01"), 0, "Patient.birthDate", "in the future"),
    ("a gender that FHIR has not", one(gender=SECRET), 0, "Patient.gender", "none of male"),
    ("no name", one(name=[]), 0, "Patient.name", "no name"),
    ("a name of another kind", one(name=SECRET), 0, "Patient.name", "must be a list"),
    ("half a name", one(name=[{"family": SECRET}]), 0, "Patient.name.given", "empty"),
    (
        "a family name that is a list",
        one(name=[{"family": [SECRET], "given": ["A"]}]),
        0,
        "Patient.name[0].family",
        "must be a string",
    ),
    (
        "control characters",
        one(name=[{"family": f"{SECRET}\u0000", "given": ["A"]}]),
        0,
        "Patient.name.family",
        "cannot be stored",
    ),
    (
        "death before birth",
        one(deceasedDateTime="1950-01-01T00:00:00Z"),
        0,
        "Patient.deceasedDateTime",
        "before birth",
    ),
    (
        "nothing to know it by",
        bundle(patient(identifier=[]) | {"fullUrl": "Patient/1"}),
        0,
        "Patient",
        "neither an identifier",
    ),
    (
        "a reference to what is not there",
        visit(subject=ref("nobody")),
        3,
        "Encounter.subject.reference",
        "neither in this bundle",
    ),
    (
        "a relative reference to what is not there",
        visit(participant=[{"individual": {"reference": "Practitioner/1"}}]),
        3,
        "Encounter.participant[0].individual.reference",
        "neither in this bundle",
    ),
    (
        "a reference to another type",
        visit(subject=ref("organization")),
        3,
        "Encounter.subject.reference",
        "of type Organization where Patient belongs",
    ),
    (
        "a reference of another kind",
        visit(subject=SECRET),
        3,
        "Encounter.subject",
        "must be an object",
    ),
    ("an empty reference", visit(subject={}), 3, "Encounter.subject.reference", "missing"),
    ("no status", visit(status=None), 3, "Encounter.status", "missing"),
    ("a status that FHIR has not", visit(status=SECRET), 3, "Encounter.status", "no status"),
    ("no class", visit(**{"class": None}), 3, "Encounter.class", "missing"),
    (
        "an end before the start",
        visit(period={"start": "2020-01-02", "end": "2020-01-01"}),
        3,
        "Encounter.period.end",
        "before the start",
    ),
    (
        "a time without zone",
        visit(period={"start": "2020-01-02T10:00:00"}),
        3,
        "Encounter.period.start",
        "no date",
    ),
]


@pytest.mark.parametrize(
    ("raw", "index", "path", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_it_is_refused_with_its_place(
    target: Target, raw: bytes, index: int | None, path: str, message: str
) -> None:
    report = await target.take(raw)
    assert (report.bundles, report.failed) == (1, 1)
    problem = report.problems[0]
    assert (problem.file, problem.entry, problem.path) == ("b0.json", index, path)
    assert message in problem.message
    assert SECRET not in str(report.as_json())
    assert set(target.counts().values()) == {0}
    assert report.tally.resources == 0


async def test_everything_that_is_wrong_is_told_at_once(target: Target) -> None:
    report = await target.take(
        bundle(
            patient(birthDate=SECRET),
            organization(),
            practitioner(name=[]),
            encounter(status=SECRET),
            encounter("two", participant=[{"individual": ref("nobody")}]),
        )
    )
    assert [p.entry for p in report.problems] == [0, 2, 3, 4]
    assert report.failed == 1


async def test_a_visit_does_not_change_its_patient(target: Target) -> None:
    await target.take(visit())
    report = await target.take(
        bundle(patient("two"), organization(), practitioner(), encounter(subject=ref("two")))
    )
    assert report.problems[0].entry == 3
    assert "another patient or place" in report.problems[0].message
    assert target.counts()["patient"] == 1


async def test_a_resource_is_named_by_nothing_that_names_a_person(target: Target) -> None:
    record_number = patient(birthDate=SECRET) | {"fullUrl": "https://ehr.example/Patient/mr-1"}
    report = await target.take(bundle(record_number), bundle(patient(birthDate=SECRET)))
    assert [(p.type, p.id is None) for p in report.problems] == [
        ("Patient", True),
        ("Patient", False),
    ]
    told = report.as_json()["problems"][1]
    assert (told["type"], told["id"]) == ("Patient", patient()["fullUrl"])
