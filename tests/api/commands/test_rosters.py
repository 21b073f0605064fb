"""Practitioners, rooms and devices: made, changed and placed by whoever administers all their places."""

import datetime as dt
from typing import Any

import pytest

from domain.people import Person
from tests import make
from tests.api.commands.cases import ADMINS, EVERYBODY, LOWEST, Scene, booked
from tests.api.commands.office import Office, local, soon
from tests.api.commands.staff import admin, at, do, newcomer, refused

pytestmark = pytest.mark.anyio

SHOWN = "givenName familyName specialty active version"


def doctor(office: Office, unit: str, **more: Any) -> dict[str, Any]:
    named = {"givenName": "Ada", "familyName": "Silva", "unit": office.here.unit(unit)}
    return named | more


def room(office: Office, unit: str, **more: Any) -> dict[str, Any]:
    return {"unit": office.here.unit(unit), "kind": "ROOM", "name": "Room 7"} | more


def change(prefix: str, row: Any, **more: Any) -> dict[str, Any]:
    return {"id": f"{prefix}:{row.id}", "version": 1} | more


@pytest.mark.parametrize("role", sorted(EVERYBODY))
async def test_who_adds_what_can_be_booked(office: Office, role: str) -> None:
    asker = office.here.person(f"{role}@{LOWEST.get(role, 'a')}")
    for mutation, input, action in (
        ("createPractitioner", doctor(office, "a1"), "practitioner:create"),
        ("createBookableResource", room(office, "a"), "bookable_resource:create"),
        ("createBookableResource", room(office, "c"), "bookable_resource:create"),
    ):
        everywhere = role == "system_admin"
        allowed = everywhere or (role in ADMINS and input["unit"] != office.here.unit("c"))
        if not allowed:
            answer = await refused(office, asker, mutation, **input)
            assert (answer.error["code"], answer.error["reason"]) == ("FORBIDDEN", "NO_ROLE")
            continue
        known = office.recorded()
        answer = await do(office, asker, mutation, "active version", **input)
        assert answer.outcome == "DONE", answer.body
        made = answer.data["practitioner" if mutation == "createPractitioner" else "resource"]
        (event,) = office.events(known)
        assert (event["action"], event["subject_ids"]) == (action, [local(made["id"])])
        placed = "select unit_id from resource_assignment where resource_id = %s"
        (row,) = office.query(placed, local(made["id"]))
        assert f"OrgUnit:{row['unit_id']}" == input["unit"]


async def test_a_new_practitioner_can_be_booked_from_when_they_come(office: Office) -> None:
    desk, period = office.here.person("front_desk@a"), {"validFrom": at(3), "validUntil": at(30)}
    made = await do(office, admin(office), "createPractitioner", **doctor(office, "a", **period))
    assert made.outcome == "DONE", made.body
    given = booked(Scene(office, office.here, "a", desk))
    given |= {"practitioner": made.data["practitioner"]["id"]}
    for hours, outcome in (
        (0, "NOT_BOOKABLE_HERE"),
        (24 * 4, "DONE"),
        (24 * 40, "NOT_BOOKABLE_HERE"),
    ):
        when = given | {"startsAt": soon(hours).isoformat()}
        answer = await office.do(desk, "bookAppointment", **when)
        assert answer.outcome == outcome, answer.body


async def test_what_was_withdrawn_is_booked_no_more(office: Office) -> None:
    asker, desk = office.here.person("clinic_admin@a"), office.here.person("front_desk@a")
    scene = Scene(office, office.here, "a", desk)
    given = booked(scene)
    kept = await office.do(desk, "bookAppointment", **given)
    assert kept.outcome == "DONE"
    resource = given["practitioner"].replace("Practitioner", "BookableResource")
    place = {"resource": resource, "unit": office.here.unit("a")}
    known = office.recorded()
    answer = await do(office, asker, "unassignResource", "units { id }", **place)
    assert answer.data["resource"]["units"] == []
    (event,) = office.events(known)
    assert (event["action"], event["clinic_id"]) == ("assignment:edit", office.here.units["a"].id)
    later = given | {"startsAt": soon(99).isoformat()}
    assert (await office.do(desk, "bookAppointment", **later)).outcome == "NOT_BOOKABLE_HERE"
    # What was booked stays; placed again, others may follow.
    state = "select state from appointment where id = %s"
    assert office.query(state, local(kept.data["appointment"]["id"]))[0]["state"] == "booked"
    assert (await refused(office, asker, "unassignResource", **place)).outcome == "NOT_FOUND"
    again = await do(office, asker, "assignResource", "units { id }", **place)
    assert again.data["resource"]["units"] == [{"id": office.here.unit("a")}]
    assert (await office.do(desk, "bookAppointment", **later)).outcome == "DONE"


