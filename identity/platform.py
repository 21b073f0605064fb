"""Opens what health systems are made on, for the command line, the worker and the development stack."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.control import IdentityCluster, RegistryState, TenantEntry
from domain.database import engine
from domain.key_providers import FileKeyProvider
from domain.sealing import Keyring, SecretSealer
from identity.accounts import Accounts
from identity.keycloak import Account
from identity.tenants import Platform, Portals


def portals_at(portal_url: str, public_url: str) -> Portals:
    """The addresses of the portals at `portal_url`, and of the API at `public_url`; trailing slashes do not matter."""
    portal, public = portal_url.rstrip("/"), public_url.rstrip("/")
    return Portals(
        redirects=(f"{portal}/callback",),
        admin_redirects=(f"{portal}/admin/callback",),
        backchannel_logout=f"{public}/backchannel-logout",
    )


@asynccontextmanager
async def open_platform(
    *,
    control_url: str,
    cell_url: str,
    master: Account,
    key_file: Path,
    portals: Portals,
    codes_serve_twice: bool = False,
    redis_url: str | None = None,
    exports: Path | None = None,
) -> AsyncIterator[Platform]:
    """The platform, closed at the end. Both URLs as caretree_platform.

    For the worker, which makes nothing here: `control_url` as caretree_worker, `cell_url` as caretree_app.
    """
    control = engine(control_url, application="caretree-provisioning", size=2)
    cell = engine(cell_url, application="caretree-provisioning", size=2)
    provider = FileKeyProvider(key_file)
    sealer = SecretSealer(provider)
    accounts = Accounts(control, sealer, master)
    try:
        keys = Keyring(provider, cell)
        yield Platform(
            control, cell, accounts, sealer, keys, portals, codes_serve_twice, redis_url, exports
        )
    finally:
        await accounts.close()
        await cell.dispose()
        await control.dispose()


@dataclass(frozen=True)
class Filled:
    """An identity cluster and how many realms it holds."""

    name: str
    region: str
    realms: int
    realm_cap: int


async def clusters(platform: Platform) -> list[Filled]:
    """Every identity cluster, by name."""
    held = (
        select(func.count())
        .where(
            TenantEntry.identity_cluster_id == IdentityCluster.id,
            TenantEntry.state != RegistryState.ERASED,
        )
        .scalar_subquery()
    )
    columns = (IdentityCluster.name, IdentityCluster.region, held, IdentityCluster.realm_cap)
    async with AsyncSession(platform.control) as session:
        rows = await session.execute(select(*columns).order_by(IdentityCluster.name))
        return [Filled(*row) for row in rows]


async def listed(platform: Platform) -> list[tuple[TenantEntry, str]]:
    """Every health system and its cluster's name, by slug."""
    query = (
        select(TenantEntry, IdentityCluster.name)
        .join(IdentityCluster, IdentityCluster.id == TenantEntry.identity_cluster_id)
        .order_by(TenantEntry.slug)
    )
    async with AsyncSession(platform.control) as session:
        return [(entry, name) for entry, name in await session.execute(query)]
