"""What the sync page is told of requests: who, what, and of what was refused a plain cause; nothing of strangers."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from identity.scim.journal import outside_id
from identity.scim.limits import Limit
from identity.scim.tokens import revoke_token
from tests.database import Database
from tests.identity.scim.conftest import USERS, Corp, opened, where

pytestmark = pytest.mark.anyio
TOLD = "method, asked, status, resource_id, subject, cause, outside_request_id"


async def noted(corp: Corp, columns: str = TOLD) -> list[tuple[Any, ...]]:
    await corp.served.journal.flush()
    return await corp.read(
        f"select {columns} from scim_request where tenant_id = :t order by created_at, id"
    )


async def test_requests_are_noted_with_plain_causes_and_the_directorys_own_ids(corp: Corp) -> None:
    ask: dict[str, str] = {"x-request-id": "okta-7f.1:a"}
    made = (await corp.ask("POST", "/Users", {"userName": "nora"}, headers=ask)).json()
    nora = UUID(made["id"])
    again = await corp.ask("POST", "/Users", {"userName": "nora"})
    await corp.ask("POST", "/Users", {"userName": "x y"})
    await corp.patch(where(made), {"op": "replace", "path": "nobody[", "value": "x"})
    await corp.ask("GET", "/Users", params={"filter": "nobody pr"})
    await corp.ask("DELETE", f"{USERS}/0-of-another-system")
    await corp.ask("POST", "/Groups", b"{", headers={"x-request-id": "two words"})
    rows = await noted(corp)
    assert [row[:5] for row in rows] == [
        ("POST", "user", 201, nora, None),
        ("POST", "user", 409, None, "nora"),
        ("POST", "user", 400, None, "x y"),
        ("PATCH", "user", 400, nora, None),
        ("GET", "user", 400, None, None),
        ("DELETE", "user", 404, None, "0-of-another-system"),
        ("POST", "group", 400, None, None),
    ]
    assert rows[0][5:] == (None, "okta-7f.1:a")
    assert all(row[5].endswith(".") and row[6] is None for row in rows[1:]), rows
    assert rows[1][5] == again.json()["detail"]
    # What was changed is on record under the same ids, in the change's own transaction.
    assert await corp.read(
        "select distinct a.outside_request_id, r.status from audit_event a"
        " join scim_request r on r.tenant_id = a.tenant_id and r.id = a.request_id"
        " where a.tenant_id = :t and a.action in ('scim:create_user', 'person:create')"
    ) == [("okta-7f.1:a", 201)]
    assert await corp.read(
        "select action from audit_event where tenant_id = :t and outside_request_id = 'okta-7f.1:a' order by action"
    ) == [("person:create",), ("scim:create_user",)]


async def test_of_a_bulk_request_what_failed_is_noted_by_itself(corp: Corp) -> None:
    await corp.user("nora")
    data = {"a": "otto", "b": "nora", "c": "x y"}
    operations: list[Any] = [
        {"method": "POST", "path": "/Users", "bulkId": at, "data": {"USERNAME": name}}
        for at, name in data.items()
    ]
    operations.append({"method": "DELETE", "path": f"{USERS}/nobody", "bulkId": "d"})
    schema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
    await corp.ask("POST", "/Bulk", {"schemas": [schema], "Operations": operations})
    rows = (await noted(corp))[1:]
    assert sorted(row[:5] for row in rows) == [
        ("DELETE", "user", 404, None, "nobody"),
        ("POST", "bulk", 200, None, None),
        ("POST", "user", 400, None, "x y"),
        ("POST", "user", 409, None, "nora"),
    ]
    assert all(row[5].endswith(".") for row in rows if row[2] >= 400)


async def test_a_token_that_ended_tells_why_the_directory_stands_still(corp: Corp) -> None:
    await corp.ask("GET", "/Users")
    async with corp.at_work() as (session, agent):
        await revoke_token(session, agent, corp.token.id)
    for _ in range(2):
        assert (await corp.ask("GET", "/Users")).status_code == 401
    stranger = {"authorization": "Bearer scim_unknown"}
    assert (await corp.ask("GET", "/Users", headers=stranger)).status_code == 401
    assert await noted(corp, "status, cause, token_id") == [
        (200, None, corp.token.id),
        (401, "The token was revoked, or replaced by another.", corp.token.id),
        (401, "The token was revoked, or replaced by another.", corp.token.id),
    ]


async def test_what_comes_too_often_is_noted_once_a_moment(
    database: Database, app_engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    async with opened(database, app_engine, owner_engine, Limit(None, 2)) as corp:
        for _ in range(6):
            await corp.ask("GET", "/Users")
        assert [row[0] for row in await noted(corp, "status")] == [200, 200, 429]


async def test_while_the_database_is_away_they_wait(corp: Corp) -> None:
    await corp.ask("GET", "/Users")
    journal = corp.served.journal
    held = journal._cell
    away = create_async_engine(held.url.set(host="127.0.0.1", port=1))
    journal._cell = away
    await journal.flush()
    await away.dispose()
    assert await corp.read("select count(*) from scim_request where tenant_id = :t") == [(0,)]
    journal._cell = held
    assert len(await noted(corp)) == 1


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"x-request-id": "a-1"}, "a-1"),
        ({"client-request-id": "b", "x-other": "c"}, "b"),
        ({"x-request-id": "nora@corp.example"}, None),
        ({"x-request-id": "x" * 101}, None),
        ({"x-request-id": "é"}, None),
        ({}, None),
    ],
)
def test_only_what_looks_like_an_id_is_kept(headers: dict[str, str], told: str | None) -> None:
    assert outside_id(headers) == told
