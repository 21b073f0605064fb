"""The two addresses without a token: where to log in, and what Keycloak announces."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import uvicorn
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from api.http.entrance import Entrance
from domain.audit import AuditEvent
from domain.control import TenantEntry
from domain.database import engine
from domain.key_providers import FileKeyProvider
from domain.people import RevokedSession
from domain.sealing import SecretSealer
from identity.discovery import Homes
from identity.errors import NotAdmitted
from identity.realms import SVC_IDENTITY
from identity.registry import Registry
from identity.routes import Doors, routes
from identity.sync import cell_session
from identity.tokens import MAX_BYTES
from tests.database import Database
from tests.identity.browser import Browser
from tests.identity.conftest import CALLBACK, PASSWORD, World
from tests.identity.forge import served
from tests.identity.test_actors import House, now, opened

pytestmark = pytest.mark.anyio


def sealer() -> SecretSealer:
    """Of keys that nothing else knows."""
    return SecretSealer(FileKeyProvider(Path(tempfile.mkdtemp()) / "keys.json"))


MEMBERS = {
    "issuer",
    "clientId",
    "authorizationEndpoint",
    "tokenEndpoint",
    "endSessionEndpoint",
    "directIssuer",
    "code",
}


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with served() as keys, opened(database, keys) as house:
        yield house


def application(house: House, app_engine: AsyncEngine, registry: Registry) -> httpx.AsyncClient:
    doors = Doors(registry, house.loader.tokens, app_engine, Homes(app_engine), sealer())
    transport = httpx.ASGITransport(Starlette(routes=routes(lambda: doors)))
    return httpx.AsyncClient(transport=transport, base_url="http://api")


@pytest.fixture
async def client(house: House, app_engine: AsyncEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with application(house, app_engine, Registry(app_engine)) as client:
        yield client


async def slug(house: House) -> str:
    async with house.owner.connect() as connection:
        found = await connection.scalar(
            select(TenantEntry.slug).where(TenantEntry.id == house.nurse.tenant_id)
        )
    assert found
    return str(found)


async def test_a_portal_learns_where_to_log_in(house: House, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/login/{await slug(house)}")
    issuer = house.authority.issuer
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "issuer": issuer,
        "clientId": "portal",
        "authorizationEndpoint": f"{issuer}/protocol/openid-connect/auth",
        "tokenEndpoint": f"{issuer}/protocol/openid-connect/token",
        "endSessionEndpoint": f"{issuer}/protocol/openid-connect/logout",
        "directIssuer": f"/direct/{issuer.rpartition('/')[2]}",
        "code": None,
    }


async def test_an_unknown_slug_answers_in_the_same_shape(
    house: House, client: httpx.AsyncClient
) -> None:
    known = await slug(house)
    for unknown in ("nowhere", known.upper(), "%00", "x" * 2000, "' or 1=1"):
        answer = await client.get(f"/login/{unknown}")
        assert answer.status_code == 404
        assert answer.json() == dict.fromkeys(MEMBERS) | {"code": "NOT_FOUND"}
    await house.execute(
        update(TenantEntry).where(TenantEntry.id == house.nurse.tenant_id).values(state="suspended")
    )
    async with application(house, house.owner, Registry(house.owner)) as fresh:
        assert (await fresh.get(f"/login/{known}")).status_code == 404


async def test_without_the_registry_it_says_try_again(
    house: House, app_engine: AsyncEngine
) -> None:
    nowhere = engine("postgresql://nobody@127.0.0.1:9/none", application="test", size=1)
    async with application(house, app_engine, Registry(nowhere)) as client:
        answer = await client.get("/login/mercy")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json() == {"code": "UNAVAILABLE"}
    await nowhere.dispose()


async def announce(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/backchannel-logout/any", data={"logout_token": token})


async def test_an_announced_logout_ends_the_session_here(
    house: House, client: httpx.AsyncClient, app_engine: AsyncEngine
) -> None:
    actor = await house.loader.actor(house.token())
    token = house.authority.logout_token(sub=house.nurse.subject)
    found = await asyncio.gather(*(announce(client, token) for _ in range(5)))
    assert sorted(answer.status_code for answer in found) == [200, 400, 400, 400, 400], "once"
    again = house.authority.logout_token(sub=house.nurse.subject)
    assert (await announce(client, again)).status_code == 200, "another one says the same"
    assert not await house.stands(actor)
    assert await house.loader.actor(house.token(sid="session-2"))
    async with cell_session(app_engine, house.nurse.tenant_id) as session:
        events = (await session.scalars(select(AuditEvent.subject_ids))).all()
    assert events == [[house.nurse.id]]


async def test_an_announcement_of_a_session_alone(house: House, client: httpx.AsyncClient) -> None:
    actor = await house.loader.actor(house.token())
    token = house.authority.logout_token(sub=None)
    assert (await announce(client, token)).status_code == 200
    assert not await house.stands(actor)
    assert await house.loader.actor(house.token(sid="session-2"))
    early = house.authority.logout_token(
        sub=None, sid="session-3"
    )  # before anybody has come with it
    assert (await announce(client, early)).status_code == 200
    with pytest.raises(NotAdmitted):
        await house.loader.actor(house.token(sid="session-3"), fresh=True)


async def test_an_announcement_of_everything_ends_what_there_was(
    house: House, client: httpx.AsyncClient, app_engine: AsyncEngine
) -> None:
    said = now() - 5
    one = await house.loader.actor(house.token(iat=said - 5))
    other = await house.loader.actor(house.token(iat=said, sid="session-2"))
    token = house.authority.logout_token(sub=house.nurse.subject, sid=None, iat=said)
    assert (await announce(client, token)).status_code == 200
    assert not await house.stands(one)
    assert not await house.stands(other)
    with pytest.raises(NotAdmitted):
        await house.loader.actor(house.token(iat=said), fresh=True)
    after = await house.loader.actor(house.token(iat=said + 1, sid="session-3"))
    # The same again ends nothing that came later.
    again = house.authority.logout_token(sub=house.nurse.subject, sid=None, iat=said)
    assert (await announce(client, again)).status_code == 200
    assert await house.stands(after)
    async with cell_session(app_engine, house.nurse.tenant_id) as session:
        events = (await session.scalars(select(AuditEvent.subject_ids))).all()
    assert events == [[house.nurse.id]]


async def test_an_announcement_about_a_stranger_changes_nothing(
    house: House, client: httpx.AsyncClient, app_engine: AsyncEngine
) -> None:
    token = house.authority.logout_token(sub="somebody")
    assert (await announce(client, token)).status_code == 200
    async with cell_session(app_engine, house.nurse.tenant_id) as session:
        assert (await session.scalars(select(RevokedSession.sid))).all() == []


async def test_what_is_no_announcement(house: House, client: httpx.AsyncClient) -> None:
    bodies = [
        b"",
        b"logout_token=",
        b"logout_token=a.b.c",
        urlencode({"logout_token": house.token()}).encode(),
        b"x=1&" * 50,
        b"logout_token=" + b"a" * (MAX_BYTES + 200),
        b"\xff\xfe",
    ]
    for body in bodies:
        answer = await client.post("/backchannel-logout/any", content=body)
        assert answer.status_code == 400
        assert answer.json() == {"error": "invalid_request"}
    assert (await client.get("/backchannel-logout/any")).status_code == 405
    assert (await client.post("/login/mercy")).status_code == 405


async def test_an_announcement_that_does_not_arrive(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("identity.routes.SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"logout_token="
        await asyncio.sleep(30)

    answer = await asyncio.wait_for(client.post("/backchannel-logout/any", content=slow()), 5)
    assert answer.status_code == 400


@asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[str]:
    """A real server on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # the library tells no other way
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await running


