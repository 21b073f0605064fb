"""Who gives which role to whom: the rules of "May grant", those over several grants, and what it leaves behind."""

import asyncio
import datetime as dt
from typing import Any

import psycopg
import pytest

from tests import make
from tests.api.commands.cases import EVERYBODY, LOWEST
from tests.api.commands.office import Office, local
from tests.api.commands.staff import admin, at, colleague, do, given, newcomer, refused, waiting

pytestmark = pytest.mark.anyio

CARE = ("provider", "nurse", "front_desk", "biller")
GIVES = {
    "system_admin": (*CARE, "clinic_admin", "regional_director", "system_viewer"),
    "regional_director": (*CARE, "clinic_admin"),
    "clinic_admin": CARE,
}
"""Role -> what its holder may give, second approvals aside."""
DAY = dt.timedelta(days=1)
GRANT = "id role reason source version validUntil person { id } unit { id } grantedBy { id }"


# -- who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", sorted(EVERYBODY))
async def test_each_role_gives_what_the_specification_says(office: Office, role: str) -> None:
    asker = office.here.person(f"{role}@{LOWEST.get(role, 'a')}")
    for gift in (*GIVES["system_admin"], "clinic_admin"):
        place = LOWEST.get(gift, "a")
        whom = colleague(office)
        input = given(office, whom, gift, place)
        if gift in GIVES.get(role, ()):
            known = office.recorded()
            answer = await do(office, asker, "giveGrant", GRANT, **input)
            assert answer.outcome == "DONE", (role, gift, answer.body)
            grant = answer.data["grant"]
            assert grant["person"] == {"id": f"Person:{whom.id}"}
            assert (grant["role"], grant["source"], grant["version"]) == (gift, "local", 1)
            assert grant["grantedBy"] == {"id": f"Person:{asker.id}"}
            (event,) = office.events(known)
            assert (event["action"], event["person_id"]) == ("grant:give", asker.id)
            assert event["role"] == role
            assert event["subject_ids"] == [local(grant["id"]), whom.id]
            assert (await waiting(office))[-1] == ("identity:sync_person", str(whom.id))
        else:
            answer = await refused(office, asker, "giveGrant", **input)
            assert answer.error["code"] == "FORBIDDEN", (role, gift)
            assert answer.error["reason"] in ("NO_ROLE", "ROLE_NOT_YOURS_TO_GIVE")


@pytest.mark.parametrize(
    ("held", "place", "outcome"),
    [
        ("clinic_admin@a", "a1", "DONE"),
        ("clinic_admin@a1", "a1", "DONE"),
        ("clinic_admin@a1", "a", "FORBIDDEN"),
        ("clinic_admin@a", "b", "FORBIDDEN"),
        ("clinic_admin@a", "r", "FORBIDDEN"),
        ("regional_director@r", "r", "DONE"),
        ("regional_director@r", "b1", "DONE"),
        ("regional_director@r", "c", "FORBIDDEN"),
        ("regional_director@q", "a", "FORBIDDEN"),
    ],
)
async def test_at_ones_own_node_and_below(
    office: Office, held: str, place: str, outcome: str
) -> None:
    asker = office.here.person(held)
    input = given(office, colleague(office), "nurse", place)
    assert (await do(office, asker, "giveGrant", **input)).outcome == outcome


async def test_nobody_gives_to_themselves(office: Office) -> None:
    for held, role in (("clinic_admin@a", "biller"), ("system_admin@system", "provider")):
        asker = newcomer(office, held)
        answer = await refused(office, asker, "giveGrant", **given(office, asker, role, "a"))
        assert answer.error == {"code": "FORBIDDEN", "reason": "TO_ONESELF"}
    asker = newcomer(office, "clinic_admin@a")
    own = make.grant(asker, "nurse", office.here.units["a"], valid_until=make.now() + DAY)
    office.here.save(own)
    answer = await refused(
        office, asker, "extendGrant", id=f"Grant:{own.id}", version=1, validUntil=at(9)
    )
    assert answer.error == {"code": "FORBIDDEN", "reason": "TO_ONESELF"}


