"""Two served APIs and a worker at a real Keycloak, the short measurements: who is cut off inside it is out, and while it
is away those who are known work on."""

import asyncio
from pathlib import Path

import pytest

from dev.databases import DatabaseUrls
from dev.live import away, inside
from dev.live.main import Found
from dev.live.outage import LEAVING, Outage
from dev.servers import Servers
from tests.database import Database
from tests.identity.conftest import KeycloakServer
from tests.identity.cutting import cutting

pytestmark = pytest.mark.keycloak


def urls_of(bare: Database) -> DatabaseUrls:
    return DatabaseUrls(
        bare.owner_url, bare.app_url, bare.worker_url, bare.audit_url, bare.platform_url
    )


def test_cuts_inside_keycloak_are_felt_at_both_servers(
    empty_database: Database, keycloak: KeycloakServer, tmp_path: Path
) -> None:
    account = keycloak.account
    servers = Servers("", "", keycloak.url, account.client_id, account.secret)
    urls = urls_of(empty_database)
    felt = asyncio.run(inside.felt_inside(urls, servers, tmp_path, 2, print))
    assert {way: len(times) for way, times in felt.items()} == dict.fromkeys(inside.NAMES, 2)
    found = Found(felt=felt)
    assert not found.missed, found.lines()


def test_an_issuer_that_hangs_keeps_nobody_waiting_and_leaves_nothing_behind(
    empty_database: Database, keycloak: KeycloakServer, tmp_path: Path
) -> None:
    async def endured() -> list[Outage]:
        async with cutting(keycloak.url) as proxy:

            async def hang() -> None:
                proxy.free.clear()

            async def go_on() -> None:
                proxy.free.set()

            account = keycloak.account
            servers = Servers("", "", proxy.url, account.client_id, account.secret)
            outages: dict[str, tuple[away.Switch, away.Switch]] = {"hanging": (hang, go_on)}
            urls = urls_of(empty_database)
            return await away.endured(urls, servers, tmp_path, outages, 5, keycloak.url)

    (found,) = asyncio.run(endured())
    assert not found.missed, found.lines()
    assert found.working.codes["OK"] > 100
    assert found.most
    assert found.most.jobs >= LEAVING, "what Keycloak is to be told waits"
