"""Hostile input: each is answered by the RFC's error with a type and a sentence of ours, and changes nothing.

One health system, one matrix: what cannot be taken is sent to every door that might take it.
"""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson
import pytest

from tests.identity.scim.conftest import PATCH, Corp, where

pytestmark = pytest.mark.anyio
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
NOBODY = "00000000-0000-7000-8000-000000000000"
TYPES = {
    *("invalidFilter", "tooMany", "uniqueness", "mutability", "invalidSyntax", "invalidPath", "noTarget"),
    *("invalidValue", "invalidVers", "sensitive", "invalidCursor", "expiredCursor", "invalidCount"),
}  # fmt: skip
LEAKS = (
    "pydantic",
    "psycopg",
    "Traceback",
    "sqlalchemy",
    "SQLSTATE",
    "scim2",
    "KeyError",
    "line 1",
)

BODIES = [
    *(b"", b" ", b"null", b"true", b"7", b'"x"', b"[]", b"[{}]", b"{", b'{"a":', b"{}x", b"\xff\xfe", b"\x00"),
    *(b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b'{"userName":"x1","a":1e999999}'),
    *(b'{"userName":' + b"9" * 5_000 + b"}", b'{"userName":"\\ud800x"}', b'{"userName":"x1","title":"\\udc00"}'),
    *(b'{"userName":"a\\u0000b"}', b'{"userName":NaN}', b"{'userName':'x1'}", b'{"userName":"x1",}'),
    *(b'{"schemas":"x"}', b'{"userName":"x1","USERNAME":"x2"}', b'{"userName":"x1","name":{"a":1,"A":2}}'),
]  # fmt: skip


def _users(name: str, *values: Any) -> list[dict[str, Any]]:
    return [{"userName": "x1", name: value} for value in values]


USERS = [
    *_users("userName", None, "", " ", 7, 1e308, [], {}, ["x1"], {"value": "x1"}, True, "x" * 300),
    *_users("emails", 7, "x", {"value": 7}, [7], [[]], [{"value": []}], [{"value": "no"}]),
    *_users("name", 7, "x", [], [7], {"givenName": []}, {"givenName": "\u0000"}),
    *_users("active", "maybe", 7, [], {}),
    *_users("externalId", [], {}, {"value": 1}),
    *_users("profileUrl", []),
    *_users("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", 7),
    *_users("urn:caretree:scim:schemas:clinical:2.0:User", {"facilityCodes": "x"}),
]
PATHS: list[Any] = [
    *(7, [], {}, "", " ", "nobody", "members[", "members]", "members[]", 'members[value eq "x"', "members[value]"),
    *('members[value eq "x"].value.value', "a.b.c", "urn:x:y", "urn:ietf:params:scim:schemas:core:2.0:User:", "\u0000"),
    *("emails[" * 50, "x" * 100_000, 'emails[type eq "work"', "emails[type like 1].value", "name.givenName.x", "..", "/"),
    *("schemas[0]", "userName[value eq 1]", "id.x"),
]  # fmt: skip
TOLERATED = ("nobody", "x" * 100_000, "id.x")
"""Of a user: attributes that nobody declares are left out."""
NO_OPERATIONS: list[Any] = [
    *({}, "x", [7], [[]], [{}], [{"op": 7}], [{"op": "move"}], [{"op": "remove"}], None),
    *([{"op": "add"}], [{"op": "replace", "value": 7}], [{"op": "add", "path": 7, "value": 7}]),
]
FILTERS = [
    *("nobody eq 1", "userName", "userName eq", "eq", "()", "(", ")", "not", "not ()", "userName eq x", "and", "or or or"),
    *('userName eq "x', "userName eq 'x'", 'userName xx "x"', 'userName eq "x" and', 'a.b.c eq "x"', "emails[", "emails[]"),
    *('emails[nobody eq "x"]', 'emails[type eq "x"', 'emails[emails[type eq "x"]]', "urn:x eq 1", 'urn:x:y:z eq "x"'),
    *('USERNAME EQ "x" ANDD active eq true', "userName eq 7e", "active gt true", 'active co "t"', "members eq [", "\\"),
    *('userName eq "\\ud800"', 'userName eq "\\u0000"', 'userName eq "\0"', "(" * 1_000, "not " * 2_000 + "(active pr)"),
    *('userName eq "' + "x" * 1_000_000 + '"', "active pr " + "and active pr " * 70_000, 'password eq "x" or nobody pr'),
    *('userName eq "x" or nobody eq "y"', "userName eq " + "9" * 3_000, "-- x", "'; drop table person; --", "%00", "*"),
]  # fmt: skip
TAGS = (
    '"9", *',
    "*, *",
    'W/"9"',
    '"9", W/"8"',
    "9",
    'W/"',
    "x" * 5_000,
    'w/"2",W/"3"',
    '"1;"',
    "W/*",
)


Case = tuple[str, str, Any, dict[str, Any]]
"""Method, path, body, and what else is sent."""
JSON = {"headers": {"content-type": "application/scim+json"}}
HTTP = "/Users"


