"""A real Keycloak, and health systems on it that are gone when the tests are over."""

import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from authz.actor import Actor
from domain.control import ServiceAccount
from domain.database import engine
from domain.key_providers import FileKeyProvider
from domain.organization import MfaPolicy
from domain.pipeline import Pipeline
from domain.sealing import Keyring, SecretSealer
from identity.accounts import Accounts, aad
from identity.actors import ActorLoader, stamp
from identity.arrivals import Arrivals
from identity.jobs import Resources, work_off
from identity.keycloak import Account, Realm
from identity.keycloak_failures import NotFound
from identity.keys import KeyCache
from identity.provisioning import PersonDraft
from identity.realms import RealmPlan
from identity.registry import Registry
from identity.sync import FirstLogin
from identity.tenants import (
    MadeTenant,
    Platform,
    Portals,
    TenantOrder,
    create_tenant,
    register_cluster,
)
from identity.tokens import Tokens
from tests import web
from tests.database import Database

CALLBACK = "http://127.0.0.1:9/callback"
ADMIN_CALLBACK = "http://127.0.0.1:9/admin/callback"
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class KeycloakServer:
    """A running server and the master's provisioning client."""

    url: str
    account: Account


@pytest.fixture(scope="session")
def keycloak() -> KeycloakServer:
    """The server at KEYCLOAK_URL with the client of KEYCLOAK_ADMIN_CLIENT_ID and _SECRET, else the stack's own."""
    if url := os.environ.get("KEYCLOAK_URL"):
        client = os.environ["KEYCLOAK_ADMIN_CLIENT_ID"]
        return KeycloakServer(url, Account(client, os.environ["KEYCLOAK_ADMIN_CLIENT_SECRET"]))
    servers = import_module("dev.servers").ensure(keycloak=True)
    return KeycloakServer(
        servers.keycloak_url,
        Account(servers.keycloak_admin_client_id, servers.keycloak_admin_client_secret),
    )


@dataclass
class World:
    """The control plane, the cell and Keycloak together, with what a running product has on them."""

    platform: Platform
    registry: Registry
    loader: ActorLoader
    pipeline: Pipeline
    worker_url: str
    cell: AsyncEngine
    """As the API and the worker see it."""
    made: list[MadeTenant] = field(default_factory=list)

    async def tenant(self, mfa: MfaPolicy = MfaPolicy.NONE, **values: object) -> MadeTenant:
        """A health system that is ready to log in: people `admin` and `officer` with PASSWORD."""
        made = await create_tenant(self.platform, order(mfa=mfa, **values))
        self.made.append(made)
        await self.work()
        return made

    async def stands(self, actor: Actor) -> bool:
        """Whether the actor's stamp finds its row, in a unit as reads have it."""
        rows = await self.pipeline.unit((("app.tenant", str(actor.tenant_id)),), stamp(actor))
        return bool(rows[0])

    async def secrets(self, made: MadeTenant) -> dict[str, str]:
        """The service accounts' secrets, unsealed."""
        query = select(ServiceAccount).where(ServiceAccount.tenant_id == made.tenant_id)
        async with AsyncSession(self.platform.control) as session:
            accounts = (await session.scalars(query)).all()
        return {
            a.client_id: self.platform.sealer.open(
                a.secret_sealed, aad(made.tenant_id, a.client_id)
            ).decode()
            for a in accounts
        }

    async def master(self, made: MadeTenant) -> Realm:
        """The realm as the provisioning client sees it."""
        return await self.platform.accounts.as_master(self.url(made), made.realm)

    def url(self, made: MadeTenant) -> str:
        """Where the health system's Keycloak is."""
        return made.issuer.rsplit("/realms/", 1)[0]

    async def plan(self, made: MadeTenant, mfa: MfaPolicy = MfaPolicy.NONE) -> RealmPlan:
        """What the realm should be."""
        portals = self.platform.portals
        return RealmPlan(
            name=made.realm,
            tenant_id=made.tenant_id,
            mfa=mfa,
            portal_redirects=portals.redirects,
            admin_redirects=portals.admin_redirects,
            backchannel_logout=f"{portals.backchannel_logout}/{made.realm}",
            secrets=await self.secrets(made),
            otp_code_reusable=True,
        )

    @property
    def resources(self) -> Resources:
        """What jobs work with."""
        platform = self.platform
        return Resources(self.cell, platform.accounts, platform.keys)

    async def work(self) -> None:
        """Carry out the jobs that are due."""
        await work_off(self.worker_url, self.resources)


def order(**values: object) -> TenantOrder:
    """An order for a health system of its own."""
    plain: dict[str, object] = {
        "slug": f"t{secrets.token_hex(6)}",
        "name": "Test Health",
        "admin": PersonDraft("admin", "Ada", "Admin"),
        "privacy_officer": PersonDraft("officer", "Otto", "Officer"),
        "admin_login": FirstLogin(PASSWORD, temporary=False),
        "privacy_officer_login": FirstLogin(PASSWORD, temporary=False),
        "otp_code_reusable": True,
        "region": "test",
    }
    return TenantOrder(**(plain | values))  # type: ignore[arg-type]  # each caller's own fields


@pytest.fixture
async def platform(
    database: Database, keycloak: KeycloakServer, tmp_path: Path
) -> AsyncIterator[Platform]:
    control = engine(database.platform_url, application="test-control", size=2)
    cell = engine(database.platform_url, application="test-cell", size=2)
    provider = FileKeyProvider(tmp_path / "keys.json")
    sealer = SecretSealer(provider)
    accounts = Accounts(control, sealer, keycloak.account)
    await register_cluster(control, "test", region="test", url=keycloak.url)
    portals = Portals((CALLBACK,), (ADMIN_CALLBACK,), "http://127.0.0.1:9/backchannel-logout")
    yield Platform(
        control, cell, accounts, sealer, Keyring(provider, cell), portals, codes_serve_twice=True
    )
    await accounts.close()
    await cell.dispose()
    await control.dispose()


@pytest.fixture
async def world(
    platform: Platform, database: Database, keycloak: KeycloakServer
) -> AsyncIterator[World]:
    without_jobs(database)
    cell = engine(database.app_url, application="test-app", size=2)
    registry = Registry(cell)
    pipeline = Pipeline(database.app_url, size=1)
    await pipeline.start()
    async with web.client() as http:
        arrivals = Arrivals(cell, http)
        tokens = Tokens(registry, KeyCache(http))
        loader = ActorLoader(tokens, pipeline, arrive=arrivals.arrive)
        made = World(platform, registry, loader, pipeline, database.worker_url, cell)
        yield made
    for tenant in made.made:
        await drop_realm(platform, keycloak.url, tenant.realm)
    await pipeline.stop()
    await cell.dispose()


def without_jobs(database: Database) -> None:
    """Nothing is left to do of earlier tests: who works jobs off would try theirs, at servers that are not there."""
    with database.owner_engine.begin() as owner:
        owner.execute(text("delete from procrastinate_jobs"))


async def drop_realm(platform: Platform, url: str, name: str) -> None:
    """Remove a realm if it is there."""
    realm = await platform.accounts.as_master(url, name)
    try:
        await realm.delete()
    except NotFound:
        return
