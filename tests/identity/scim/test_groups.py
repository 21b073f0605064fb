"""Groups over SCIM: changed set by set, each change of a membership followed by the roles that the rules give."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text

from domain.role_mappings import Match
from identity.mapping_sources import SCIM, Source
from identity.rule_effects import changes_of
from identity.rule_runs import apply_rules
from identity.rules import RuleDraft
from identity.scim.schemas import MAX_MEMBERS
from tests.identity.scim.conftest import Corp, where

pytestmark = pytest.mark.anyio
NOBODY = "00000000-0000-7000-8000-000000000000"


def add(*members: str) -> dict[str, Any]:
    return {"op": "add", "path": "members", "value": [{"value": m} for m in members]}


async def members(corp: Corp, group: dict[str, Any]) -> set[str]:
    read = await corp.ask("GET", where(group))
    return {m["value"] for m in read.json().get("members", [])}


async def test_members_come_and_go_with_their_roles(corp: Corp) -> None:
    corp.rule("Nurses", "nurse")
    nora, otto = [(await corp.user(name))["id"] for name in ("nora", "otto")]
    group = await corp.group("Nurses")
    done = await corp.patch(where(group), add(nora, otto))
    assert (done.status_code, done.content, done.headers["etag"]) == (204, b"", 'W/"2"')
    assert await members(corp, group) == {nora, otto}
    assert [await corp.roles(p) for p in (nora, otto)] == [["nurse"], ["nurse"]]
    again = await corp.patch(where(group), add(nora))
    assert again.headers["etag"] == 'W/"2"', "nothing changed"
    one = {"op": "remove", "path": f'members[value eq "{nora}"]'}
    assert (await corp.patch(where(group), one)).status_code == 204
    assert [await corp.roles(p) for p in (nora, otto)] == [[], ["nurse"]]
    told = (await corp.ask("GET", "/Users", params={"filter": 'userName eq "otto"'})).json()
    assert [g["display"] for g in told["Resources"][0]["groups"]] == ["Nurses"]
    assert (await corp.patch(where(group), {"op": "remove", "path": "members"})).status_code == 204
    assert await members(corp, group) == set()
    assert await corp.roles(otto) == []


async def test_a_group_without_a_rule_gives_nothing(corp: Corp) -> None:
    corp.rule("Nurses", "nurse")
    nora = (await corp.user("nora"))["id"]
    await corp.group("Nurses of another house", nora)
    assert await corp.roles(nora) == []


async def test_a_move_between_clinics_is_one_change(corp: Corp) -> None:
    corp.rule("East", "nurse")
    corp.rule("West", "front_desk", unit_id=corp.tree.clinics[1].id)
    nora = (await corp.user("nora"))["id"]
    east, west = await corp.group("East", nora), await corp.group("West")
    operations = [
        {"method": "PATCH", "path": where(east), "data": {"Operations": [{"op": "remove", "path": "members", "value": [{"value": nora}]}]}},
        {"method": "PATCH", "path": where(west), "data": {"Operations": [add(nora)]}},
    ]  # fmt: skip
    schema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
    for operation in operations:
        operation["data"]["schemas"] = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]  # type: ignore[index]  # a dict
    done = await corp.ask("POST", "/Bulk", {"schemas": [schema], "Operations": operations})
    assert [o["status"] for o in done.json()["Operations"]] == ["200", "200"], done.text
    assert await corp.roles(nora) == ["front_desk"]


async def test_a_group_in_a_group_and_a_new_name(corp: Corp) -> None:
    corp.rule("All nurses", "nurse")
    nora = (await corp.user("nora"))["id"]
    inner = await corp.group("Ward 3", nora)
    outer = await corp.group("Everybody", inner["id"])
    assert await corp.roles(nora) == []
    name = {"op": "replace", "value": {"displayName": "All nurses"}}
    assert (await corp.patch(where(outer), name)).status_code == 204
    assert await corp.roles(nora) == ["nurse"]
    assert (await corp.ask("DELETE", where(outer))).status_code == 204
    assert await corp.roles(nora) == []
    assert (await corp.ask("GET", where(outer))).status_code == 404
    assert (await corp.group("All nurses"))["id"] != outer["id"]


async def test_a_removal_with_more_than_a_value_still_removes(corp: Corp) -> None:
    """`"$ref": null` beside the value made a condition of it that nobody met, answered 204."""
    nora = (await corp.user("nora"))["id"]
    group = await corp.group("Nurses", nora)
    value = [{"value": nora, "$ref": None, "display": "Nora"}]
    gone = await corp.patch(where(group), {"op": "remove", "path": "members", "value": value})
    assert gone.status_code == 204
    assert await members(corp, group) == set()


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (add(NOBODY), "invalidValue"),
        (add("nora"), "invalidValue"),
        ({"op": "add", "path": "members", "value": ["x"]}, "invalidValue"),
        ({"op": "add", "path": "members[", "value": []}, "invalidPath"),
        ({"op": "add", "path": "nobody", "value": "x"}, "invalidPath"),
        ({"op": "give", "path": "members"}, "invalidSyntax"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "replace", "value": "x"}, "invalidValue"),
        ({"op": "replace", "path": "displayName", "value": 7}, "invalidValue"),
        ({"op": "remove", "path": "displayName"}, "invalidValue"),
        ("x", "invalidSyntax"),
    ],
)
async def test_what_cannot_be_done_changes_nothing(
    corp: Corp, operation: dict[str, Any], kind: str
) -> None:
    nora = (await corp.user("nora"))["id"]
    group = await corp.group("Nurses")
    answer = await corp.patch(where(group), add(nora), operation)
    assert (answer.status_code, answer.json()["scimType"]) == (400, kind), answer.text
    assert await members(corp, group) == set()


async def test_two_groups_of_one_name(corp: Corp) -> None:
    await corp.group("Nurses")
    answer = await corp.ask("POST", "/Groups", {"displayName": "NURSES"})
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")


async def test_many_at_once_lose_nobody(corp: Corp) -> None:
    corp.rule("Nurses", "nurse")
    people = [(await corp.user(f"nurse{i}"))["id"] for i in range(6)]
    group = await corp.group("Nurses")
    done = await asyncio.gather(*(corp.patch(where(group), add(p)) for p in people))
    assert [a.status_code for a in done] == [204] * 6
    assert await members(corp, group) == set(people)
    assert [await corp.roles(p) for p in people] == [["nurse"]] * 6


async def test_more_members_than_one_request_may_have(corp: Corp) -> None:
    group = await corp.group("Nurses")
    many = add(*[NOBODY] * (MAX_MEMBERS + 1))
    for answer in (
        await corp.patch(where(group), many),
        await corp.ask("POST", "/Groups", {"displayName": "x", "members": many["value"]}),
    ):
        assert answer.status_code == 413


async def test_a_put_brings_the_group_to_what_it_says(corp: Corp) -> None:
    nora, otto = [(await corp.user(name))["id"] for name in ("nora", "otto")]
    group = await corp.group("Nurses", nora)
    body = {"displayName": "Nurses", "externalId": "g-1", "members": [{"value": otto}]}
    answer = await corp.ask("PUT", where(group), body)
    assert (answer.status_code, answer.json()["externalId"]) == (200, "g-1")
    assert await members(corp, group) == {otto}
    without = {"excludedAttributes": "members"}
    assert "members" not in (await corp.ask("GET", where(group), params=without)).json()
    found = {"filter": f'members.value eq "{otto}" and externalId eq "g-1"'}
    assert (await corp.ask("GET", "/Groups", params=found)).json()["totalResults"] == 1


async def test_a_change_of_the_rules_reaches_whom_a_directory_pushed(corp: Corp) -> None:
    nora = (await corp.user("nora"))["id"]
    await corp.group("Nurses", nora)
    rule = corp.rule("Nurses", "nurse")
    assert await corp.roles(nora) == []
    await apply_rules(corp.app, corp.tenant_id, Source(SCIM))
    assert await corp.roles(nora) == ["nurse"]
    async with corp.owner.begin() as connection:
        over = text("update role_mapping set ended_at = now() where id = :r")
        await connection.execute(over, {"r": rule.id})
    await apply_rules(corp.app, corp.tenant_id, Source(SCIM))
    assert await corp.roles(nora) == []


async def test_one_person_into_many_groups_at_once_has_all_their_roles(corp: Corp) -> None:
    """Each change looks at all groups of the person: one that missed another's would take its role away."""
    wanted = ["biller", "clinic_admin", "front_desk", "nurse", "provider"]
    nora = (await corp.user("nora"))["id"]
    for role in wanted:
        corp.rule(role, role)
    groups = [await corp.group(role) for role in wanted]
    for _ in range(3):
        done = await asyncio.gather(*(corp.patch(where(g), add(nora)) for g in groups))
        assert [a.status_code for a in done] == [204] * len(wanted)
        assert await corp.roles(nora) == wanted
        gone = {"op": "remove", "path": "members"}
        done = await asyncio.gather(*(corp.patch(where(g), gone) for g in groups))
        assert [a.status_code for a in done] == [204] * len(wanted)
        assert await corp.roles(nora) == []