async def test_another_health_system_is_not_there(office: Office) -> None:
    stranger = office.there.person("nurse@a")
    asker = admin(office)
    for wrong in (
        {"person": f"Person:{stranger.id}"},
        {"unit": office.there.unit("a")},
        {"person": f"Practitioner:{stranger.id}"},
        {"unit": "OrgUnit:1"},
    ):
        input = given(office, newcomer(office), "nurse", "a") | wrong
        assert (await refused(office, asker, "giveGrant", **input)).outcome == "NOT_FOUND"
    theirs = make.grant(stranger, "nurse", office.there.units["b"], valid_until=make.now() + DAY)
    office.there.save(theirs)
    node = f"Grant:{theirs.id}"
    assert (await refused(office, asker, "revokeGrant", id=node)).outcome == "NOT_FOUND"
    later = {"id": node, "version": 1, "validUntil": at(5)}
    assert (await refused(office, asker, "extendGrant", **later)).outcome == "NOT_FOUND"


@pytest.mark.parametrize(
    ("held", "role", "place", "outcome"),
    [
        ("clinic_admin@a", "nurse", "a1", "DONE"),
        ("clinic_admin@a", "clinic_admin", "a", "FORBIDDEN"),
        ("clinic_admin@a", "nurse", "b", "NOT_FOUND"),
        ("regional_director@r", "clinic_admin", "a", "DONE"),
        ("regional_director@r", "nurse", "c", "NOT_FOUND"),
        ("privacy_officer@system", "clinic_admin", "a", "DONE"),
        ("privacy_officer@system", "nurse", "c1", "DONE"),
        ("auditor@system", "nurse", "a", "FORBIDDEN"),
        ("system_viewer@system", "nurse", "a", "NOT_FOUND"),
        ("nurse@a", "nurse", "a", "NOT_FOUND"),
    ],
)
async def test_who_may_take_a_role_back(
    office: Office, held: str, role: str, place: str, outcome: str
) -> None:
    asker, holder = office.here.person(held), newcomer(office)
    grant = make.grant(holder, role, office.here.units[place])
    office.here.save(grant)
    known = office.recorded()
    answer = await do(office, asker, "revokeGrant", "validUntil version", id=f"Grant:{grant.id}")
    assert answer.outcome == outcome, answer.body
    (row,) = office.query("select valid_until from role_grant where id = %s", grant.id)
    assert (row["valid_until"] is not None) == (outcome == "DONE")
    (event,) = office.events(known)
    assert event["outcome"] == ("done" if outcome == "DONE" else "denied")
    assert event["action"] == "grant:revoke"
    if outcome == "DONE":
        assert (await waiting(office))[-1] == ("identity:sync_person", str(holder.id))


@pytest.mark.parametrize("mutation", ["giveGrant", "requestGrant"])
async def test_nobody_is_given_a_role_who_has_left(office: Office, mutation: str) -> None:
    role, place = ("nurse", "a") if mutation == "giveGrant" else ("auditor", "system")
    for held in ((), ("front_desk@c1",)):
        whom = newcomer(office, *held)
        office.change("update person set active = false where id = %s", whom.id)
        answer = await refused(office, admin(office), mutation, **given(office, whom, role, place))
        assert (answer.outcome, answer.user_error["path"]) == ("PERSON_INACTIVE", ["person"])
    ward = office.here.person("clinic_admin@a")
    answer = await refused(office, ward, "giveGrant", **given(office, whom, "nurse", "a"))
    assert answer.error == {"code": "FORBIDDEN", "reason": "NO_ROLE"}
    ends = make.grant(whom, "nurse", office.here.units["a"], valid_until=make.now() + DAY)
    office.here.save(ends)
    later = {"id": f"Grant:{ends.id}", "version": 1, "validUntil": at(9)}
    assert (await refused(office, admin(office), "extendGrant", **later)).outcome == (
        "PERSON_INACTIVE"
    )


