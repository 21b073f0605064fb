"""Whole conversations as vendors describe them, each named by its page; single departures are in `test_dialects.py`."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from identity.scim.schemas import ENTERPRISE, USER
from tests.identity.scim.conftest import USERS, Corp, where

pytestmark = pytest.mark.anyio
SEARCHED = {"startIndex": "1", "count": "100"}


async def found(corp: Corp, path: str, asked: str, **more: str) -> list[dict[str, Any]]:
    answer = await corp.ask("GET", path, params={"filter": asked, **more})
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["Resources"]
    return listed


async def test_okta(corp: Corp) -> None:
    """developer.okta.com/docs/api/openapi/okta-scim/guides/scim-20: "Create Users", "Update a specific User (PUT)",
    "Deactivate Users", "Reactivate Users", "Create Groups", "Update Specific Group Membership"; it sends no DELETE."""
    corp.rule("Nurses", "nurse")
    assert await found(corp, "/Users", 'userName eq "isaac@example.com"', **SEARCHED) == []
    profile = {"givenName": "Isaac", "middleName": "", "familyName": "Brock"}
    emails = [
        {
            "primary": True,
            "value": "isaac@example.com",
            "type": "work",
            "display": "isaac@example.com",
        }
    ]
    made = await corp.user(
        "isaac@example.com", schemas=[USER], name=profile, emails=emails, displayName="Isaac Brock",
        locale="en-US", externalId="00ujl29u0le5T6Aj10h7", groups=[], password="1mz050nq", active=True,
    )  # fmt: skip
    (again,) = await found(corp, "/Users", 'userName eq "isaac@example.com"', **SEARCHED)
    assert again["id"] == made["id"]
    read = (await corp.ask("GET", where(made))).json()
    put = await corp.ask("PUT", where(made), read | {"title": "Head nurse", "groups": []})
    assert (put.status_code, put.json()["title"], put.json()["active"]) == (200, "Head nurse", True)
    group = await corp.group("Nurses")
    member = {"value": made["id"], "display": "isaac@example.com"}
    many: list[dict[str, Any]] = [
        {"op": "remove", "path": f'members[value eq "{uuid4()}"]'},
        {"op": "add", "path": "members", "value": [member]},
    ]
    assert (await corp.patch(where(group), *many)).status_code == 204
    renamed = {"op": "replace", "value": {"id": group["id"], "displayName": "Nurses"}}
    assert (await corp.patch(where(group), renamed)).status_code == 204
    assert await corp.roles(made["id"]) == ["nurse"]
    for active, roles in ((False, []), (True, ["nurse"])):
        done = await corp.patch(where(made), {"op": "replace", "value": {"active": active}})
        assert (done.status_code, done.json()["active"]) == (200, active)
        assert await corp.roles(made["id"]) == roles
    page = await corp.ask("GET", "/Groups", params=SEARCHED)
    assert page.json()["totalResults"] == 1


@pytest.mark.parametrize("flag", [True, False], ids=["aadOptscim062020", "without"])
async def test_entra(corp: Corp, flag: bool) -> None:
    """learn.microsoft.com, entra/identity/app-provisioning: use-scim-to-provision-users-and-groups (requests), and
    application-provisioning-config-problem-scim-compatibility (with and without the flag). The flag stands at the end of
    the tenant URL, so that it can come with each request."""
    corp.rule("Nurses", "nurse")
    more = {"aadOptscim062020": ""} if flag else {}
    for attribute in ("userName", "externalId", "emails.value", 'emails[type eq "work"].value'):
        assert await found(corp, "/Users", f'{attribute} eq "{uuid4()}"', **more) == []
    assert await found(corp, "/Groups", f'displayName eq "{uuid4()}"', **more) == []
    made = await corp.user(
        "test_user@corp.example", externalId="58342554-38d6-4ec8-948c-50044d0a33fd", active=True,
        emails=[{"primary": True, "type": "work", "value": "test_user@corp.example"}], meta={"resourceType": "User"},
        name={"formatted": "Test User", "familyName": "User", "givenName": "Test"}, roles=[],
        **{ENTERPRISE: {"department": "bob"}},
    )  # fmt: skip
    moved: list[dict[str, Any]] = (
        [
            {"op": "replace", "path": 'emails[type eq "work"].value', "value": "u@corp.example"},
            {"op": "add", "value": {"title": "Nurse", f"{ENTERPRISE}:employeeNumber": "7"}},
            {"op": "replace", "path": f"{ENTERPRISE}:manager", "value": made["id"]},
        ]
        if flag
        else [
            {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "u@corp.example"},
            {"op": "Add", "path": "title", "value": "Nurse"},
            {"op": "Add", "path": f"{ENTERPRISE}:employeeNumber", "value": 7},
            {
                "op": "Add",
                "path": f"{ENTERPRISE}:manager",
                "value": [{"$ref": None, "value": made["id"]}],
            },
        ]
    )
    told = (await corp.patch(where(made), *moved, params=more)).json()
    assert (told["title"], told["emails"][0]["value"]) == ("Nurse", "u@corp.example")
    assert told[ENTERPRISE]["employeeNumber"] == "7"
    assert told[ENTERPRISE]["manager"]["value"] == made["id"]
    await _entra_groups(corp, made, flag, more)
    out = {"op": "replace", "path": "active", "value": False}
    if not flag:
        out = {"op": "Replace", "path": "active", "value": "False"}
    assert (await corp.patch(where(made), out, params=more)).json()["active"] is False
    assert (await corp.ask("DELETE", where(made), params=more)).status_code == 204


async def _entra_groups(corp: Corp, made: dict[str, Any], flag: bool, more: dict[str, str]) -> None:
    """Groups come empty first, then their members, each with a request of their own."""
    group = await corp.group("Nurses", externalId=str(uuid4()), meta={"resourceType": "Group"})
    for _ in range(2):
        enter = {
            "op": "add" if flag else "Add",
            "path": "members",
            "value": [{"value": made["id"]}],
        }
        assert (await corp.patch(where(group), enter, params=more)).status_code == 204
    assert await corp.roles(made["id"]) == ["nurse"]
    shown = await corp.ask("GET", where(group), params={"excludedAttributes": "members", **more})
    assert "members" not in shown.json()
    inside = f'id eq "{group["id"]}" and members eq "{made["id"]}"'
    assert [
        g["id"] for g in await found(corp, "/Groups", inside, excludedAttributes="members")
    ] == [group["id"]]
    gone: dict[str, Any] = (
        {"op": "remove", "path": f'members[value eq "{made["id"]}"]'}
        if flag
        else {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": made["id"]}]}
    )
    assert (await corp.patch(where(group), gone, params=more)).status_code == 204
    assert await corp.roles(made["id"]) == []
    assert (await corp.ask("DELETE", where(group), params=more)).status_code == 204


async def test_onelogin(corp: Corp) -> None:
    """developers.onelogin.com/scim, "Define your SCIM app" and "SCIM core user": it looks by user name, PUTs or PATCHes
    without path, sends its own template's attributes (numbers and empty texts among them), pages groups without a filter,
    and either deactivates or DELETEs, as the connector is set."""
    assert await found(corp, "/Users", 'userName eq "ona@corp.example"') == []
    made = await corp.user(
        "ona@corp.example", schemas=[USER, ENTERPRISE], externalId=98765, displayName="Ona Nurse", active=True,
        name={"givenName": "Ona", "familyName": "Nurse"}, phoneNumbers=[], title="", preferredLanguage=None,
        emails=[{"value": "ona@corp.example", "type": "work", "primary": True}],
        **{ENTERPRISE: {"employeeNumber": 17, "department": "", "manager": {"value": ""}}},
    )  # fmt: skip
    read = (await corp.ask("GET", where(made))).json()
    assert (read["externalId"], read[ENTERPRISE]["employeeNumber"]) == ("98765", "17")
    corp.rule("Nurses", "nurse")
    group = await corp.group("Nurses")
    listed = (await corp.ask("GET", "/Groups", params={"startIndex": "1"})).json()["Resources"]
    assert [g["displayName"] for g in listed] == ["Nurses"]
    enter = {"op": "add", "path": "members", "value": [{"value": made["id"]}]}
    assert (await corp.patch(where(group), enter)).status_code == 204
    assert await corp.roles(made["id"]) == ["nurse"]
    out = await corp.patch(where(made), {"op": "replace", "value": {"active": False}})
    assert (out.json()["active"], await corp.roles(made["id"])) == (False, [])
    assert (await corp.ask("DELETE", where(made))).status_code == 204
    assert (await corp.ask("GET", where(made))).status_code == 404


async def test_jumpcloud(corp: Corp) -> None:
    """jumpcloud.com/support/provision-and-manage-users-and-groups-in-apps-using-custom-scim-identity-management-integration:
    its test of the connection makes a user and a group, changes both and deletes them; a PUT of a group names all members."""
    assert (
        await corp.ask("GET", "/Users", params={"count": "1", "startIndex": "1"})
    ).status_code == 200
    made = await corp.user(
        "jumpcloud-test@corp.example", schemas=[USER], externalId=str(uuid4()), active=True,
        name={"givenName": "Test", "familyName": "User"}, emails=[{"type": "work", "value": "jumpcloud-test@corp.example", "primary": True}],
    )  # fmt: skip
    read = (await corp.ask("GET", where(made))).json()
    put = await corp.ask(
        "PUT",
        where(made),
        read | {"name": {"givenName": "Changed", "familyName": "User"}, "active": False},
    )
    assert (put.status_code, put.json()["active"]) == (200, False)
    assert (await corp.ask("PUT", where(made), read)).json()["active"] is True
    group = await corp.group("JumpCloud test group")
    for members in ([{"value": made["id"]}], []):
        body = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
            "displayName": "JumpCloud test group",
        }
        done = await corp.ask("PUT", where(group), body | {"id": group["id"], "members": members})
        assert (done.status_code, len(done.json().get("members", ()))) == (200, len(members))
    added = {"op": "add", "path": "members", "value": [{"value": made["id"]}]}
    removed = {"op": "remove", "path": "members", "value": [{"value": made["id"]}]}
    assert [(await corp.patch(where(group), one)).status_code for one in (added, removed)] == [
        204,
        204,
    ]
    for of in (group, made):
        assert (await corp.ask("DELETE", where(of))).status_code == 204


async def test_authentik(corp: Corp) -> None:
    """github.com/goauthentik/authentik, authentik/providers/scim/clients: it reads ServiceProviderConfig first, lists all by
    startIndex, PUTs users with its own id, PATCHes a group without path (its `id` and `schemas` among the values), compares
    the members of a GET with its own, and sends each difference as an operation of its own; DELETEs."""
    config = (await corp.ask("GET", "/ServiceProviderConfig")).json()
    assert (config["patch"]["supported"], config["filter"]["supported"]) == (True, True)
    made = await corp.user(
        "akadmin", schemas=[USER], externalId="5f7b", active=True, displayName="authentik Admin",
        name={"formatted": "authentik Admin", "givenName": "authentik", "familyName": "Admin"}, photos=None,
        locale="en-US", emails=[{"value": "ak@corp.example", "type": "other", "primary": True}],
    )  # fmt: skip
    sent = {
        "schemas": [USER],
        "id": made["id"],
        "userName": "akadmin",
        "active": True,
        "externalId": "5f7b",
    }
    assert (await corp.ask("PUT", where(made), sent | {"displayName": "Admin"})).json()[
        "displayName"
    ] == "Admin"
    twice = await corp.ask("POST", "/Users", {"userName": "akadmin", "schemas": [USER]})
    assert (twice.status_code, twice.json()["scimType"]) == (409, "uniqueness")
    group = await corp.group("authentik Admins", externalId=str(uuid4()))
    value = {
        "id": group["id"],
        "schemas": group["schemas"],
        "displayName": "Admins",
        "externalId": "e",
    }
    assert (await corp.patch(where(group), {"op": "replace", "value": value})).status_code == 204
    operations = [
        {"op": "add", "path": "members", "value": [{"value": made["id"]}]} for _ in range(3)
    ]
    assert (await corp.patch(where(group), *operations)).status_code == 204
    told = (await corp.ask("GET", where(group))).json()
    assert (told["displayName"], [m["value"] for m in told["members"]]) == ("Admins", [made["id"]])
    first = (await corp.ask("GET", "/Groups")).json()
    assert (first["totalResults"], len(first["Resources"])) == (1, 1)
    beyond = (await corp.ask("GET", "/Groups", params={"startIndex": "2"})).json()
    assert (beyond["totalResults"], beyond["Resources"]) == (1, [])
    gone = await corp.ask("DELETE", f"{USERS}/{UUID(made['id'])}")
    assert gone.status_code == 204


@pytest.mark.parametrize(
    ("asked", "finds"),
    [
        ('emails.value eq "no address"', False),
        ('emails[value eq "6764549b-6e2c"]', False),
        ('emails[type eq "work" and value eq "nobody"]', False),
        ('not (emails.value eq "nobody")', True),
        ('emails.value ne "nobody"', True),
        ('emails.value eq "NORA@corp.example"', True),
        ('emails.value co "corp"', True),
    ],
)
async def test_an_address_that_is_none_is_nobodys(corp: Corp, asked: str, finds: bool) -> None:
    """Entra probes with a random id by whatever attribute it matches with (its tutorial, "Requirements"): 200, nobody."""
    await corp.user("nora", emails=[{"value": "nora@corp.example", "type": "work"}])
    assert bool(await found(corp, "/Users", asked)) is finds
