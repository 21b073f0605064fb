"""`caretree tenant …` as an operator types it."""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from api.commands.tenant import app
from identity.keycloak import MASTER, Account, Keycloak
from identity.keycloak_failures import NotFound
from tests.database import Database
from tests.identity.conftest import KeycloakServer

pytestmark = pytest.mark.keycloak

Caretree = Callable[..., Result]


@pytest.fixture
def slug(database: Database, keycloak: KeycloakServer) -> Iterator[str]:
    """A slug of its own; its realm is removed at the end."""
    name = f"cli-{secrets.token_hex(5)}"
    yield name

    async def drop(realm_name: str) -> None:
        account = Account(keycloak.account.client_id, keycloak.account.secret, MASTER)
        async with Keycloak(keycloak.url) as server:
            with suppress(NotFound):
                await (await server.realm(realm_name, account)).delete()

    with database.owner_engine.connect() as connection:
        query = text("select realm from control.tenant where slug = :slug")
        found = connection.scalar(query, {"slug": name})
    if found:
        asyncio.run(drop(found))


@pytest.fixture
def caretree(database: Database, keycloak: KeycloakServer, tmp_path: Path) -> Caretree:
    """Runs `caretree tenant` with the settings of an operator's shell."""
    environment = {
        "CARETREE_PLATFORM_DATABASE_URL": database.platform_url,
        "CARETREE_KEYCLOAK_URL": keycloak.url,
        "CARETREE_KEYCLOAK_ADMIN_CLIENT_ID": keycloak.account.client_id,
        "CARETREE_KEYCLOAK_ADMIN_CLIENT_SECRET": keycloak.account.secret,
        "CARETREE_KEY_FILE": str(tmp_path / "keys.json"),
        "CARETREE_PORTAL_URL": "http://127.0.0.1:9",
    }

    def run(*arguments: str, **changes: str | None) -> Result:
        changed = {f"CARETREE_{name.upper()}": value for name, value in changes.items()}
        return CliRunner(env=environment | changed).invoke(app, arguments)

    return run


def test_from_nothing_to_a_login_and_back_and_away(
    caretree: Caretree, slug: str, tmp_path: Path
) -> None:
    made = caretree("create", "--slug", slug, "--name", "Mercy Health", "--mfa", "none")
    assert made.exit_code == 0, made.output
    assert re.findall(r"^  (\w+):", made.output, re.M) == [
        "registry",
        "keys",
        "cell",
        "realm",
        "people",
        "active",
    ]
    assert f"{slug} is ready" in made.output
    assert len(re.findall(r"temporary password: \w{20}\b", made.output)) == 2
    again = caretree("create", "--slug", slug, "--name", "Mercy Health", "--mfa", "none")
    assert again.exit_code == 0, again.output
    assert "password:" not in again.output
    assert "as it should be" in caretree("drift", slug).output
    assert caretree("mfa", slug, "all").exit_code == 0
    assert caretree("mfa", slug, "all", "--method", "recovery").exit_code == 1
    assert caretree("approval", slug, "off").exit_code == 0
    assert caretree("reset-devices", slug, "privacy").exit_code == 0
    assert caretree("reset-devices", slug, "nobody").exit_code == 1
    drifted = caretree("drift", slug)  # the worker has not run
    assert drifted.exit_code == 1
    assert drifted.output.strip() == "The default role does not hold what the MFA policy says."
    suspended = caretree("suspend", slug)
    assert suspended.exit_code == 0, suspended.output
    assert "suspended" in caretree("list").output
    assert caretree("resume", slug).exit_code == 0
    leaves(caretree, slug, tmp_path)


def leaves(caretree: Caretree, slug: str, folder: Path) -> None:
    """Its data are written, and it is erased: only suspended, and by its slug typed once more."""
    exported = caretree("export", slug, "--to", str(folder / "out.zip"))
    assert exported.exit_code == 0, exported.output
    assert (folder / "out.zip").is_file()
    assert "2 users" in exported.output
    nowhere = caretree("export", slug, "--to", str(folder / "none" / "out.zip"))
    assert (nowhere.exit_code, "Traceback" in nowhere.output) == (1, False)
    assert "Only a health system that is suspended" in caretree_erases(caretree, slug, slug)
    assert caretree("suspend", slug).exit_code == 0
    assert "not the slug" in caretree_erases(caretree, slug, slug.upper())
    erased = caretree("erase", slug, "--confirm", slug)
    assert erased.exit_code == 0, erased.output
    assert f"{slug} is erased" in erased.output
    assert "erased" in caretree("list").output
    assert "There is no such health system." in caretree_erases(caretree, slug, slug)


def caretree_erases(caretree: Caretree, slug: str, typed: str) -> str:
    """What is said where it is not erased."""
    refused = caretree("erase", slug, "--confirm", typed)
    assert refused.exit_code == 1, refused.output
    return " ".join(refused.output.split())


def test_problems_are_one_sentence(caretree: Caretree, slug: str) -> None:
    order = ("create", "--slug", slug, "--name", "Mercy Health")
    nowhere = "postgresql://caretree@127.0.0.1:9/caretree"
    for arguments, changes, sentence in (
        (order, {"keycloak_admin_client_secret": "wrong"}, "Keycloak refuses"),
        (order, {"key_file": None}, "CARETREE_KEY_FILE is not set"),
        (("create", "--slug", "No", "--name", "Mercy"), {}, "A slug has"),
        (("create", "--slug", slug, "--name", "Mercy", "--mfa", "some"), {}, "--mfa"),
        (("suspend", "nowhere"), {}, "There is no such health system."),
        (("mfa", "nowhere", "all"), {}, "There is no such health system."),
        (("list",), {"platform_database_url": nowhere}, "The database"),
    ):
        result = caretree(*arguments, **changes)
        assert result.exit_code != 0
        assert sentence in " ".join(result.output.split())
        assert "Traceback" not in result.output
