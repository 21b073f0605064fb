"""What real directories send beside the RFCs, each from a page of its vendor."""

from typing import Any

import pytest

from identity.scim.schemas import CLINICAL, ENTERPRISE, USER
from tests.identity.scim.conftest import PATCH, Corp, where

pytestmark = pytest.mark.anyio

ENTRA = "learn.microsoft.com/en-us/entra/identity/app-provisioning/"
ISSUES = ENTRA + "application-provisioning-config-problem-scim-compatibility"
TUTORIAL = ENTRA + "use-scim-to-provision-users-and-groups"
OKTA = "developer.okta.com/docs/api/openapi/okta-scim/guides/scim-20"
RFC = "rfc-editor.org/rfc/rfc7644, section 3.5.2"
MANAGER = f"{ENTERPRISE}:manager"


def enterprise(**values: Any) -> dict[str, Any]:
    return {ENTERPRISE: values}


PATCHED: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    (ISSUES, [{"op": "Replace", "path": "active", "value": "False"}], {"active": False}),
    (ISSUES, [{"op": "Add", "path": "active", "value": "True"}], {"active": True}),
    (ISSUES, [{"op": "replace", "value": {"active": False}}], {"active": False}),
    (OKTA, [{"op": "replace", "value": {"active": False}}], {"active": False}),
    (OKTA, [{"op": "replace", "value": {"id": "x", "displayName": "N"}}], {"displayName": "N"}),
    (OKTA, [{"op": "replace", "value": {"groups": [], "meta": {}, "schemas": []}}], {}),
    (ISSUES, [{"op": "Add", "path": MANAGER, "value": "7"}], enterprise(manager={"value": "7"})),
    (ISSUES, [{"op": "Add", "path": MANAGER, "value": 7}], enterprise(manager={"value": "7"})),
    (
        ISSUES,
        [{"op": "Add", "path": MANAGER, "value": [{"value": "7"}]}],
        enterprise(manager={"value": "7"}),
    ),
    (ISSUES, [{"op": "Replace", "path": MANAGER, "value": ""}], enterprise(manager=None)),
    (ISSUES, [{"op": "Replace", "path": MANAGER, "value": {"value": ""}}], enterprise(manager=None)),
    (
        ISSUES,
        [{"op": "Add", "value": {MANAGER: "7", "name.givenName": "Nora"}}],
        {"name": {"givenName": "Nora"}} | enterprise(manager={"value": "7"}),
    ),
    (
        TUTORIAL,
        [{"op": "Replace", "path": 'emails[type eq "work"].value', "value": "a@corp.example"}],
        {"emails": [{"type": "work", "value": "a@corp.example"}]},
    ),
    (
        TUTORIAL,
        [{"op": "Add", "value": {f"{ENTERPRISE}:department": "Cardiology"}}],
        enterprise(department="Cardiology"),
    ),
    (
        TUTORIAL,
        [{"OP": "add", "PATH": f"{ENTERPRISE}:employeeNumber", "VALUE": 701984}],
        enterprise(employeeNumber="701984"),
    ),
    (RFC, [{"op": "replace", "path": "TITLE", "value": "N", "name": "x"}], {"title": "N"}),
    (RFC, [{"op": "replace", "value": {"TITLE": "N"}}], {"title": "N"}),
    (ISSUES, [{"op": "replace", "value": {"urn:nobody:2.0:User": {"a": 1}, "title": "N"}}], {"title": "N"}),
    (
        TUTORIAL,
        [{"op": "replace", "path": f"{CLINICAL}:licence", "value": str(i)} for i in range(36)],
        {CLINICAL: {"licence": "35"}},
    ),
]  # fmt: skip
"""The page, the operations of a PATCH as they are sent, and what the user has afterwards."""


@pytest.mark.parametrize(("page", "operations", "after"), PATCHED)
async def test_a_patch_of_a_dialect(
    corp: Corp, page: str, operations: list[dict[str, Any]], after: dict[str, Any]
) -> None:
    made = await corp.user("nora@corp.example", **enterprise(manager={"value": "1"}))
    body = {"schemas": [PATCH], "operations": operations}
    answer = await corp.ask("PATCH", where(made), body)
    assert answer.status_code == 200, (page, answer.text)
    read = (await corp.ask("GET", where(made))).json()
    for name, said in after.items():
        if isinstance(said, dict):
            for part, value in said.items():
                assert read.get(name, {}).get(part) == value, page
        else:
            assert read[name] == said, page
    assert "urn:nobody:2.0:User" not in read


