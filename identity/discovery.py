"""Where the people of an e-mail domain log in, from a copy of the control plane's list kept in memory.

Everybody may ask, so nothing may be learnt beyond what was proven in public: a domain that nobody has gets the same
members in the same time. The copy is renewed every half minute whoever asks for what, so that no answer waits longer
for being unknown. One whose provider is closed is like one that nobody has. Where the control plane cannot be reached, the last copy serves on.
"""

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.control import DomainEntry, RegistryState, TenantEntry
from domain.email_domains import domain_of
from identity.direct.addresses import issuer_at
from identity.errors import IdentityUnavailable

FRESH = 30.0
Home = tuple[str | None, str | None, bool]
"""An issuer, the provider there (`kc_idp_hint`), and whether the API itself is the issuer."""


class Homes:
    """Looks up where domains log in. For one event loop; `control` as the API's role, `public_url` is our address."""

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
        self._due = float("-inf")
        self._known: dict[str, Home] | None = None
        self._reading = asyncio.Lock()

    async def of(self, domain: str) -> Home:
        """Where the people of a domain log in; nothing for one that nobody has. Raises IdentityUnavailable."""
        if self._clock() >= self._due:
            await self._renew()
        if self._known is None:
            raise IdentityUnavailable("The registry")
        return self._known.get(domain_of(f"@{domain}") or "", (None, None, False))

    async def _renew(self) -> None:
        async with self._reading:
            if self._clock() < self._due:
                return
            try:
                self._known = await self._read()
            except (SQLAlchemyError, OSError):
                if self._known is None:
                    return
            self._due = self._clock() + FRESH

    async def _read(self) -> dict[str, Home]:
        query = (
            select(
                DomainEntry.domain,
                DomainEntry.identity_provider_id,
                DomainEntry.direct,
                TenantEntry.issuer,
                TenantEntry.realm,
            )
            .join(TenantEntry, TenantEntry.id == DomainEntry.tenant_id)
            .where(TenantEntry.state == RegistryState.ACTIVE, ~DomainEntry.closed)
        )
        async with self._control.connect() as connection:
            rows = (await connection.execute(query)).all()
        return {
            row.domain: (
                issuer_at(self._public_url, row.realm) if row.direct else row.issuer,
                str(row.identity_provider_id),
                row.direct,
            )
            for row in rows
        }
