"""Users over SCIM: each is a person; leaving is at once, returning is the same person, nothing foreign is seen."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from identity.grants import revoke_grant
from identity.scim.schemas import CLINICAL, ENTERPRISE, USER
from tests.identity.scim.conftest import PUBLIC, Corp, where

pytestmark = pytest.mark.anyio

NORA = {
    "schemas": [USER, ENTERPRISE],
    "externalId": "E-1",
    "name": {"givenName": "Nora", "familyName": "Berg"},
    "emails": [{"value": "Nora@corp.example", "type": "work", "primary": True}],
    ENTERPRISE: {"employeeNumber": "A7", "department": "Cardiology"},
}


async def person(corp: Corp, user_id: str) -> dict[str, Any]:
    rows = await corp.read(
        "select user_name, given_name, family_name, email, active, source, tokens_valid_from is not null"
        " from person where tenant_id = :t and id = :p",
        p=UUID(user_id),
    )
    names = ("user_name", "given_name", "family_name", "email", "active", "source", "cut")
    return dict(zip(names, rows[0], strict=True))


async def jobs(corp: Corp, user_id: str) -> int:
    rows = await corp.read(
        "select count(*) from procrastinate_jobs where args ->> 'person_id' = :p", p=user_id
    )
    return int(rows[0][0])


async def test_a_user_is_made_a_person(corp: Corp) -> None:
    made = await corp.user("Nora@corp.example", **NORA)
    assert await person(corp, made["id"]) == {
        "user_name": "nora@corp.example",
        "given_name": "Nora",
        "family_name": "Berg",
        "email": "Nora@corp.example",
        "active": True,
        "source": "scim",
        "cut": False,
    }
    assert made["meta"]["location"] == f"{PUBLIC}{corp.base}/Users" + f"/{made['id']}"
    read = await corp.ask("GET", where(made))
    assert read.json() == made | {"meta": read.json()["meta"]}
    assert read.headers["etag"] == 'W/"1"'
    assert await jobs(corp, made["id"]) == 1
    event = (
        "select subject_ids from audit_event where tenant_id = :t and action = 'scim:create_user'"
    )
    assert await corp.read(event) == [([UUID(made["id"]), corp.token.id],)]


@pytest.mark.parametrize(
    "found",
    [
        'userName eq "NORA@corp.example"',
        'externalId eq "E-1"',
        'emails.value eq "nora@CORP.example"',
        'emails[type eq "work" and value co "corp"]',
        f'{ENTERPRISE}:employeeNumber eq "a7"',
        f'{ENTERPRISE}:department sw "card"',
        'name.familyName eq "berg" and active eq true',
        'not (userName eq "other")',
        'meta.resourceType eq "User"',
    ],
)
async def test_users_are_found(corp: Corp, found: str) -> None:
    made = await corp.user("nora@corp.example", **NORA)
    for name in ("filter", "Filter"):
        answer = await corp.ask("GET", "/Users", params={name: found})
        assert answer.status_code == 200, answer.text
        assert [u["id"] for u in answer.json()["Resources"]] == [made["id"]]


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ('nobody eq "x"', "invalidFilter"),
        ("userName", "invalidFilter"),
        ('userName like "x"', "invalidFilter"),
        ('userName eq "x" and', "invalidFilter"),
        ('userName eq "\0"', "invalidFilter"),
        ("active gt true", "invalidFilter"),
        ('emails[nobody eq "x"]', "invalidFilter"),
        ("(" * 30 + 'userName eq "x"' + ")" * 30, "invalidFilter"),
        ('userName eq "' + "x" * 5_000 + '"', "invalidFilter"),
    ],
)
async def test_a_filter_is_never_ignored(corp: Corp, asked: str, kind: str) -> None:
    await corp.user("nora@corp.example")
    for name in ("filter", "FILTER"):
        answer = await corp.ask("GET", "/Users", params={name: asked})
        assert (answer.status_code, answer.json()["scimType"]) == (400, kind)
        assert "Resources" not in answer.json()
        assert answer.json()["detail"].endswith(".")


async def test_two_filters_are_none(corp: Corp) -> None:
    found = 'userName eq "x"'
    answer = await corp.ask("GET", "/Users", params=[("filter", found), ("Filter", found)])
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter")


async def test_pages_sorting_and_projection(corp: Corp) -> None:
    for name in ("cora", "anna", "bert"):
        await corp.user(name, title=name.upper())
    asked = {"sortBy": "userName", "startIndex": "2", "count": "1"}
    page = (await corp.ask("GET", "/Users", params=asked)).json()
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (3, 2, 1)
    assert [u["userName"] for u in page["Resources"]] == ["bert"]
    falling = {"sortBy": "title", "sortOrder": "descending", "attributes": "userName"}
    page = (await corp.ask("GET", "/Users", params=falling)).json()
    assert [u["userName"] for u in page["Resources"]] == ["cora", "bert", "anna"]
    assert all(set(u) <= {"schemas", "id", "userName", "meta"} for u in page["Resources"])
    none = (await corp.ask("GET", "/Users", params={"count": "0"})).json()
    assert (none["totalResults"], none.get("Resources", [])) == (3, [])


async def test_entity_tags(corp: Corp) -> None:
    made = await corp.user("nora@corp.example")
    at = where(made)
    same = await corp.ask("GET", at, headers={"if-none-match": 'W/"1"'})
    assert same.status_code == 304
    title = {"op": "replace", "path": "title", "value": "Nurse"}
    late = await corp.patch(at, title, headers={"if-match": 'W/"9"'})
    assert late.status_code == 412
    done = await corp.patch(at, title, headers={"if-match": 'W/"1"'})
    assert (done.status_code, done.headers["etag"], done.json()["title"]) == (200, 'W/"2"', "Nurse")
    again = await corp.patch(at, title)
    assert again.headers["etag"] == 'W/"2"'


async def test_who_leaves_is_out_at_once_and_returns_with_what_the_rules_say(corp: Corp) -> None:
    corp.rule("Nurses", "nurse")
    made = await corp.user("nora@corp.example", **NORA)
    await corp.group("Nurses", made["id"])
    assert await corp.roles(made["id"]) == ["nurse"]
    before = await jobs(corp, made["id"])
    gone = await corp.patch(where(made), {"op": "replace", "value": {"active": False}})
    assert (gone.status_code, gone.json()["active"]) == (200, False)
    assert await corp.roles(made["id"]) == []
    found = await person(corp, made["id"])
    assert (found["active"], found["cut"]) == (False, True)
    assert await jobs(corp, made["id"]) > before
    back = await corp.patch(where(made), {"op": "replace", "value": {"active": True}})
    assert back.json()["active"] is True
    assert await corp.roles(made["id"]) == ["nurse"]


@pytest.mark.parametrize(
    "again",
    [
        {"userName": "Nora@corp.example"},
        {"userName": "nora.berg@corp.example", "externalId": "E-1"},
    ],
)
async def test_who_was_deleted_is_the_same_person_again(corp: Corp, again: dict[str, Any]) -> None:
    corp.rule("Nurses", "nurse")
    made = await corp.user("nora@corp.example", **NORA)
    await corp.group("Nurses", made["id"])
    assert (await corp.ask("DELETE", where(made))).status_code == 204
    assert (await corp.ask("GET", where(made))).status_code == 404
    assert (await corp.ask("DELETE", where(made))).status_code == 404
    assert (await corp.ask("GET", "/Users")).json()["totalResults"] == 0
    assert (await person(corp, made["id"]))["active"] is False
    assert await corp.roles(made["id"]) == []
    answer = await corp.ask("POST", "/Users", again)
    assert (answer.status_code, answer.json()["id"]) == (201, made["id"])
    assert answer.json()["userName"] == again["userName"]
    found = await person(corp, made["id"])
    assert (found["active"], found["user_name"]) == (True, again["userName"].lower())
    assert await corp.roles(made["id"]) == [], "the memberships went with the deletion"


async def test_an_email_address_makes_nobody_the_same(corp: Corp) -> None:
    made = await corp.user("nora@corp.example", **NORA)
    await corp.ask("DELETE", where(made))
    other = await corp.user("nora2@corp.example", emails=NORA["emails"])
    assert other["id"] != made["id"]


async def test_a_person_of_ours_is_not_taken_over(corp: Corp) -> None:
    answer = await corp.ask("POST", "/Users", {"userName": corp.admin.user_name})
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")


async def test_unique_values(corp: Corp) -> None:
    await corp.user("nora@corp.example", **{CLINICAL: {"npi": "1"}})
    for body in (
        {"userName": "NORA@corp.example"},
        {"userName": "b@corp.example", CLINICAL: {"npi": "1"}},
    ):
        answer = await corp.ask("POST", "/Users", body)
        assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
    assert (await corp.ask("GET", "/Users")).json()["totalResults"] == 1


async def test_many_at_once_make_one(corp: Corp) -> None:
    body = {"userName": "nora@corp.example"}
    answers = await asyncio.gather(*(corp.ask("POST", "/Users", body) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409, 409]


async def test_parallel_changes_are_all_there(corp: Corp) -> None:
    made = await corp.user("nora@corp.example")
    answers = await asyncio.gather(
        *(
            corp.patch(where(made), {"op": "add", "path": path, "value": "x"})
            for path in ("title", "nickName", "userType", "locale")
        )
    )
    assert [a.status_code for a in answers] == [200] * 4
    read = (await corp.ask("GET", where(made))).json()
    assert [read[n] for n in ("title", "nickName", "userType", "locale")] == ["x"] * 4


async def test_a_put_without_active_lets_nobody_in(corp: Corp) -> None:
    made = await corp.user("nora@corp.example", active=False)
    assert (await person(corp, made["id"]))["active"] is False
    answer = await corp.ask("PUT", where(made), {"userName": "nora@corp.example"})
    assert (answer.status_code, answer.json()["active"]) == (200, False)


async def test_the_last_administrator_stays(corp: Corp) -> None:
    corp.rule("Admins", "system_admin", unit_id=corp.tree.root.id)
    made = await corp.user("ada@corp.example")
    group = await corp.group("Admins", made["id"])
    assert await corp.roles(made["id"]) == ["system_admin"]
    async with corp.at_work(corp.admin.id) as (session, agent):
        await revoke_grant(session, agent, corp.admin_grant.id)
    for answer in (
        await corp.patch(where(made), {"op": "replace", "value": {"active": False}}),
        await corp.ask("DELETE", where(made)),
        await corp.patch(where(group), {"op": "remove", "path": "members"}),
        await corp.ask("DELETE", where(group)),
    ):
        assert (answer.status_code, answer.json()["scimType"]) == (400, "mutability")
        assert "administrator" in answer.json()["detail"]
    assert await corp.roles(made["id"]) == ["system_admin"]
    assert (await person(corp, made["id"]))["active"] is True
    read = (await corp.ask("GET", where(group))).json()
    assert [m["value"] for m in read["members"]] == [made["id"]]


async def test_nothing_of_another_health_system(corp: Corp, other: Corp) -> None:
    theirs = await other.user("nora@corp.example")
    for method, body in (("GET", None), ("PUT", {"userName": "x1"}), ("DELETE", None)):
        assert (await corp.ask(method, where(theirs), body)).status_code == 404
    group = await corp.ask(
        "POST", "/Groups", {"displayName": "G", "members": [{"value": theirs["id"]}]}
    )
    assert (group.status_code, group.json()["scimType"]) == (400, "invalidValue")
    assert (await corp.ask("GET", "/Groups")).json()["totalResults"] == 0
    foreign = {"authorization": f"Bearer {other.token.text}"}
    assert (await corp.ask("GET", "/Users", headers=foreign)).status_code == 401
