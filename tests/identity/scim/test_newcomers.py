"""New users by the short way: it takes those of whom nothing is known, and leaves the same behind as the long one."""

import datetime as dt
from typing import Any
from uuid import UUID

import orjson
import pytest
from scim2_server.requests import ScimRequest

from domain.audit import Agent
from domain.model import new_id
from identity.scim import newcomers
from identity.scim.protocol import Exchange, Protocol
from identity.scim.schemas import CLINICAL, ENTERPRISE, PROVIDER, USER
from identity.scim.storage import Directory
from identity.scim.tokens import SCOPES, Bearer
from identity.scim.units import Unit
from identity.sync import cell_session
from tests.identity.scim.conftest import PUBLIC, Corp, where

pytestmark = pytest.mark.anyio

NORA: dict[str, Any] = {
    "schemas": [USER, ENTERPRISE, CLINICAL, "urn:example:unknown"],
    "externalId": "E-{n}",
    "userName": "Nora{n}@corp.example",
    "name": {"givenName": "Nora", "familyName": "Berg"},
    "displayName": "Nora Berg",
    "emails": [
        {"value": "Nora{n}@Corp.example", "type": "work", "primary": True},
        {"value": "n{n}@home.example", "type": "home"},
    ],
    "title": "Nurse",
    "password": "never kept",
    "groups": [],
    ENTERPRISE: {"employeeNumber": 7, "manager": "M-1"},
    CLINICAL: {"npi": "12345{n}", "facilityCodes": [{"value": "A"}]},
}
BARE: dict[str, Any] = {"username": "bare{n}", "active": "True", "externalId": ""}
LEFT: dict[str, str] = {
    "person": "select user_name, given_name, family_name, email, active, shut_out, source, source_ref, version,"
    " created_at is not null, updated_at = created_at, tokens_valid_from from person where tenant_id = :t and id = :p",
    "user": "select user_name, external_id, employee_number, npi, active, doc, deleted_at, version,"
    " updated_at = created_at from scim_user where tenant_id = :t and id = :p",
    "addresses": "select address from scim_email where tenant_id = :t and user_id = :p order by address",
    "events": "select action, outcome, array_remove(subject_ids, :p), masked, purpose, request_id is not null,"
    " outside_request_id, person_id, role from audit_event where tenant_id = :t and :p = any(subject_ids)"
    " order by action",
    "jobs": "select queue_name, task_name, priority, replace(lock, :s, ''), queueing_lock, args - 'person_id',"
    " scheduled_at, status from procrastinate_jobs where args ->> 'person_id' = :s",
}


def said(body: dict[str, Any], number: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(orjson.dumps(body).replace(b"{n}", number.encode()))
    return found


def agent_of(corp: Corp) -> Agent:
    now = dt.datetime.now(dt.UTC)
    return Agent(corp.tenant_id, now, request_id=new_id(), outside_request_id="r-1")


async def by_the_long_way(corp: Corp, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    asked = ScimRequest("POST", f"{PUBLIC}{corp.base}", "/Users")
    asked.body, asked.headers = orjson.dumps(body), [("Content-Type", "application/scim+json")]
    asked.subject = Bearer(corp.token.id, frozenset(SCOPES), b"s" * 32)
    async with cell_session(corp.app, corp.tenant_id) as session:
        directory = Directory(session, agent_of(corp), corp.token.id)
        answer = await Exchange(Protocol(b"s" * 32), directory).handle(asked)
    return int(answer.status), answer.body, answer.headers


async def left(corp: Corp, user_id: str) -> dict[str, Any]:
    one = {"p": UUID(user_id), "s": user_id}
    return {
        name: await corp.read(sql, **{k: v for k, v in one.items() if f":{k}" in sql})
        for name, sql in LEFT.items()
    }


def told(found: Any, user_id: str, name: str) -> Any:
    """The same of whomever it is."""
    text = orjson.dumps(found, default=str, option=orjson.OPT_SORT_KEYS).decode()
    return orjson.loads(text.replace(user_id, "id").replace(name, "{n}"))


@pytest.mark.parametrize("body", [NORA, BARE])
async def test_both_ways_leave_the_same_behind(corp: Corp, body: dict[str, Any]) -> None:
    short = await corp.ask("POST", "/Users", said(body, "xyz"), headers={"x-request-id": "r-1"})
    assert short.status_code == 201, short.text
    status, long, sent = await by_the_long_way(corp, said(body, "uvw"))
    assert status == 201
    seen = []
    for name, answer, headers in (("xyz", short.json(), short.headers), ("uvw", long, sent)):
        low = {k.lower(): v for k, v in headers.items()}
        named = [low[header] for header in ("etag", "location", "content-location")]
        assert answer["meta"].pop("created") == answer["meta"].pop("lastModified")
        found = await left(corp, answer["id"])
        assert (len(found["events"]), len(found["jobs"])) == (2, 1)
        seen.append(told([answer, named, found], answer["id"], name))
    assert seen[0] == seen[1]


async def tried(corp: Corp, body: dict[str, Any]) -> Any:
    """What the short way alone makes of it."""
    service = Protocol(b"s" * 32)
    with PROVIDER:
        kind = service.get_resource_type("User")
        made = service.read_creation(kind, orjson.dumps(body), "application/scim+json")
        unit = Unit(corp.served.pipeline, corp.tenant_id)
        return await newcomers.create(unit, agent_of(corp), corp.token.id, made)


async def test_who_is_known_goes_the_long_way(corp: Corp) -> None:
    made = await corp.user("nora@corp.example", externalId="E-1", **{CLINICAL: {"npi": "77"}})
    for body in (
        {"userName": "NORA@corp.example"},
        {"userName": "new", "externalId": "E-1"},
        {"userName": "new", CLINICAL: {"npi": "77"}},
        {"userName": corp.admin.user_name},
        {"userName": "new", "active": False},
        {"userName": "new", "emails": [{"value": "none"}]},
        {"userName": "not a name"},
    ):
        assert await tried(corp, body) is None, body
    assert await corp.read("select count(*) from scim_user where tenant_id = :t") == [(1,)]
    await corp.release()
    assert (await corp.ask("DELETE", where(made))).status_code == 204
    assert await tried(corp, {"userName": "nora@corp.example"}) is None
    again = await corp.user("nora@corp.example")
    assert again["id"] == made["id"]


async def test_whom_a_rule_asks_for_goes_the_long_way(corp: Corp) -> None:
    corp.rule("Nurse*", "nurse", attribute="title", match="pattern")
    corp.rule("Ward 1", "biller")
    assert await tried(corp, {"userName": "nora", "title": "Nurse in charge"}) is None
    nora = await corp.user("nora", title="Nurse in charge")
    assert await corp.roles(nora["id"]) == ["nurse"]
    assert await tried(corp, {"userName": "otto", "title": "Clerk"}) is not None
