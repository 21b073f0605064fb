"""The highest duties need two people; the last administrator and the last privacy officer stay."""

import asyncio
import datetime as dt
from typing import Any

import psycopg
import pytest

from domain.people import Person
from tests import make
from tests.api.commands.office import Office, local
from tests.api.commands.staff import admin, at, do, given, newcomer, refused, waiting

pytestmark = pytest.mark.anyio

HIGH = ("system_admin", "privacy_officer", "auditor")
REQUEST = (
    "state version role lapsesAt requestedBy { id } decidedBy { id } person { id } grant { id }"
)


async def asked(office: Office, asker: Person, whom: Person, role: str, **more: Any) -> str:
    """A request that waits."""
    input = given(office, whom, role, "system", **more)
    answer = await do(office, asker, "requestGrant", REQUEST, **input)
    assert answer.outcome == "DONE", answer.body
    return str(answer.data["request"]["id"])


@pytest.mark.parametrize("role", HIGH)
async def test_one_asks_another_approves(office: Office, role: str) -> None:
    one, other, whom = admin(office), newcomer(office, "system_admin@system"), newcomer(office)
    alone = await refused(office, one, "giveGrant", **given(office, whom, role, "system"))
    assert (alone.outcome, alone.user_error["path"]) == ("NEEDS_APPROVAL", ["role"])
    known = office.recorded()
    input = given(office, whom, role, "system", reason="the board's decision")
    answer = await do(office, one, "requestGrant", REQUEST, **input)
    request = answer.data["request"]
    assert (request["state"], request["version"], request["grant"]) == ("PENDING", 1, None)
    (event,) = office.events(known)
    assert (event["action"], event["person_id"]) == ("grant:request", one.id)
    # Nothing is held yet.
    assert (await office.ask(whom, "{ organization { id } }")).data is None
    node = {"id": request["id"], "version": 1}
    for nobody in (one, whom):
        no = await refused(office, nobody, "approveGrant", **node)
        assert no.outcome in ("FORBIDDEN", "NOT_FOUND")
    known = office.recorded()
    given_ = await do(office, other, "approveGrant", "role grantedBy { id } reason", **node)
    assert given_.outcome == "DONE", given_.body
    grant = given_.data["grant"]
    assert grant["grantedBy"] == {"id": f"Person:{one.id}"}
    assert (grant["role"], grant["reason"]) == (role, "the board's decision")
    (event,) = office.events(known)
    assert (event["action"], event["person_id"]) == ("grant:give", other.id)
    assert event["subject_ids"] == [local(grant["id"]), whom.id, local(request["id"])]
    assert (await waiting(office))[-1] == ("identity:sync_person", str(whom.id))
    assert (await office.ask(whom, "{ organization { id } }")).data
    again = await refused(office, other, "approveGrant", id=request["id"], version=2)
    assert again.outcome == "ILLEGAL_STATE"
    text = f"query($id: ID!) {{ node(id: $id) {{ ... on GrantRequest {{ {REQUEST} }} }} }}"
    shown = (await office.ask(other, text, {"id": request["id"]})).data
    assert (shown["state"], shown["grant"]) == ("APPROVED", {"id": grant["id"]})
    assert shown["decidedBy"] == {"id": f"Person:{other.id}"}


async def test_nobody_approves_what_they_asked_for_or_get(office: Office) -> None:
    one, other = admin(office), newcomer(office, "system_admin@system")
    whom = newcomer(office, "system_admin@system")
    request = await asked(office, one, newcomer(office), "auditor")
    answer = await refused(office, one, "approveGrant", id=request, version=1)
    assert answer.error == {"code": "FORBIDDEN", "reason": "OWN_REQUEST"}
    input = given(office, whom, "system_admin", "system", validFrom=at(400))
    office.change(
        "update role_grant set valid_until = now() + interval '1 day' where person_id = %s", whom.id
    )
    request = (await do(office, one, "requestGrant", **input)).data["request"]["id"]
    answer = await refused(office, whom, "approveGrant", id=request, version=1)
    assert answer.error == {"code": "FORBIDDEN", "reason": "TO_ONESELF"}
    assert (await do(office, other, "approveGrant", id=request, version=1)).outcome == "DONE"


