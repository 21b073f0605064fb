"""Bundles become rows: once, as a whole, and the same however often they come."""

import datetime as dt
from typing import Any

import pytest

from domain.imports import PlaceRule
from tests import make
from tests.domain.imports.bundles import (
    HOSPITAL,
    MR,
    NPI,
    SSN,
    bundle,
    encounter,
    entry,
    organization,
    patient,
    practitioner,
    ref,
    url_of,
    visit,
)
from tests.domain.imports.conftest import Target, keys

pytestmark = pytest.mark.anyio


async def test_one_of_each(target: Target) -> None:
    report = await target.take(visit())
    assert report.failed == 0, report.problems
    assert dict(report.tally.taken) == {
        "Patient": 1,
        "Organization": 1,
        "Practitioner": 1,
        "Encounter": 1,
    }
    who = target.one("select * from patient where tenant_id = :t")
    assert (who.family_name, who.given_name, who.family_key) == ("Kutch", "Zoë Ann", "kutch")
    assert (who.birth_date, who.sex, who.mrn_assigner) == (
        dt.date(1972, 11, 25),
        "female",
        HOSPITAL,
    )
    made = target.one("select * from encounter where tenant_id = :t")
    assert (made.state, made.kind, made.reason) == ("finished", "AMB", "Check-up")
    assert made.started_at == dt.datetime(1991, 1, 19, 15, 6, 54, tzinfo=dt.UTC)
    site = target.one("select * from patient_site where tenant_id = :t")
    assert (site.unit_id, site.clinic_id) == (made.clinic_id, made.clinic_id)
    assert site.family_key == who.family_key
    doctor = target.one("select * from practitioner where tenant_id = :t")
    assert (doctor.id, doctor.npi) == (made.practitioner_id, None)


async def test_a_second_run_changes_nothing(target: Target) -> None:
    await target.take(visit())
    before = target.counts()
    versions = target.rows("select version, updated_at from patient where tenant_id = :t")
    report = await target.take(visit())
    assert target.counts() == before
    assert target.rows("select version, updated_at from patient where tenant_id = :t") == versions
    assert report.tally.taken.total() == report.tally.changed.total() == 0
    assert report.tally.unchanged.total() == 4


async def test_a_bundle_leaves_one_audit_event(target: Target) -> None:
    await target.take(visit())
    event = target.one("select * from audit_event where tenant_id = :t")
    assert (event.action, event.outcome, event.person_id) == ("import:fhir", "done", None)
    rows = target.rows("select id from patient where tenant_id = :t")
    rows += target.rows("select id from encounter where tenant_id = :t")
    rows += target.rows("select id from practitioner where tenant_id = :t")
    assert set(event.subject_ids) == {row.id for row in rows}


async def test_what_differs_is_changed_with_its_copies(target: Target) -> None:
    await target.take(visit())
    married = [{"use": "official", "family": "Åberg", "given": ["Zoë"]}]
    report = await target.take(
        bundle(patient(name=married), organization(), practitioner(), encounter(status="cancelled"))
    )
    assert dict(report.tally.changed) == {"Patient": 1, "Encounter": 1}
    who = target.one("select * from patient where tenant_id = :t")
    assert (who.family_name, who.version) == ("Åberg", 2)
    assert who.former_names["names"][0]["family"] == "Kutch"
    assert target.one("select family_key from patient_site where tenant_id = :t")[0] == "aberg"
    assert target.one("select state from encounter where tenant_id = :t")[0] == "cancelled"


async def test_practitioners_and_organizations_are_known_across_bundles(target: Target) -> None:
    other = bundle(
        patient("other"),
        organization("renamed", identifier=[{"system": "urn:orgs", "value": "org-organization"}]),
        practitioner("again", identifier=[{"system": NPI, "value": "npi-practitioner"}]),
        encounter(
            "later",
            subject=ref("other"),
            serviceProvider=ref("renamed"),
            participant=[{"individual": ref("again")}],
        ),
    )
    await target.take(visit(), other)
    assert target.counts()["practitioner"] == 1
    clinics = target.rows("select distinct clinic_id from encounter where tenant_id = :t")
    assert len(clinics) == 1


async def test_a_reference_may_lead_to_an_earlier_bundle(target: Target) -> None:
    await target.take(bundle(patient(), organization(), practitioner()))
    npi = {"reference": f"Practitioner?identifier={NPI}|npi-practitioner"}
    report = await target.take(bundle(encounter(participant=[{"individual": npi}])))
    assert report.failed == 0, report.problems
    assert target.counts()["encounter"] == 1
    assert target.one("select practitioner_id is not null from encounter where tenant_id = :t")[0]


