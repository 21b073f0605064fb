"""Answers are bounded in bytes before anything sealed is opened; what is sealed is opened in every answer."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.http.graphql import GraphQLEndpoint, Ports
from api.schema import build_schema
from tests.api.commands.cases import BY_MUTATION, Scene, written
from tests.api.commands.office import Office, document

pytestmark = pytest.mark.anyio

BODY = "Reports chest pain since Tuesday."
NOTES = "encounters(first: 1) { notes(first: 1) { body } }"
PATIENT = "query($id: ID!) { patient(id: $id) { %s } }"


async def noted(office: Office, body: str) -> tuple[Scene, str]:
    """A provider and a patient of theirs with one signed note."""
    scene = Scene(office, office.here, "a", office.here.person("provider@a", fresh=True))
    given = written(scene) | {"body": body}
    made = await office.do(scene.asker, "writeNote", "encounter { patient { id } }", **given)
    note = made.data["note"]
    assert (await office.do(scene.asker, "signNote", id=note["id"], version=1)).outcome == "DONE"
    return scene, note["encounter"]["patient"]["id"]


async def ask(office: Office, most: int, scene: Scene, text: str, variables: Any) -> Any:
    """Send an operation to an endpoint whose answers have at most so many bytes."""
    wiring = office.wiring
    ports = Ports(
        wiring.actors.actor, lambda *asker: replace(wiring.context(*asker), most_bytes=most)
    )
    endpoint = GraphQLEndpoint(build_schema(), lambda: ports, deadline=20)
    headers = {"authorization": f"Bearer {office.here.token(scene.asker)}"}
    transport = httpx.ASGITransport(endpoint)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        body = {"query": text, "variables": variables}
        return (await http.post("/", json=body, headers=headers)).json()


def codes(answer: Any) -> list[dict[str, Any]]:
    return [error["extensions"] for error in answer.get("errors", ())]


def too_long(most: int, **more: Any) -> list[dict[str, Any]]:
    return [{"code": "OPERATION_TOO_COMPLEX", "limit": "bytes", "allowed": most, **more}]


async def test_an_answer_that_is_too_long_is_refused_before_it_is_opened(office: Office) -> None:
    scene, patient = await noted(office, "x" * 3_000)
    of_him = {"id": patient}
    whole = await ask(office, 4_500, scene, PATIENT % NOTES, of_him)
    assert whole["data"]["patient"]["encounters"][0]["notes"][0]["body"] == "x" * 3_000
    assert codes(await ask(office, 3_500, scene, PATIENT % NOTES, of_him)) == too_long(3_500)
    office.change(
        "update note set body_sealed = %s where author_id = %s", b"y" * 3_000, scene.asker.id
    )
    broken = await ask(office, 4_500, scene, PATIENT % NOTES, of_him)
    assert [c["code"] for c in codes(broken)] == ["INTERNAL"]  # it was opened, or tried to
    assert codes(await ask(office, 3_500, scene, PATIENT % NOTES, of_him)) == too_long(3_500)


async def test_a_text_that_grows_when_it_is_opened_counts_as_it_is_sent(office: Office) -> None:
    scene, patient = await noted(office, '"' * 3_000)
    answer = await ask(office, 5_000, scene, PATIENT % NOTES, {"id": patient})
    assert codes(answer) == too_long(5_000)


async def test_all_root_fields_count_together(office: Office) -> None:
    scene, patient = await noted(office, "x" * 3_000)
    text = (
        f"query($id: ID!) {{ a: patient(id: $id) {{ {NOTES} }} b: patient(id: $id) {{ {NOTES} }} }}"
    )
    answer = await ask(office, 6_000, scene, text, {"id": patient})
    assert codes(answer) == too_long(6_000)
    assert sorted(value is None for value in answer["data"].values()) == [False, True]


async def test_a_command_whose_answer_is_too_long_is_not_carried_out(office: Office) -> None:
    scene, patient = await noted(office, "x" * 3_000)
    given = {"id": patient, "version": 1, "demographics": {"city": "Bern"}}
    before = office.snapshot()
    text = document("updatePatient", NOTES)
    assert codes(await ask(office, 3_500, scene, text, {"input": given})) == too_long(3_500)
    assert office.snapshot() == before
    assert not codes(await ask(office, 4_500, scene, text, {"input": given}))
    assert office.snapshot() != before


async def test_a_booking_whose_answer_is_too_long_says_that_it_is_done(office: Office) -> None:
    """One statement books and answers, so it has happened by then."""
    scene, patient = await noted(office, "x" * 3_000)
    given = BY_MUTATION["bookAppointment"].given(scene) | {"patient": patient}
    text = document("bookAppointment", f"patient {{ {NOTES} }}")
    answer = await ask(office, 3_500, scene, text, {"input": given})
    assert codes(answer) == too_long(3_500, carriedOut=True)
    again = await office.do(scene.asker, "bookAppointment", **given)
    assert again.outcome == "SLOT_TAKEN"


async def test_what_is_sealed_is_opened_in_the_answer_of_a_booking(office: Office) -> None:
    scene, patient = await noted(office, BODY)
    given = BY_MUTATION["bookAppointment"].given(scene) | {"patient": patient}
    booked = await office.do(scene.asker, "bookAppointment", f"patient {{ {NOTES} }}", **given)
    shown = booked.data["appointment"]["patient"]["encounters"]
    assert shown == [{"notes": [{"body": BODY}]}]