@pytest.mark.parametrize(
    ("held", "decline"),
    [
        ("clinic_admin@a", "NOT_FOUND"),
        ("regional_director@system", "FORBIDDEN"),
        ("privacy_officer@system", "DONE"),
        ("auditor@system", "FORBIDDEN"),
        ("nurse@a", "NOT_FOUND"),
    ],
)
async def test_who_else_may_decide(office: Office, held: str, decline: str) -> None:
    """A privacy officer takes back, and so declines; nobody but a system administrator approves."""
    asker = office.here.person(held)
    request = {"id": await asked(office, admin(office), newcomer(office), "auditor"), "version": 1}
    approved = await refused(office, asker, "approveGrant", **request)
    assert approved.outcome == ("NOT_FOUND" if decline == "NOT_FOUND" else "FORBIDDEN")
    known = office.recorded()
    answer = await do(office, asker, "declineGrant", REQUEST, **request)
    assert answer.outcome == decline
    if decline == "DONE":
        assert answer.data["request"]["state"] == "DECLINED"
        (event,) = office.events(known)
        assert event["action"] == "grant:decline"


async def test_whoever_asked_takes_it_back(office: Office) -> None:
    one = admin(office)
    request: dict[str, Any] = {"id": await asked(office, one, newcomer(office), "auditor")}
    request["version"] = 1
    assert (await do(office, one, "declineGrant", **request)).outcome == "DONE"
    other = newcomer(office, "system_admin@system")
    late = await refused(office, other, "approveGrant", **request | {"version": 2})
    assert late.outcome == "ILLEGAL_STATE"
    stale = await refused(office, other, "approveGrant", **request)
    assert stale.error == {"code": "CONFLICT", "currentVersion": 2}


async def test_a_request_waits_once_and_lapses(office: Office) -> None:
    one, other, whom = admin(office), newcomer(office, "system_admin@system"), newcomer(office)
    request = await asked(office, one, whom, "auditor")
    input = given(office, whom, "auditor", "system")
    assert (await refused(office, other, "requestGrant", **input)).outcome == "ALREADY_REQUESTED"
    office.change(
        "update grant_request set lapses_at = now() - interval '1 second' where id = %s",
        local(request),
    )
    late = await refused(office, other, "approveGrant", id=request, version=1)
    assert late.outcome == "REQUEST_LAPSED"
    # Who asks anew closes the old one.
    anew = await asked(office, other, whom, "auditor", validUntil=at(1))
    # What could only begin after it has ended does not wait either.
    office.change(
        "update grant_request set valid_until = now() - interval '1 second' where id = %s",
        local(anew),
    )
    anew = await asked(office, other, whom, "auditor")
    assert (await do(office, one, "approveGrant", id=anew, version=1)).outcome == "DONE"
    (row,) = office.query("select state from grant_request where id = %s", local(request))
    assert row["state"] == "declined"


async def test_what_one_asked_for_who_is_gone_is_not_given(office: Office) -> None:
    one, other = newcomer(office, "system_admin@system"), admin(office)
    for change in (
        "update person set active = false, version = version + 1 where id = %s",
        "update person set active = true, version = version + 1 where id = %s",
        "update role_grant set valid_until = now() where person_id = %s",
    ):
        request = await asked(office, one, newcomer(office), "auditor")
        office.change(change, one.id)
        expected = "DONE" if "true" in change else "REQUESTER_GONE"
        answer = await do(office, other, "approveGrant", id=request, version=1)
        assert answer.outcome == expected
        if "false" in change:
            office.change("update person set active = true where id = %s", one.id)


