"""The registry as processes read it: every health system by issuer and by slug, from a copy kept in memory.

The copy is renewed after 30 s, and, when something unknown is asked for, at most every two seconds: a new health
system can log in at once, and an endless stream of invented issuers costs no queries. Where the control plane cannot
be reached, the last copy serves on. Suspension does not wait for it: the cell's own tenant row is asked each time.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.control import IdentityCluster, RegistryState, TenantEntry
from identity.direct.addresses import issuer_at
from identity.errors import IdentityUnavailable
from identity.keys import OWN
from identity.tokens import Issuer

FRESH = 30.0
AGAIN = 2.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A health system that people may log in to. `cluster_url` is how we reach its Keycloak.

    `issuer` is its realm, `direct` the issuer of ours for people who come without the broker.
    """

    tenant_id: UUID
    slug: str
    cell: str
    realm: str
    state: RegistryState
    cluster_url: str
    issuer: Issuer
    direct: Issuer


class Registry:
    """Looks health systems up by exact issuer, by slug, by id. For one event loop; `public_url` is our address."""

    def __init__(
        self,
        control: AsyncEngine,
        public_url: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self._public_url = public_url
        self._clock = clock
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._reading = asyncio.Lock()
        self._by_issuer: dict[str, Entry] = {}
        self._by_direct: dict[str, Entry] = {}
        self._by_slug: dict[str, Entry] = {}
        self._by_id: dict[UUID, Entry] = {}
        self._by_keys: dict[str, Entry] = {}

    async def issuer(self, text: str) -> Issuer | None:
        """The issuer of exactly this text, if its health system is active. Raises IdentityUnavailable."""
        entry = await self._find(lambda: self._by_issuer.get(text) or self._by_direct.get(text))
        if entry is None:
            return None
        return entry.issuer if text == entry.issuer.issuer else entry.direct

    async def by_slug(self, slug: str) -> Entry | None:
        """The active health system of this slug. Raises IdentityUnavailable."""
        return await self._find(lambda: self._by_slug.get(slug))

    async def by_id(self, tenant_id: UUID) -> Entry | None:
        """A health system in whatever state. Raises IdentityUnavailable."""
        return await self._find(lambda: self._by_id.get(tenant_id), any_state=True)

    async def by_keys(self, url: str) -> Entry | None:
        """The active health system whose realm publishes its keys there. Raises IdentityUnavailable."""
        return await self._find(lambda: self._by_keys.get(url))

    async def _find(
        self, look: Callable[[], Entry | None], *, any_state: bool = False
    ) -> Entry | None:
        def usable() -> Entry | None:
            entry = look()
            active = entry is not None and entry.state is RegistryState.ACTIVE
            return entry if active or any_state else None

        now = self._clock()
        found = usable() if now - self._read_at < FRESH else None
        if found is not None:
            return found
        if self._reading.locked() or now - self._tried_at >= AGAIN:
            await self._renew(now)
        if self._read_at == float("-inf"):
            raise IdentityUnavailable("The registry")
        return usable()

    async def _renew(self, asked: float) -> None:
        async with self._reading:
            if self._tried_at >= asked:
                return
            try:
                entries = await self._read()
            except (SQLAlchemyError, OSError):
                self._tried_at = self._clock()
                return
            self._by_issuer = {e.issuer.issuer: e for e in entries}
            self._by_direct = {e.direct.issuer: e for e in entries}
            self._by_slug = {e.slug: e for e in entries}
            self._by_id = {e.tenant_id: e for e in entries}
            self._by_keys = {e.issuer.keys_url: e for e in entries}
            self._read_at = self._tried_at = self._clock()

    async def _read(self) -> list[Entry]:
        columns = (
            TenantEntry.id,
            TenantEntry.slug,
            TenantEntry.cell,
            TenantEntry.realm,
            TenantEntry.state,
            TenantEntry.issuer,
            IdentityCluster.url,
        )
        query = select(*columns).join(
            IdentityCluster, IdentityCluster.id == TenantEntry.identity_cluster_id
        )
        async with self._control.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Entry(
                tenant_id=row.id,
                slug=row.slug,
                cell=row.cell,
                realm=row.realm,
                state=RegistryState(row.state),
                cluster_url=row.url,
                issuer=Issuer(
                    issuer=row.issuer, tenant_id=row.id, keys_url=keys_url(row.url, row.realm)
                ),
                direct=Issuer(
                    issuer=issuer_at(self._public_url, row.realm),
                    tenant_id=row.id,
                    keys_url=f"{OWN}{row.id}",
                    direct=True,
                ),
            )
            for row in rows
        ]


def keys_url(cluster_url: str, realm: str) -> str:
    """Where a realm publishes its public keys."""
    return f"{cluster_url}/realms/{realm}/protocol/openid-connect/certs"
