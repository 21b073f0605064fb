"""The guard against shutting people out by accident: leavers pass one by one, a wave waits for an administrator."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.exc import IntegrityError

from domain.errors import Invalid
from identity.scim.departures import Limits, count_held, is_released, limit_of, set_limits
from tests.identity.scim.conftest import USERS, Corp, where

pytestmark = pytest.mark.anyio
FEW, MOST = Limits().few, Limits().most
OUT: dict[str, Any] = {"op": "replace", "value": {"active": False}}


async def leave(corp: Corp, person: str) -> httpx.Response:
    return await corp.patch(f"{USERS}/{person}", OUT)


async def active(corp: Corp, *people: str) -> int:
    """How many of these are still let in."""
    found = await corp.read(
        "select count(*) from person where tenant_id = :t and active and id = any(:p)",
        p=[UUID(person) for person in people],
    )
    return int(found[0][0])


async def test_a_wave_is_held_and_leavers_pass_one_by_one(corp: Corp, other: Corp) -> None:
    people = corp.crowd(FEW + 5)
    for person in people[:FEW]:
        assert (await leave(corp, person)).status_code == 200
    late, later, last, *_ = people[FEW:]
    refused = await leave(corp, late)
    told = refused.json()
    assert (refused.status_code, told["scimType"]) == (400, "mutability")
    assert told["detail"].startswith("Held: ")
    gone = await corp.ask("DELETE", f"{USERS}/{later}")
    assert (gone.status_code, gone.json()["detail"]) == (400, told["detail"])
    assert await active(corp, late, later) == 2
    assert (await corp.ask("GET", f"{USERS}/{later}")).status_code == 200
    # Next door nobody is held.
    assert (await leave(other, other.crowd(1)[0])).status_code == 200
    # A day later the wave comes again and stays held; who leaves for themselves does not wait for it.
    await corp.write(
        "update scim_departure set asked_at = asked_at - interval '25 hours' where tenant_id = :t"
    )
    for person in (late, later):
        assert (await leave(corp, person)).status_code == 400
    assert (await leave(corp, last)).status_code == 200
    events = await corp.read(
        "select count(*), max(cardinality(subject_ids)) from audit_event where tenant_id = :t"
        " and action = 'scim:hold_departures'"
    )
    assert events == [(4, 1)]
    async with corp.at_work() as (session, agent):
        assert await count_held(session, agent) == 2
    # What is changed of somebody who is held, but for that, is changed.
    assert (
        await corp.patch(f"{USERS}/{late}", {"op": "add", "path": "title", "value": "N"})
    ).is_success
    await corp.release()
    for person in (late, later):
        assert (await leave(corp, person)).status_code == 200
    async with corp.at_work() as (session, agent):
        assert await count_held(session, agent) == 0
    assert await active(corp, *people[:FEW], late, later, last) == 0


async def test_a_release_ends_and_a_wave_that_nobody_asks_for_any_more_is_forgotten(
    corp: Corp,
) -> None:
    people = corp.crowd(FEW + 2)
    for person in people[: FEW + 1]:
        last = await leave(corp, person)
    assert last.status_code == 400
    await corp.release()
    await corp.write(
        "update scim_release set until = now() - interval '1 second' where tenant_id = :t"
    )
    async with corp.at_work() as (session, agent):
        assert not await is_released(session, agent)
    assert (await leave(corp, people[FEW])).status_code == 400
    # Three days without a word of it: then they are somebody who leaves.
    await corp.write(
        "update scim_departure set asked_at = asked_at - interval '80 hours',"
        " refused_at = refused_at - interval '73 hours' where tenant_id = :t"
    )
    assert (await leave(corp, people[FEW])).status_code == 200


async def test_whoever_loses_their_role_by_a_group_counts_too(corp: Corp) -> None:
    corp.rule("Nurses", "nurse")
    corp.rule("Desk", "front_desk")
    people = corp.crowd(FEW + 2)
    nurses, desk = await corp.group("Nurses", *people), await corp.group("Desk")
    everybody: Any = {"op": "remove", "path": "members"}
    emptied = [
        await corp.patch(where(nurses), everybody),
        await corp.ask("PUT", where(nurses), {"displayName": "Nurses"}),
        await corp.patch(
            where(nurses), {"op": "replace", "path": "displayName", "value": "Guests"}
        ),
        await corp.ask("DELETE", where(nurses)),
    ]
    assert [answer.status_code for answer in emptied] == [400] * 4
    assert all([await corp.roles(person) == ["nurse"] for person in people])
    async with corp.at_work() as (session, agent):
        assert await count_held(session, agent) == len(people)
    await corp.write("delete from scim_departure where tenant_id = :t")
    # Who gets another role with the same change is no leaver; one by one they leave as ever.
    first, second, *others = people
    assert (
        await corp.patch(where(desk), {"op": "add", "path": "members", "value": [{"value": first}]})
    ).is_success
    one = {"op": "remove", "path": "members", "value": [{"value": second}]}
    assert (await corp.patch(where(nurses), one)).status_code == 204
    assert await corp.roles(second) == []
    await corp.release()
    assert (await corp.patch(where(nurses), everybody)).status_code == 204
    assert all([await corp.roles(person) == [] for person in others])


async def test_of_a_bulk_request_what_is_too_much_is_held(corp: Corp) -> None:
    people = corp.crowd(FEW + 3)
    operations = [
        {"method": "PATCH", "path": f"{USERS}/{person}", "bulkId": str(at)}
        | {"data": {"Operations": [OUT]}}
        for at, person in enumerate(people)
    ]
    schema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
    answer = await corp.ask("POST", "/Bulk", {"schemas": [schema], "Operations": operations})
    told = answer.json()["Operations"]
    assert [o["status"] for o in told] == ["200"] * FEW + ["400"] * 3
    assert await active(corp, *people) == 3
    async with corp.at_work() as (session, agent):
        assert await count_held(session, agent) == 3


async def test_a_tenth_of_all_may_leave_in_a_day(corp: Corp) -> None:
    async with corp.at_work() as (session, agent):
        assert await limit_of(session, agent) == FEW
    people = corp.crowd(150)
    async with corp.at_work() as (session, agent):
        assert FEW < await limit_of(session, agent) == 15 < MOST
    corp.rule("Nurses", "nurse")
    fifteen, sixteen = await corp.group("A", *people[:15]), await corp.group("B", *people[15:31])
    for group in (fifteen, sixteen):
        rename: Any = {"op": "replace", "path": "displayName", "value": "Nurses"}
        assert (await corp.patch(where(group), rename)).status_code == 204
        emptied = await corp.patch(where(group), {"op": "remove", "path": "members"})
        assert emptied.status_code == (204 if group is fifteen else 400)
        await corp.patch(where(group), rename | {"value": f"Former {group['displayName']}"})
        await corp.write(
            "update scim_departure set asked_at = now() - interval '2 days' where tenant_id = :t"
        )


async def test_each_health_system_has_limits_of_its_own(corp: Corp, other: Corp) -> None:
    async with corp.at_work(corp.admin.id) as (session, agent):
        await set_limits(session, agent, Limits(2, 4, 50))
    for each, passing in ((corp, 3), (other, 6)):
        people = each.crowd(6)  # with three of them gone by half of six
        answers = [(await leave(each, person)).status_code for person in people]
        assert answers == [200] * passing + [400] * (6 - passing)
    events = await corp.read(
        "select person_id, subject_ids from audit_event where tenant_id = :t and action = 'tenant:configure'"
        " order by recorded_at desc limit 1"
    )
    assert events == [(corp.admin.id, [corp.tenant_id])]


@pytest.mark.parametrize(
    ("limits", "path"),
    [
        (Limits(few=0), "few"),
        (Limits(few=101, most=200), "few"),
        (Limits(few=20, most=19), "most"),
        (Limits(most=2_001), "most"),
        (Limits(percent=0), "percent"),
        (Limits(percent=51), "percent"),
    ],
)
async def test_limits_have_bounds(corp: Corp, limits: Limits, path: str) -> None:
    async with corp.at_work(corp.admin.id) as (session, agent):
        with pytest.raises(Invalid) as refused:
            await set_limits(session, agent, limits)
        assert refused.value.path == (path,)
    said = " and ".join(f"{name} = {value}" for name, value in vars(limits).items())
    named = ", ".join(f"departures_{part}" for part in said.split(" and "))
    with pytest.raises(IntegrityError):  # the database says the same
        await corp.write(f"update tenant set {named} where tenant_id = :t")