async def test_rules_are_asked_again_when_it_is_given(office: Office) -> None:
    one, other, whom = admin(office), newcomer(office, "system_admin@system"), newcomer(office)
    request = await asked(office, one, whom, "auditor", validFrom=at(0.0001), validUntil=at(9))
    clinic = given(office, whom, "clinic_admin", "a")
    assert (await do(office, one, "giveGrant", **clinic)).outcome == "DONE"
    answer = await refused(office, other, "approveGrant", id=request, version=1)
    assert answer.outcome == "ROLES_CONFLICT"


async def test_what_could_never_be_given_is_not_asked_for(office: Office) -> None:
    whom = newcomer(office, "clinic_admin@a")
    input = given(office, whom, "auditor", "system")
    answer = await refused(office, admin(office), "requestGrant", **input)
    assert (answer.outcome, answer.user_error["path"]) == ("ROLES_CONFLICT", ["role"])
    held = given(office, newcomer(office, "auditor@system"), "auditor", "system")
    assert (await refused(office, admin(office), "requestGrant", **held)).outcome == (
        "GRANT_OVERLAPS"
    )


async def test_whoever_left_meanwhile_is_given_nothing(office: Office) -> None:
    one, other, whom = admin(office), newcomer(office, "system_admin@system"), newcomer(office)
    request = await asked(office, one, whom, "auditor")
    office.change("update person set active = false where id = %s", whom.id)
    answer = await refused(office, other, "approveGrant", id=request, version=1)
    assert answer.outcome == "PERSON_INACTIVE"


async def test_of_two_who_approve_one_gives(office: Office) -> None:
    one = admin(office)
    others = [newcomer(office, "system_admin@system") for _ in range(2)]
    request = await asked(office, one, newcomer(office), "privacy_officer")
    for other in others:
        await office.ask(other, "{ viewer { me { id } } }")
    answers = await asyncio.gather(
        *(office.do(other, "approveGrant", id=request, version=1) for other in others)
    )
    assert sorted(answer.outcome for answer in answers) == ["CONFLICT", "DONE"]


async def test_other_roles_need_no_approval(office: Office) -> None:
    for role, code in (("nurse", "NO_APPROVAL_NEEDED"), ("janitor", "UNKNOWN_ROLE")):
        input = given(office, newcomer(office), role, "system")
        assert (await refused(office, admin(office), "requestGrant", **input)).outcome == code
    low = given(office, newcomer(office), "auditor", "a")
    assert (await refused(office, admin(office), "requestGrant", **low)).outcome == (
        "ROLE_DOES_NOT_FIT"
    )
    desk = office.here.person("front_desk@a")
    input = given(office, newcomer(office), "auditor", "system")
    assert (await refused(office, desk, "requestGrant", **input)).outcome == "FORBIDDEN"


async def test_where_the_health_system_asks_for_none_one_is_enough(office: Office) -> None:
    text = "update tenant set second_approval = %s where tenant_id = %s"
    office.change(text, False, office.here.tenant.tenant_id)
    try:
        input = given(office, newcomer(office), "auditor", "system")
        assert (await do(office, admin(office), "giveGrant", **input)).outcome == "DONE"
    finally:
        office.change(text, True, office.here.tenant.tenant_id)


# -- the last ones ----------------------------------------------------------------------------


def only(office: Office, role: str, *people: Person) -> None:
    """Nobody of the second health system holds the role but these."""
    office.change(
        "update role_grant set valid_until = greatest(valid_from, now())"
        " where tenant_id = %s and role = %s and person_id <> all(%s)",
        office.there.tenant.tenant_id,
        role,
        [person.id for person in people],
    )


def held_by(office: Office, person: Person, role: str) -> dict[str, str]:
    (row,) = office.query(
        "select id from role_grant where person_id = %s and role = %s", person.id, role
    )
    return {"id": f"Grant:{row['id']}"}


