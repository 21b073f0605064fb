"""The service accounts of realms: how our own processes speak to each health system's Keycloak."""

import asyncio
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.control import (
    STANDING,
    IdentityCluster,
    RegistryState,
    ServiceAccount,
    TenantEntry,
)
from domain.sealing import SecretSealer
from identity.keycloak import MASTER, Account, Keycloak, Realm


class NoAccount(Exception):
    """The registry has no such health system, or it has no such service account."""


def aad(tenant_id: UUID, client_id: str) -> bytes:
    """Where a service account's secret belongs."""
    return f"{tenant_id}|control.service_account|secret_sealed|{client_id}".encode()


class Accounts:
    """Realms spoken to as one of their service accounts, or as the provisioning client of their cluster's master.

    The control plane's connection must be the worker's: the API's role cannot read the sealed secrets.
    """

    def __init__(self, control: AsyncEngine, sealer: SecretSealer, master: Account) -> None:
        self.control = control
        self._sealer = sealer
        self._master = Account(master.client_id, master.secret, MASTER)
        self._clusters: dict[str, Keycloak] = {}
        self._known: dict[tuple[UUID, str], tuple[str, str, Account]] = {}

    async def realm(self, tenant_id: UUID, client_id: str) -> Realm:
        """The health system's realm as one of its two service accounts. Raises NoAccount."""
        key = (tenant_id, client_id)
        if key not in self._known:
            self._known[key] = await self._read(tenant_id, client_id)
        url, name, account = self._known[key]
        return await self.cluster(url).realm(name, account)

    async def issuer(self, tenant_id: UUID) -> str:
        """The public address of the health system's realm. Raises NoAccount."""
        query = select(TenantEntry.issuer).where(TenantEntry.id == tenant_id)
        async with self.control.connect() as connection:
            found: str | None = await connection.scalar(query)
        if found is None:
            raise NoAccount("No such health system.")
        return found

    async def place(self, tenant_id: UUID) -> tuple[str, str]:
        """The address of the cluster and the name of the realm of a health system. Raises NoAccount."""
        query = (
            select(IdentityCluster.url, TenantEntry.realm)
            .join(TenantEntry, TenantEntry.identity_cluster_id == IdentityCluster.id)
            .where(TenantEntry.id == tenant_id)
        )
        async with self.control.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NoAccount("No such health system.")
        return row.url, row.realm

    async def tenants(self, *, open_only: bool = False) -> list[UUID]:
        """Every health system of the registry that is made; with `open_only` those whose realm lets people in."""
        made = TenantEntry.state.in_(STANDING)
        wanted = TenantEntry.state == RegistryState.ACTIVE if open_only else made
        async with self.control.connect() as connection:
            return list(await connection.scalars(select(TenantEntry.id).where(wanted)))

    async def as_master(self, url: str, name: str) -> Realm:
        """A realm as the provisioning client: also one that is not made yet or is disabled."""
        return await self.cluster(url).realm(name, self._master)

    def cluster(self, url: str) -> Keycloak:
        """The cluster at this address."""
        if url not in self._clusters:
            self._clusters[url] = Keycloak(url)
        return self._clusters[url]

    async def close(self) -> None:
        """Drop all connections to Keycloak."""
        for cluster in self._clusters.values():
            await cluster.close()

    async def _read(self, tenant_id: UUID, client_id: str) -> tuple[str, str, Account]:
        query = (
            select(IdentityCluster.url, TenantEntry.realm, ServiceAccount.secret_sealed)
            .join(TenantEntry, TenantEntry.identity_cluster_id == IdentityCluster.id)
            .join(ServiceAccount, ServiceAccount.tenant_id == TenantEntry.id)
            .where(TenantEntry.id == tenant_id, ServiceAccount.client_id == client_id)
        )
        async with self.control.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NoAccount("No such service account.")
        place = aad(tenant_id, client_id)
        secret = await asyncio.to_thread(self._sealer.open, row.secret_sealed, place)
        return row.url, row.realm, Account(client_id, secret.decode())
