"""A provider that is no Keycloak (pysaml2), through the realm: in, only once by one answer, and out of both."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from sqlalchemy import select

from domain.audit import Agent
from domain.identity_providers import IdentityProvider, Protocol, ProviderTest
from domain.organization import OrgUnit
from domain.people import Person
from identity.errors import AccountHeld, Cause
from identity.metadata import described
from identity.providers import ProviderDraft, activate, add_provider, start_test
from identity.sync import cell_session
from tests import providers, web
from tests.identity.browser import STEPS, Browser
from tests.identity.conftest import CALLBACK, PASSWORD, World
from tests.identity.py_provider import NAMES, PyProvider
from tests.identity.receivers import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
HOME = "http://127.0.0.1:9/"
SAID = {
    "uid": "nora",
    "givenName": "Nora",
    "sn": "Corp",
    "mail": "nora@corp.example",
    "groups": ["nurses"],
}


@pytest.fixture
def it(tmp_path: Path) -> Iterator[PyProvider]:
    made = PyProvider(tmp_path, f"http://127.0.0.1:{free_port()}", dict(SAID))
    made.knows()
    server = made.serve()
    yield made
    server.shutdown()
    server.server_close()


async def _out(browser: Browser, id_token: str) -> list[str]:
    """Log out at the realm; the pages on the way, until the browser is at the portal again."""
    told = {"id_token_hint": id_token, "post_logout_redirect_uri": HOME}
    browser.trail = []
    answer = await browser._get(f"{browser.issuer}/protocol/openid-connect/logout", told)
    for _ in range(STEPS):
        if not answer.is_redirect:
            answer = await browser._fill_in(answer, "", "")
            continue
        target = urljoin(str(answer.url), answer.headers["location"])
        if target.startswith(HOME):
            return browser.trail
        answer = await browser._get(target)
    raise AssertionError(browser.trail)


async def test_in_and_out_by_a_provider_of_another_make(world: World, it: PyProvider) -> None:
    made = await world.tenant()
    cell, tenant_id = world.platform.cell, made.tenant_id

    def agent() -> Agent:
        return Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))

    told = described(Protocol.SAML, it.metadata().decode(), loopback=True)
    draft = ProviderDraft(
        *(Protocol.SAML, "generic", "Corp", told.issuer, told.endpoints, NAMES, told.certificates),
        creates=True,
    )
    async with cell_session(cell, tenant_id) as session:
        keys = await world.platform.keys.of(tenant_id)
        provider_id = (await add_provider(session, agent(), keys, draft)).id

    async def step(command: Any) -> None:
        async with cell_session(cell, tenant_id) as session:
            found = await session.get_one(IdentityProvider, (tenant_id, provider_id))
            await command(session, agent(), found, found.version)
        await world.work()

    async def login(browser: Browser) -> dict[str, Any]:
        return await browser.login("nora", PASSWORD, kc_idp_hint=str(provider_id))

    await step(start_test)
    at = f"{made.issuer}/broker/{provider_id}/endpoint"
    async with web.client() as http:
        it.knows((await http.get(f"{at}/descriptor")).content)
    async with Browser(made.issuer, CALLBACK) as browser:
        with pytest.raises(AccountHeld) as held:
            await world.loader.actor((await login(browser))["access_token"])
    assert held.value.cause is Cause.TESTED
    await step(activate)
    async with cell_session(cell, tenant_id) as session:
        (test,) = await session.scalars(select(ProviderTest))
        assert test.passed, test.steps
        found = await session.get_one(IdentityProvider, (tenant_id, provider_id))
        (admin,) = await session.scalars(select(Person).where(Person.user_name == "admin"))
        root = await session.get_one(OrgUnit, (tenant_id, made.root_unit_id))
        session.add(providers.domain(found, "corp.example"))
        session.add(providers.rule(admin, "nurses", "nurse", root, found))
    async with Browser(made.issuer, CALLBACK) as browser:
        tokens = await login(browser)
        nora = await world.loader.actor(tokens["access_token"])
        assert (nora.user_name, [g.role for g in nora.grants]) == ("nora", ["nurse"])
        # Single logout: the realm asks the provider to end its session as well, signed, and comes back.
        assert "saml" in await _out(browser, tokens["id_token"])
    (ended,) = it.ended
    assert ended.name_id.text == it.subject