async def test_nobody_is_claimed_by_a_first_role(office: Office) -> None:
    """Else a ward's administrator could make the login of whoever holds nothing their own."""
    dismissed, awaited = newcomer(office), newcomer(office)
    office.here.save(
        make.grant(dismissed, "system_admin", office.here.units["system"], valid_until=make.now())
    )
    high = given(office, awaited, "system_admin", "system")
    assert (await do(office, admin(office), "requestGrant", **high)).outcome == "DONE"
    for asker in ("clinic_admin@a1", "clinic_admin@a", "regional_director@r"):
        who = office.here.person(asker)
        for whom in (dismissed, awaited):
            answer = await refused(office, who, "giveGrant", **given(office, whom, "nurse", "a1"))
            assert answer.error == {"code": "FORBIDDEN", "reason": "NO_ROLE"}
    for asker in ("clinic_admin@system", "regional_director@system", "system_admin@system"):
        who, whom = office.here.person(asker), newcomer(office)
        gift = given(office, whom, "nurse", "a1")
        assert (await do(office, who, "giveGrant", **gift)).outcome == "DONE"


# -- what it does -----------------------------------------------------------------------------


async def test_a_grant_bites_on_the_next_request(office: Office) -> None:
    whom, asker = newcomer(office), admin(office)
    patients = "{ patients(first: 1) { totalCount } }"
    office.here.patient("a")
    assert (await office.ask(whom, patients)).data is None
    made = await do(office, asker, "giveGrant", **given(office, whom, "nurse", "a"))
    assert (await office.ask(whom, patients)).data["totalCount"] > 0
    ended = await do(office, asker, "revokeGrant", id=made.data["grant"]["id"])
    assert ended.outcome == "DONE"
    assert (await office.ask(whom, patients)).data is None


async def test_one_may_give_up_a_role_of_ones_own(office: Office) -> None:
    """The asker's own version rises, which the last check before the commit must expect."""
    asker = newcomer(office, "clinic_admin@a")
    own = make.grant(asker, "nurse", office.here.units["a"])
    office.here.save(own)
    answer = await do(office, asker, "revokeGrant", id=f"Grant:{own.id}")
    assert answer.outcome == "DONE", answer.body
    office.change("update person set active = false where id = %s", asker.id)


async def test_a_grant_is_extended(office: Office) -> None:
    whom, asker = colleague(office), office.here.person("clinic_admin@a")
    input = given(office, whom, "nurse", "a", validUntil=at(1))
    made = (await do(office, asker, "giveGrant", GRANT, **input)).data["grant"]
    later = {"id": made["id"], "version": 1, "validUntil": at(30)}
    known = office.recorded()
    answer = await do(office, asker, "extendGrant", GRANT, **later)
    assert answer.outcome == "DONE", answer.body
    assert answer.data["grant"]["version"] == 2
    assert answer.data["grant"]["validUntil"] > made["validUntil"]
    (event,) = office.events(known)
    assert event["action"] == "grant:extend"
    tasks = [task for task, person in await waiting(office) if person == str(whom.id)]
    assert tasks[-2:] == ["identity:sync_person", "identity:sync_person_later"]
    stale = await refused(office, asker, "extendGrant", **later | {"validUntil": at(60)})
    assert stale.error == {"code": "CONFLICT", "currentVersion": 2}
    shorter = {"version": 2, "validUntil": at(3)}
    answer = await refused(office, asker, "extendGrant", **later | shorter)
    assert (answer.outcome, answer.user_error["path"]) == ("NO_EXTENSION", ["validUntil"])


