"""A rule that is made while a directory pushes misses nobody: either the push sees it, or it waits for the push."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from domain.audit import Agent
from domain.role_mappings import Match
from identity.mapping_sources import Source
from identity.rule_runs import apply_rules
from identity.rules import RuleDraft, add_rule, end_rule, rule_of
from identity.scim import groups, members, users
from identity.scim.groups import Step
from identity.scim.kinds import GROUP_KIND, USER_KIND
from identity.scim.reading import row_of
from identity.scim.units import Unit
from tests.identity.scim.conftest import Corp, where
from tests.identity.scim.test_newcomers import agent_of, tried

pytestmark = pytest.mark.anyio
DIRECTORY = Source("scim")
WAITS = 0.4
"""Seconds after which who has not come to an end waits for somebody."""


@asynccontextmanager
async def making(corp: Corp, attribute: str, value: str) -> AsyncIterator[None]:
    """A rule is being made, and is carried out for everybody once it is."""
    unit = corp.tree.clinics[0].id
    draft = RuleDraft(DIRECTORY, attribute, Match.EXACT, value, "nurse", unit)
    async with corp.at_work(corp.admin.id) as (session, agent):
        await add_rule(session, agent, draft)
        yield
    await apply_rules(corp.app, corp.tenant_id, DIRECTORY)


async def made(corp: Corp, attribute: str, value: str) -> None:
    async with making(corp, attribute, value):
        pass


async def ended(corp: Corp, rule_id: UUID) -> None:
    async with corp.at_work(corp.admin.id) as (session, agent):
        await end_rule(session, agent, await rule_of(session, agent, rule_id), 1)
    await apply_rules(corp.app, corp.tenant_id, DIRECTORY)


async def waits(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Work that has to wait for what the caller holds."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=WAITS)
    return task


async def pushed(session: Any, agent: Agent) -> str:
    """Somebody new of a title, by the long way."""
    model: Any = USER_KIND.model
    return str((await users.create(session, agent, model(user_name="nora", title="Nurse"))).id)


async def test_a_new_rule_waits_for_a_new_user(corp: Corp) -> None:
    async with corp.at_work() as (session, agent):
        nora = await pushed(session, agent)
        rule = await waits(made(corp, "title", "Nurse"))
        assert not rule.done()
    await rule
    assert await corp.roles(nora) == ["nurse"]


async def test_the_end_of_a_rule_waits_for_a_new_user(corp: Corp) -> None:
    rule = corp.rule("Nurse", "nurse", attribute="title")
    async with corp.at_work() as (session, agent):
        nora = await pushed(session, agent)
        end = await waits(ended(corp, rule.id))
        assert not end.done()
    await end
    assert await corp.roles(nora) == []


async def test_a_new_rule_waits_for_a_new_member(corp: Corp) -> None:
    nora = await corp.user("nora")
    group = await corp.group("Ward 3")
    async with corp.at_work() as (session, agent):
        row = await row_of(session, corp.tenant_id, GROUP_KIND, group["id"], lock=True)
        await groups.patch(session, agent, row, [Step("add", (nora["id"],))])
        rule = await waits(made(corp, "groups", "Ward 3"))
    await rule
    assert await corp.roles(nora["id"]) == ["nurse"]


async def test_the_short_way_takes_nothing_while_a_rule_is_made(corp: Corp) -> None:
    nora = await corp.user("nora")
    group = await corp.group("Ward 3")
    unit = Unit(corp.served.pipeline, corp.tenant_id)
    add = Step("add", (nora["id"],))
    of = (corp.token.id, UUID(group["id"]), add)
    async with making(corp, "groups", "Ward 4"):
        assert await members.change(unit, agent_of(corp), *of) is None
        assert await tried(corp, {"userName": "otto"}) is None
        push = await waits(corp.group("Ward 4", nora["id"]))
        assert not push.done()
    await push
    assert await corp.roles(nora["id"]) == ["nurse"]
    assert await members.change(unit, agent_of(corp), *of) == 2
    assert await tried(corp, {"userName": "otto"}) is not None


async def test_the_short_way_takes_nothing_by_rules_that_are_others_by_now(corp: Corp) -> None:
    nora = await corp.user("nora")
    group = await corp.group("Ward 3")
    unit, at = Unit(corp.served.pipeline, corp.tenant_id), UUID(group["id"])
    for change in (made(corp, "groups", "Ward 3"), ended_first(corp)):
        found = await members.known(unit, at, agent_of(corp))
        assert found is not None
        await change
        of = (corp.token.id, at, found, "add", [UUID(nora["id"])])
        assert await members.moved(unit, agent_of(corp), *of) == []
    assert (await corp.ask("GET", where(group))).json().get("members") is None


async def ended_first(corp: Corp) -> None:
    ((rule_id,),) = await corp.read("select id from role_mapping where tenant_id = :t")
    await ended(corp, rule_id)
