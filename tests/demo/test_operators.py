"""The demo world's operators: made twice as `make up` does, they log in with their second factor."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from dev.browser import Browser
from dev.demo import cast
from dev.demo.logins import kept
from dev.demo.operators import seed_operators
from dev.state import State
from identity.tenants import Platform
from tests.database import Database
from tests.identity.conftest import (
    ADMIN_CALLBACK,
    KeycloakServer,
    drop_realm,
    keycloak,
    platform,
)

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]
__all__ = ["keycloak", "platform"]


async def test_operators_are_made_once_and_log_in(
    platform: Platform, keycloak: KeycloakServer, database: Database, tmp_path: Path
) -> None:
    state = State(tmp_path / "state.json")
    issuer = await seed_operators(platform, state, "test")
    try:
        before = rows(database), state.read()
        assert await seed_operators(platform, state, "test") == issuer
        assert (rows(database), state.read()) == before
        for one in cast.OPERATORS:
            login = kept(state, one.login)
            browser = Browser(issuer, ADMIN_CALLBACK, "admin-portal")
            try:
                given = (one.login, login.password, login.totp_secret)
                assert await asyncio.to_thread(browser.login, *given)
            finally:
                browser.close()
    finally:
        await drop_realm(platform, keycloak.url, issuer.rpartition("/")[2])


def rows(database: Database) -> list[str]:
    """What the control plane knows of operators."""
    query = text(
        "select o::text from control.operator o where user_name like 'operator%' order by 1"
    )
    with database.owner_engine.connect() as owner:
        return list(owner.scalars(query))