def problem(answer: Any) -> str | None:
    """What is wrong with the answer to what cannot be taken."""
    if not 400 <= answer.status_code < 500:
        return f"{answer.status_code}"
    told = answer.json()
    if told["schemas"] != [ERROR] or told["status"] != str(answer.status_code):
        return "no error of the RFC"
    if answer.status_code == 400 and told.get("scimType") not in TYPES:
        return f"type {told.get('scimType')}"
    detail = told["detail"]
    if not detail.endswith(".") or len(detail) > 300 or any(leak in detail for leak in LEAKS):
        return f"detail {detail[:200]}"
    return None


def bodies(at: str, group: str) -> Iterator[Case]:
    """Bodies that are none, and users that nobody can be."""
    for body in BODIES:
        for method, path in (("POST", HTTP), ("PUT", at), ("PATCH", at), ("POST", "/Groups")):
            yield method, path, body, JSON
        for method, path in (("PUT", group), ("PATCH", group), ("POST", "/Bulk")):
            yield method, path, body, JSON
    for user in USERS:
        for method, path in (("POST", HTTP), ("PUT", at)):
            yield method, path, orjson.dumps(user), JSON


def operations(at: str, group: str) -> Iterator[Case]:
    """Operations that are none, and paths that lead nowhere."""
    for path in PATHS:
        for resource in (at, group):
            if resource is group or path not in TOLERATED:
                yield patch(resource, {"op": "replace", "path": path, "value": "x"})
    for listed in NO_OPERATIONS:
        for resource in (at, group):
            yield "PATCH", resource, {"schemas": [PATCH], "Operations": listed}, {}


def patch(path: str, operation: Any, **more: Any) -> Case:
    return "PATCH", path, {"schemas": [PATCH], "Operations": [operation]}, more


def members(group: str, nobody: list[str]) -> Iterator[Case]:
    """Members who do not exist, or not here."""
    for member in nobody:
        listed = [{"value": member}]
        for operation in (
            {"op": "add", "path": "members", "value": listed},
            {"op": "replace", "path": "members", "value": listed},
            {"op": "add", "value": {"members": listed}},
        ):
            yield patch(group, operation)
        yield "PUT", group, {"displayName": "Nurses", "members": listed}, {}
        if member not in group:
            yield "POST", "/Groups", {"displayName": "New", "members": listed}, {}


def searches() -> Iterator[Case]:
    """Filters that are none; none is ever taken for no filter."""
    yield "POST", "/.search", b'{"filter":"active pr","filter":"userName pr"}', JSON
    for found in FILTERS:
        asked = {"schemas": [SEARCH], "filter": found}
        for path in (f"{HTTP}/.search", "/.search"):
            yield "POST", path, json.dumps(asked).encode(), JSON
        twice = {"filter": "active pr", "FILTER": found}
        yield "POST", "/.search", json.dumps({"schemas": [SEARCH]} | twice).encode(), JSON
        if len(found) < 50_000:
            for name in ("filter", "FILTER"):
                yield "GET", HTTP, None, {"params": {name: found}}


def versions(at: str, group: str, member: str) -> Iterator[Case]:
    """Versions that the resource has not."""
    for tag in TAGS:
        sent = {"headers": {"if-match": tag}}
        yield "PUT", at, {"userName": "nora"}, sent
        yield "DELETE", at, None, sent
        yield patch(at, {"op": "replace", "path": "title", "value": "x"}, **sent)
        yield patch(group, {"op": "remove", "path": f'members[value eq "{member}"]'}, **sent)


def foreign(paths: list[str]) -> Iterator[Case]:
    """Resources of others, and of nobody."""
    for path in paths:
        yield "GET", path, None, {}
        yield "PUT", path, {"userName": "x1", "displayName": "x"}, {}
        yield "DELETE", path, None, {}
        yield patch(path, {"op": "replace", "path": "externalId", "value": "x"})


async def state(corp: Corp) -> list[tuple[Any, ...]]:
    """All that a directory can change."""
    tables = ("scim_user", "scim_group", "scim_membership", "scim_email", "person", "audit_event")
    out = []
    for table in tables:
        rows = f"select '{table}', x::text from {table} x where tenant_id = :t order by 2"
        out += await corp.read(rows)
    return out


async def test_whatever_cannot_be_taken_is_refused_and_changes_nothing(
    corp: Corp, other: Corp
) -> None:
    nora = await corp.user("nora", emails=[{"value": "n@corp.example", "type": "work"}])
    group = await corp.group("Nurses", nora["id"])
    theo = await other.user("theo")
    theirs = await other.group("Theirs", theo["id"])
    before, at, in_group = await state(corp), where(nora), where(group)
    nobody = [NOBODY, theo["id"], theirs["id"], group["id"], "x", "", nora["id"] + "0"]
    paths = [where(theo), where(theirs), f"{HTTP}/x", f"/Groups/{NOBODY}", f"{HTTP}/%00"]
    cases = chain(
        bodies(at, in_group),
        operations(at, in_group),
        members(in_group, nobody),
        searches(),
        versions(at, in_group, nora["id"]),
        foreign(paths),
    )
    wrong: list[Any] = []
    for method, path, body, more in cases:
        answer = await corp.ask(method, path, body, **more)
        found = problem(answer)
        if found:
            wrong.append((found, method, path, str(body)[:200], str(more)[:200]))
    assert wrong == []
    assert await state(corp) == before
