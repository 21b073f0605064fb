"""People come, are corrected, leave and return: by whoever administers all that they hold."""

import datetime as dt
from typing import Any

import pytest

from domain.people import Person
from tests import make
from tests.api.commands.cases import ADMINS, EVERYBODY, LOWEST
from tests.api.commands.office import Office, local
from tests.api.commands.staff import admin, at, do, newcomer, refused, waiting

pytestmark = pytest.mark.anyio

SHOWN = "userName givenName familyName email active version"


def named(**more: Any) -> dict[str, Any]:
    user_name = f"new.person{make.number()}"
    return {"userName": user_name, "givenName": "Ada", "familyName": "Lovelace"} | more


def first(office: Office, role: str, unit: str, **more: Any) -> dict[str, Any]:
    return {"grant": {"role": role, "unit": office.here.unit(unit)} | more}


def change(whom: Person, **more: Any) -> dict[str, Any]:
    return {"id": f"Person:{whom.id}", "version": 1} | more


# -- coming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", sorted(EVERYBODY))
async def test_who_adds_people(office: Office, role: str) -> None:
    """With a first role below oneself; without one whoever administers the whole health system."""
    asker = office.here.person(f"{role}@{LOWEST.get(role, 'a')}")
    for input, allowed in (
        (named(), role == "system_admin"),
        (named(email="ada@mercy.example") | first(office, "nurse", "a1"), role in ADMINS),
        (named() | first(office, "nurse", "c"), role == "system_admin"),
    ):
        if not allowed:
            answer = await refused(office, asker, "createPerson", **input)
            assert (answer.error["code"], answer.error["reason"]) == ("FORBIDDEN", "NO_ROLE")
            continue
        known = len(office.events())
        answer = await do(office, asker, "createPerson", SHOWN, **input)
        assert answer.outcome == "DONE", answer.body
        person = answer.data["person"]
        assert person["userName"] == input["userName"]
        assert (person["active"], person["email"]) == (True, input.get("email"))
        (event,) = office.events()[known:]
        assert (event["action"], event["person_id"]) == ("person:manage", asker.id)
        grants = office.query(
            "select id, role, granted_by from role_grant where person_id = %s", local(person["id"])
        )
        assert [g["role"] for g in grants] == (["nurse"] if "grant" in input else [])
        assert event["subject_ids"] == [local(person["id"]), *(g["id"] for g in grants)]
        jobs = {task for task, whom in await waiting(office) if whom == str(local(person["id"]))}
        assert jobs == {"identity:sync_person"}


async def test_whoever_administers_everything_at_the_root_adds_people(office: Office) -> None:
    asker = office.here.person("regional_director@system")
    assert (await do(office, asker, "createPerson", **named())).outcome == "DONE"


@pytest.mark.parametrize(
    ("grant", "code", "path"),
    [
        ({"role": "janitor"}, "UNKNOWN_ROLE", ["grant", "role"]),
        ({"role": "system_viewer"}, "ROLE_DOES_NOT_FIT", ["grant", "unit"]),
        ({"role": "auditor"}, "NEEDS_APPROVAL", ["grant", "role"]),
        ({"validUntil": at(-1)}, "INVALID", ["grant", "validUntil"]),
        ({"validFrom": at(-1)}, "INVALID", ["grant", "validFrom"]),
    ],
    ids=lambda _: "",
)
async def test_a_first_role_that_cannot_be_given(
    office: Office, grant: dict[str, Any], code: str, path: list[str]
) -> None:
    input = named() | first(office, "nurse", "a")
    input["grant"] |= grant
    answer = await refused(office, admin(office), "createPerson", **input)
    assert (answer.user_error["code"], answer.user_error["path"]) == (code, path)


