"""People come, are corrected, leave and return: by whoever administers all that they hold."""

import asyncio
import datetime as dt
from typing import Any

import psycopg
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
        known = office.recorded()
        answer = await do(office, asker, "createPerson", SHOWN, **input)
        assert answer.outcome == "DONE", answer.body
        person = answer.data["person"]
        assert person["userName"] == input["userName"]
        assert (person["active"], person["email"]) == (True, input.get("email"))
        (event,) = office.events(known)
        assert (event["action"], event["person_id"]) == ("person:create", asker.id)
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
        {"userName": " Service-Account-svc-policy"},
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
        ("reactivatePerson", {}, "person:reactivate"),
    ):
        input = change(whom, version=version, **more)
        if outcome != "DONE":
            answer = await refused(office, who, mutation, **input)
            assert answer.error["code"] == outcome
            continue
        known = office.recorded()
        answer = await do(office, who, mutation, SHOWN, **input)
        assert answer.outcome == "DONE", answer.body
        version += 1
        person = answer.data["person"]
        assert person["version"] == version
        assert person["active"] == (mutation != "deactivatePerson")
        assert person["email"] == "mia@mercy.example"
        (event,) = office.events(known)
        assert (event["action"], event["subject_ids"]) == (action, [whom.id])
        assert (await waiting(office))[-1] == ("identity:sync_person", str(whom.id))


@pytest.mark.parametrize(
    ("asker", "held", "allowed"),
    [
        ("clinic_admin@r", "regional_director@r", False),
        ("clinic_admin@system", "regional_director@r", False),
        ("clinic_admin@system", "system_admin@system", False),
        ("clinic_admin@system", "privacy_officer@system", False),
        ("regional_director@system", "system_admin@system", False),
        ("regional_director@system", "auditor@system", False),
        ("regional_director@system", "system_viewer@system", False),
        ("regional_director@system", "clinic_admin@system", True),
        ("regional_director@r", "regional_director@r", True),
        ("clinic_admin@r", "clinic_admin@a", True),
        ("system_admin@system", "system_admin@system", True),
        ("system_admin@system", "privacy_officer@system", True),
    ],
)
async def test_nobody_is_managed_by_a_lower_role(
    office: Office, asker: str, held: str, allowed: bool
) -> None:
    """Peers manage peers. A role to come binds as a running one does."""
    role, _, place = held.partition("@")
    coming = {"valid_from": make.now() + dt.timedelta(days=1)}
    for more in ({}, coming):
        who, whom = newcomer(office, asker), newcomer(office)
        office.here.save(make.grant(whom, role, office.here.units[place], **more))
        for version, (mutation, said) in enumerate(
            (("updatePerson", {"email": "x@y.example"}), ("deactivatePerson", {})), 1
        ):
            input = change(whom, version=version, **said)
            if allowed:
                assert (await do(office, who, mutation, **input)).outcome == "DONE"
                continue
            answer = await refused(office, who, mutation, **input)
            assert answer.error == {"code": "FORBIDDEN", "reason": "HIGHER_ROLE"}
        if allowed:
            continue
        office.change("update person set active = false where id = %s", whom.id)
        answer = await refused(office, who, "reactivatePerson", **change(whom))
        assert answer.error == {"code": "FORBIDDEN", "reason": "HIGHER_ROLE"}


async def test_a_role_above_one_of_several_places_binds(office: Office) -> None:
    """Director of one region and clinic administrator of all: not above the other region's director."""
    who = newcomer(office, "regional_director@r", "clinic_admin@system")
    assert (
        await do(office, who, "updatePerson", **change(newcomer(office, "regional_director@r")))
    ).outcome == "DONE"
    other = change(newcomer(office, "regional_director@q"))
    assert (await refused(office, who, "updatePerson", **other)).error["reason"] == "HIGHER_ROLE"


async def test_a_guessed_version_is_none_that_was_judged(office: Office) -> None:
    """Else a change under way, which makes that version, would be written over by whoever was judged before it."""
    ward, victim = newcomer(office, "clinic_admin@a"), newcomer(office, "nurse@a")
    await office.ask(ward, "{ viewer { me { id } } }")
    with psycopg.connect(office.database.owner_url) as first:
        first.execute(
            "select 1 from tenant where tenant_id = %s for no key update", [victim.tenant_id]
        )
        # It does not come as far as waiting for the lock.
        guessed = office.do(ward, "deactivatePerson", **change(victim, version=2))
        answer = await asyncio.wait_for(guessed, 20)
    assert answer.error == {"code": "CONFLICT", "currentVersion": 1}


async def test_whose_place_changed_under_way_is_told_so(office: Office) -> None:
    """The version is the right one: what says no is where the person works since a moment ago."""
    ward, victim = newcomer(office, "clinic_admin@a"), newcomer(office, "nurse@a")
    await office.ask(ward, "{ viewer { me { id } } }")
    with psycopg.connect(office.database.owner_url) as first:
        first.execute("select 1 from tenant where tenant_id = %s for update", [victim.tenant_id])
        task = asyncio.create_task(office.do(ward, "deactivatePerson", **change(victim)))
        await office.waiting()
        office.here.save(make.grant(victim, "nurse", office.here.units["b"]))
        first.commit()
    assert (await task).error == {"code": "FORBIDDEN", "reason": "NO_LONGER_YOURS"}


@pytest.mark.parametrize("role", ["system_admin", "privacy_officer", "auditor"])
async def test_a_role_that_takes_two_does_not_come_back_by_one(office: Office, role: str) -> None:
    one, gone = admin(office), newcomer(office, f"{role}@system")
    assert (await do(office, one, "deactivatePerson", **change(gone))).outcome == "DONE"
    back = change(gone, version=2)
    answer = await refused(office, one, "reactivatePerson", **back)
    assert (answer.outcome, answer.user_error["path"]) == ("NEEDS_APPROVAL", ["id"])
    text = "update tenant set second_approval = %s where tenant_id = %s"
    office.change(text, False, office.here.tenant.tenant_id)
    try:
        assert (await do(office, one, "reactivatePerson", **back)).outcome == "DONE"
    finally:
        office.change(text, True, office.here.tenant.tenant_id)
    # Whoever is in already is not let in: repeating it is no error.
    again = change(gone, version=3)
    assert (await do(office, one, "reactivatePerson", **again)).outcome == "DONE"
    assert (await do(office, one, "deactivatePerson", **change(gone, version=4))).outcome == "DONE"
    (row,) = office.query("select id from role_grant where person_id = %s", gone.id)
    assert (await do(office, one, "revokeGrant", id=f"Grant:{row['id']}")).outcome == "DONE"
    assert (await do(office, one, "reactivatePerson", **change(gone, version=6))).outcome == "DONE"


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
    brief = make.person(system.tenant)
    soon = make.now() + dt.timedelta(days=29)
    system.save(brief, make.grant(brief, "system_admin", system.units["system"], valid_until=soon))
    answer = await refused(office, brief, "deactivatePerson", **change(last))
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
