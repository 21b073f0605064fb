"""Who is cut off inside a real Keycloak is out of two served APIs, with a worker that watches: the short measurement."""

import asyncio
from pathlib import Path

import pytest

from dev.databases import DatabaseUrls
from dev.live import inside
from dev.live.main import Found
from dev.servers import Servers
from tests.database import Database
from tests.identity.conftest import KeycloakServer


@pytest.mark.keycloak
def test_cuts_inside_keycloak_are_felt_at_both_servers(
    empty_database: Database, keycloak: KeycloakServer, tmp_path: Path
) -> None:
    bare, account = empty_database, keycloak.account
    urls = DatabaseUrls(
        bare.owner_url, bare.app_url, bare.worker_url, bare.audit_url, bare.platform_url
    )
    servers = Servers("", "", keycloak.url, account.client_id, account.secret)
    felt = asyncio.run(inside.felt_inside(urls, servers, tmp_path, 2, print))
    assert {way: len(times) for way, times in felt.items()} == dict.fromkeys(inside.WAYS, 2)
    found = Found(felt=felt)
    assert not found.missed, found.lines()