@pytest.mark.parametrize("mutation", ["createPerson", "updatePerson"])
@pytest.mark.parametrize(
    "wrong",
    [
        *({"userName": v} for v in ("", "x", "-dash", "white space", "umlaut-ü", "a" * 201)),
        *({"givenName": v} for v in ("", "7", "x" * 201, "a\u0000b")),
        *({"familyName": v} for v in ("  ", "--", "a\u2028b")),
        *({"email": v} for v in ("x" * 321, "a\u0000b@example.org", "nowhere")),
    ],
    ids=str,
)
async def test_a_value_that_cannot_be_taken(
    office: Office, mutation: str, wrong: dict[str, str]
) -> None:
    whom = newcomer(office, "nurse@a")
    input = named() if mutation == "createPerson" else change(whom)
    answer = await refused(office, admin(office), mutation, **input | wrong)
    assert (answer.user_error["code"], answer.user_error["path"]) == ("INVALID", list(wrong))
    assert answer.data["person"] is None


async def test_a_user_name_is_given_once(office: Office) -> None:
    taken = newcomer(office, "nurse@a")
    input = named(userName=taken.user_name.upper())
    answer = await refused(office, admin(office), "createPerson", **input)
    assert (answer.outcome, answer.user_error["path"]) == ("USER_NAME_TAKEN", ["userName"])
    other = change(newcomer(office, "nurse@a"), userName=taken.user_name)
    assert (await refused(office, admin(office), "updatePerson", **other)).outcome == (
        "USER_NAME_TAKEN"
    )


# -- who manages whom -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asker", "held", "outcome"),
    [
        ("clinic_admin@a", ("nurse@a",), "DONE"),
        ("clinic_admin@a", ("nurse@a1", "front_desk@a2"), "DONE"),
        ("clinic_admin@a", ("nurse@a", "nurse@b"), "FORBIDDEN"),
        ("clinic_admin@a", ("nurse@r",), "FORBIDDEN"),
        ("clinic_admin@a", (), "FORBIDDEN"),
        ("clinic_admin@a1", ("nurse@a",), "FORBIDDEN"),
        ("clinic_admin@a", ("clinic_admin@a",), "DONE"),
        ("regional_director@r", ("nurse@a", "nurse@b"), "DONE"),
        ("regional_director@r", ("nurse@c",), "FORBIDDEN"),
        ("regional_director@r", (), "FORBIDDEN"),
        ("system_admin@system", ("nurse@a", "nurse@c"), "DONE"),
        ("system_admin@system", (), "DONE"),
        ("privacy_officer@system", ("nurse@a",), "FORBIDDEN"),
        ("nurse@a", ("nurse@a",), "FORBIDDEN"),
    ],
    ids=str,
)
async def test_who_manages_whom(
    office: Office, asker: str, held: tuple[str, ...], outcome: str
) -> None:
    who, whom = office.here.person(asker), newcomer(office, *held)
    node = "query($id: ID!) { node(id: $id) { ... on Person { email version maskedGroups } } }"
    shown = (await office.ask(who, node, {"id": f"Person:{whom.id}"})).data
    assert (shown["version"] is not None) == (outcome == "DONE")
    version = 1
    for mutation, more, action in (
        ("updatePerson", {"email": "mia@mercy.example"}, "person:manage"),
        ("deactivatePerson", {}, "person:deactivate"),
        ("reactivatePerson", {}, "person:manage"),
    ):
        input = change(whom, version=version, **more)
        if outcome != "DONE":
            answer = await refused(office, who, mutation, **input)
            assert answer.error["code"] == outcome
            continue
        known = len(office.events())
        answer = await do(office, who, mutation, SHOWN, **input)
        assert answer.outcome == "DONE", answer.body
        version += 1
        person = answer.data["person"]
        assert person["version"] == version
        assert person["active"] == (mutation != "deactivatePerson")
        assert person["email"] == "mia@mercy.example"
        (event,) = office.events()[known:]
        assert (event["action"], event["subject_ids"]) == (action, [whom.id])
        assert (await waiting(office))[-1] == ("identity:sync_person", str(whom.id))


