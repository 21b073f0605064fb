"""Who may carry out which mutation where: done, forbidden or not found, and without a trace unless done."""

import itertools
import uuid

import pytest

from tests.api.commands.cases import (
    ADMINS,
    BY_MUTATION,
    CASES,
    CLINICAL,
    EVERYBODY,
    LOWEST,
    Case,
    Scene,
)
from tests.api.commands.office import OBJECTS, SECRET, Answer, Office, local

pytestmark = pytest.mark.anyio

of_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutation)


def placings(case: Case, role: str) -> list[tuple[str, str, str]]:
    """(where the role is held, where the target lies, the outcome)."""
    right, beside = case.expected(role), case.beside
    if role == "regional_director":
        return [("r", "a", right), ("r", "a1", right), ("system", "a", right), ("q", "a", beside)]
    if role in LOWEST:
        return [("system", "a", right), ("system", "a1", right)]
    return [
        *((node, "a", right) for node in ("a", "r")),
        *((node, "a1", right) for node in ("a1", "a")),
        *((node, "a", beside) for node in ("b", "a1")),
        ("a2", "a1", beside),
    ]


async def tried(
    office: Office, case: Case, held: tuple[str, ...], place: str, expected: str = "DONE"
) -> str:
    """The outcome of the mutation; whether it left what it should.

    Who is expected to be refused changes nothing, so one target serves them all.
    """
    asker = office.here.person(*held)
    kept = None if expected == "DONE" else office.targets.get((case.mutation, place))
    given = kept or case.given(Scene(office, office.here, place, asker))
    if expected != "DONE":
        office.targets[case.mutation, place] = given
    before, known = office.snapshot(), office.recorded()
    answer = await office.do(asker, case.mutation, **given)
    if answer.outcome == "DONE":
        check_event(office, case, answer, known, held)
    else:
        assert office.snapshot() == before
        assert answer.data is None
        assert answer.outcome != "FORBIDDEN" or answer.error["reason"] == "NO_ROLE"
        check_denial(office, case, answer, known, asker.id)
    return answer.outcome


def check_denial(
    office: Office, case: Case, answer: Answer, known: int, person_id: uuid.UUID
) -> None:
    """Exactly one event, of its own transaction, which says who tried what on which rows, by no right."""
    (event,) = office.events(known)
    assert (event["action"], event["outcome"]) == (case.asks, "denied")
    assert (event["person_id"], event["request_id"]) == (person_id, answer.request_id)
    assert (event["role"], event["grant_id"]) == (None, None)
    assert event["policy_version"] == office.contexts[-1].actor.policy.version
    assert SECRET.lower() not in str(event).lower()


def check_event(
    office: Office, case: Case, answer: Answer, known: int, held: tuple[str, ...]
) -> None:
    """Exactly one event, which says who did what by which right, and nothing about the patient."""
    (event,) = office.events(known)
    assert (event["action"], event["outcome"]) == (case.told or case.action, "done")
    asker = office.here.person(*held)
    assert event["person_id"] == asker.id
    grants = office.query("select id, role from role_grant where person_id = %s", asker.id)
    assert {"id": event["grant_id"], "role": event["role"]} in grants
    context = office.contexts[-1]
    assert event["policy_version"] == context.actor.policy.version
    assert event["tree_version"] == context.actor.tree.version
    assert event["request_id"] == answer.request_id
    made = answer.data[OBJECTS[case.mutation]]
    made = made[0] if isinstance(made, list) else made
    assert local(made["id"]) in event["subject_ids"]
    assert SECRET.lower() not in str(event).lower()


@of_cases
@pytest.mark.parametrize("role", sorted(EVERYBODY))
async def test_each_role_does_what_the_table_says(office: Office, case: Case, role: str) -> None:
    for node, place, expected in placings(case, role):
        outcome = await tried(office, case, (f"{role}@{node}",), place, expected)
        assert outcome == expected, f"{case.mutation} by {role}@{node} at {place}"


@of_cases
async def test_another_health_system_is_not_there(office: Office, case: Case) -> None:
    given = case.given(Scene(office, office.here, "a", office.here.person("clinic_admin@a")))
    held = [f"{role}@{LOWEST.get(role, 'a')}" for role in sorted(EVERYBODY)]
    strangers = [office.there.person(role) for role in held]
    before = office.snapshot()
    for role, stranger in zip(held, strangers, strict=True):
        answer = await office.do(stranger, case.mutation, **given)
        assert answer.outcome == "NOT_FOUND", role
    assert office.snapshot() == before


@of_cases
async def test_roles_count_where_they_are_held(office: Office, case: Case) -> None:
    held = ("nurse@a", "front_desk@b")
    assert await tried(office, case, held, "a") == case.expected("nurse")
    assert await tried(office, case, held, "b") == case.expected("front_desk")