@pytest.mark.parametrize(
    ("asker", "places", "outcome"),
    [
        ("clinic_admin@a", ("a",), "DONE"),
        ("clinic_admin@a", ("a1", "a2"), "DONE"),
        ("clinic_admin@a", ("a", "b"), "FORBIDDEN"),
        ("clinic_admin@a1", ("a",), "FORBIDDEN"),
        ("clinic_admin@a", (), "FORBIDDEN"),
        ("regional_director@r", ("a", "b"), "DONE"),
        ("regional_director@r", ("c",), "FORBIDDEN"),
        ("system_admin@system", (), "DONE"),
        ("provider@a", ("a",), "FORBIDDEN"),
        ("privacy_officer@system", ("a",), "FORBIDDEN"),
    ],
    ids=str,
)
async def test_who_manages_what(
    office: Office, asker: str, places: tuple[str, ...], outcome: str
) -> None:
    who, one = office.here.person(asker), office.here.doctor(*places)
    chair = make.bookable(office.here.tenant)
    over = make.assignment(chair, office.here.units["c"], valid_until=make.now())
    rooms = [make.assignment(chair, office.here.units[p]) for p in places if p != "c"]
    office.here.save(chair, over, *rooms)
    for mutation, input in (
        ("updatePractitioner", change("Practitioner", one, specialty="Surgery")),
        ("updateBookableResource", change("BookableResource", chair, name="Chair")),
    ):
        expected = outcome if mutation == "updatePractitioner" or places != ("c",) else "FORBIDDEN"
        if expected != "DONE":
            assert (await refused(office, who, mutation, **input)).outcome == expected
            continue
        known = office.recorded()
        answer = await do(office, who, mutation, "active version", **input)
        assert answer.outcome == "DONE", answer.body
        (event,) = office.events(known)
        assert event["action"] == "practitioner:manage"
        stale = await refused(office, who, mutation, **input)
        assert stale.error == {"code": "CONFLICT", "currentVersion": 2}


async def test_where_one_places_things(office: Office) -> None:
    """At ones own place, whatever it is and wherever else it can be booked."""
    one = office.here.doctor("c")
    resource = {"resource": f"BookableResource:{one.id}"}
    for asker, unit, outcome in (
        ("clinic_admin@a", "b", "FORBIDDEN"),
        ("clinic_admin@a1", "a", "FORBIDDEN"),
        ("nurse@a", "a", "FORBIDDEN"),
        ("clinic_admin@a", "a", "DONE"),
        ("clinic_admin@a", "a1", "DONE"),
        ("system_admin@system", "r", "NOT_A_CLINIC"),
    ):
        who, input = office.here.person(asker), resource | {"unit": office.here.unit(unit)}
        if outcome == "DONE":
            assert (await do(office, who, "assignResource", **input)).outcome == "DONE"
        else:
            assert (await refused(office, who, "assignResource", **input)).outcome == outcome
    mine = resource | {"unit": office.here.unit("c")}
    who = office.here.person("clinic_admin@a")
    assert (await refused(office, who, "unassignResource", **mine)).outcome == "FORBIDDEN"


# -- as whom they log in ----------------------------------------------------------------------


def colleague(office: Office, *held: str) -> Person:
    """Somebody who is no practitioner."""
    who = newcomer(office, *held)
    office.change("update practitioner set person_id = null where person_id = %s", who.id)
    return who


async def practises(office: Office, who: Person) -> bool:
    """Whether a request of theirs carries a practitioner."""
    await office.ask(who, "{ viewer { me { id } } }")
    return office.contexts[-1].actor.practitioner_id is not None


async def test_a_link_is_felt_with_the_next_request(office: Office) -> None:
    asker, one = office.here.person("clinic_admin@a"), office.here.doctor("a")
    who, next_ = colleague(office, "nurse@a"), colleague(office, "provider@a")
    assert not await practises(office, who)
    link = change("Practitioner", one, person=f"Person:{who.id}")
    known = office.recorded()
    answer = await do(office, asker, "linkPractitioner", SHOWN, **link)
    assert answer.outcome == "DONE", answer.body
    (event,) = office.events(known)
    assert event["subject_ids"] == [one.id, who.id]
    assert await practises(office, who)
    taken = change("Practitioner", office.here.doctor("a"), person=f"Person:{who.id}")
    second = await refused(office, asker, "linkPractitioner", **taken)
    assert (second.outcome, second.user_error["path"]) == ("LINKED_ALREADY", ["person"])
    moved = link | {"version": 2, "person": f"Person:{next_.id}"}
    assert (await do(office, asker, "linkPractitioner", **moved)).outcome == "DONE"
    assert (await practises(office, who), await practises(office, next_)) == (False, True)
    left = change("Practitioner", one, version=3, active=False)
    assert (await do(office, asker, "updatePractitioner", **left)).outcome == "DONE"
    assert not await practises(office, next_)
    (resource,) = office.query("select active from bookable_resource where id = %s", one.id)
    assert not resource["active"]
    gone = link | {"version": 4, "person": None}
    assert (await do(office, asker, "linkPractitioner", **gone)).outcome == "DONE"