async def test_a_search_by_post(corp: Corp) -> None:
    nora = await corp.user("nora")
    await corp.group("Nurses", nora["id"])
    schema = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
    for path, asked, total in (
        ("/.search", "meta.resourceType pr", 2),
        ("/Users" + "/.search", 'userName eq "nora"', 1),
        ("/Groups/.search", f'members.value eq "{nora["id"]}"', 1),
    ):
        body = {"schemas": [schema], "filter": asked}
        answer = await corp.ask("POST", path, body)
        assert answer.json()["totalResults"] == total, answer.text
        wrong = await corp.ask("POST", path, body | {"filter": 'nobody eq "x"'})
        assert (wrong.status_code, wrong.json()["scimType"]) == (400, "invalidFilter")


async def crowd(corp: Corp, number: int) -> list[str]:
    """So many users, as the directory would have pushed them."""
    async with corp.owner.begin() as connection:
        people = (
            "insert into person (tenant_id, id, user_name, given_name, family_name, source)"
            " select :t, gen_random_uuid(), 'c' || n, 'C', 'C' || n, 'scim' from generate_series(1, :n) n"
        )
        await connection.execute(text(people), {"t": corp.tenant_id, "n": number})
        users = (
            "insert into scim_user (tenant_id, id, user_name, active, doc)"
            " select tenant_id, id, user_name, true, jsonb_build_object('userName', user_name)"
            " from person where tenant_id = :t and user_name ~ '^c[0-9]+$' returning id"
        )
        return [str(i) for i in await connection.scalars(text(users), {"t": corp.tenant_id})]