async def test_an_earlier_patient_is_seen_at_another_clinic(target: Target) -> None:
    clinics = [c.id for c in target.tree.clinics]
    rule = await target.rule(listed={"org-organization": clinics[0], "Hospital two": clinics[1]})
    await target.take(visit(), rule=rule)
    there = bundle(organization("two"), encounter("e2", serviceProvider=ref("two"), participant=[]))
    report = await target.take(there, rule=rule)
    assert report.failed == 0, report.problems
    sites = target.rows("select unit_id from patient_site where tenant_id = :t")
    assert {row.unit_id for row in sites} == set(clinics[:2])


async def test_a_patient_without_encounters_has_a_clinic(target: Target) -> None:
    rule = await target.rule(listed={"org-organization": target.tree.clinics[2].id})
    managed = patient("managed", managingOrganization=ref("organization"))
    report = await target.take(bundle(organization(), managed), rule=rule)
    assert report.failed == 0, report.problems
    site = target.one("select unit_id from patient_site where tenant_id = :t")
    assert site.unit_id == target.tree.clinics[2].id
    assert (await target.take(bundle(patient("lonely")))).failed == 0
    refused = await target.take(bundle(patient("lost")), rule=rule)
    assert [str(p) for p in refused.problems] == [
        "b0.json, entry 0 (Patient): There is no clinic for this patient."
    ]


async def test_the_same_patient_registered_by_hand_is_found_by_record_number(
    target: Target,
) -> None:
    made = make.patient_at(
        target.tree.tenant, target.tree.clinics[0], mrn_assigner=HOSPITAL, mrn="mr-patient"
    )
    make.save(target.database, *made)
    report = await target.take(visit())
    assert report.failed == 0, report.problems
    assert target.counts()["patient"] == 1
    assert report.tally.changed["Patient"] == 1


async def test_a_patient_without_record_number_gets_one_of_the_tenant(target: Target) -> None:
    named = patient(identifier=[{"system": "urn:else", "value": "1"}])
    await target.take(bundle(named))
    report = await target.take(bundle(named))
    assert report.tally.unchanged["Patient"] == 1
    who = target.one("select mrn, mrn_assigner from patient where tenant_id = :t")
    assert (who.mrn, who.mrn_assigner) == ("00000001", "")


async def test_national_identifiers_are_sealed_and_remembered_nowhere(target: Target) -> None:
    identifiers = [
        {"system": SSN, "value": "999-39-6364"},
        {"type": MR, "system": HOSPITAL, "value": "mr-patient"},
    ]
    await target.take(bundle(patient(identifier=identifiers)))
    await target.take(bundle(patient(identifier=identifiers)))
    who = target.one("select * from patient where tenant_id = :t")
    sealer = keys(target.tenant_id)
    assert who.version == 1
    assert (
        sealer.open("patient.national_id_sealed", who.id, who.national_id_sealed) == b"999-39-6364"
    )
    assert who.national_id_index == sealer.index(b"999396364")
    known = target.rows("select source, external_id from external_reference where tenant_id = :t")
    assert all("999" not in row.external_id and row.source != SSN for row in known)


async def test_two_patients_cannot_have_one_national_identifier(target: Target) -> None:
    def with_ssn(name: str) -> Any:
        number = {"type": MR, "system": HOSPITAL, "value": name}
        return patient(name, identifier=[{"system": SSN, "value": "999-39-6364"}, number])

    report = await target.take(bundle(with_ssn("a")), bundle(with_ssn("b")))
    assert [str(p) for p in report.problems] == [
        "b1.json, entry 0 (Patient.identifier): Another patient has this identifier."
    ]
    assert target.counts()["patient"] == 1


async def test_fields_that_cannot_be_stored_are_left_out_and_counted(target: Target) -> None:
    odd = patient(
        telecom=[{"system": "phone", "value": "call me"}, {"system": "email", "value": "a@b"}],
        address=[{"country": "Atlantis", "city": "Fairbrook", "postalCode": "03401"}],
    )
    report = await target.take(bundle(odd))
    assert report.failed == 0, report.problems
    left = {reason.partition(":")[0] for _, reason in report.tally.left_out}
    assert left == {"telecom", "address.country"}
    who = target.one("select phone, email, country, city from patient where tenant_id = :t")
    assert tuple(who) == (None, None, None, "Fairbrook")