async def test_what_cannot_be_extended(office: Office) -> None:
    whom, asker = newcomer(office), office.here.person("system_admin@system")
    unit = office.here.units["a"]
    endless = make.grant(whom, "nurse", unit)
    over = make.grant(whom, "provider", unit, valid_until=make.now())
    first = make.grant(whom, "biller", unit, valid_until=make.now() + DAY)
    second = make.grant(whom, "biller", unit, valid_from=make.now() + 3 * DAY)
    high = make.grant(whom, "auditor", office.here.units["system"], valid_until=make.now() + DAY)
    office.here.save(endless, over, first, second)
    office.here.save(high)
    for grant, code in (
        (endless, "NO_EXTENSION"),
        (over, "GRANT_ENDED"),
        (first, "GRANT_OVERLAPS"),
        (high, "NEEDS_APPROVAL"),
    ):
        later = {"id": f"Grant:{grant.id}", "version": 1, "validUntil": at(9)}
        assert (await refused(office, asker, "extendGrant", **later)).outcome == code


async def test_a_grant_of_another_source_is_not_changed_by_hand(office: Office) -> None:
    whom, asker = newcomer(office), admin(office)
    kept = make.grant(
        whom, "nurse", office.here.units["a"], source="scim", valid_until=make.now() + DAY
    )
    office.here.save(kept)
    node = {"id": f"Grant:{kept.id}"}
    for mutation, more in (
        ("revokeGrant", {}),
        ("extendGrant", {"version": 1, "validUntil": at(9)}),
    ):
        answer = await refused(office, asker, mutation, **node, **more)
        assert answer.error == {"code": "FORBIDDEN", "reason": "GRANT_OF_ANOTHER_SOURCE"}
    # Beside it one may be given by hand: grants of several sources add up.
    beside = await do(office, asker, "giveGrant", **given(office, whom, "nurse", "a"))
    assert beside.outcome == "DONE"


# -- what cannot be taken ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code", "path"),
    [
        ({"role": "janitor"}, "UNKNOWN_ROLE", ["role"]),
        ({"role": ""}, "UNKNOWN_ROLE", ["role"]),
        ({"role": "chart_reader"}, "UNKNOWN_ROLE", ["role"]),
        ({"role": "nurse\u0000"}, "UNKNOWN_ROLE", ["role"]),
        ({"role": "regional_director"}, "ROLE_DOES_NOT_FIT", ["unit"]),
        ({"role": "system_viewer"}, "ROLE_DOES_NOT_FIT", ["unit"]),
        ({"validFrom": at(-1)}, "INVALID", ["validFrom"]),
        ({"validUntil": at(-1)}, "INVALID", ["validUntil"]),
        ({"validFrom": at(2), "validUntil": at(1)}, "INVALID", ["validUntil"]),
        ({"reason": "x" * 201}, "INVALID", ["reason"]),
        ({"reason": "two\nlines"}, "INVALID", ["reason"]),
        ({"reason": "a\u0000b"}, "INVALID", ["reason"]),
    ],
    ids=lambda _: "",
)
async def test_a_value_that_cannot_be_taken(
    office: Office, wrong: dict[str, Any], code: str, path: list[str]
) -> None:
    input = given(office, newcomer(office), "nurse", "a") | wrong
    answer = await refused(office, admin(office), "giveGrant", **input)
    assert (answer.user_error["code"], answer.user_error["path"]) == (code, path)
    assert answer.data["grant"] is None


async def test_the_same_grant_twice(office: Office) -> None:
    whom, asker = newcomer(office, "nurse@a"), admin(office)
    answer = await refused(office, asker, "giveGrant", **given(office, whom, "nurse", "a"))
    assert answer.outcome == "GRANT_OVERLAPS"
    keyed = given(office, whom, "biller", "a", idempotencyKey="twice")
    first = await do(office, asker, "giveGrant", **keyed)
    before = office.snapshot()
    again = await do(office, asker, "giveGrant", **keyed)
    assert again.data == first.data
    assert office.snapshot() == before
    other = await refused(office, asker, "giveGrant", **keyed | {"role": "provider"})
    assert other.outcome == "IDEMPOTENCY_KEY_REUSED"


