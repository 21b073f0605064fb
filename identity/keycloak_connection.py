"""How a service account connects to Keycloak: who it is, and its token, which is got once for all that wait for it."""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from functools import cache

import httpx
from keycloak import KeycloakOpenIDConnection
from keycloak.exceptions import KeycloakConnectionError

TIMEOUT = httpx.Timeout(30, connect=5)
NEW = 1.0
"""Seconds within which another token would say the same."""


@dataclass(frozen=True)
class Account:
    """A service account: a confidential client of `realm`, which is the spoken-to realm where it is None."""

    client_id: str
    secret: str = field(repr=False)
    realm: str | None = None


@cache
def _trusted() -> ssl.SSLContext:
    """Whom we trust, read once: each object by itself would take 20 ms and 0.8 MB for it."""
    return httpx.create_ssl_context()


class Connection(KeycloakOpenIDConnection):
    """Gets its token once, however many calls find it missing, expired or refused."""

    def __init__(self, url: str, realm: str, account: Account, timeout: httpx.Timeout) -> None:
        super().__init__(
            server_url=url + "/",
            realm_name=realm,
            user_realm_name=account.realm or realm,
            client_id=account.client_id,
            client_secret_key=account.secret,
            timeout=timeout,  # type: ignore[arg-type]  # handed on to httpx, which takes both forms
            verify=_trusted(),  # type: ignore[arg-type]  # so is this
            max_retries=0,
        )
        self._renewing = asyncio.Lock()
        self._renewed = 0.0

    async def a__refresh_if_required(self) -> None:
        if self._is_fresh():
            return
        async with self._renewing:
            if not self._is_fresh():
                await self._renew()

    async def a_refresh_token(self) -> None:
        asked = time.monotonic()
        async with self._renewing:
            if self._renewed < asked:
                await self._renew()

    def _is_fresh(self) -> bool:
        return self.token is not None and time.monotonic() < self._stale_at

    def forget_token(self) -> bool:
        """Get another token for the next call; whether there was one that is not quite new."""
        if self.token is None or time.monotonic() - self._renewed < NEW:
            return False
        self.token = None
        return True

    async def _renew(self) -> None:
        await self.a_get_token()
        if not isinstance(self.token, dict):
            self.token = None
            raise KeycloakConnectionError("no JSON")
        self._renewed = time.monotonic()
        seconds = self.token["expires_in"] if self.token else 0
        self._stale_at = self._renewed + self.token_lifetime_fraction * seconds

    async def aclose(self) -> None:
        if self._keycloak_openid is not None:
            await self._keycloak_openid.connection.aclose()
        await super().aclose()