async def test_what_follows_from_many_is_as_many_statements_as_from_one(corp: Corp) -> None:
    """Ten thousand who move under a rule are one request, and done when it is answered."""
    corp.rule("Nurses", "nurse")
    corp.rule("Leads", "clinic_admin")
    people = await crowd(corp, 1_500)
    nurses, leads = await corp.group("Nurses"), await corp.group("Leads")
    counts = {}
    for some in (people[:1], people[1:]):
        sent: list[str] = []

        def keep(*called: Any, sent: list[str] = sent) -> None:
            sent.append(called[2])

        event.listen(corp.app.sync_engine, "before_cursor_execute", keep)
        for group in (nurses, leads):
            assert (await corp.patch(where(group), add(*some))).status_code == 204
        event.remove(corp.app.sync_engine, "before_cursor_execute", keep)
        counts[len(some)] = len(sent)
    # Rows of grants and audit events go in by the thousand.
    assert counts[1_499] <= counts[1] + 4, counts
    rows = await corp.read(
        "select count(*), count(distinct person_id) from role_grant where tenant_id = :t and source = 'scim'"
    )
    assert rows == [(3_000, 1_500)]
    told = "select count(*) from audit_event where tenant_id = :t and action = 'grant:give'"
    assert await corp.read(told) == [(3_000,)]
    versions = "select distinct version from person where tenant_id = :t and source = 'scim'"
    assert await corp.read(versions) == [(3,)]
    # Keycloak is told of those who have to show a second factor now.
    jobs = (
        "select count(distinct args ->> 'person_id') from procrastinate_jobs"
        " where task_name = 'identity:sync_person' and args ->> 'tenant_id' = cast(:t as text)"
    )
    assert await corp.read(jobs) == [(1_500,)]
    await corp.release()
    assert (await corp.ask("DELETE", where(nurses))).status_code == 204
    assert await corp.roles(people[7]) == ["clinic_admin"]


async def test_what_a_rule_would_change_for_whom_a_directory_pushed(corp: Corp) -> None:
    nora, otto = await corp.user("nora", title="Head nurse"), await corp.user("otto")
    inner = await corp.group("Ward 3", otto["id"])
    await corp.group("All nurses", nora["id"], inner["id"], str((await corp.user("away"))["id"]))
    away = (await corp.ask("GET", "/Users", params={"filter": 'userName eq "away"'})).json()
    gone = {"op": "replace", "path": "active", "value": False}
    assert (await corp.patch(where(away["Resources"][0]), gone)).status_code == 200

    async def effects(attribute: str, value: str, role: str = "nurse") -> tuple[set[str], int]:
        clinic = corp.tree.clinics[0].id
        draft = RuleDraft(Source(SCIM), attribute, Match.PATTERN, value, role, clinic)
        async with corp.at_work(corp.admin.id) as (_, agent):
            found = await changes_of(corp.app, agent, Source(SCIM), adding=draft)
        assert found.gain == len(found.gaining)
        return {str(one.person_id) for one in found.gaining}, found.refuse

    assert await effects("groups", "all n*") == ({nora["id"], otto["id"]}, 0)
    assert await effects("title", "head *") == ({nora["id"]}, 0)
    assert await effects("groups", "nobody*") == (set(), 0)
    rule = corp.rule("All nurses", "nurse")
    await apply_rules(corp.app, corp.tenant_id, Source(SCIM))
    assert await effects("groups", "all n*") == (set(), 0)
    async with corp.at_work(corp.admin.id) as (_, agent):
        over = await changes_of(corp.app, agent, Source(SCIM), ending=rule)
    assert {str(one.person_id) for one in over.losing} == {nora["id"], otto["id"]}
    # Who watches is none of the administrators: told, and not given.
    watch = corp.rule("Ward 3", "auditor", unit_id=corp.tree.root.id)
    await apply_rules(corp.app, corp.tenant_id, Source(SCIM))
    assert watch.id
    assert await effects("groups", "ward*", "clinic_admin") == (set(), 1)
    assert len(await corp.roles(otto["id"])) == 2, "asking changes nothing"