async def test_restricted_patients_stay_restricted(target: Target) -> None:
    labelled = {"security": [{"code": "R"}]}
    report = await target.take(
        bundle(patient(meta=labelled), organization(), encounter(participant=[]))
    )
    assert report.failed == 0, report.problems
    sensitivity = "select sensitivity from {} where tenant_id = :t"
    for table in ("patient", "patient_site", "encounter"):
        assert target.one(sensitivity.format(table))[0] == 1
    await target.take(bundle(patient()))
    assert target.one(sensitivity.format("patient"))[0] == 1
    await target.take(bundle(patient(meta={"security": [{"code": "V"}]})))
    for table in ("patient", "patient_site", "encounter"):
        assert target.one(sensitivity.format(table))[0] == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "unknown"}, "its status is unknown"),
        ({"subject": None}, "it has no subject"),
        ({"period": None}, "it has no beginning"),
        ({"period": {"end": "2020-01-01"}}, "it has no beginning"),
        ({"serviceProvider": None}, "it has no service provider, and no clinic is given for such"),
        (
            {"meta": {"security": [{"code": "R"}]}},
            "it is marked as restricted, and its patient is not",
        ),
    ],
)
async def test_what_cannot_be_placed_is_skipped(
    target: Target, change: dict[str, Any], reason: str
) -> None:
    report = await target.take(visit(**change))
    assert report.failed == 0, report.problems
    assert dict(report.tally.skipped) == {("Encounter", reason): 1}
    assert target.counts()["encounter"] == 0
    assert target.counts()["patient"] == 1


async def test_other_types_are_skipped(target: Target) -> None:
    other = entry("o", {"resourceType": "Flag", "status": "active"})
    report = await target.take(bundle(patient(), other))
    assert dict(report.tally.skipped) == {("Flag", "this type is not imported"): 1}
    assert report.tally.resources == 2


async def test_a_map_without_a_place_for_the_rest_skips_what_is_there(target: Target) -> None:
    rule = await target.rule(listed={"another": target.tree.clinics[0].id})
    report = await target.take(
        bundle(
            patient("p", managingOrganization=None), organization(), encounter(subject=ref("p"))
        ),
        rule=rule,
    )
    assert report.failed == 1
    reasons = await target.take(bundle(organization(), practitioner()), rule=rule)
    assert {reason for _, reason in reasons.tally.skipped} == {
        "the map does not list it, and no clinic is given for the rest"
    }


async def test_a_clinic_for_all(target: Target) -> None:
    clinic = target.tree.clinics[1].id
    await target.take(visit(serviceProvider=None), rule=await target.rule(otherwise=clinic))
    assert target.one("select clinic_id from encounter where tenant_id = :t")[0] == clinic


async def test_an_organization_stays_where_it_was_placed(target: Target) -> None:
    first, second = (c.id for c in target.tree.clinics[:2])
    await target.take(visit(), rule=await target.rule(listed={"org-organization": first}))
    assert (await target.take(visit())).tally.unchanged.total() == 4
    moved = await target.take(visit(), rule=await target.rule(listed={"org-organization": second}))
    assert "another clinic" in str(moved.problems[0])


async def test_a_dry_run_keeps_nothing(target: Target) -> None:
    other = bundle(patient("two"), organization(), practitioner())
    broken = bundle(patient(birthDate="yesterday"))
    report = await target.take(visit(), broken, other, dry_run=True)
    assert set(target.counts().values()) == {0}
    assert dict(report.tally.taken) == {
        "Patient": 2,
        "Organization": 1,
        "Practitioner": 1,
        "Encounter": 1,
    }
    assert report.tally.unchanged.total() == 2
    assert report.failed == 1


async def test_the_next_bundles_are_still_tried(target: Target) -> None:
    broken = visit(status="finisched")
    report = await target.take(broken, bundle(patient("two")))
    assert (report.bundles, report.failed, target.counts()["patient"]) == (2, 1, 1)
    stopped = await target.take(broken, bundle(patient("three")), stop_on_error=True)
    assert (stopped.bundles, stopped.failed, target.counts()["patient"]) == (1, 1, 1)


async def test_nothing_of_another_tenant_is_touched(target: Target) -> None:
    other = make.tree(clinics=1)
    make.save(target.database, *other.rows)
    foreign = PlaceRule((await target.rule()).clinics, otherwise=other.clinics[0].id)
    report = await target.take(visit(serviceProvider=None), rule=foreign)
    assert report.failed == 1
    assert "23503" in report.problems[0].message
    assert set(target.counts().values()) == {0}


async def test_the_same_resource_twice(target: Target) -> None:
    same = practitioner("other", identifier=[{"system": NPI, "value": "npi-practitioner"}])
    report = await target.take(bundle(practitioner(), same))
    assert report.failed == 0, report.problems
    assert target.counts()["practitioner"] == 1
    twin = patient("twin", identifier=[{"type": MR, "system": HOSPITAL, "value": "mr-patient"}])
    twin["resource"]["gender"] = "male"
    refused = await target.take(bundle(patient(), twin))
    assert "twice" in str(refused.problems[0])
    assert url_of("twin") not in str(refused.problems[0])


async def test_depth_is_no_danger(target: Target) -> None:
    raw = bundle(patient(extension="deep"))
    nested = b"[" * 900 + b'{"reference": "urn:uuid:x"}' + b"]" * 900
    report = await target.take(raw.replace(b'"deep"', nested))
    assert report.failed == 0, report.problems
    report = await target.take(raw.replace(b'"deep"', b"[" * 100_000))
    assert "no JSON" in report.problems[0].message
