"""A health system with a provider that the API itself speaks with, and a browser that goes between them."""

import base64
import datetime as dt
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from authz.actor import Actor
from domain.audit import Agent
from domain.database import engine
from domain.identity_providers import IdentityProvider, Protocol, ProviderTest
from domain.key_providers import FileKeyProvider
from domain.model import Base
from domain.sealing import Keyring
from identity.actors import ActorLoader
from identity.arrivals import Arrivals
from identity.direct.keys import own_key_set
from identity.direct.logins import Desk
from identity.direct.routes import Counter, routes
from identity.keys import KeyCache
from identity.metadata import described
from identity.providers import ProviderDraft, activate, add_provider, start_test
from identity.registry import Registry
from identity.sync import cell_session
from identity.tokens import Tokens
from tests import make, providers, web
from tests.database import Database
from tests.identity.forge import served
from tests.identity.py_provider import NAMES, PyProvider, query_of
from tests.identity.test_actors import House, opened

PUBLIC = "https://api.caretree.example"
CALLBACK = "https://portal.example/callback"
HOME = "https://portal.example/"
ATTRIBUTES = {
    "uid": "nora",
    "givenName": "Nora",
    "sn": "Corp",
    "mail": "nora@corp.example",
    "groups": ["nurses", "choir"],
}
VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
M = TypeVar("M", bound=Base)


@dataclass
class Hall:
    """All of it, as it runs."""

    house: House
    cell: AsyncEngine
    keyring: Keyring
    loader: ActorLoader
    issuer: str
    provider_id: Any
    it: PyProvider
    http: httpx.AsyncClient

    @property
    def tenant_id(self) -> Any:
        return self.house.nurse.tenant_id

    @property
    def agent(self) -> Agent:
        return Agent(tenant_id=self.tenant_id, now=dt.datetime.now(dt.UTC))

    @property
    def at(self) -> str:
        return f"{self.issuer}/{self.provider_id}"

    async def rows(self, model: type[M], **values: object) -> list[M]:
        async with cell_session(self.cell, self.tenant_id) as session:
            found = select(model).filter_by(**values)
            return sorted(await session.scalars(found), key=lambda row: str(getattr(row, "id", "")))

    async def provider(self) -> IdentityProvider:
        (found,) = await self.rows(IdentityProvider, id=self.provider_id)
        return found

    async def step(self, command: Any, *more: Any) -> None:
        """Carry out a command about the provider."""
        provider = await self.provider()
        async with cell_session(self.cell, self.tenant_id) as session:
            await command(session, self.agent, provider, provider.version, *more)

    async def save(self, *rows: Base) -> None:
        async with cell_session(self.cell, self.tenant_id) as session:
            session.add_all(rows)

    async def open(self) -> None:
        """Try it, and let people in; logins make people of its domain, and nurses of those in a group."""
        await self.step(start_test)
        assert (await self.login())["reason"] == "TESTED"
        (test,) = await self.rows(ProviderTest)
        assert test.passed, test.steps
        await self.step(activate)
        provider, tree = await self.provider(), self.house.tree
        await self.save(providers.domain(provider, "corp.example"))
        admin = make.person(tree.tenant)
        await self.save(admin)
        await self.save(make.grant(admin, "system_admin", tree.root))
        await self.save(providers.rule(admin, "nurses", "nurse", tree.clinics[0], provider))

    async def begin(self, **changes: str) -> httpx.Response:
        """The browser comes to log in."""
        asked = {
            "response_type": "code",
            "client_id": "portal",
            "redirect_uri": CALLBACK,
            "state": "the-state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        told = {n: v for n, v in (asked | changes).items() if v}
        return await self.http.get(f"{self.at}/login", params=told)

    async def answered(self, **changes: str) -> dict[str, str]:
        """What the provider has the browser post, once somebody has logged in there."""
        answer = await self.begin(**changes)
        assert answer.status_code == 303, answer.text
        to, form = self.it.login(query_of(answer.headers["location"]))
        assert to == f"{self.at}/acs"
        return form

    async def brought(self, form: dict[str, str]) -> httpx.Response:
        return await self.http.post(f"{self.at}/acs", data=form)

    async def login(self, **changes: str) -> dict[str, str]:
        """What the portal is told at the end of a login."""
        answer = await self.brought(await self.answered(**changes))
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{CALLBACK}?")
        told = query_of(answer.headers["location"])
        assert told["iss"] == self.issuer
        return told

    async def token(self, **form: str) -> httpx.Response:
        return await self.http.post(f"{self.issuer}/token", data={"client_id": "portal", **form})

    async def redeemed(self, told: str, /, **changes: str) -> httpx.Response:
        kind = {"grant_type": "authorization_code", "code": told, "redirect_uri": CALLBACK}
        return await self.token(**kind | {"code_verifier": VERIFIER} | changes)

    async def refreshed(self, token: str) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=token)

    async def come(self) -> tuple[dict[str, Any], Actor]:
        """Log in, trade the code in, and stand before the API."""
        told = await self.login()
        assert told["state"] == "the-state"
        answer = await self.redeemed(told["code"])
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        return tokens, await self.loader.actor(tokens["access_token"])


@pytest.fixture
async def hall(database: Database, tmp_path: Path) -> AsyncIterator[Hall]:
    cell = engine(database.app_url, application="test-direct", size=3)
    keyring = Keyring(FileKeyProvider(tmp_path / "keys.json"), cell)
    async with (
        served() as keys,
        opened(database, keys) as house,
        web.client() as outside,
    ):
        await keyring.create(house.nurse.tenant_id)
        registry = Registry(cell, PUBLIC)
        tokens = Tokens(registry, KeyCache(outside, own=partial(own_key_set, cell)))
        arrive = Arrivals(cell, outside).arrive
        loader = ActorLoader(tokens, house.pipeline, arrive=arrive)
        desk = Desk(cell, keyring, {"portal": (CALLBACK,), "admin-portal": (f"{HOME}admin",)})
        counter = Counter(registry, desk, PUBLIC)
        transport = httpx.ASGITransport(Starlette(routes=routes(lambda: counter)))
        realm = urlsplit(house.authority.issuer).path.rpartition("/")[2]
        folder = tmp_path / "py"
        folder.mkdir()
        it = PyProvider(folder, "https://login.corp.example", dict(ATTRIBUTES))
        it.knows()
        provider_id = await connected(cell, keyring, house, it)
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as http:
            made = Hall(
                *(house, cell, keyring, loader, f"{PUBLIC}/direct/{realm}", provider_id, it, http)
            )
            it.knows((await http.get(f"{made.at}/metadata")).content)
            yield made
    await cell.dispose()


async def connected(cell: AsyncEngine, keyring: Keyring, house: House, it: PyProvider) -> Any:
    """Describe the provider by its own metadata, as an administrator does."""
    tenant_id = house.nurse.tenant_id
    told = described(Protocol.SAML, it.metadata().decode())
    draft = ProviderDraft(
        Protocol.SAML,
        "generic",
        f"Corp {secrets.token_hex(2)}",
        told.issuer,
        told.endpoints,
        NAMES,
        told.certificates,
        creates=True,
        direct=True,
    )
    agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
    async with cell_session(cell, tenant_id) as session:
        return (await add_provider(session, agent, await keyring.of(tenant_id), draft)).id
