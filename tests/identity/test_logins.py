"""Real logins under the three MFA policies, from the login page to the actor."""

import pytest

from tests.identity.browser import Browser
from tests.identity.conftest import CALLBACK, PASSWORD, World

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]


async def test_first(world: World) -> None:
    made = await world.tenant()
    async with Browser(made.issuer, CALLBACK) as browser:
        tokens = await browser.login("admin", PASSWORD)
        actor = await world.loader.actor(tokens["access_token"])
    assert actor.user_name == "admin"
    assert [g.role for g in actor.grants] == ["system_admin"]
    assert browser.trail == ["password"]