async def test_a_grant_that_ended_does_not_bind(office: Office) -> None:
    """Somebody whose only running role is here is managed here, whatever they did elsewhere before."""
    who, whom = office.here.person("clinic_admin@a"), newcomer(office, "nurse@a")
    units = office.here.units
    office.here.save(make.grant(whom, "nurse", units["c"], valid_until=make.now()))
    assert (
        await do(office, who, "updatePerson", **change(whom, givenName="Mia"))
    ).outcome == "DONE"
    coming = make.grant(whom, "nurse", units["c"], valid_from=make.now() + dt.timedelta(days=1))
    office.here.save(coming)
    answer = await refused(office, who, "updatePerson", **change(whom, version=2, givenName="Ann"))
    assert answer.outcome == "FORBIDDEN"


async def test_whoever_leaves_is_out_with_the_next_request(office: Office) -> None:
    who, whom = office.here.person("clinic_admin@a"), newcomer(office, "nurse@a")
    patients = "{ patients(first: 1) { totalCount } }"
    assert (await office.ask(whom, patients)).outcome == "DONE"
    assert (await do(office, who, "deactivatePerson", **change(whom))).outcome == "DONE"
    assert (await office.ask(whom, patients)).outcome == "UNAUTHENTICATED"
    returned = await do(office, who, "reactivatePerson", **change(whom, version=2))
    assert returned.outcome == "DONE"
    # Tokens of before stay dead; one of after opens again.
    later = int(dt.datetime.now(dt.UTC).timestamp()) + 2
    assert (await office.ask(whom, patients, iat=later)).outcome == "DONE"


async def test_oneself(office: Office) -> None:
    """One corrects one's own name where one manages oneself, and shuts nobody's door behind oneself."""
    who = newcomer(office, "clinic_admin@a")
    answer = await do(office, who, "updatePerson", SHOWN, **change(who, givenName="Mia"))
    assert answer.outcome == "DONE", answer.body
    assert (answer.data["person"]["givenName"], answer.data["person"]["version"]) == ("Mia", 2)
    answer = await refused(office, who, "deactivatePerson", **change(who, version=2))
    assert answer.error == {"code": "FORBIDDEN", "reason": "ONESELF"}


async def test_the_last_administrator_is_not_shut_out(office: Office) -> None:
    system = office.there
    last = system.person("system_admin@system", fresh=True)
    office.change(
        "update role_grant set valid_until = greatest(valid_from, now())"
        " where tenant_id = %s and role = 'system_admin' and person_id <> %s",
        system.tenant.tenant_id,
        last.id,
    )
    director = system.person("regional_director@system")
    answer = await refused(office, director, "deactivatePerson", **change(last))
    assert answer.outcome == "LAST_ADMINISTRATOR"


@pytest.mark.parametrize("mutation", ["updatePerson", "deactivatePerson", "reactivatePerson"])
async def test_stale_versions_and_ids_of_others(office: Office, mutation: str) -> None:
    whom, stranger = newcomer(office, "nurse@a"), office.there.person("nurse@a")
    for version in (0, 2, -1, 2**31 - 1):
        answer = await refused(office, admin(office), mutation, **change(whom, version=version))
        assert answer.error == {"code": "CONFLICT", "currentVersion": 1}
    for id_ in (f"Person:{stranger.id}", f"Patient:{whom.id}", "Person:1", ""):
        answer = await refused(office, admin(office), mutation, **change(whom, id=id_))
        assert answer.outcome == "NOT_FOUND"


async def test_a_repeat_adds_nobody(office: Office) -> None:
    input = named(idempotencyKey="once") | first(office, "nurse", "a")
    asker = office.here.person("clinic_admin@a")
    made = await do(office, asker, "createPerson", **input)
    before = office.snapshot()
    again = await do(office, asker, "createPerson", **input)
    assert again.data == made.data
    assert office.snapshot() == before
