"""What is written into a chart by mutations: what is taken, refused, hidden, linked and followed over time."""

import datetime as dt
from typing import Any

import pytest

from tests import make
from tests.api.commands.cases import BY_MUTATION, CHART, Scene
from tests.api.commands.charting import CVX, LOINC, PULSE, RXNORM, SNOMED, code
from tests.api.commands.office import OBJECTS, Answer, Office, local

pytestmark = pytest.mark.anyio

NUL = "a\u0000b"
FUTURE, ANCIENT = "2999-01-01T00:00:00Z", "1700-01-01T00:00:00Z"
NO_SYSTEM, NO_CODE = code("urn:other", "1"), code(SNOMED, "38341004")


def value(**values: Any) -> dict[str, Any]:
    return {"observations": [PULSE, {"code": PULSE["code"], "value": values}]}


def finding(**values: Any) -> dict[str, Any]:
    return {"observations": [PULSE | values]}


FIRST, SECOND = ["observations", "0"], ["observations", "1", "value"]
WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("recordObservations", {"observations": []}, ["observations"]),
    ("recordObservations", {"observations": [PULSE] * 51}, ["observations"]),
    ("recordObservations", {"panel": code(LOINC, "85353-2")}, ["panel", "code"]),
    ("recordObservations", value(), SECOND),
    ("recordObservations", value(text="x", boolean=True), SECOND),
    ("recordObservations", value(quantity="1"), [*SECOND, "unit"]),
    ("recordObservations", value(quantity="1", unit="per min"), [*SECOND, "unit"]),
    ("recordObservations", value(quantity="1e3", unit="1"), [*SECOND, "quantity"]),
    ("recordObservations", value(quantity="NaN", unit="1"), [*SECOND, "quantity"]),
    ("recordObservations", value(quantity="9" * 40, unit="1"), [*SECOND, "quantity"]),
    ("recordObservations", value(text="x" * 2_001), [*SECOND, "text"]),
    ("recordObservations", value(text=NUL), [*SECOND, "text"]),
    ("recordObservations", value(code=NO_SYSTEM), [*SECOND, "code", "system"]),
    ("recordObservations", value(code=NO_CODE), [*SECOND, "code", "code"]),
    ("recordObservations", value(text="x", rangeLow="low"), [*SECOND, "rangeLow"]),
    ("recordObservations", finding(code=code(LOINC, "8867-5")), [*FIRST, "code", "code"]),
    ("recordObservations", finding(code=code(SNOMED, "8867-4")), [*FIRST, "code", "system"]),
    ("recordObservations", finding(effectiveAt=FUTURE), [*FIRST, "effectiveAt"]),
    ("recordObservations", finding(effectiveAt=ANCIENT), [*FIRST, "effectiveAt"]),
    ("recordCondition", {"diagnosis": NO_SYSTEM}, ["diagnosis", "system"]),
    ("recordCondition", {"diagnosis": NO_CODE}, ["diagnosis", "code"]),
    ("recordCondition", {"onsetOn": "2999-01-01"}, ["onsetOn"]),
    ("recordCondition", {"diagnosis": code(SNOMED, "38341003") | {"display": "x" * 201}}, ["diagnosis", "display"]),
    ("updateCondition", {"abatedOn": "2999-01-01"}, ["abatedOn"]),
    ("recordAllergy", {"substance": NO_SYSTEM}, ["substance", "system"]),
    ("recordAllergy", {"reaction": "x" * 201}, ["reaction"]),
    ("recordAllergy", {"recordedAt": FUTURE}, ["recordedAt"]),
    ("recordAllergy", {"patient": "Patient:x"}, ["encounter"]),
    ("recordAllergy", {"encounter": None}, ["encounter"]),
    ("orderMedication", {"medicine": code(CVX, "140")}, ["medicine", "system"]),
    ("orderMedication", {"medicine": code(RXNORM, "0")}, ["medicine", "code"]),
    ("orderMedication", {"startsOn": "2026-02-02", "endsOn": "2026-02-01"}, ["endsOn"]),
    ("orderMedication", {"dosage": NUL}, ["dosage"]),
    ("orderMedication", {"state": "STOPPED"}, ["state"]),
    ("recordMedicationStatement", {"startsOn": "2999-01-01"}, ["startsOn"]),
    ("recordProcedure", {"procedure": NO_CODE}, ["procedure", "code"]),
    ("recordProcedure", {"performedAt": FUTURE}, ["performedAt"]),
    ("recordProcedure", {"performedAt": "2026-02-02T10:00:00Z", "endedAt": "2026-02-02T09:00:00Z"}, ["endedAt"]),
    ("recordProcedure", {"outcome": "x" * 2_001}, ["outcome"]),
    ("recordImmunization", {"vaccine": code(CVX, "x")}, ["vaccine", "code"]),
    ("recordImmunization", {"dose": "-1", "doseUnit": "mL"}, ["dose"]),
    ("recordImmunization", {"dose": "1"}, ["doseUnit"]),
    ("recordImmunization", {"expiresOn": "2001-01-01"}, ["expiresOn"]),
    ("writeNote", {"body": None}, ["body"]),
    ("reviseNote", {"subjective": " "}, ["body"]),
    ("reviseNote", {"plan": "x" * 100_001}, ["plan"]),
    ("markEnteredInError", {"reason": " "}, ["reason"]),
    ("markEnteredInError", {"reason": "x" * 1_001}, ["reason"]),
    ("startEncounter", {"startedAt": FUTURE}, ["startedAt"]),
    ("startEncounter", {"startedAt": FUTURE, "state": "PLANNED"}, ["startedAt"]),
]  # fmt: skip


