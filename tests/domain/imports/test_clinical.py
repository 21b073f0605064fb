"""Clinical resources of US Core bundles become rows of the chart, at their visit's clinic, once."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tests.domain.imports import us_core as us
from tests.domain.imports.bundles import (
    Json,
    bundle,
    encounter,
    entry,
    organization,
    patient,
    practitioner,
    ref,
    url_of,
)
from tests.domain.imports.conftest import Target

pytestmark = pytest.mark.anyio
CHART = (
    "observation",
    "condition",
    "allergy_intolerance",
    "medication_request",
    "medication_statement",
    "procedure",
    "immunization",
)
WHEN = dt.datetime(2024, 3, 5, 14, 30, tzinfo=dt.UTC)


def chart(*entries: Json) -> bytes:
    """A visit and what was documented."""
    return bundle(patient(), organization(), practitioner(), encounter(), *entries)


WHOLE = (
    us.blood_pressure(),
    us.smoking_status(),
    us.bmi_percentile(),
    us.laboratory(),
    us.report("glucose"),
    us.condition(),
    us.allergy(),
    us.medication_request(),
    us.medication_statement(),
    us.administration(),
    us.procedure(),
    us.immunization(),
)


def every(target: Target) -> dict[str, int]:
    query = "select count(*) from {} where tenant_id = :t"
    return {table: target.one(query.format(table))[0] for table in CHART}


async def test_the_whole_chart(target: Target) -> None:
    report = await target.take(chart(*WHOLE))
    assert (report.failed, dict(report.tally.skipped)) == (0, {}), report.problems
    assert dict(report.tally.left_out) == {}
    expected = dict(zip(CHART, (7, 1, 1, 1, 2, 1, 1), strict=True))
    assert every(target) == expected
    at = target.one("select id, clinic_id, unit_id, patient_id from encounter where tenant_id = :t")
    for table in CHART:
        place = f"select distinct clinic_id, unit_id, patient_id from {table} where tenant_id = :t"
        assert tuple(target.one(place)) == tuple(at)[1:]
    again = await target.take(chart(*WHOLE))
    assert again.failed == 0, again.problems
    assert (again.tally.taken.total(), again.tally.changed.total()) == (0, 0)
    assert every(target) == expected


async def test_a_blood_pressure_has_components(target: Target) -> None:
    await target.take(chart(us.blood_pressure()))
    panel, *parts = target.rows(
        "select * from observation where tenant_id = :t order by part_of_id nulls first, code desc"
    )
    assert (panel.code, panel.value_quantity, panel.effective_at) == ("85354-9", None, WHEN)
    found = [(p.code, p.value_quantity, p.unit, p.part, p.part_of_id) for p in parts]
    assert found == [
        ("8480-6", Decimal(128), "mm[Hg]", "component", panel.id),
        ("8462-4", Decimal(82), "mm[Hg]", "component", panel.id),
    ]
    corrected = us.blood_pressure(status="corrected")
    corrected["resource"]["component"][0]["valueQuantity"]["value"] = 138
    report = await target.take(chart(corrected))
    assert dict(report.tally.changed) == {"Observation": 1}
    systolic = target.one("select * from observation where tenant_id = :t and code = '8480-6'")
    assert (systolic.value_quantity, systolic.state) == (138, "corrected")


async def test_an_answer_is_a_code_and_a_percentile_a_number(target: Target) -> None:
    await target.take(chart(us.smoking_status(), us.bmi_percentile()))
    query = "select * from observation where tenant_id = :t and code = :code"
    smoking = target.one(query, code="72166-2")
    assert (smoking.value_code_system, smoking.value_code) == (us.SNOMED, "8517006")
    assert smoking.value_display == "Ex-smoker"
    bmi = target.one(query, code="59576-9")
    assert (bmi.value_quantity, bmi.unit) == (65, "%")


async def test_a_report_groups_its_results(target: Target) -> None:
    conclusion = "Glucose a little high.\nRepeat in a year."
    results = us.report("glucose", conclusion=conclusion, presentedForm=[{"title": "pdf"}])
    report = await target.take(chart(us.laboratory(), results))
    group, result = target.rows(
        "select * from observation where tenant_id = :t order by part_of_id nulls first"
    )
    assert (group.code, group.value_text) == ("24323-8", conclusion)
    assert (result.part, result.part_of_id) == ("member", group.id)
    assert (result.range_low, result.range_high, result.interpretation) == (70, 99, "H")
    reason = "presentedForm: documents and images are not kept here"
    assert dict(report.tally.left_out) == {("DiagnosticReport", reason): 1}
    # The result alone, later: it stays where it belongs.
    await target.take(chart(us.laboratory(status="amended")))
    member = target.one("select * from observation where tenant_id = :t and part is not null")
    assert (member.state, member.part_of_id) == ("amended", group.id)


async def test_panels_come_before_their_members(target: Target) -> None:
    members = {"hasMember": [ref("glucose")], "valueQuantity": None}
    outer = us.observation("outer", us.coded(us.LOINC, "85354-9"), hasMember=[ref("inner")])
    inner = us.laboratory("inner", **members)
    report = await target.take(chart(us.laboratory(), inner, outer, us.report("outer")))
    assert report.failed == 0, report.problems
    depth = "select count(*) from observation where tenant_id = :t and part = 'member'"
    assert target.one(depth)[0] == 3
    circle = us.laboratory("glucose", hasMember=[ref("inner")])
    refused = await target.take(chart(circle, inner))
    assert "in a circle" in str(refused.problems[0])


async def test_what_one_has_and_takes(target: Target) -> None:
    await target.take(chart(*WHOLE))
    problem = target.one("select * from condition where tenant_id = :t")
    assert (problem.code_system, problem.code, problem.onset_on) == (
        us.ICD,
        "I10",
        dt.date(2023, 11, 1),
    )
    assert (problem.clinical_status, problem.verification_status) == ("active", "confirmed")
    allergy = target.one("select * from allergy_intolerance where tenant_id = :t")
    assert (allergy.code, allergy.reaction, allergy.criticality) == ("7980", "Skin rash", "high")
    request = target.one("select * from medication_request where tenant_id = :t")
    assert (request.state, request.intent, request.dosage) == (
        "active",
        "order",
        "One tablet in the morning",
    )
    assert (request.starts_on, request.ends_on) == (dt.date(2024, 3, 5), dt.date(2024, 6, 5))
    doctor = target.one("select id from practitioner where tenant_id = :t")[0]
    given = target.one(
        "select * from medication_statement where tenant_id = :t and request_id is not null"
    )
    assert (given.request_id, given.state) == (request.id, "completed")
    done = target.one("select * from procedure where tenant_id = :t")
    assert (done.effective_at, done.outcome, done.practitioner_id) == (WHEN, "No growth", doctor)
    shot = target.one("select * from immunization where tenant_id = :t")
    assert (shot.code, shot.lot_number, shot.dose_quantity, shot.dose_unit, shot.site) == (
        "140",
        "AB123",
        Decimal("0.5"),
        "mL",
        "Left arm",
    )
    assert {request.practitioner_id, done.practitioner_id, shot.practitioner_id} == {doctor}


async def test_directions_are_told_from_their_parts(target: Target) -> None:
    told = {
        "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
        "doseAndRate": [{"doseQuantity": {"value": 2.50, "unit": "mg"}}],
        "additionalInstruction": [us.coded(us.SNOMED, "418577003", "Take at regular intervals")],
        "asNeededBoolean": True,
    }
    await target.take(chart(us.medication_request(dosageInstruction=[told])))
    assert target.one("select dosage from medication_request where tenant_id = :t")[0] == (
        "dose 2.5 mg, 2 times in 1 day, Take at regular intervals, as needed"
    )


@pytest.mark.parametrize("contained", [True, False])
async def test_a_medicine_of_its_own(target: Target, contained: bool) -> None:
    resource = {"resourceType": "Medication", "code": us.coded(us.RXNORM, "313782"), "id": "m"}
    where = {"reference": "#m"} if contained else ref("m")
    request = us.medication_request(
        medicationCodeableConcept=None,
        medicationReference=where,
        contained=[resource] if contained else None,
    )
    report = await target.take(chart(request, *([] if contained else [entry("m", resource)])))
    assert report.failed == 0, report.problems
    assert target.one("select code from medication_request where tenant_id = :t")[0] == "313782"


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        ({"valueString": "clear"}, {"value_text": "clear"}),
        ({"valueBoolean": False}, {"value_boolean": False}),
        ({"valueInteger": 3}, {"value_quantity": 3, "unit": "1"}),
        ({"valueQuantity": us.quantity(5, "mg/dL", comparator="<")}, {"value_text": "<5 mg/dL"}),
        ({"valueCodeableConcept": {"text": "odd"}}, {"value_text": "odd"}),
        (
            {"valueRange": {"low": us.quantity(1, "mL"), "high": us.quantity(2, "mL")}},
            {"value_text": "1 mL to 2 mL"},
        ),
        ({"dataAbsentReason": us.status("unknown")}, {"value_quantity": None}),
        ({"valueQuantity": us.quantity(0.1, "mg/dL")}, {"value_quantity": Decimal("0.1")}),
    ],
)
async def test_values_of_every_kind(target: Target, value: Json, columns: dict[str, Any]) -> None:
    finding = us.observation("finding", us.coded(us.LOINC, "2339-0"), **value)
    report = await target.take(chart(finding))
    assert report.failed == 0, report.problems
    row = target.one("select * from observation where tenant_id = :t")
    assert {name: getattr(row, name) for name in columns} == columns


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (
            us.condition(encounter=None, recordedDate=None, onsetDateTime=None),
            "it does not say on which day it was",
        ),
        (us.condition(subject=None), "it is of no patient"),
        (us.condition(code={"text": "cold"}), "it has no code of ICD-10-CM or SNOMED CT"),
        (us.laboratory(code=us.coded(us.LOINC, "2339-1")), "it has no code of LOINC"),
        (us.laboratory(valueQuantity={"value": 1}), "its quantity has no unit of UCUM"),
        (
            us.laboratory(valueQuantity=None, valueRatio={}),
            "its value is of a kind that is not kept",
        ),
        (us.laboratory(effectiveDateTime=None), "it does not say on which day it was"),
        (us.laboratory(effectiveDateTime="2024-03"), "it does not say on which day it was"),
        (
            us.procedure(meta={"security": [{"code": "R"}]}),
            "it is marked as restricted, and its patient is not",
        ),
        (
            entry("plan", {"resourceType": "CarePlan"}),
            "plans of care, goals and teams are not kept here",
        ),
    ],
)
async def test_what_cannot_be_kept_is_skipped(target: Target, one: Json, reason: str) -> None:
    report = await target.take(chart(one))
    assert report.failed == 0, report.problems
    assert dict(report.tally.skipped) == {(one["resource"]["resourceType"], reason): 1}
    assert set(every(target).values()) == {0}


@pytest.mark.parametrize(
    ("one", "path", "message"),
    [
        (us.laboratory(status="done"), "Observation.status", "none of"),
        (us.laboratory(effectiveDateTime="2999-01-01"), "Observation.effectiveDateTime", "future"),
        (
            us.laboratory(valueQuantity={"value": "5"}),
            "Observation.valueQuantity.value",
            "a number",
        ),
        (us.condition(abatementDateTime="2020-01-01"), "Condition.abatementDateTime", "before"),
        (us.condition(clinicalStatus=us.status("gone")), "Condition.clinicalStatus", "none of"),
        (us.medication_request(intent=None), "MedicationRequest.intent", "missing"),
        (us.immunization(status="given"), "Immunization.status", "none of"),
        (us.procedure(subject=ref("other")), "Procedure.encounter", "another patient's"),
    ],
)
async def test_what_is_wrong_fails_its_bundle(
    target: Target, one: Json, path: str, message: str
) -> None:
    report = await target.take(
        bundle(patient(), patient("other"), organization(), practitioner(), encounter(), one)
    )
    (problem,) = report.problems
    assert (problem.entry, problem.path) == (5, path)
    assert message in problem.message
    assert (problem.type, problem.id) == (one["resource"]["resourceType"], one["fullUrl"])
    assert set(target.counts().values()) == {0}


async def test_fields_that_cannot_be_kept_are_left_out(target: Target) -> None:
    report = await target.take(
        chart(
            us.condition(onsetDateTime="2011"),
            us.laboratory(interpretation=[us.status("??")]),
            us.allergy(category=["food", "medication"]),
        )
    )
    assert report.failed == 0, report.problems
    assert dict(report.tally.left_out) == {
        ("Condition", "onsetDateTime: a date without its day cannot be stored"): 1,
        ("Observation", "interpretation: not one of the codes that are kept"): 1,
        ("AllergyIntolerance", "category: further categories"): 1,
    }
    # Nothing is said in the place of what the source says and nobody here knows.
    assert target.one("select interpretation from observation where tenant_id = :t")[0] is None


async def test_what_was_struck_out_here_stays_so(target: Target) -> None:
    await target.take(chart(us.blood_pressure(), us.condition()))
    with target.database.owner_engine.begin() as owner:
        for table, column in (("observation", "state"), ("condition", "verification_status")):
            owner.exec_driver_sql(
                f"update {table} set state_before = {column}, {column} = 'entered-in-error',"
                " error_reason = 'wrong patient' where tenant_id = %(t)s",
                {"t": target.tenant_id},
            )
    report = await target.take(chart(us.blood_pressure(), us.condition()))
    assert dict(report.tally.skipped) == {
        ("Observation", "it was struck out here"): 1,
        ("Condition", "it was struck out here"): 1,
    }
    states = target.rows("select distinct state from observation where tenant_id = :t")
    assert [row.state for row in states] == ["entered-in-error"]


async def test_a_later_bundle_adds_to_an_earlier_visit(target: Target) -> None:
    await target.take(chart())
    report = await target.take(bundle(us.laboratory(), us.report("glucose"), us.immunization()))
    assert report.failed == 0, report.problems
    at = target.one("select id, clinic_id from encounter where tenant_id = :t")
    for table in ("observation", "immunization"):
        place = f"select distinct encounter_id, clinic_id from {table} where tenant_id = :t"
        assert tuple(target.one(place)) == tuple(at)
    unknown = await target.take(bundle(us.laboratory("late", encounter=ref("nowhere"))))
    assert "neither in this bundle" in unknown.problems[0].message


async def test_a_result_of_an_earlier_bundle_joins_its_report(target: Target) -> None:
    await target.take(chart(us.laboratory("first"), us.laboratory("taken"), us.blood_pressure()))
    report = await target.take(bundle(us.report("first", "nowhere")))
    assert report.failed == 0, report.problems
    reason = "result: not an observation of this or an earlier bundle"
    assert dict(report.tally.left_out) == {("DiagnosticReport", reason): 1}
    told = target.one("select id from observation where tenant_id = :t and code = '24323-8'")
    joined = (
        "select part_of_id, part, version from observation where tenant_id = :t and part = 'member'"
    )
    assert tuple(target.one(joined)) == (told.id, "member", 2)
    # Again it is there already; another report takes it no more, nor does another patient's.
    assert dict((await target.take(bundle(us.report("first")))).tally.unchanged)
    other = us.report("first")
    other["fullUrl"] = url_of("other report")
    theirs = us.report("taken", subject=ref("somebody"), encounter=None)
    theirs["fullUrl"] = url_of("their report")
    somebody = patient("somebody", managingOrganization=ref("organization"))
    report = await target.take(bundle(other), bundle(somebody, organization(), theirs))
    assert report.failed == 0, report.problems
    reason = "result: it belongs to another panel or report"
    assert dict(report.tally.left_out) == {("DiagnosticReport", reason): 2}
    assert tuple(target.one(joined)) == (told.id, "member", 2)


async def test_what_names_no_encounter_lies_where_its_patient_is_at_home(target: Target) -> None:
    bare: Json = {"encounter": None}
    brought = (
        us.condition(**bare, recordedDate=None),
        us.blood_pressure(**bare),
        us.laboratory("glucose", **bare),
        us.report("glucose", **bare),
    )
    report = await target.take(chart(*brought))
    assert report.failed == 0, report.problems
    assert not report.tally.skipped
    home = target.one("select clinic_id from encounter where tenant_id = :t")[0]
    for table, number in (("condition", 1), ("observation", 5)):
        rows = target.rows(f"select * from {table} where tenant_id = :t")
        assert len(rows) == number
        assert {(r.encounter_id, r.clinic_id, r.unit_id) for r in rows} == {(None, home, home)}
    began = target.one("select recorded_at from condition where tenant_id = :t")[0]
    assert began == dt.datetime(2023, 11, 1, tzinfo=dt.UTC)
    again = await target.take(chart(*brought))
    assert not again.tally.changed
    named = await target.take(chart(us.condition(recordedDate=None)))
    assert "cannot change" in named.problems[0].message


async def test_an_allergy_lies_where_its_patient_is_at_home(target: Target) -> None:
    clinics = [c.id for c in target.tree.clinics]
    rule = await target.rule(listed={f"org-o{n}": clinics[n] for n in range(3)})
    visits = [
        encounter(f"e{n}", serviceProvider=ref(f"o{where}"), participant=[])
        for n, where in enumerate((0, 1, 1))
    ]
    hospitals = [organization(f"o{n}") for n in range(3)]
    first = bundle(patient(), *hospitals, *visits, us.allergy())
    assert (await target.take(first, rule=rule)).failed == 0
    where = "select clinic_id from allergy_intolerance where tenant_id = :t"
    assert target.one(where)[0] == clinics[1]
    moved = bundle(patient(managingOrganization=ref("o0")), *hospitals, *visits, us.allergy())
    assert (await target.take(moved, rule=rule)).failed == 0
    assert target.one(where)[0] == clinics[1]
    fresh = patient("new", managingOrganization=ref("o2"))
    other = us.allergy(patient=ref("new"))
    other["fullUrl"] = url_of("other allergy")
    assert (await target.take(bundle(fresh, *hospitals, other), rule=rule)).failed == 0
    assert {row.clinic_id for row in target.rows(where)} == {clinics[1], clinics[2]}
