"""What cannot be taken is refused by a field of the input or a code, and nothing is changed."""

import asyncio
import json
from typing import Any

import pytest

from tests import make
from tests.api.commands.cases import BY_MUTATION, Scene, updated
from tests.api.commands.office import OBJECTS, Office, document, soon

pytestmark = pytest.mark.anyio

LONG, NUL, SEPARATOR = "x" * 100_001, "a\u0000b", "a\u2028b"
TURNED, ISOLATED = "a\u202eb", "a\u2066b"  # what follows is read in another order than it is stored
JOINED, UNSEEN = "a\u200db", "a\u00adb"  # good in a name, never in a number


def demographics(**values: Any) -> dict[str, Any]:
    return {"demographics": {"familyName": "Zyxwvutson", "givenName": "Ana"} | values}


def inside(name: str, *values: Any) -> list[tuple[str, dict[str, Any], list[str]]]:
    """Values of a field of the demographics that cannot be taken."""
    path = ["demographics", name]
    return [("registerPatient", demographics(**{name: value}), path) for value in values]


def outside(mutation: str, name: str, *values: Any) -> list[tuple[str, dict[str, Any], list[str]]]:
    """Values of a field of the input that cannot be taken."""
    return [(mutation, {name: value}, [name]) for value in values]


REFUSED = [
    *inside("familyName", "", "   ", "1234", "x" * 201, NUL, SEPARATOR, TURNED, ISOLATED, None),
    *inside("givenName", "", "--", "x" * 201, NUL, TURNED, None),
    *inside("birthDate", "2999-01-01", "9999-12-31", "0001-01-01", "1874-12-31"),
    *inside("deceasedOn", "2999-01-01", "1700-01-01"),
    *inside("phone", "12", "hello", "+1" + "2" * 40, NUL),
    *inside(
        "email",
        "x",
        "a@b",
        "a b@example.org",
        "x" * 321,
        NUL + "@example.org",
        JOINED + "@example.org",
    ),
    *inside("language", "english!", "x" * 400),
    *inside("postalCode", "?", "x" * 16),
    *inside("country", "USA", "us", "1"),
    *inside("city", "x" * 201, NUL, ISOLATED),
    *inside("addressLine", "x" * 201, NUL, TURNED),
    *inside("preferredName", "x" * 201, NUL, TURNED),
    *inside("genderIdentity", "x" * 201, NUL, TURNED),
    *inside("nationalId", "x" * 41, "---", NUL, JOINED, UNSEEN),
    *outside("registerPatient", "mrn", "12345678", "x" * 65, NUL, " ", JOINED, UNSEEN, TURNED),
    *outside("admitPatient", "mrn", "", "x" * 65, NUL, JOINED, UNSEEN),
    *outside("admitPatient", "familyName", "", "x" * 201, NUL, TURNED),
    *outside("startEncounter", "kind", "", "XX", "amb", NUL, "x" * 1000),
    *outside("startEncounter", "reason", "x" * 2_001, NUL, TURNED),
    *outside("writeNote", "body", "", " \n", LONG, NUL, SEPARATOR, TURNED, ISOLATED),
    *outside("bookAppointment", "minutes", 0, 4, 481, -30, 2**31 - 1),
    *outside(
        "bookAppointment",
        "startsAt",
        "2001-01-01T00:00:00Z",
        "2999-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ),
    *outside("bookAppointment", "reason", "x" * 2_001, NUL, TURNED),
    *outside("bookAppointment", "comment", "x" * 2_001, NUL, ISOLATED),
    *outside("rescheduleAppointment", "minutes", 0, 481, -1),
    *outside("rescheduleAppointment", "startsAt", "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"),
    *outside(
        "recordPayment",
        "amount",
        *("0", "0.00", "-1", "+1", "1e3", "NaN", "Infinity", "", " 1", "1,5", "0.001", "1.5.0"),
        *("999999999999999", "9" * 400, "١٢", NUL),
    ),
    *outside("recordPayment", "currency", "EUR", "usd", "", NUL, "x" * 1000),
    *outside("recordPayment", "reference", "x" * 81, NUL, JOINED, TURNED),
]


@pytest.mark.parametrize(("mutation", "wrong", "path"), REFUSED, ids=lambda value: str(value)[:40])
async def test_a_value_that_cannot_be_taken(
    office: Office, mutation: str, wrong: dict[str, Any], path: list[str]
) -> None:
    """Told as data, with the path of a field that the input has."""
    admin = office.here.person("clinic_admin@a", fresh=mutation == "admitPatient")
    given = BY_MUTATION[mutation].given(Scene(office, office.here, "a", admin)) | wrong
    before = office.snapshot()
    answer = await office.do(admin, mutation, **given)
    assert answer.user_error, answer.body
    assert answer.user_error["path"] == path
    assert answer.data[OBJECTS[mutation]] is None
    assert answer.user_error["message"].endswith(".")
    assert office.snapshot() == before


TYPED = [
    ("registerPatient", demographics(sex="NEUTRAL")),
    ("registerPatient", demographics(birthDate="1990-13-01")),
    ("registerPatient", demographics(birthDate=1990)),
    ("registerPatient", demographics(shoeSize="44")),
    ("registerPatient", {"demographics": None}),
    ("updatePatient", {"version": 2**31}),
    ("updatePatient", {"version": "1"}),
    ("updatePatient", {"version": None}),
    ("updatePatient", {"version": 1.5}),
    ("writeNote", {"kind": "POEM"}),
    ("bookAppointment", {"startsAt": "tomorrow"}),
    ("bookAppointment", {"startsAt": "2030-01-01T10:00:00"}),
    ("bookAppointment", {"startsAt": "9999-12-31T23:59:59-14:00"}),
    ("bookAppointment", {"startsAt": "0001-01-01T00:00:00+14:00"}),
    ("bookAppointment", {"minutes": 2**31}),
    ("bookAppointment", {"rooms": [None]}),
    ("recordPayment", {"method": "GOLD"}),
    ("recordPayment", {"amount": 12.5}),
    ("recordPayment", {"unapplied": "yes"}),
]


@pytest.mark.parametrize(("mutation", "wrong"), TYPED, ids=lambda value: str(value)[:40])
async def test_a_value_of_another_type(
    office: Office, mutation: str, wrong: dict[str, Any]
) -> None:
    """GraphQL's own refusal, without a word of Python."""
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION[mutation].given(Scene(office, office.here, "a", admin)) | wrong
    before = office.snapshot()
    answer = await office.do(admin, mutation, **given)
    assert answer.error["code"] == "BAD_USER_INPUT"
    assert "Error" not in answer.body["errors"][0]["message"]
    assert office.snapshot() == before


@pytest.mark.parametrize("mutation", ["writeNote", "updatePatient", "bookAppointment"])
async def test_what_is_no_text_at_all(office: Office, mutation: str) -> None:
    """A lone surrogate, bytes that are no UTF-8, ten million characters: refused before anything is looked at."""
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION[mutation].given(Scene(office, office.here, "a", admin))
    name = {"writeNote": "body", "updatePatient": "id", "bookAppointment": "reason"}[mutation]
    token = office.here.token(admin)
    before = office.snapshot()
    for mark, statuses in (('"\\ud800"', {400, 200}), ('"' + "x" * 10_000_000 + '"', {413})):
        given[name] = "MARK"
        whole = json.dumps({"query": document(mutation), "variables": {"input": given}})
        answer = await office.send(whole.replace('"MARK"', mark).encode(), token)
        assert answer.status in statuses
        assert answer.error["code"] == "BAD_USER_INPUT"
    raw = json.dumps({"query": document(mutation), "variables": {"input": given}}).encode()
    answer = await office.send(raw.replace(b"MARK", b"\xff\xfe"), token)
    assert answer.error["code"] == "BAD_USER_INPUT"
    assert office.snapshot() == before


VERSIONED = (
    "updatePatient",
    "finishEncounter",
    "signNote",
    "rescheduleAppointment",
    "cancelAppointment",
    "checkInAppointment",
)


@pytest.mark.parametrize("mutation", VERSIONED)
async def test_a_stale_version_is_a_conflict(office: Office, mutation: str) -> None:
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION[mutation].given(Scene(office, office.here, "a", admin))
    before = office.snapshot()
    for version in (0, 2, -1, 2**31 - 1):
        answer = await office.do(admin, mutation, **given | {"version": version})
        assert answer.error == {"code": "CONFLICT", "currentVersion": 1}
        assert answer.data is None
    assert office.snapshot() == before
    assert (await office.do(admin, mutation, **given)).outcome == "DONE"


MOVES = [
    ("finishEncounter", "encounter", state)
    for state in ("planned", "arrived", "triaged", "finished", "cancelled", "entered-in-error")
] + [
    (mutation, "appointment", state)
    for mutation in ("cancelAppointment", "rescheduleAppointment", "checkInAppointment")
    for state in ("fulfilled", "cancelled", "noshow", "entered-in-error")
]


@pytest.mark.parametrize(("mutation", "what", "state"), MOVES)
async def test_an_illegal_move(office: Office, mutation: str, what: str, state: str) -> None:
    admin = office.here.person("clinic_admin@a")
    scene = Scene(office, office.here, "a", admin)
    ended = {"ended_at": make.now()} if state == "finished" else {}
    row = scene.encounter(state=state, **ended) if what == "encounter" else gone(scene, state)
    given = BY_MUTATION[mutation].given(scene) | {"id": f"{what.title()}:{row.id}"}
    before = office.snapshot()
    answer = await office.do(admin, mutation, **given)
    assert answer.user_error["code"] == "ILLEGAL_STATE"
    assert office.snapshot() == before


def gone(scene: Scene, state: str) -> Any:
    """An appointment that nobody keeps any more, without blocks."""
    doctor = scene.system.doctor("a")
    row = make.appointment(scene.patient(), scene.unit, doctor, state=state, starts_at=soon())
    scene.system.save(row)
    return row


async def test_a_signed_note_is_signed_once(office: Office) -> None:
    admin = office.here.person("clinic_admin@a")
    given = BY_MUTATION["signNote"].given(Scene(office, office.here, "a", admin))
    assert (await office.do(admin, "signNote", **given)).outcome == "DONE"
    before = office.snapshot()
    assert (await office.do(admin, "signNote", **given | {"version": 2})).outcome == "ILLEGAL_STATE"
    assert office.snapshot() == before


async def test_nobody_signs_what_another_wrote_or_without_being_a_practitioner(
    office: Office,
) -> None:
    author, other = office.here.person("nurse@a"), office.here.person("provider@a")
    scene = Scene(office, office.here, "a", author)
    draft, signed = scene.note(author), scene.note(author, state="signed")
    before = office.snapshot()
    unseen = await office.do(other, "signNote", id=f"Note:{draft.id}", version=1)
    assert unseen.outcome == "NOT_FOUND"
    seen = await office.do(other, "signNote", id=f"Note:{signed.id}", version=1)
    assert (seen.error["code"], seen.error["reason"]) == ("FORBIDDEN", "NOT_THE_AUTHOR")
    assert office.snapshot() == before
    lay = office.here.person("nurse@a", fresh=True)
    office.change("update practitioner set active = false where person_id = %s", lay.id)
    own = scene.note(lay)
    before = office.snapshot()
    answer = await office.do(lay, "signNote", id=f"Note:{own.id}", version=1)
    assert (answer.error["code"], answer.error["reason"]) == ("FORBIDDEN", "NOT_A_PRACTITIONER")
    assert office.snapshot() == before


async def test_a_nurse_writes_nursing_notes_only(office: Office) -> None:
    nurse = office.here.person("nurse@a")
    given = BY_MUTATION["writeNote"].given(Scene(office, office.here, "a", nurse))
    before = office.snapshot()
    assert (
        await office.do(nurse, "writeNote", **given | {"kind": "PROGRESS"})
    ).outcome == "FORBIDDEN"
    assert office.snapshot() == before


async def test_two_patients_have_two_numbers(office: Office) -> None:
    desk = office.here.person("front_desk@a")
    numbered = demographics(nationalId="85 01 01 123") | {"unit": office.here.unit("a")}
    assert (await office.do(desk, "registerPatient", **numbered, mrn="OLD-1")).outcome == "DONE"
    before = office.snapshot()
    same = await office.do(desk, "registerPatient", **numbered, mrn="OLD-2")
    assert same.user_error["path"] == ["demographics", "nationalId"]
    again = demographics() | {"unit": office.here.unit("a"), "mrn": "OLD-1"}
    same = await office.do(desk, "registerPatient", **again)
    assert (same.outcome, same.user_error["path"]) == ("ALREADY_REGISTERED", ["mrn"])
    assert office.snapshot() == before


async def test_of_two_changes_of_one_version_one_counts(office: Office) -> None:
    desk = office.here.person("front_desk@a")
    given = updated(Scene(office, office.here, "a", desk))
    answers = await asyncio.gather(*(office.do(desk, "updatePatient", **given) for _ in range(5)))
    assert sorted(answer.outcome for answer in answers) == ["CONFLICT"] * 4 + ["DONE"]
