"""Two directories push at each of two health systems at once: nothing is lost, and everybody has their roles."""

import pytest

from dev.sync_load.clients import Entra, Okta
from dev.sync_load.trial import System, group_of, synchronize, verify
from tests.identity.scim.conftest import Corp

pytestmark = pytest.mark.anyio
USERS, GROUPS = 24, 7
ROLES = ("nurse", "front_desk", "provider", "biller")


async def test_a_synchronization_in_short(corp: Corp, other: Corp) -> None:
    systems = []
    for each in (corp, other):
        for number in range(GROUPS):
            each.rule(group_of(number), ROLES[number % len(ROLES)])
        rate, token = 1_000.0, each.token.text
        told = (each.http, each.base, token, rate)
        systems.append(System(each.slug, Okta(*told), Entra(*told)))
    await synchronize(systems, USERS, GROUPS, lambda _: None)
    for each, system in zip((corp, other), systems, strict=True):
        assert [client.errors for client in system.clients] == [[], []]
        await verify(system, system.okta)
        assert system.wrong == []
        meant = system.meant()
        ids = system.okta.ids | system.entra.ids
        for name, want in meant.users.items():
            due = {
                ROLES[number % len(ROLES)]
                for number in range(GROUPS)
                if want["active"] and name in meant.groups[group_of(number)]
            }
            assert set(await each.roles(ids[name])) == due, name
