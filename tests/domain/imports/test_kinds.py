"""How FHIR's many ways of saying something become columns."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from domain.imports.fields import Reader
from domain.imports.kinds import kinds
from domain.imports.names import former, nickname, official
from tests import make
from tests.domain.imports.bundles import (
    HOSPITAL,
    MR,
    NPI,
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


def test_kinds_come_after_what_they_need() -> None:
    order = list(kinds())
    assert order.index("Organization") < order.index("Patient") < order.index("Encounter")
    assert order.index("Practitioner") < order.index("Encounter")


@pytest.mark.parametrize(
    ("names", "given", "family"),
    [
        ([{"family": "Kim", "given": ["Ji", "Ho"]}], "Ji Ho", "Kim"),
        ([{"text": "Mary Ann Smith"}], "Mary Ann", "Smith"),
        ([{"text": "Plato"}], None, "Plato"),
        (
            [{"use": "old", "family": "A"}, {"use": "usual", "family": "B", "given": ["C"]}],
            "C",
            "B",
        ),
        ([{"use": "usual", "family": "B"}, {"use": "official", "family": "D"}], None, "D"),
        ([{"family": "First"}, {"family": "Second"}], None, "First"),
    ],
)
def test_the_name_in_use(names: list[Any], given: str | None, family: str) -> None:
    found = official(Reader({"name": names}, "Patient"))
    assert (found.given, found.family) == (given, family)


def test_other_names() -> None:
    reader = Reader(
        {
            "name": [
                {"use": "nickname", "given": ["Bo"]},
                {"use": "maiden", "family": "Old", "given": ["Ann"]},
                {"use": "old", "text": "Ann Older", "period": {"end": "1999-05-01"}},
            ]
        },
        "Patient",
    )
    assert nickname(reader) == "Bo"
    assert former(reader) == [
        {"family": "Old", "given": "Ann"},
        {"family": "Older", "given": "Ann", "until": "1999-05-01"},
    ]


async def test_a_full_patient(target: Target) -> None:
    await target.take(
        bundle(
            patient(
                name=[
                    {"use": "official", "family": "Πάπας", "given": ["Ελένη"]},
                    {"use": "nickname", "given": ["Leni"]},
                    {"use": "maiden", "family": "Nikolaou", "given": ["Eleni"]},
                ],
                telecom=[
                    {"system": "phone", "use": "old", "value": "212-555-0100"},
                    {"system": "phone", "use": "work", "value": "212-555-0101"},
                    {"system": "phone", "use": "home", "value": "212-555-0102"},
                    {"system": "email", "value": "leni@example.org"},
                ],
                address=[
                    {"use": "work", "city": "Elsewhere"},
                    {
                        "use": "home",
                        "line": ["1 Main Street", "Floor 2"],
                        "city": "Fairbrook",
                        "postalCode": "03401",
                        "country": "US",
                    },
                ],
                communication=[
                    {"language": {"coding": [{"code": "en-US"}]}},
                    {"language": {"coding": [{"code": "el"}]}, "preferred": True},
                ],
                deceasedDateTime="2020-02-03T22:00:00-05:00",
                active=False,
            )
        )
    )
    who = target.one("select * from patient where tenant_id = :t")
    assert (who.family_name, who.family_key, who.preferred_name) == ("Πάπας", "papas", "Leni")
    assert who.former_names == {"names": [{"family": "Nikolaou", "given": "Eleni"}]}
    assert (who.phone, who.email) == ("+12125550102", "leni@example.org")
    assert (who.address_line, who.city, who.country) == (
        "1 Main Street, Floor 2",
        "Fairbrook",
        "US",
    )
    assert (who.language, who.active) == ("el", False)
    assert who.deceased_on == dt.date(2020, 2, 4)
    assert target.one("select active from patient_site where tenant_id = :t")[0] is False


async def test_a_practitioner_with_a_number_is_the_one_who_works_here(target: Target) -> None:
    known = make.practitioner(target.tree.tenant, npi="1234567893")
    make.save(target.database, known)
    doctor = practitioner(
        identifier=[{"system": "urn:x", "value": "7"}, {"system": NPI, "value": "1234567893"}],
        qualification=[{"code": {"text": "Cardiology"}}],
    )
    report = await target.take(bundle(doctor))
    assert dict(report.tally.changed) == {"Practitioner": 1}
    row = target.one("select * from practitioner where tenant_id = :t")
    assert (row.id, row.family_name, row.specialty) == (known.id, "Gleason", "Cardiology")
    assert row.version == 2


async def test_who_treated_comes_before_who_was_there(target: Target) -> None:
    def as_(code: str, name: str) -> dict[str, Any]:
        return {"type": [{"coding": [{"code": code}]}], "individual": ref(name)}

    role = entry("role", {"resourceType": "PractitionerRole"})
    participants = [
        {"individual": ref("role")},
        as_("CON", "consultant"),
        as_("ATND", "attending"),
        {"type": [], "individual": ref("plain")},
    ]
    doctors = [
        practitioner(n, name=[{"family": n, "given": ["A"]}])
        for n in ("consultant", "attending", "plain")
    ]
    report = await target.take(
        bundle(patient(), organization(), role, *doctors, encounter(participant=participants))
    )
    assert report.failed == 0, report.problems
    found = target.one(
        "select p.family_name from encounter e join practitioner p on p.tenant_id = e.tenant_id"
        " and p.id = e.practitioner_id where e.tenant_id = :t"
    )
    assert found.family_name == "attending"


async def test_a_day_begins_at_midnight_of_the_clinic(target: Target) -> None:
    period = {"start": "2020-07-01", "end": "2020-07-01T12:00:00.5Z"}
    await target.take(visit(period=period, reasonCode=[{"coding": [{"display": "Cough"}]}]))
    made = target.one("select * from encounter where tenant_id = :t")
    assert made.started_at == dt.datetime(2020, 7, 1, 5, tzinfo=dt.UTC)  # America/Chicago
    assert made.ended_at == dt.datetime(2020, 7, 1, 12, 0, 0, 500_000, tzinfo=dt.UTC)
    assert made.reason == "Cough"


async def test_alike_twice_in_a_bundle_is_once(target: Target) -> None:
    number = [{"type": MR, "system": HOSPITAL, "value": "mr-patient"}]
    report = await target.take(bundle(patient(), patient("twin", identifier=number)))
    assert (report.tally.taken["Patient"], report.tally.unchanged["Patient"]) == (1, 1)
    clash = practitioner(
        "x", identifier=[{"system": NPI, "value": "npi-practitioner"}], active=False
    )
    refused = await target.take(bundle(practitioner(), clash))
    assert "twice" in str(refused.problems[0])


async def test_two_imports_at_once_end_as_one(target: Target) -> None:
    bundles = [
        bundle(
            patient(f"p{n}"),
            organization(),
            practitioner(),
            encounter(f"e{n}", subject=ref(f"p{n}")),
        )
        for n in range(8)
    ]
    reports = await asyncio.gather(*(target.take(*bundles) for _ in range(3)))
    assert [report.failed for report in reports] == [0, 0, 0], reports[0].problems
    assert sum(report.tally.taken["Encounter"] for report in reports) == 8
    assert target.counts()["encounter"] == target.counts()["patient"] == 8
    assert target.counts()["practitioner"] == 1