@pytest.mark.parametrize(("mutation", "wrong", "path"), WRONG, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_taken(
    office: Office, mutation: str, wrong: dict[str, Any], path: list[str]
) -> None:
    """Told as data with the path of the input's field; nothing is changed."""
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION[mutation].given(Scene(office, office.here, "a", admin)) | wrong
    before = office.snapshot()
    answer = await office.do(admin, mutation, **given)
    assert answer.user_error, answer.body
    assert answer.user_error["path"] == path
    assert answer.data[OBJECTS[mutation]] is None
    assert office.snapshot() == before


async def test_each_wrong_finding_is_told(office: Office) -> None:
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION["recordObservations"].given(Scene(office, office.here, "a", admin))
    late, none = PULSE | {"effectiveAt": FUTURE}, {"code": PULSE["code"]}
    before = office.snapshot()
    answer = await office.do(
        admin, "recordObservations", **given | {"observations": [PULSE, late, none]}
    )
    told = [error["path"] for error in answer.data["userErrors"]]
    assert told == [["observations", "1", "effectiveAt"], ["observations", "2", "value"]]
    assert office.snapshot() == before


VERSIONED = [
    case.mutation
    for case in CHART
    if case.mutation.startswith(("update", "progress", "arrive", "cancel", "mark"))
] + ["reviseNote", "amendNote", "cosignNote"]


@pytest.mark.parametrize("mutation", VERSIONED)
async def test_a_stale_version_is_a_conflict(office: Office, mutation: str) -> None:
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION[mutation].given(Scene(office, office.here, "a", admin))
    before = office.snapshot()
    for version in (0, 2, 2**31 - 1):
        answer = await office.do(admin, mutation, **given | {"version": version})
        assert answer.error == {"code": "CONFLICT", "currentVersion": 1}
    assert office.snapshot() == before


ILLEGAL = [
    ("arriveEncounter", make.encounter, {"state": "finished", "ended_at": make.NOW}),
    ("progressEncounter", make.encounter, {"state": "planned"}),
    ("cancelEncounter", make.encounter, {"state": "onleave"}),
    ("updateObservation", make.observation, {"state": "entered-in-error"}),
    ("updateCondition", make.condition, {"verification_status": "entered-in-error"}),
    ("updateAllergy", make.allergy, {"verification_status": "entered-in-error"}),
    ("updateMedicationRequest", make.request, {"state": "cancelled"}),
    ("updateMedicationStatement", make.statement, {"state": "completed"}),
    ("updateProcedure", make.procedure, {"state": "not-done"}),
    ("markEnteredInError", make.observation, {"state": "entered-in-error"}),
    ("cosignNote", make.note, {"state": "entered-in-error"}),
]


@pytest.mark.parametrize(("mutation", "made_by", "values"), ILLEGAL)
async def test_an_illegal_step(
    office: Office, mutation: str, made_by: Any, values: dict[str, Any]
) -> None:
    admin = office.here.person("clinic_admin@a")
    scene = Scene(office, office.here, "a", admin)
    given = BY_MUTATION[mutation].given(scene)
    if made_by is make.encounter:
        row = scene.encounter(**values)
    elif made_by is make.note:
        author = make.person(scene.system.tenant)
        scene.system.save(author)
        row = scene.note(author, signed_at=make.NOW, **values)
    else:
        row = scene.entry(made_by, **values)
    given["id"] = f"{given['id'].partition(':')[0]}:{row.id}"
    before = office.snapshot()
    answer = await office.do(admin, mutation, **given)
    assert answer.user_error["code"] == "ILLEGAL_STATE", answer.body
    assert office.snapshot() == before


async def test_ids_of_others_are_not_found(office: Office) -> None:
    """Of another health system, or of what is no record of a chart: the same."""
    admin = office.here.person("clinic_admin@a")
    stranger = office.there.person("clinic_admin@a")
    theirs = BY_MUTATION["markEnteredInError"].given(Scene(office, office.there, "a", stranger))
    patient = Scene(office, office.here, "a", admin).patient()
    before = office.snapshot()
    for id_ in (theirs["id"], f"Patient:{patient.id}", office.here.unit("a"), "Nothing:1"):
        answer = await office.do(admin, "markEnteredInError", id=id_, version=1, reason="Wrong")
        assert answer.outcome == "NOT_FOUND"
    changed = {table for table, digest in office.snapshot().items() if digest != before[table]}
    assert changed <= {"audit_event"}


# -- vitals -------------------------------------------------------------------------------------

PRESSURE = {
    "code": code(LOINC, "85354-9"),
    "components": [
        {"code": code(LOINC, "8480-6"), "value": {"quantity": "121.50", "unit": "mm[Hg]", "rangeHigh": "120"}},
        {"code": code(LOINC, "8462-4"), "value": {"quantity": "80", "unit": "mm[Hg]"}},
    ],
}  # fmt: skip
SHOWN = (
    "code part valueQuantity unit components { code valueQuantity interpretation } members { id }"
)


async def test_a_panel_of_vitals_in_one_mutation(office: Office) -> None:
    nurse = office.here.person("nurse@a")
    given = BY_MUTATION["recordObservations"].given(Scene(office, office.here, "a", nurse))
    given |= {"observations": [PRESSURE, PULSE], "panel": code(LOINC, "85353-1")}
    given |= {"idempotencyKey": "vitals"}
    answer = await office.do(nurse, "recordObservations", SHOWN, **given)
    panel, pressure, pulse = answer.data["observations"]
    assert [row["code"] for row in (panel, pressure, pulse)] == ["85353-1", "85354-9", "8867-4"]
    assert [row["id"] for row in panel["members"]] == [pressure["id"], pulse["id"]]
    assert pressure["components"] == [
        {"code": "8480-6", "valueQuantity": "121.50", "interpretation": "H"},
        {"code": "8462-4", "valueQuantity": "80", "interpretation": None},
    ]
    assert (pulse["valueQuantity"], pulse["unit"], pulse["part"]) == ("72", "/min", "MEMBER")
    before = office.snapshot()
    again = await office.do(nurse, "recordObservations", SHOWN, **given)
    assert again.data == answer.data
    assert office.snapshot() == before


TREND = """query($p: ID!, $after: String, $all: Boolean! = false) {
    observations(patient: $p, code: "8480-6", first: 2, after: $after, includeEnteredInError: $all) {
        totalCount nodes { effectiveAt valueQuantity partOf { code } } pageInfo { hasNextPage endCursor }
    } }"""


async def test_a_component_is_followed_over_time(office: Office) -> None:
    nurse, elsewhere = office.here.person("nurse@a"), office.here.person("nurse@b")
    scene = Scene(office, office.here, "a", nurse)
    patient = scene.patient()
    visit = make.encounter(patient, scene.unit)
    scene.system.save(visit)
    for day in range(3):
        whole = make.observation(visit, code="85354-9", value_quantity=None, unit=None)
        times = {"effective_at": make.NOW + dt.timedelta(days=day), "value_quantity": 120 + day}
        of = {"part_of_id": whole.id, "part": "component", "code": "8480-6"}
        states = {"state": "entered-in-error" if day == 1 else "final"}
        scene.system.save(whole, make.observation(visit, **of | times | states))
    asked = {"p": f"Patient:{patient.id}"}
    page = (await office.ask(nurse, TREND, asked)).data
    assert [row["valueQuantity"] for row in page["nodes"]] == ["122", "120"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (2, False)
    assert page["nodes"][0]["partOf"] == {"code": "85354-9"}
    first = (await office.ask(nurse, TREND, asked | {"all": True})).data
    assert [row["valueQuantity"] for row in first["nodes"]] == ["122", "121"]
    more = asked | {"all": True, "after": first["pageInfo"]["endCursor"]}
    assert [
        row["valueQuantity"] for row in (await office.ask(nurse, TREND, more)).data["nodes"]
    ] == ["120"]
    assert (await office.ask(elsewhere, TREND, asked)).data["nodes"] == []
    desk = office.here.person("front_desk@a")
    assert (await office.ask(desk, TREND, asked)).data is None


# -- striking out -------------------------------------------------------------------------------

CHARTED = {
    "observations": make.observation,
    "conditions": make.condition,
    "allergies": make.allergy,
    "medicationRequests": make.request,
    "medicationStatements": make.statement,
    "procedures": make.procedure,
    "immunizations": make.immunization,
}
TYPES = {
    "observations": "Observation",
    "conditions": "Condition",
    "allergies": "AllergyIntolerance",
    "medicationRequests": "MedicationRequest",
    "medicationStatements": "MedicationStatement",
    "procedures": "Procedure",
    "immunizations": "Immunization",
}


@pytest.mark.parametrize("field", CHARTED)
async def test_what_is_struck_out_is_hidden_unless_asked_for(office: Office, field: str) -> None:
    provider = office.here.person("provider@a")
    scene = Scene(office, office.here, "a", provider)
    row = scene.entry(CHARTED[field])
    id_ = f"{TYPES[field]}:{row.id}"
    given = {"id": id_, "version": 1, "reason": "Wrong patient"}
    select = f"__typename ... on {TYPES[field]} {{ errorReason version }}"
    answer = await office.do(provider, "markEnteredInError", select, **given)
    assert answer.data["record"] == {
        "id": id_,
        "__typename": TYPES[field],
        "errorReason": "Wrong patient",
        "version": 2,
    }
    for type_, parent in (("Patient", row.patient_id), ("Encounter", row.encounter_id)):
        text = (
            f"query($id: ID!) {{ node(id: $id) {{ ... on {type_} {{ {field} {{ id }}"
            f" all: {field}(includeEnteredInError: true) {{ id errorReason }} }} }} }}"
        )
        shown = (await office.ask(provider, text, {"id": f"{type_}:{parent}"})).data
        assert shown == {field: [], "all": [{"id": id_, "errorReason": "Wrong patient"}]}


async def test_a_nurse_strikes_out_their_own_alone(office: Office) -> None:
    nurse, other = office.here.person("nurse@a"), office.here.person("provider@a")
    scene = Scene(office, office.here, "a", nurse)
    own = scene.entry(make.immunization, recorded_by=nurse.id)
    theirs = scene.entry(make.immunization, recorded_by=other.id)
    for row, outcome in ((own, "DONE"), (theirs, "FORBIDDEN")):
        given: dict[str, Any] = {"id": f"Immunization:{row.id}", "version": 1, "reason": "Wrong"}
        assert (await office.do(nurse, "markEnteredInError", **given)).outcome == outcome


async def test_a_visit_is_struck_out_last(office: Office) -> None:
    provider = office.here.person("provider@a")
    row = Scene(office, office.here, "a", provider).entry(make.observation)
    visit: dict[str, Any] = {"id": f"Encounter:{row.encounter_id}", "version": 1}
    visit |= {"reason": "Wrong patient"}
    refused = await office.do(provider, "markEnteredInError", **visit)
    assert (refused.outcome, refused.user_error["path"]) == ("STILL_DOCUMENTED", ["id"])
    finding = visit | {"id": f"Observation:{row.id}"}
    assert (await office.do(provider, "markEnteredInError", **finding)).outcome == "DONE"
    assert (await office.do(provider, "markEnteredInError", **visit)).outcome == "DONE"
    text = """query($p: ID!) { encounters(filter: {patient: $p}) { nodes { id } }
        all: encounters(filter: {patient: $p, includeEnteredInError: true}) { nodes { state } }
        those: encounters(filter: {patient: $p, state: ENTERED_IN_ERROR}) { nodes { state } } }"""
    answer = await office.ask(provider, text, {"p": f"Patient:{row.patient_id}"})
    struck = {"nodes": [{"state": "ENTERED_IN_ERROR"}]}
    assert answer.body["data"] == {"encounters": {"nodes": []}, "all": struck, "those": struck}


# -- notes --------------------------------------------------------------------------------------

SAID = "state amendment body subjective plan amends { id } cosigner { id } version"


async def written(office: Office, author: Any, **said: str) -> Answer:
    given = BY_MUTATION["writeNote"].given(Scene(office, office.here, "a", author))
    answer = await office.do(author, "writeNote", SAID, **given | {"body": None} | said)
    assert answer.outcome == "DONE", answer.body
    return answer


async def test_sections_are_sealed_and_opened(office: Office) -> None:
    author = office.here.person("nurse@a")
    note = (await written(office, author, subjective="S: tired", plan="P: rest")).data["note"]
    assert (note["body"], note["subjective"], note["plan"]) == (None, "S: tired", "P: rest")
    (row,) = office.query("select * from note where id = %s", local(note["id"]))
    assert row["body_sealed"] is None
    assert b"tired" not in row["subjective_sealed"]
    changed = await office.do(author, "reviseNote", SAID, id=note["id"], version=1, plan="P: sleep")
    assert (changed.data["note"]["subjective"], changed.data["note"]["plan"]) == (None, "P: sleep")


async def test_a_signed_note_stays_and_what_amends_it_is_linked(office: Office) -> None:
    author, other = office.here.person("provider@a"), office.here.person("clinic_admin@a")
    note = (await written(office, author, body="First")).data["note"]["id"]
    assert (await office.do(author, "signNote", id=note, version=1)).outcome == "DONE"
    signed = office.query("select * from note where id = %s", local(note))
    added = {"id": note, "version": 2, "amendment": "ADDENDUM", "body": "Added"}
    put_right = {"id": note, "version": 2, "amendment": "AMENDMENT", "body": "Put right"}
    refused = await office.do(other, "amendNote", **put_right)
    assert refused.error["code"] == "FORBIDDEN"
    ids = {}
    for given in (added, put_right):
        draft = (await office.do(author, "amendNote", SAID, **given)).data["note"]
        assert (draft["state"], draft["amends"]) == ("DRAFT", {"id": note})
        ids[given["amendment"]] = draft["id"]
        assert (await office.do(author, "signNote", id=draft["id"], version=1)).outcome == "DONE"
    (now,) = office.query("select * from note where id = %s", local(note))
    for column in ("body_sealed", "signed_at", "author_id", "kind"):
        assert now[column] == signed[0][column]
    assert (now["state"], now["version"]) == ("amended", 3)
    text = "query($id: ID!) { node(id: $id) { ... on Note { body amendments { id body amendment } } } }"
    shown = (await office.ask(other, text, {"id": note})).data
    assert shown == {
        "body": "First",
        "amendments": [
            {"id": ids["ADDENDUM"], "body": "Added", "amendment": "ADDENDUM"},
            {"id": ids["AMENDMENT"], "body": "Put right", "amendment": "AMENDMENT"},
        ],
    }
    again = await office.do(author, "amendNote", **put_right | {"version": 3})
    assert again.outcome == "ILLEGAL_STATE"
    assert (await office.do(author, "amendNote", **added | {"version": 3})).outcome == "DONE"


async def test_of_two_amendments_one_takes_the_place(office: Office) -> None:
    author = office.here.person("provider@a")
    note = (await written(office, author, body="First")).data["note"]["id"]
    await office.do(author, "signNote", id=note, version=1)
    given = {"id": note, "version": 2, "amendment": "AMENDMENT", "body": "Other"}
    drafts = [(await office.do(author, "amendNote", **given)).data["note"]["id"] for _ in range(2)]
    signed = [await office.do(author, "signNote", id=draft, version=1) for draft in drafts]
    assert [answer.outcome for answer in signed] == ["DONE", "ILLEGAL_STATE"]
    (row,) = office.query("select state from note where id = %s", local(drafts[1]))
    assert row["state"] == "draft"


async def test_a_co_signature_is_somebody_elses(office: Office) -> None:
    author, other = office.here.person("provider@a"), office.here.person("clinic_admin@a")
    note = (await written(office, author, body="First")).data["note"]["id"]
    assert (await office.do(other, "cosignNote", id=note, version=1)).outcome == "NOT_FOUND"
    await office.do(author, "signNote", id=note, version=1)
    own = await office.do(author, "cosignNote", id=note, version=2)
    assert (own.error["code"], own.error["reason"]) == ("FORBIDDEN", "OWN_NOTE")
    done = await office.do(other, "cosignNote", SAID, id=note, version=2)
    assert done.data["note"]["cosigner"] == {"id": f"Person:{other.id}"}
    third = office.here.person("regional_director@r")
    again = await office.do(third, "cosignNote", id=note, version=3)
    assert again.outcome == "ALREADY_COSIGNED"


# -- visits -------------------------------------------------------------------------------------


async def test_a_visit_through_all_its_states(office: Office) -> None:
    provider = office.here.person("provider@a")
    given = BY_MUTATION["startEncounter"].given(Scene(office, office.here, "a", provider))
    planned = await office.do(
        provider, "startEncounter", "state version", **given | {"state": "PLANNED"}
    )
    id_ = planned.data["encounter"]["id"]
    steps: list[tuple[str, dict[str, str], str]] = [
        ("arriveEncounter", {}, "ARRIVED"),
        *(
            ("progressEncounter", {"state": state}, state)
            for state in ("TRIAGED", "IN_PROGRESS", "ONLEAVE", "IN_PROGRESS")
        ),
        ("finishEncounter", {}, "FINISHED"),
    ]
    for version, (mutation, values, state) in enumerate(steps, 1):
        answer = await office.do(provider, mutation, "state", id=id_, version=version, **values)
        assert answer.data["encounter"]["state"] == state
    late = await office.do(provider, "cancelEncounter", id=id_, version=len(steps) + 1)
    assert late.outcome == "ILLEGAL_STATE"
    for state in ("ARRIVED", "FINISHED", "CANCELLED", "ENTERED_IN_ERROR"):
        wrong = {"id": id_, "version": len(steps) + 1, "state": state}
        assert (await office.do(provider, "progressEncounter", **wrong)).outcome == "ILLEGAL_STATE"


async def test_a_corrected_finding_is_shown_with_the_version_before(office: Office) -> None:
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION["correctObservation"].given(Scene(office, office.here, "a", admin))
    told = "state valueQuantity replaces { id state valueQuantity replacedBy { id } }"
    made = (await office.do(admin, "correctObservation", told, **given)).data["observation"]
    assert (made["state"], made["valueQuantity"]) == ("CORRECTED", "71")
    before = {"id": given["id"], "state": "FINAL", "valueQuantity": "72"}
    assert made["replaces"] == before | {"replacedBy": {"id": made["id"]}}
    (row,) = office.query("select * from observation where id = %s", local(given["id"]))
    asked = {"p": f"Patient:{row['patient_id']}", "e": f"Encounter:{row['encounter_id']}"}
    text = (
        "query($p: ID!, $e: ID!) { patient(id: $p) { observations { id } }"
        " encounter(id: $e) { observations { id } }"
        ' observations(patient: $p, code: "8867-4") { nodes { id } } }'
    )
    data = (await office.ask(admin, text, asked)).body["data"]
    listed = [data["patient"]["observations"], data["encounter"]["observations"]]
    assert [*listed, data["observations"]["nodes"]] == [[{"id": made["id"]}]] * 3
    again = await office.do(admin, "correctObservation", **given | {"version": 2})
    assert (again.outcome, again.user_error["path"]) == ("REPLACED", ["id"])
