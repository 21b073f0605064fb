"""Bulk requests (RFC 7644, section 3.7): references between operations, how many may fail, and what is too much."""

from typing import Any
from uuid import uuid4

import orjson
import pytest

from identity.scim.refusals import PLAIN
from identity.scim.schemas import ENTERPRISE, MAX_BYTES, MAX_OPERATIONS
from tests.identity.scim.conftest import PUBLIC, Corp, where
from tests.identity.scim.test_users import jobs

pytestmark = pytest.mark.anyio
SCHEMA = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ANSWER = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
PEOPLE = "/" + "Users"


def post(path: str, bulk_id: str, **data: Any) -> dict[str, Any]:
    return {"method": "POST", "path": path, "bulkId": bulk_id, "data": data}


def user(bulk_id: str, **data: Any) -> dict[str, Any]:
    return post(PEOPLE, bulk_id, userName=bulk_id, **data)


def group(bulk_id: str, *members: str, **data: Any) -> dict[str, Any]:
    listed = [{"value": member} for member in members]
    return post("/Groups", bulk_id, displayName=bulk_id, members=listed, **data)


def patch(path: str, *operations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"method": "PATCH", "path": path, "data": {"Operations": list(operations)}} | more


async def bulk(corp: Corp, *operations: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    answer = await corp.ask(
        "POST", "/Bulk", {"schemas": [SCHEMA], "Operations": list(operations)} | more
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["schemas"] == [ANSWER]
    done: list[dict[str, Any]] = told["Operations"]
    return done


def statuses(done: list[dict[str, Any]]) -> list[int]:
    return [int(one["status"]) for one in done]


def made(done: list[dict[str, Any]]) -> dict[str, str]:
    """The ids of what was made, by bulkId."""
    return {
        one["bulkId"]: one["location"].rsplit("/", 1)[1] for one in done if one["status"] == "201"
    }


async def members(corp: Corp, group_id: str) -> set[str]:
    read = await corp.ask("GET", f"/Groups/{group_id}")
    return {m["value"] for m in read.json().get("members", ())}


async def named(corp: Corp) -> set[str]:
    """The names of all that is there."""
    rows = await corp.read(
        "select user_name from scim_user where tenant_id = :t union all"
        " select display_name from scim_group where tenant_id = :t and deleted_at is null"
    )
    return {str(name) for (name,) in rows}


async def test_references_in_all_places_are_resolved(corp: Corp) -> None:
    """Section 3.7.2: in members, the manager, values of a PATCH and in paths; also to what comes later in the list."""
    corp.rule("nurses", "nurse")
    done = await bulk(
        corp,
        group("nurses", "bulkId:ada", "bulkId:inner"),  # before what it names
        user("ada", **{ENTERPRISE: {"manager": {"value": "bulkId:boss"}}}),
        user("boss"),
        group("inner"),
        user("eve"),
        patch(
            "/Groups/bulkId:inner",
            {"op": "add", "path": "members", "value": [{"value": "bulkId:eve"}]},
        ),
        patch(
            f"{PEOPLE}/bulkId:eve",
            {"op": "add", "path": f"{ENTERPRISE}:manager.value", "value": "bulkId:boss"},
        ),
        {
            "method": "PUT",
            "path": f"{PEOPLE}/bulkId:boss",
            "data": {"userName": "boss", "title": "Head"},
        },
        user("gone"),
        {"method": "DELETE", "path": f"{PEOPLE}/bulkId:gone"},
    )
    assert statuses(done) == [201, 201, 201, 201, 201, 200, 200, 200, 201, 204], done
    ids = made(done)
    assert await members(corp, ids["nurses"]) == {ids["ada"], ids["inner"]}
    assert await members(corp, ids["inner"]) == {ids["eve"]}
    for name in ("ada", "eve"):
        read = (await corp.ask("GET", f"{PEOPLE}/{ids[name]}")).json()
        assert read[ENTERPRISE]["manager"]["value"] == ids["boss"], name
        assert await corp.roles(ids[name]) == ["nurse"], name
        assert await jobs(corp, ids[name]) == 1
    assert (await corp.ask("GET", f"{PEOPLE}/{ids['boss']}")).json()["title"] == "Head"
    assert (await corp.ask("GET", f"{PEOPLE}/{ids['gone']}")).status_code == 404
    # The answers come in the order of the request, each with its own method, bulkId, place and version (3.7.3).
    assert [one["method"] for one in done] == ["POST"] * 5 + [
        "PATCH",
        "PATCH",
        "PUT",
        "POST",
        "DELETE",
    ]
    assert [one.get("bulkId") for one in done[:5]] == ["nurses", "ada", "boss", "inner", "eve"]
    base = f"{PUBLIC}{corp.base}"
    assert done[6]["location"] == f"{base}{PEOPLE}/{ids['eve']}"
    assert done[9]["location"] == f"{base}{PEOPLE}/{ids['gone']}"
    assert done[0]["version"] == 'W/"1"'


async def test_circular_references_are_a_conflict_and_the_rest_is_done(corp: Corp) -> None:
    """Section 3.7.1: after a failed attempt at a circle the answer may be 409."""
    done = await bulk(
        corp,
        group("one", "bulkId:two"),
        group("two", "bulkId:one"),
        group("own", "bulkId:own"),
        user("ada"),
    )
    status = dict(zip(("one", "two", "own", "ada"), statuses(done), strict=True))
    assert (status["own"], status["ada"]) == (409, 201)
    assert 409 in (status["one"], status["two"])
    assert all("bulkId" not in one["response"]["detail"] for one in done if one["status"] == "409")
    there = await named(corp)
    assert "ada" in there
    assert "own" not in there
    # What refers to something that was not made is not made either.
    assert {"one", "two"} & there == {name for name in ("one", "two") if status[name] == 201}


async def test_a_reference_to_nothing_is_a_conflict(corp: Corp) -> None:
    taken = await corp.user("taken")
    done = await bulk(
        corp,
        group("lost", "bulkId:nobody"),
        user("taken"),
        group("after", "bulkId:taken"),
        {"method": "DELETE", "path": f"{PEOPLE}/bulkId:nobody"},
        user("twice"),
        user("twice"),
    )
    assert statuses(done) == [409, 409, 409, 409, 201, 400]
    assert [one["response"].get("scimType") for one in done[:2]] == [None, "uniqueness"]
    assert await named(corp) == {"taken", "twice"}
    assert (await corp.ask("GET", where(taken))).status_code == 200


async def test_what_fails_in_the_middle_leaves_nothing_and_the_rest_is_done(corp: Corp) -> None:
    """Section 3.7.3: without failOnErrors all are tried; each is done whole or not at all."""
    corp.rule("Nurses", "nurse")
    nora = await corp.user("nora")
    nurses = await corp.group("Nurses")
    both = [{"value": nora["id"]}, {"value": str(uuid4())}]
    done = await bulk(
        corp,
        user("first"),
        patch(
            where(nurses),
            {"op": "replace", "path": "displayName", "value": "Renamed"},
            {"op": "add", "path": "members", "value": both},  # one of whom nobody is
        ),
        user("second", emails=[{"value": "no address"}]),
        {"method": "PUT", "path": where(nora), "version": 'W/"9"', "data": {"userName": "nora"}},
        {"method": "GET", "path": where(nora)},
        {"method": "POST", "path": "/Nothing", "bulkId": "x", "data": {"userName": "x"}},
        patch(
            where(nurses), {"op": "add", "path": "members", "value": [{"value": "bulkId:first"}]}
        ),
        user("last"),
    )
    assert statuses(done) == [201, 400, 400, 412, 400, 404, 200, 201], done
    ids = made(done)
    assert set(ids) == {"first", "last"}
    assert await members(corp, nurses["id"]) == {ids["first"]}
    assert "Renamed" not in await named(corp)
    assert await corp.roles(nora["id"]) == []
    assert await corp.roles(ids["first"]) == ["nurse"]
    failed = [one for one in done if int(one["status"]) >= 400]
    for one in failed:
        assert one["response"]["status"] == one["status"]
        assert one["response"]["detail"].endswith(".")
        assert ("location" in one) is (one.get("method") != "POST")
    events = await corp.read(
        "select action, count(*) from audit_event where tenant_id = :t and action like 'scim:%'"
        " and recorded_at > now() - interval '1 hour' group by action order by action"
    )
    assert events == [("scim:change_group", 1), ("scim:create_group", 1), ("scim:create_user", 3)]


@pytest.mark.parametrize(("errors", "tried"), [(1, 2), (2, 4), (3, 5), (None, 5)])
async def test_after_so_many_errors_nothing_more_is_done(
    corp: Corp, errors: int | None, tried: int
) -> None:
    """Section 3.7: failOnErrors is how many are accepted; what was done stays, what was not tried is not told."""
    wrong = {"method": "DELETE", "path": f"{PEOPLE}/{uuid4()}"}
    more = {} if errors is None else {"failOnErrors": errors}
    done = await bulk(corp, user("one"), wrong, user("two"), wrong, user("three"), **more)
    assert statuses(done) == [201, 404, 201, 404, 201][:tried]
    assert await named(corp) == set(("one", "two", "three")[: (tried + 1) // 2])


async def test_one_request_is_of_so_many_operations_and_bytes(corp: Corp) -> None:
    """Section 3.7.4: 413 with what the limit is, as ServiceProviderConfig announces it; nothing is done."""
    config = (await corp.ask("GET", "/ServiceProviderConfig")).json()["bulk"]
    assert config == {
        "supported": True,
        "maxOperations": MAX_OPERATIONS,
        "maxPayloadSize": MAX_BYTES,
    }
    many = [user(f"u{n}") for n in range(MAX_OPERATIONS + 1)]
    for body in (
        orjson.dumps({"schemas": [SCHEMA], "Operations": many}),
        orjson.dumps({"schemas": [SCHEMA], "Operations": [user("u", title="x" * MAX_BYTES)]}),
    ):
        headers = {"content-type": "application/scim+json"}
        answer = await corp.ask("POST", "/Bulk", body, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (413, "413")
    assert await named(corp) == set()


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"method": "POST", "path": PEOPLE, "data": {"userName": "ada"}}, 400),
        ({"path": PEOPLE, "bulkId": "x", "data": {"userName": "ada"}}, 400),
        ({"method": "POST", "bulkId": "x", "data": {"userName": "ada"}}, 400),
        ({"method": "POST", "path": PEOPLE, "bulkId": "x"}, 400),
        ({"method": "POST", "path": "/Bulk", "bulkId": "x", "data": {}}, 400),
        ({"method": "POST", "path": "/Me", "bulkId": "x", "data": {"userName": "ada"}}, 400),
        ({"method": "PATCH", "path": "/ResourceTypes/User", "data": {}}, 405),
        (1, 400),
    ],
)
async def test_an_operation_that_is_none_is_refused_for_itself(
    corp: Corp, operation: Any, status: int
) -> None:
    done = await bulk(corp, operation, user("eve"))
    assert statuses(done) == [status, 201], done
    assert done[0]["response"]["detail"] in PLAIN.values()
    assert done[0]["response"]["detail"].endswith(".")
    assert await named(corp) == {"eve"}


@pytest.mark.parametrize("body", [{}, {"Operations": "x"}, {"Operations": {}}])
async def test_a_bulk_request_that_is_none_is_refused_whole(corp: Corp, body: Any) -> None:
    answer = await corp.ask("POST", "/Bulk", {"schemas": [SCHEMA]} | body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].endswith(".")
