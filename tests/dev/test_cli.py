"""`caretree dev …` as a newcomer or a program calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api import settings
from dev.cli import app
from dev.demo import cast
from dev.folder import CHECKOUT
from dev.product import PREFIX, Product, environment
from dev.servers import Stack


def caretree(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", "dev", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "CARETREE_HOME": str(place)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def told(place: Path, *arguments: str) -> Any:
    ended = caretree(place, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_cast_is_listed_with_tenants_and_grants(place: Path) -> None:
    listed = {row["login"]: row for row in told(place, "people")}
    operators = {one.login for one in cast.OPERATORS}
    assert set(listed) == {member.login for member in cast.CAST} | operators
    assert all(listed[login]["tenant"] is None for login in operators)
    assert listed["nurse.elm"]["tenant"] == "mercy"
    assert [(g["role"], g["unit"]) for g in listed["nurse.elm"]["grants"]] == [
        ("nurse", "mercy/north/elm"),
        ("front_desk", "mercy/north/ash"),
    ]
    assert listed["nurse.inactive"]["active"] is False


def test_where_nothing_runs_nothing_is_said_to_run(place: Path) -> None:
    found = told(place, "status")
    assert found["serving"] is False
    assert set(found["pids"].values()) == {None}
    assert caretree(place, "down").stdout == "Stopped: nothing was running.\n"


def test_what_runs_is_told_stopped_and_removed(stack: Stack) -> None:
    place = stack.folder.root
    stack.start_postgres()
    stack.start_valkey()
    found = told(place, "status")
    assert found["pids"]["postgres"] == stack.postgres.pid()
    assert found["ports"]["valkey"] == stack.state.get("valkey", "port")
    assert str(stack.state.get("postgres", "password")) not in json.dumps(found)
    assert caretree(place, "down").stdout == "Stopped: Valkey, PostgreSQL.\n"
    assert stack.running() == {}
    assert caretree(place, "clean").returncode == 0
    assert not place.exists()
    place.mkdir()


def test_a_login_that_cannot_be_is_a_sentence(place: Path) -> None:
    for person, words in (
        ("nobody.at-all", "dev people"),
        ("nurse.oak", "make up"),
        ("operator", "make up"),
    ):
        ended = CliRunner().invoke(app, ["login", person], env={"CARETREE_HOME": str(place)})
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_the_product_knows_every_setting_that_it_is_given(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("KEYCLOAK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KEYCLOAK_ADMIN_CLIENT_ID", "us")
    monkeypatch.setenv("KEYCLOAK_ADMIN_CLIENT_SECRET", "word")
    monkeypatch.setenv("CARETREE_PORT", "8000")
    stack.start_postgres()
    stack.start_valkey()
    given = Product(stack).settings()
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert settings.load().is_development


def test_the_servers_get_no_more_than_they_need(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("KEYCLOAK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KEYCLOAK_ADMIN_CLIENT_ID", "us")
    monkeypatch.setenv("KEYCLOAK_ADMIN_CLIENT_SECRET", "word")
    stack.start_postgres()
    stack.start_valkey()
    children = Product(stack).children(8000, 8100)
    for name in ("api", "worker"):
        assert not {"CARETREE_OWNER_DATABASE_URL", "CARETREE_PLATFORM_DATABASE_URL"} & set(
            children[name][1]
        )
    assert "CARETREE_KEYCLOAK_ADMIN_CLIENT_SECRET" not in children["api"][1]
    databases = {name for name in children["platform"][1] if name.endswith("DATABASE_URL")}
    assert databases == {"CARETREE_PLATFORM_DATABASE_URL"}


def test_settings_of_the_stack_itself_do_not_reach_the_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARETREE_PORT", "8123")
    monkeypatch.setenv("DATABASE_URL", "postgresql://admin:word@db.example/postgres")
    made = environment({"CARETREE_ENVIRONMENT": "development"})
    assert {name for name in made if name.startswith(PREFIX)} == {"CARETREE_ENVIRONMENT"}
    assert "DATABASE_URL" not in made
