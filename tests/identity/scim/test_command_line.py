"""`caretree scim …` as an operator types it."""

import asyncio

import httpx
import pytest
from typer.testing import CliRunner, Result

from api.commands.scim import app
from api.wiring import INIT
from domain.pipeline import Pipeline
from tests import make
from tests.database import Database
from tests.identity.scim.conftest import application, directories, register


@pytest.fixture
def slug(database: Database) -> str:
    tree = make.tree()
    make.save(database, *tree.rows)
    return register(database, tree)


def run(database: Database, *arguments: str) -> Result:
    environment = {"CARETREE_DATABASE_URL": database.app_url, "COLUMNS": "200"}
    return CliRunner(env=environment).invoke(app, arguments)


def status(database: Database, slug: str, token: str) -> int:
    async def ask() -> int:
        engine = database.async_engine("caretree_app")
        pipeline = Pipeline(database.app_url, 1, INIT)
        await pipeline.start()
        transport = httpx.ASGITransport(application(directories(engine, pipeline)))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            headers = {"authorization": f"Bearer {token}"}
            answer = await http.get(f"/{slug}/scim/v2/Users", headers=headers)
        await pipeline.stop()
        await engine.dispose()
        return answer.status_code

    return asyncio.run(ask())


def test_a_token_is_printed_once_listed_without_its_text_and_revoked(
    database: Database, slug: str
) -> None:
    made = run(database, "token", "--tenant", slug, "--name", "Entra", "--days", "30")
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert len(text.splitlines()) == 1
    assert status(database, slug, text) == 200
    second = run(database, "token", "--tenant", slug, "--scope", "read").stdout.strip()
    listed = run(database, "list", "--tenant", slug)
    assert "Entra" in listed.stdout
    assert text not in listed.stdout
    assert listed.stdout.count("live") == 2
    line = next(line for line in listed.stdout.splitlines() if "Entra" in line)
    token_id = line.split()[0]
    turned = run(database, "rotate", "--tenant", slug, token_id, "--overlap", "1").stdout.strip()
    assert [status(database, slug, one) for one in (text, turned)] == [200, 200]
    assert run(database, "list", "--tenant", slug).stdout.count("Entra") == 2
    assert "pass until" in run(database, "release", "--tenant", slug, "--hours", "2").stdout
    assert run(database, "revoke", "--tenant", slug, token_id).exit_code == 0
    assert status(database, slug, text) == 401
    assert status(database, slug, second) == 200


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "--tenant", "nobody-here"),
        ("token", "--tenant", "SLUG", "--scope", "everything"),
        ("revoke", "--tenant", "SLUG", "01a1ffb7-aa52-732a-829d-81c64064ab74"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    database: Database, slug: str, arguments: tuple[str, ...]
) -> None:
    told = run(database, *(slug if a == "SLUG" else a for a in arguments))
    assert told.exit_code == 1
    assert told.stderr.strip().endswith(".")
    assert "Traceback" not in told.output
