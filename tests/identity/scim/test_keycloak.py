"""From the directory's push to the login at Keycloak and out again, all of it real but the directory."""

import datetime as dt
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select
from starlette.applications import Starlette

from authz.actor import Actor
from domain.audit import Agent
from domain.people import Person
from domain.role_mappings import Match
from identity.errors import NotAdmitted
from identity.keycloak import Realm
from identity.mapping_sources import SCIM, Source
from identity.realms import SVC_IDENTITY
from identity.rules import RuleDraft, add_rule
from identity.scim.routes import routes
from identity.scim.tokens import make_token
from identity.sync import FirstLogin, cell_session, set_first_login
from identity.tenants import MadeTenant
from tests.identity.browser import Browser, LoginFailed, next_second
from tests.identity.conftest import CALLBACK, PASSWORD, World
from tests.identity.scim.conftest import PATCH, directories

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
NORA = {"userName": "nora", "externalId": "E-1"}


async def token(world: World, made: MadeTenant) -> str:
    """A directory's token; whoever is in its group "Nurses" is a nurse everywhere, by a rule of the administrator."""
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        who = await session.scalar(select(Person.id).where(Person.user_name == "admin"))
        agent = Agent(made.tenant_id, dt.datetime.now(dt.UTC), person_id=who)
        unit = made.root_unit_id
        draft = RuleDraft(Source(SCIM), "groups", Match.EXACT, "Nurses", "nurse", unit)
        await add_rule(session, agent, draft)
        return (await make_token(session, agent, "HR")).text


async def user(realm: Realm, name: str) -> dict[str, Any]:
    found = await realm.find_user(name)
    assert found is not None
    return found


@dataclass
class Directory:
    """What pushes at a health system."""

    http: httpx.AsyncClient
    base: str

    async def ask(self, method: str, path: str, status: int, body: Any = None) -> Any:
        answer = await self.http.request(method, self.base + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def switch(self, at: str, active: bool) -> None:
        change = {"op": "replace", "path": "active", "value": active}
        await self.ask("PATCH", at, 200, {"schemas": [PATCH], "Operations": [change]})


@asynccontextmanager
async def pushing(world: World, made: MadeTenant) -> AsyncIterator[Directory]:
    served = directories(world.platform.cell, world.pipeline)
    transport = httpx.ASGITransport(Starlette(routes=routes(lambda: served)))
    headers = {"authorization": f"Bearer {await token(world, made)}"}
    async with httpx.AsyncClient(transport=transport, headers=headers) as http:
        yield Directory(http, f"http://api/{made.slug}/scim/v2")


async def test_from_the_push_to_the_login_and_out_again(world: World) -> None:
    made = await world.tenant()
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    async with pushing(world, made) as directory, Browser(made.issuer, CALLBACK) as browser:

        async def login() -> tuple[dict[str, Any], Actor]:
            await next_second()
            tokens = await browser.login("nora", PASSWORD)
            # Anew: what is in memory is refused by its stamp, at each request.
            return tokens, await world.loader.actor(tokens["access_token"], fresh=True)

        nora = await directory.ask("POST", "/Users", 201, NORA)
        at, members = nora["meta"]["location"].split("/v2")[1], [{"value": nora["id"]}]
        await directory.ask("POST", "/Groups", 201, {"displayName": "Nurses", "members": members})
        await world.work()
        there = await user(realm, "nora")
        await set_first_login(realm, there["id"], FirstLogin(PASSWORD, temporary=False))
        tokens, actor = await login()
        assert actor.person_id == UUID(nora["id"])
        held = [(g.role, g.unit_id, g.source) for g in actor.grants]
        assert held == [("nurse", made.root_unit_id, "scim")]
        # Out: before the answer is there, whatever becomes of Keycloak.
        begun = time.monotonic()
        await directory.switch(at, active=False)
        assert not await world.stands(actor)
        assert time.monotonic() - begun < 1
        with pytest.raises(NotAdmitted):
            await world.loader.actor(tokens["access_token"], fresh=True)
        await world.work()
        assert not (await user(realm, "nora"))["enabled"]
        assert await realm.sessions(there["id"]) == []
        assert (await browser.refresh(tokens["refresh_token"])).is_client_error
        with pytest.raises(LoginFailed):
            await browser.login("nora", PASSWORD)
        # In again, as the same user, with what the group gives.
        await directory.switch(at, active=True)
        await world.work()
        _, actor = await login()
        assert [g.role for g in actor.grants] == ["nurse"]
        # Deleted: out, and in no group; pushed anew: the same person, who is given nothing yet.
        await directory.ask("DELETE", at, 204)
        assert not await world.stands(actor)
        await world.work()
        assert not (await user(realm, "nora"))["enabled"]
        again = await directory.ask("POST", "/Users", 201, NORA)
        await world.work()
        _, actor = await login()
        assert (again["id"], str(actor.person_id), actor.grants) == (nora["id"], nora["id"], ())
        assert (await user(realm, "nora"))["id"] == there["id"]
