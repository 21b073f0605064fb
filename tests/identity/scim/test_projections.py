"""A group is made and read without models of its members, and answered as the protocol's core would answer."""

from typing import Any

import orjson
import pytest
from scim2_server.handler import AsyncScimHandler
from scim2_server.requests import ScimRequest

from identity.scim.protocol import Protocol
from identity.scim.storage import Directory
from identity.scim.tokens import SCOPES, Bearer
from identity.sync import cell_session
from tests.identity.scim.conftest import PUBLIC, Corp, where
from tests.identity.scim.test_newcomers import agent_of

pytestmark = pytest.mark.anyio
ASKED = (
    *("displayName", "DISPLAYNAME,externalId", "members", "members.value", "members.value,members.type"),
    *("members.$ref", "members,members.value", "id", "meta", "schemas", "displayName,meta,members"),
    *("nobody", "meta.location", "urn:ietf:params:scim:schemas:core:2.0:Group:displayName"),
)  # fmt: skip


async def by_the_core(
    corp: Corp, method: str, path: str, body: Any = None, **query: str
) -> tuple[int, Any, dict[str, str]]:
    """The core's own way of everything, over the same storage."""
    asked = ScimRequest(method, f"{PUBLIC}{corp.base}", path)
    asked.query, asked.body = query, b"" if body is None else orjson.dumps(body)
    asked.headers = [("Content-Type", "application/scim+json")]
    asked.subject = Bearer(corp.token.id, frozenset(SCOPES), b"s" * 32)
    async with cell_session(corp.app, corp.tenant_id) as session:
        directory = Directory(session, agent_of(corp), corp.token.id)
        answer = await AsyncScimHandler(Protocol(b"s" * 32), directory).handle(asked)
    told = None if answer.body is None else orjson.loads(orjson.dumps(answer.body))
    return int(answer.status), told, {k.lower(): v for k, v in answer.headers.items()}


@pytest.mark.parametrize("asked", ASKED)
async def test_a_group_is_read_as_the_core_reads_it(corp: Corp, asked: str) -> None:
    nora = await corp.user("nora")
    inner = await corp.group("Ward 4")
    for members in ([nora["id"], inner["id"]], []):
        group = await corp.group(f"Ward {len(members)}", *members, externalId="g-1")
        mine = await corp.ask("GET", where(group), params={"attributes": asked})
        status, told, headers = await by_the_core(corp, "GET", where(group), attributes=asked)
        assert (mine.status_code, mine.json()) == (status, told)
        for name in ("etag", "content-location"):
            assert mine.headers[name] == headers[name]
        found = {"filter": 'externalId eq "g-1"', "attributes": asked}
        listed = await corp.ask("GET", "/Groups", params=found)
        status, told, _ = await by_the_core(corp, "GET", "/Groups", **found)
        assert (listed.status_code, listed.json()) == (status, told)


async def test_a_group_is_made_as_the_core_makes_it(corp: Corp) -> None:
    nora = await corp.user("nora")
    inner = await corp.group("Ward 4")
    members = [{"value": nora["id"], "display": "Nora"}, {"value": inner["id"], "type": "Group"}]
    seen = []
    for name, is_core in (("Ward 1", False), ("Ward 2", True)):
        body = {"displayName": name, "externalId": "g", "Members": members, "meta": {}, "id": "x"}
        if is_core:
            status, told, headers = await by_the_core(corp, "POST", "/Groups", body)
        else:
            answer = await corp.ask("POST", "/Groups", body)
            status, told, headers = answer.status_code, answer.json(), dict(answer.headers)
        made = {name: headers[name].replace(told["id"], "id") for name in ("etag", "location")}
        same = told["meta"] | {"created": None, "lastModified": None}
        same["location"] = same["location"].replace(told["id"], "id")
        events = await corp.read(
            "select action, array_remove(subject_ids, cast(:g as uuid)) from audit_event"
            " where tenant_id = :t and cast(:g as uuid) = any(subject_ids)",
            g=told["id"],
        )
        seen.append((status, told | {"id": "id", "meta": same, "displayName": "x"}, made, events))
    assert seen[0] == seen[1]
    assert len(seen[0][1]["members"]) == 2


@pytest.mark.parametrize("members", ["x", [1], [{}], [{"value": "x"}], [{"value": 7}], {"a": 1}])
async def test_members_that_are_none_make_no_group(corp: Corp, members: Any) -> None:
    answer = await corp.ask("POST", "/Groups", {"displayName": "Ward 1", "members": members})
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")
    assert await corp.read("select 1 from scim_group where tenant_id = :t") == []
