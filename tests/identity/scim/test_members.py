"""Members in and out by the short way: it takes what no rule speaks of, and leaves the same behind as the long one."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from identity.scim import members
from identity.scim.groups import Step
from identity.scim.units import Unit
from tests.identity.scim.conftest import Corp, where

pytestmark = pytest.mark.anyio


def step(op: str, *members: str) -> dict[str, Any]:
    return {"op": op, "path": "members", "value": [{"value": m} for m in members]}


async def events(corp: Corp) -> list[tuple[Any, ...]]:
    return await corp.read(
        "select action, outcome, subject_ids, request_id is not null, outside_request_id from audit_event"
        " where tenant_id = :t and action = 'scim:change_group' order by recorded_at, id"
    )


async def test_both_ways_leave_the_same_behind(corp: Corp) -> None:
    nora, otto = [(await corp.user(name))["id"] for name in ("nora", "otto")]
    sent = {"headers": {"x-request-id": "r-1"}}
    seen = []
    for name, more in (("Short", sent), ("Long", {"headers": {"if-match": "*"} | sent["headers"]})):
        group = await corp.group(name)
        answers = [
            await corp.patch(where(group), step(*asked), **more)
            for asked in (("add", nora, otto), ("add", nora), ("remove", nora), ("remove", nora))
        ]
        told = [(a.status_code, a.content, a.headers["etag"]) for a in answers]
        known = {UUID(group["id"]): "group", corp.token.id: "token", UUID(nora): "nora"}
        left = [
            (*event[:2], [known.get(of, "otto") for of in event[2]], *event[3:])
            for event in await events(corp)
            if UUID(group["id"]) in event[2]
        ]
        seen.append((told, left))
    assert seen[0] == seen[1]
    versions = [etag for _, _, etag in seen[0][0]]
    assert versions == ['W/"2"', 'W/"2"', 'W/"3"', 'W/"3"']
    assert len(seen[0][1]) == 2


async def test_a_rule_of_a_group_around_it_is_followed(corp: Corp) -> None:
    nora = (await corp.user("nora"))["id"]
    inner = await corp.group("Ward 3")
    await corp.group("All nurses", inner["id"])
    corp.rule("All nurses", "nurse")
    assert (await corp.patch(where(inner), step("add", nora))).status_code == 204
    assert await corp.roles(nora) == ["nurse"]
    assert (await corp.patch(where(inner), step("remove", nora))).status_code == 204
    assert await corp.roles(nora) == []


async def test_a_unit_waits_for_no_lock(corp: Corp) -> None:
    """A group that another transaction changes is left to the long way; reads behind it are answered."""
    nora = (await corp.user("nora"))["id"]
    group = await corp.group("Ward 3")
    locked = "select 1 from scim_group where tenant_id = :t and id = :g for update"
    async with corp.owner.begin() as connection:
        await connection.execute(text(locked), {"t": corp.tenant_id, "g": UUID(group["id"])})
        unit = Unit(corp.served.pipeline, corp.tenant_id)
        async with corp.at_work() as (_, agent):
            tried = await members.change(
                unit, agent, corp.token.id, UUID(group["id"]), Step("add", (nora,))
            )
        assert tried is None
    assert (await corp.patch(where(group), step("add", nora))).status_code == 204