@pytest.mark.keycloak
async def test_keycloak_announces_what_an_administrator_ends(world: World) -> None:
    doors = Doors(
        world.registry,
        world.loader.tokens,
        world.platform.cell,
        Homes(world.platform.control),
        world.platform.sealer,
    )
    async with listening(Starlette(routes=routes(lambda: doors))) as address:
        portals = replace(
            world.platform.portals, backchannel_logout=f"{address}/backchannel-logout"
        )
        world.platform = replace(world.platform, portals=portals)
        made = await world.tenant()
        async with Browser(made.issuer, CALLBACK) as admin:
            tokens = await admin.login("admin", PASSWORD)
        actor = await world.loader.actor(tokens["access_token"])
        assert await world.stands(actor)
        realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
        user = await realm.find_user("admin")
        assert user
        await realm.end_sessions(user["id"])
        assert not await world.stands(actor)


@pytest.mark.parametrize(
    "before", [[], [{"type": "http.request", "body": b"logout", "more_body": True}]]
)
async def test_a_sender_who_goes_away_is_no_fault_of_ours(
    house: House,
    app_engine: AsyncEngine,
    capsys: pytest.CaptureFixture[str],
    before: list[dict[str, Any]],
) -> None:
    doors = Doors(
        Registry(app_engine), house.loader.tokens, app_engine, Homes(app_engine), sealer()
    )
    inner = Starlette(routes=routes(lambda: doors))
    messages, sent = iter([*before, {"type": "http.disconnect"}]), []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/backchannel-logout/any",
        "headers": [(b"content-type", b"application/x-www-form-urlencoded")],
        "query_string": b"",
    }
    await Entrance(inner, inner)(scope, receive, send)
    assert sent[0]["status"] == 400
    assert "internal_error" not in "".join(capsys.readouterr())