async def test_at_a_closed_unit_nobody_gets_a_role(office: Office) -> None:
    unit = make.unit(
        office.here.tenant, office.here.units["a"], "department", name="Closed", active=False
    )
    office.here.save(unit)
    office.here.units["closed"] = unit
    bump = "update tenant set tree_version = tree_version + 1, version = version + 1 where tenant_id = %s"
    office.change(bump, office.here.tenant.tenant_id)
    input = given(office, newcomer(office), "nurse", "closed")
    answer = await refused(office, admin(office), "giveGrant", **input)
    assert (answer.outcome, answer.user_error["path"]) == ("UNIT_CLOSED", ["unit"])


# -- rules over several grants ----------------------------------------------------------------


PAIRS = [
    ("auditor", "clinic_admin", "a"),
    ("auditor", "regional_director", "r"),
    ("privacy_officer", "clinic_admin", "a1"),
    ("auditor", "biller", "a"),
]


@pytest.mark.parametrize(("held", "role", "place"), PAIRS)
async def test_duties_that_must_not_meet(office: Office, held: str, role: str, place: str) -> None:
    """Also where the giver cannot see what the person holds."""
    whom = newcomer(office, f"{held}@system")
    for asker in (admin(office), office.here.person("regional_director@r")):
        if role == "regional_director" and asker is not admin(office):
            continue
        answer = await refused(office, asker, "giveGrant", **given(office, whom, role, place))
        assert (answer.outcome, answer.user_error["path"]) == ("ROLES_CONFLICT", ["role"])
    # After the one has ended the other may begin.
    ends = "update role_grant set valid_until = now() + interval '1 day' where person_id = %s"
    office.change(ends, whom.id)
    later = given(office, whom, role, place, validFrom=at(2))
    assert (await do(office, admin(office), "giveGrant", **later)).outcome == "DONE"


async def test_two_conflicting_grants_at_the_same_moment_become_one(office: Office) -> None:
    """Two administrators, two transactions that are open together; the second waits for the first."""
    one, other = admin(office), newcomer(office, "system_admin@system")
    for asker in (one, other):
        await office.ask(asker, "{ viewer { me { id } } }")
    for _ in range(3):
        whom = newcomer(office)
        # What the auditor would be is asked for, approved at the moment in which another makes them biller.
        asked = await do(office, one, "requestGrant", **given(office, whom, "auditor", "system"))
        approval = {"id": asked.data["request"]["id"], "version": 1}
        desk = office.here.person("clinic_admin@system")
        await office.ask(desk, "{ viewer { me { id } } }")
        answers = await asyncio.gather(
            office.do(other, "approveGrant", **approval),
            office.do(desk, "giveGrant", **given(office, whom, "biller", "a")),
        )
        assert sorted(answer.outcome for answer in answers) == ["DONE", "ROLES_CONFLICT"]
        (row,) = office.query("select count(*) as n from role_grant where person_id = %s", whom.id)
        assert row["n"] == 1


async def test_the_second_of_two_waits_and_then_sees_the_first(office: Office) -> None:
    whom, asker = newcomer(office), admin(office)
    await office.ask(asker, "{ viewer { me { id } } }")
    with psycopg.connect(office.database.owner_url) as first:
        first.execute("update person set version = version + 1 where id = %s", [whom.id])
        task = asyncio.create_task(
            office.do(asker, "giveGrant", **given(office, whom, "clinic_admin", "a"))
        )
        await office.waiting()
        root = office.here.units["system"].id
        first.execute(
            "insert into role_grant (tenant_id, id, person_id, role, unit_id)"
            " values (%s, gen_random_uuid(), %s, 'auditor', %s)",
            [whom.tenant_id, whom.id, root],
        )
        first.commit()
    assert (await task).outcome == "ROLES_CONFLICT"