@pytest.mark.parametrize(
    ("role", "code"),
    [("system_admin", "LAST_ADMINISTRATOR"), ("privacy_officer", "LAST_PRIVACY_OFFICER")],
)
async def test_the_last_of_an_office_stays(office: Office, role: str, code: str) -> None:
    system = office.there
    asker = system.person("privacy_officer@system", fresh=True)
    one = system.person(f"{role}@system", fresh=True)
    second = system.person(f"{role}@system", fresh=True)
    only(office, role, one, second)
    mine = held_by(office, one, role)
    office.change("update person set active = false where id = %s", second.id)
    if role == "privacy_officer":
        asker = system.person("system_admin@system")
    answer = await refused(office, asker, "revokeGrant", **mine)
    assert answer.outcome == code
    office.change("update person set active = true where id = %s", second.id)
    assert (await do(office, asker, "revokeGrant", **mine)).outcome == "DONE"
    last = await refused(office, asker, "revokeGrant", **held_by(office, second, role))
    assert last.outcome == code


@pytest.mark.parametrize("role", ["system_admin", "privacy_officer"])
async def test_whoever_stays_in_office_stays_a_month(office: Office, role: str) -> None:
    system = office.there
    one, brief = system.person(f"{role}@system", fresh=True), make.person(system.tenant)
    until = make.grant(
        brief, role, system.units["system"], valid_until=make.now() + dt.timedelta(days=29)
    )
    system.save(brief, until)
    only(office, role, one, brief)
    asker = one if role == "system_admin" else system.person("system_admin@system", fresh=True)
    answer = await refused(office, asker, "revokeGrant", **held_by(office, one, role))
    assert answer.outcome in ("LAST_ADMINISTRATOR", "LAST_PRIVACY_OFFICER")
    later = make.now() + dt.timedelta(days=31)
    office.change("update role_grant set valid_until = %s where id = %s", later, until.id)
    mine = held_by(office, one, role)
    assert (await do(office, asker, "revokeGrant", **mine)).outcome == "DONE"


async def test_two_administrators_cannot_remove_each_other_at_once(office: Office) -> None:
    system = office.there
    people = [system.person("system_admin@system", fresh=True) for _ in range(2)]
    only(office, "system_admin", *people)
    for person in people:
        await office.ask(person, "{ viewer { me { id } } }")
    mine = [held_by(office, person, "system_admin") for person in people]
    answers = await asyncio.gather(
        office.do(people[0], "revokeGrant", **mine[1]),
        office.do(people[1], "revokeGrant", **mine[0]),
    )
    outcomes = sorted(answer.outcome for answer in answers)
    assert outcomes.count("DONE") == 1
    assert set(outcomes) <= {"DONE", "LAST_ADMINISTRATOR", "UNAVAILABLE"}
    now = dt.datetime.now(dt.UTC)
    held = office.query(
        "select valid_until from role_grant where tenant_id = %s and role = 'system_admin'"
        " and (valid_until is null or valid_until > %s)",
        system.tenant.tenant_id,
        now,
    )
    assert len(held) == 1
    assert make.now() >= now


async def test_whoever_waited_sees_that_they_are_the_last(office: Office) -> None:
    """Another removal is under way and holds the health system's row: this one comes after it."""
    system = office.there
    watcher = system.person("privacy_officer@system", fresh=True)
    one, other = (system.person("system_admin@system", fresh=True) for _ in range(2))
    only(office, "system_admin", one, other)
    await office.ask(watcher, "{ viewer { me { id } } }")
    mine = held_by(office, one, "system_admin")
    with psycopg.connect(office.database.owner_url) as first:
        first.execute("select 1 from tenant where tenant_id = %s for update", [one.tenant_id])
        task = asyncio.create_task(office.do(watcher, "revokeGrant", **mine))
        await office.waiting()
        first.execute("update role_grant set valid_until = now() where person_id = %s", [other.id])
        first.commit()
    assert (await task).outcome == "LAST_ADMINISTRATOR"
