"""The same request again: one row, the same answer under today's policy, and another input is refused."""

import asyncio

import pytest

from tests.api.commands.cases import BY_MUTATION, CASES, Case, Scene, booked, registered
from tests.api.commands.office import OBJECTS, Office

pytestmark = pytest.mark.anyio

of_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutation)
WRONG: dict[str, dict[str, object]] = {
    "registerPatient": {"mrn": "12345678"},
    "bookAppointment": {"minutes": 1},
    "recordPayment": {"amount": "0"},
}
KEYED = ("registerPatient", "bookAppointment", "recordPayment", "startEncounter")


def scene(office: Office) -> Scene:
    return Scene(office, office.here, "a", office.here.person("clinic_admin@a"))


@of_cases
async def test_a_repeat_answers_the_same_and_changes_nothing(office: Office, case: Case) -> None:
    at = scene(office)
    given = case.given(at) | {"idempotencyKey": f"again {case.mutation}"}
    first = await office.do(at.asker, case.mutation, **given)
    assert first.outcome == "DONE"
    assert first.data[OBJECTS[case.mutation]] is not None
    before = office.snapshot()
    second = await office.do(at.asker, case.mutation, **given)
    assert second.data == first.data
    assert office.snapshot() == before


@of_cases
async def test_another_input_under_the_key_is_refused(office: Office, case: Case) -> None:
    at, key = scene(office), {"idempotencyKey": f"other {case.mutation}"}
    first = await office.do(at.asker, case.mutation, **case.given(at) | key)
    assert first.outcome == "DONE"
    other = case.given(at)
    before = office.snapshot()
    second = await office.do(at.asker, case.mutation, **other | key)
    assert second.user_error["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert second.user_error["path"] == ["idempotencyKey"]
    assert second.data[OBJECTS[case.mutation]] is None
    assert office.snapshot() == before
    # Without the key it is carried out: it was the key alone that stood in the way.
    assert (await office.do(at.asker, case.mutation, **other)).outcome == "DONE"


@pytest.mark.parametrize("mutation", KEYED)
async def test_at_the_same_time_once(office: Office, mutation: str) -> None:
    at, case = scene(office), BY_MUTATION[mutation]
    given = case.given(at) | {"idempotencyKey": f"together {mutation}"}
    known = office.recorded()
    answers = await asyncio.gather(
        *(office.do(at.asker, mutation, **given) for _ in range(8)),
    )
    assert {answer.outcome for answer in answers} == {"DONE"}
    assert len({answer.data[OBJECTS[mutation]]["id"] for answer in answers}) == 1
    assert [event["action"] for event in office.events(known)] == [case.action]


async def test_keys_are_a_persons_own(office: Office) -> None:
    one, other = (office.here.person(f"{role}@a") for role in ("front_desk", "provider"))
    key = {"idempotencyKey": "one of two"}
    ids = set()
    for asker in (one, other):
        given = registered(Scene(office, office.here, "a", asker)) | key
        answer = await office.do(asker, "registerPatient", **given)
        assert answer.outcome == "DONE"
        ids.add(answer.data["patient"]["id"])
    assert len(ids) == 2


async def test_keys_are_an_operations_own(office: Office) -> None:
    at, key = scene(office), {"idempotencyKey": "one of many"}
    for case in CASES:
        assert (await office.do(at.asker, case.mutation, **case.given(at) | key)).outcome == "DONE"


@pytest.mark.parametrize("mutation", WRONG)
async def test_a_refused_request_leaves_its_key_free(office: Office, mutation: str) -> None:
    at, key = scene(office), {"idempotencyKey": f"mended {mutation}"}
    given = BY_MUTATION[mutation].given(at) | key
    assert (await office.do(at.asker, mutation, **given | WRONG[mutation])).user_error
    assert (await office.do(at.asker, mutation, **given)).outcome == "DONE"


@of_cases
async def test_a_repeat_is_judged_by_todays_policy(office: Office, case: Case) -> None:
    """Whoever lost the role meanwhile is not shown again what came of it."""
    asker = office.here.person("clinic_admin@a", fresh=True)
    at = Scene(office, office.here, "a", asker)
    given = case.given(at) | {"idempotencyKey": "before"}
    assert (await office.do(asker, case.mutation, **given)).outcome == "DONE"
    office.change(
        "update role_grant set valid_until = now() where person_id = %s",
        asker.id,
    )
    office.change("update person set version = version + 1 where id = %s", asker.id)
    await office.ask(asker, "{ viewer { me { id } } }")
    before = office.snapshot()
    again = await office.do(asker, case.mutation, **given)
    assert again.data is None or again.data[OBJECTS[case.mutation]] is None
    assert office.snapshot() == before


@pytest.mark.parametrize("key", ["", "x" * 201, "a\u0000b", "line\nbreak"])
@pytest.mark.parametrize("mutation", ["registerPatient", "bookAppointment"])
async def test_a_key_that_cannot_be_kept(office: Office, mutation: str, key: str) -> None:
    at = scene(office)
    given = {"registerPatient": registered, "bookAppointment": booked}[mutation](at)
    before = office.snapshot()
    answer = await office.do(at.asker, mutation, **given, idempotencyKey=key)
    assert answer.user_error["path"] == ["idempotencyKey"]
    assert office.snapshot() == before
