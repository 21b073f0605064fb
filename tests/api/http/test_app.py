"""The application as a process runs it: started on a real database, probed, stopped; and its settings."""

import base64
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from api.app import create_app
from api.settings import Settings, SettingsError, load
from tests.database import Database
from tests.serving import serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(database.app_url),
        key_file=tmp_path / "keys.json",
        metrics_token=SecretStr("operators"),
        connections=1,
    )


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    made = create_app(settings)
    async with serving(made):
        yield speaking_to(made)


def speaking_to(made: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://test")


async def test_probes(http: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz"):
        response = await http.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        assert response.headers["cache-control"] == "no-store"


async def test_the_issuer_of_our_own_is_served(http: httpx.AsyncClient) -> None:
    for path in ("certs", "token", "logout"):
        call = http.get if path == "certs" else http.post
        answer = await call(f"/direct/onobodysrealm/{path}")
        assert (answer.status_code, answer.json()) == (404, {"error": "NOT_FOUND"})


async def test_not_ready_before_the_start(settings: Settings) -> None:
    http = speaking_to(create_app(settings))
    assert (await http.get("/livez")).status_code == 200
    assert (await http.get("/readyz")).status_code == 503


async def test_what_a_process_loads_at_its_start_is_taken_out_of_garbage_collection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("collect", "freeze", "set_threshold"):
        monkeypatch.setattr(gc, name, lambda *_, name=name: done.append(name))
    made = create_app(settings)
    async with made.router.lifespan_context(made):
        assert done == ["collect", "freeze", "set_threshold"]


async def test_not_ready_without_a_database(settings: Settings) -> None:
    gone = SecretStr("postgresql://nobody@127.0.0.1:1/none")
    made = create_app(settings.model_copy(update={"database_url": gone}))
    async with serving(made):
        http = speaking_to(made)
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200


def token(**claims: object) -> str:
    """Something that looks like a token; nobody has signed it."""
    parts = ({"alg": "ES256", "typ": "JWT", "kid": "k"}, claims)
    texts = [base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts]
    return ".".join([*texts, "c2ln"])


async def test_nobody_comes_in_without_a_token_of_ours(http: httpx.AsyncClient) -> None:
    body = {"query": "{ viewer { me { userName } } }"}
    for bearer in ("", "x", token(iss="https://elsewhere.example/realms/mercy"), "a" * 20_000):
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        response = await http.post("/graphql", json=body, headers=headers)
        assert response.status_code == 401
        assert response.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_login_of_an_unknown_health_system(http: httpx.AsyncClient) -> None:
    assert (await http.get("/login/nowhere")).status_code == 404


async def test_metrics_are_for_operators(http: httpx.AsyncClient) -> None:
    assert (await http.get("/metrics")).status_code == 404
    wrong = {"authorization": "Bearer somebody"}
    assert (await http.get("/metrics", headers=wrong)).status_code == 404
    await http.post("/graphql", json={"query": "{__typename}"})
    shown = await http.get("/metrics", headers={"authorization": "Bearer operators"})
    assert shown.status_code == 200
    assert 'caretree_graphql_requests_total{kind="none",outcome="UNAUTHENTICATED"}' in shown.text


async def test_no_way_around_the_endpoint(http: httpx.AsyncClient) -> None:
    for path in ("/graphql/", "//graphql", "/GraphQL", "/graphql;x", "/docs", "/"):
        response = await http.post(path, json={"query": "{__typename}"}, follow_redirects=False)
        assert response.status_code in (307, 404, 405)
        assert "data" not in response.text


def test_a_process_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CARETREE_DATABASE_URL is not set"):
        Settings().required("database_url")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARETREE_DATABASE_URL", "postgresql://app:hush@db/cell")
    monkeypatch.setenv("CARETREE_CORS_ORIGINS", "https://a.example, http://localhost:3000")
    settings = load()
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert settings.required("database_url") == "postgresql://app:hush@db/cell"
    assert settings.control_url() == "postgresql://app:hush@db/cell"
    assert settings.environment == "production"
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CARETREE_CORS_ORIGIN", "https://a.example"),
        ("CARETREE_DATABASE_URI", "postgresql://app:hush@db/cell"),
        ("CARETREE_CORS_ORIGINS", "*"),
        ("CARETREE_CORS_ORIGINS", "https://a.example/hush"),
        ("CARETREE_ENVIRONMENT", "hush"),
        ("CARETREE_CONNECTIONS", "hush"),
        ("CARETREE_OPERATION_SECONDS", "-1"),
    ],
)
def test_a_wrong_setting_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        load()
    assert "hush" not in str(caught.value)