@of_cases
async def test_without_any_grant_nothing_is_done(office: Office, case: Case) -> None:
    assert await tried(office, case, (), "a") == case.beside


CHARTED = {"encounter", "note", "observation", "condition", "allergy"} | {
    *("medication_request", "medication_statement", "procedure", "immunization"),
}


@pytest.mark.parametrize("role", sorted(ADMINS))
async def test_administrators_by_break_glass_alone_write_nothing_clinical(
    office: Office, role: str
) -> None:
    """The variant in which they keep demographics, schedule and billing."""
    held = f"{role}@{LOWEST.get(role, 'a')}"
    office.here.person(held)
    await office.set_variant(office.here, "admins_break_glass")
    try:
        for case in CASES:
            outcome = await tried(office, case, (held,), "a")
            refusal = "NOT_FOUND" if case.sees <= CLINICAL else "FORBIDDEN"
            of_charts = case.action.partition(":")[0] in CHARTED
            clinical = of_charts and "front_desk" not in case.may
            expected = refusal if clinical else "DONE"
            assert outcome == expected, case.mutation
    finally:
        await office.set_variant(office.here, "admins_inherit")


async def test_a_patient_whom_one_sees_elsewhere_is_forbidden_here(office: Office) -> None:
    """The place is in the directory, the patient is known: what is missing is the role."""
    desk = office.here.person("front_desk@b", "nurse@b")
    patient = office.here.patient("a", "b")
    for mutation in ("bookAppointment", "startEncounter", "recordPayment", "addPatientSite"):
        scene = Scene(office, office.here, "a", desk)
        given = BY_MUTATION[mutation].given(scene) | {"patient": f"Patient:{patient.id}"}
        before = office.snapshot()
        answer = await office.do(desk, mutation, **given)
        assert answer.outcome == "FORBIDDEN", mutation
        assert office.snapshot() == before


async def test_a_restricted_patient_is_not_there(office: Office) -> None:
    """Sensitivity above 0: nobody, whatever the role."""
    admin = office.here.person("system_admin@system")
    hidden = office.here.patient("a", sensitivity=1)
    known = {"patient": f"Patient:{hidden.id}"}
    for case in CASES:
        given = case.given(Scene(office, office.here, "a", admin))
        if "patient" in given:
            given |= known
        elif case.mutation == "updatePatient":
            given |= {"id": f"Patient:{hidden.id}"}
        elif case.mutation == "admitPatient":
            given |= {"mrn": hidden.mrn, "familyName": hidden.family_name}
        else:
            continue
        before = office.snapshot()
        answer = await office.do(admin, case.mutation, **given)
        if case.mutation == "admitPatient":
            assert answer.outcome == "NO_MATCH"
            continue
        assert answer.outcome == "NOT_FOUND", case.mutation
        assert office.snapshot() == before


NOBODYS = str(uuid.UUID(int=1))


@of_cases
async def test_ids_of_nothing_and_of_other_kinds_are_not_found(office: Office, case: Case) -> None:
    admin = office.here.person("system_admin@system")
    given = case.given(Scene(office, office.here, "a", admin))
    named = [
        name for name in given if name in ("id", "unit", "patient", "practitioner", "encounter")
    ]
    before = office.snapshot()
    for name in named:
        kind = str(given[name]).partition(":")[0]
        for other in (
            f"{kind}:{NOBODYS}",
            f"Tenant:{NOBODYS}",
            "",
            kind,
            f"{kind}:1; drop",
            "é\u0000",
        ):
            answer = await office.do(admin, case.mutation, **given | {name: other})
            expected = (
                {"NOT_FOUND", "NOT_BOOKABLE_HERE"} if name == "practitioner" else {"NOT_FOUND"}
            )
            assert answer.outcome in expected, (case.mutation, name, other)
    assert office.snapshot() == before


def test_a_snapshot_notices_every_write(office: Office) -> None:
    """What the tests above rely on; also a row in another's stead, and a change that changes nothing."""
    tenant = office.here.tenant.tenant_id
    insert = "insert into revoked_session (tenant_id, sid, until) values (%s, 'seen', now())"
    delete = "delete from revoked_session where tenant_id = %s and sid = 'seen'"
    touch = "update patient set family_name = family_name where tenant_id = %s"
    office.here.patient("a")
    noted = [office.snapshot()]
    for statements in ((insert,), (delete, insert), (touch,), (delete,)):
        for statement in statements:
            office.change(statement, tenant)
        assert office.snapshot() == office.snapshot()
        noted.append(office.snapshot())
    tables = [{t for t in one if one[t] != next_[t]} for one, next_ in itertools.pairwise(noted)]
    assert tables == [{"revoked_session"}, {"revoked_session"}, {"patient"}, {"revoked_session"}]