WHOLE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (TUTORIAL, {}, {"active": True}),
    (ISSUES, {"active": "True"}, {"active": True}),
    (TUTORIAL, {"externalId": 58342554}, {"externalId": "58342554"}),
    (OKTA, {"groups": [], "id": "x", "meta": {"resourceType": "User"}}, {"active": True}),
    (
        ISSUES,
        {"schemas": [USER, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/User"]},
        {"schemas": [USER]},
    ),
    (OKTA, {"password": "t1meMa$heen"}, {"password": None}),
]


@pytest.mark.parametrize(("page", "sent", "after"), WHOLE)
async def test_a_user_in_a_dialect(
    corp: Corp, page: str, sent: dict[str, Any], after: dict[str, Any]
) -> None:
    made = await corp.user("nora@corp.example", **sent)
    read = (await corp.ask("GET", where(made))).json()
    assert {name: read.get(name) for name in after} == after, page


async def test_a_put_of_what_was_read_changes_nothing(corp: Corp) -> None:
    """Okta (its SCIM 2.0 reference): an update is a GET and a PUT of the whole, without PATCH."""
    made = await corp.user("nora@corp.example", title="Nurse")
    await corp.group("Nurses", made["id"])
    read = await corp.ask("GET", where(made))
    put = await corp.ask("PUT", where(made), read.json())
    assert (put.status_code, put.headers["etag"]) == (200, read.headers["etag"])


async def test_a_removal_by_values(corp: Corp) -> None:
    """Entra without the compliance flag names whom it removes in the value (its compatibility page)."""
    made = await corp.user("nora")
    group = await corp.group("Nurses", made["id"])
    gone = {"op": "Remove", "path": "members", "value": [{"value": made["id"]}]}
    assert (await corp.patch(where(group), gone)).status_code == 204
    assert "members" not in (await corp.ask("GET", where(group))).json()


@pytest.mark.parametrize(
    "asked",
    [
        'emails[type eq "work"].value eq "Nora@corp.example"',
        'emails[type eq "work"] eq "nora@corp.example"',
        'Emails[Type EQ "work"].Value eq "nora@corp.example" and active eq true',
    ],
)
async def test_a_filter_after_brackets(corp: Corp, asked: str) -> None:
    """Entra (its tutorial's section on users) looks people up by the address at work."""
    emails = [{"type": "work", "value": "nora@corp.example"}]
    made = await corp.user("nora", emails=emails)
    await corp.user("otto", emails=[{"type": "home", "value": "nora@corp.example"}])
    answer = await corp.ask("GET", "/Users", params={"filter": asked})
    assert [u["id"] for u in answer.json()["Resources"]] == [made["id"]], answer.text


async def test_a_string_that_looks_like_one_is_none(corp: Corp) -> None:
    made = await corp.user("nora", title='emails[type eq "work"].value eq "x"')
    asked = r'title eq "emails[type eq \"work\"].value eq \"x\""'
    answer = await corp.ask("GET", "/Users", params={"filter": asked})
    assert [u["id"] for u in answer.json()["Resources"]] == [made["id"]]


async def test_probes_find_nobody(corp: Corp) -> None:
    """Entra (its tutorial) asks for a random name when its connection is tested, and takes an empty list as success."""
    for path, name in (("/Users", "userName"), ("/Groups", "displayName")):
        asked = {"filter": f'{name} eq "6764549b-6e2c-4a17-b4e9-000000000000"'}
        answer = await corp.ask("GET", path, params=asked)
        told = answer.json()
        assert (answer.status_code, told["totalResults"], told["Resources"]) == (200, 0, [])


async def test_pages_of_a_hundred(corp: Corp) -> None:
    """Okta (its reference) imports by startIndex=1&count=100."""
    await corp.user("nora")
    page = (await corp.ask("GET", "/Users", params={"startIndex": "1", "count": "100"})).json()
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (1, 1, 1)


async def test_who_speaks_json_is_answered_so(corp: Corp) -> None:
    """Okta sends application/json to some versions (its reference); others send application/scim+json."""
    for sent in ("application/json", "application/scim+json"):
        answer = await corp.ask("GET", "/Users", headers={"accept": sent})
        assert answer.headers["content-type"].split(";")[0] == sent


async def test_names_by_case_external_ids_as_they_are(corp: Corp) -> None:
    """RFC 7643, sections 4.1.1 and 3.1, which Entra's tutorial repeats."""
    await corp.user("nora@corp.example", externalId="aB")
    for asked, found in (
        ('userName eq "NORA@CORP.EXAMPLE"', 1),
        ('externalId eq "aB"', 1),
        ('externalId eq "ab"', 0),
    ):
        answer = await corp.ask("GET", "/Users", params={"filter": asked})
        assert answer.json()["totalResults"] == found