async def test_whoever_links_manages_both(office: Office) -> None:
    asker, one = office.here.person("clinic_admin@a"), office.here.doctor("a")
    for held in (("nurse@b",), ("nurse@a", "nurse@b"), ()):
        other = colleague(office, *held)
        link = change("Practitioner", one, person=f"Person:{other.id}")
        assert (await refused(office, asker, "linkPractitioner", **link)).outcome == "FORBIDDEN"
    far = change("Practitioner", office.here.doctor("b"), person=f"Person:{asker.id}")
    assert (await refused(office, asker, "linkPractitioner", **far)).outcome == "FORBIDDEN"
    # Also the one who is linked so far.
    theirs = office.here.practitioners[newcomer(office, "nurse@b").id]
    bookable = make.bookable(theirs)
    office.here.save(bookable, make.assignment(bookable, office.here.units["a"]))
    mine = colleague(office, "nurse@a")
    link = change("Practitioner", theirs, person=f"Person:{mine.id}")
    assert (await refused(office, asker, "linkPractitioner", **link)).outcome == "FORBIDDEN"
    own = colleague(office, "clinic_admin@a")  # oneself, whose version rises under the command
    link = change("Practitioner", one, person=f"Person:{own.id}")
    assert (await do(office, own, "linkPractitioner", **link)).outcome == "DONE"


# -- what cannot be taken ---------------------------------------------------------------------

BEFORE = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("mutation", "wrong", "code", "path"),
    [
        ("createPractitioner", {"givenName": ""}, "INVALID", ["givenName"]),
        ("createPractitioner", {"familyName": "7"}, "INVALID", ["familyName"]),
        ("createPractitioner", {"npi": "123"}, "INVALID", ["npi"]),
        ("createPractitioner", {"specialty": "x" * 201}, "INVALID", ["specialty"]),
        (
            "createPractitioner",
            {"validFrom": at(2), "validUntil": at(1)},
            "INVALID",
            ["validUntil"],
        ),
        ("createBookableResource", {"name": " "}, "INVALID", ["name"]),
        ("createBookableResource", {"kind": "PRACTITIONER"}, "INVALID", ["kind"]),
        ("assignResource", {"validFrom": at(2), "validUntil": at(1)}, "INVALID", ["validUntil"]),
        ("unassignResource", {"validUntil": BEFORE}, "INVALID", ["validUntil"]),
        ("updatePractitioner", {"npi": "12345678901"}, "INVALID", ["npi"]),
        ("updatePractitioner", {"givenName": None}, "INVALID", ["givenName"]),
        ("updateBookableResource", {"name": None}, "PRACTITIONERS_OWN", ["id"]),
    ],
    ids=lambda _: "",
)
async def test_a_value_that_cannot_be_taken(
    office: Office, mutation: str, wrong: dict[str, Any], code: str, path: list[str]
) -> None:
    one = office.here.doctor("a")
    place = {"resource": f"BookableResource:{one.id}", "unit": office.here.unit("a")}
    inputs: dict[str, dict[str, Any]] = {
        "createPractitioner": doctor(office, "a"),
        "createBookableResource": room(office, "a"),
        "assignResource": place,
        "unassignResource": place,
        "updatePractitioner": change("Practitioner", one),
        "updateBookableResource": change("BookableResource", one),
    }
    answer = await refused(office, admin(office), mutation, **inputs[mutation] | wrong)
    assert (answer.user_error["code"], answer.user_error["path"]) == (code, path)


async def test_a_number_is_given_once(office: Office) -> None:
    taken = f"{make.number():010}"
    first = await do(office, admin(office), "createPractitioner", **doctor(office, "a", npi=taken))
    assert first.outcome == "DONE"
    again = await refused(
        office, admin(office), "createPractitioner", **doctor(office, "a", npi=taken)
    )
    assert (again.outcome, again.user_error["path"]) == ("NPI_TAKEN", ["npi"])


async def test_what_is_of_another_health_system_is_not_there(office: Office) -> None:
    theirs, mine = office.there.doctor("a"), office.here.doctor("a")
    stranger = office.there.person("nurse@a")
    unit, foreign = office.here.unit("a"), office.there.unit("a")
    for mutation, input in (
        ("createPractitioner", doctor(office, "a") | {"unit": foreign}),
        ("createPractitioner", doctor(office, "a", person=f"Person:{stranger.id}")),
        ("updatePractitioner", change("Practitioner", theirs, active=False)),
        ("linkPractitioner", change("Practitioner", mine, person=f"Person:{stranger.id}")),
        ("updateBookableResource", change("BookableResource", theirs, active=False)),
        ("assignResource", {"resource": f"BookableResource:{theirs.id}", "unit": unit}),
        ("assignResource", {"resource": f"BookableResource:{mine.id}", "unit": foreign}),
        ("unassignResource", {"resource": f"Practitioner:{mine.id}", "unit": unit}),
    ):
        assert (await refused(office, admin(office), mutation, **input)).outcome == "NOT_FOUND"


async def test_a_repeat_adds_nothing(office: Office) -> None:
    input = doctor(office, "a", idempotencyKey="once")
    made = await do(office, admin(office), "createPractitioner", **input)
    before = office.snapshot()
    again = await do(office, admin(office), "createPractitioner", **input)
    assert again.data == made.data
    assert office.snapshot() == before
