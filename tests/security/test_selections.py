"""Selections that a planner could trip over: names of its own, nothing selected, too much, values of no text."""

import pytest

from tests import make
from tests.api.http.test_end_to_end import Desk, desk

__all__ = ["desk"]  # a fixture
pytestmark = pytest.mark.anyio

OWN_NAMES = ("n", "r", "l", "t", "g", "s", "e", "p", "h")
WHOLE = ("p", "q", "j", "ok", "rn", "id", "keys", "place", "places", "cursor_row", "tenant_id")
PATIENT = """query($id: ID!) { patient(id: $id) {
    ALIAS: mrn encounters { ALIAS: kind patient { ALIAS: mrn } } sites { ALIAS: name } } }"""
PAGE = """{ patients { edges { ALIAS: cursor node { ALIAS: mrn } }
    nodes { ALIAS: mrn encounters { ALIAS: kind state } sites { ALIAS: name } } } }"""


async def prepared(desk: Desk) -> str:
    """The opaque id of the patient at the desk, who has two visits."""
    clinic = desk.house.tree.clinics[0]
    visits = [make.encounter(desk.here, clinic) for _ in range(2)]
    make.save(desk.house.database, *visits)
    return f"Patient:{desk.here.id}"


async def test_an_alias_may_be_a_name_of_the_planners_own(desk: Desk) -> None:
    patient = await prepared(desk)
    mrn = desk.here.mrn
    for name in (*WHOLE, *(f"{letter}{i}" for letter in OWN_NAMES for i in range(8))):
        found = (await desk.ask(PATIENT.replace("ALIAS", name), id=patient)).json()["data"]
        visit = {name: "AMB", "patient": {name: mrn}}
        assert found["patient"][name] == mrn, name
        assert found["patient"]["encounters"] == [visit, visit], name
        assert found["patient"]["sites"] == [{name: "Clinic 0"}], name
    for name in ("p", "n4", "n5", "r1", "r2", "e6"):
        found = (await desk.ask(PAGE.replace("ALIAS", name))).json()["data"]["patients"]
        [node], [edge] = found["nodes"], found["edges"]
        assert edge == {name: str(desk.here.id), "node": {name: mrn}}, name
        assert node["encounters"] == [{name: "AMB", "state": "IN_PROGRESS"}] * 2, name
        assert node["sites"] == [{name: "Clinic 0"}], name


async def test_an_alias_of_63_characters_stays_whole(desk: Desk) -> None:
    patient = await prepared(desk)
    for length in (62, 63):
        name = "a" * length
        found = (await desk.ask(PATIENT.replace("ALIAS", name), id=patient)).json()
        assert found["data"]["patient"][name] == desk.here.mrn
    refused = (await desk.ask(PATIENT.replace("ALIAS", "a" * 64), id=patient)).json()
    assert refused["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_everything_may_be_skipped(desk: Desk) -> None:
    patient = await prepared(desk)
    query = """query($id: ID!, $gone: Boolean!) {
        patient(id: $id) { encounters { id @skip(if: $gone) } sites { name @skip(if: $gone) } }
        patients { nodes { id @skip(if: $gone) } }
        nodes(ids: [$id]) { id @skip(if: $gone) }
        organization { id @skip(if: $gone) } }"""
    found = (await desk.ask(query, id=patient, gone=True)).json()
    assert "errors" not in found
    assert found["data"]["patient"] == {"encounters": [{}, {}], "sites": [{}]}
    assert found["data"]["patients"] == {"nodes": [{}]}
    assert found["data"]["nodes"] == [{}]
    assert all(unit == {} for unit in found["data"]["organization"])


@pytest.mark.parametrize("first", [None, -1, 101, 2**31 - 1])
async def test_a_nested_page_size_out_of_bounds_is_the_askers_mistake(
    desk: Desk, first: int | None
) -> None:
    query = "query($id: ID!, $n: Int) { patient(id: $id) { encounters(first: $n) { id } } }"
    answer = (await desk.ask(query, id=await prepared(desk), n=first)).json()
    code = answer["errors"][0]["extensions"]["code"]
    assert code in ("BAD_USER_INPUT", "OPERATION_TOO_COMPLEX")


async def test_what_is_no_text_is_the_askers_mistake(desk: Desk) -> None:
    query = "query($mrn: String) { patients(filter: { mrn: $mrn }) { nodes { id } } }"
    answer = (await desk.ask(query, mrn=f"{desk.here.mrn}\0")).json()
    assert answer["data"] == {"patients": None}
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_value_object_answers_a_bounded_number_of_fields(desk: Desk) -> None:
    def totals(number: int) -> str:
        return "{ patients { " + " ".join(f"a{i}: totalCount" for i in range(number)) + " } }"

    answer = (await desk.ask(totals(50))).json()
    assert set(answer["data"]["patients"].values()) == {1}
    answer = (await desk.ask(totals(51))).json()
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_fields_that_meet_under_one_name_depend_on_the_conditions(desk: Desk) -> None:
    query = "query($x: Boolean!) { patients { nodes { id } } patients @include(if: $x) { nodes { mrn } } }"
    for both in (False, True, False):
        [node] = (await desk.ask(query, x=both)).json()["data"]["patients"]["nodes"]
        assert set(node) == ({"id", "mrn"} if both else {"id"})


async def test_operations_of_one_document_are_planned_apart(desk: Desk) -> None:
    query = """query More { ...Few patients { nodes { mrn } } } query Less { ...Few }
        fragment Few on Query { patients { nodes { id } } }"""
    for name, fields in (("More", {"id", "mrn"}), ("Less", {"id"}), ("More", {"id", "mrn"})):
        answer = await desk.http.post(
            "/graphql",
            json={"query": query, "operationName": name},
            headers={"authorization": f"Bearer {desk.house.token()}"},
        )
        [node] = answer.json()["data"]["patients"]["nodes"]
        assert set(node) == fields
