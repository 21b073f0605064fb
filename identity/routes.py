"""Addresses that need no token: where a health system's people log in, where those of an e-mail domain do, and where
Keycloak announces logouts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from domain.audit import Agent
from domain.sealing import SecretSealer
from identity.direct.addresses import login_details as direct_details
from identity.discovery import Homes
from identity.errors import IdentityUnavailable, TokenRefused, Unauthenticated
from identity.realms import PORTAL
from identity.registry import Registry
from identity.revocation import Replayed, note_logout
from identity.setup import finish, redeem
from identity.sync import cell_session
from identity.tokens import MAX_BYTES, Tokens

_OIDC = "protocol/openid-connect"
_UNCACHED = {"cache-control": "no-store"}
SECONDS = 10.0
"""How long a body may take to arrive."""


@dataclass(frozen=True)
class Doors:
    """What the routes work with, of a process that is running. `cell` as the API's role."""

    registry: Registry
    tokens: Tokens
    cell: AsyncEngine
    homes: Homes
    sealer: SecretSealer


def routes(doors: Callable[[], Doors]) -> list[Route]:
    """The routes; `doors` is asked at each request."""
    endpoints = _Endpoints(doors)
    return [
        Route("/login/{slug}", endpoints.login, methods=["GET"]),
        Route("/login-of-domain/{domain}", endpoints.home, methods=["GET"]),
        Route("/backchannel-logout/{realm}", endpoints.logout, methods=["POST"]),
        Route("/setup", endpoints.setup, methods=["POST"]),
        Route("/setup/finish", endpoints.finish, methods=["POST"]),
    ]


def login_details(issuer: str | None) -> dict[str, str | None]:
    """What a portal needs for the authorization-code flow with PKCE (S256); the same members for no health system."""

    def at(path: str) -> str | None:
        return f"{issuer}/{_OIDC}/{path}" if issuer else None

    return {
        "issuer": issuer,
        "clientId": PORTAL if issuer else None,
        "authorizationEndpoint": at("auth"),
        "tokenEndpoint": at("token"),
        "endSessionEndpoint": at("logout"),
        "code": None if issuer else "NOT_FOUND",
    }


class _Endpoints:
    def __init__(self, doors: Callable[[], Doors]) -> None:
        self._doors = doors

    async def login(self, request: Request) -> Response:
        """The issuer of a health system; 404 for one that is unknown, not ready or suspended."""
        try:
            entry = await self._doors().registry.by_slug(request.path_params["slug"])
        except IdentityUnavailable as error:
            return _try_again(error)
        details = login_details(entry.issuer.issuer if entry else None)
        details["directIssuer"] = entry.direct.issuer if entry else None
        return JSONResponse(details, 200 if entry else 404, headers=_UNCACHED)

    async def home(self, request: Request) -> Response:
        """Where the people of an e-mail domain log in: the same members, and status, for one that nobody has."""
        try:
            issuer, provider, direct = await self._doors().homes.of(request.path_params["domain"])
        except IdentityUnavailable as error:
            return _try_again(error)
        details = login_details(issuer) | {"identityProvider": provider, "code": None}
        if direct:
            details |= direct_details(str(issuer), str(provider))
        return JSONResponse(details, headers=_UNCACHED)

    async def setup(self, request: Request) -> Response:
        """Takes a setup link's text as the body and answers, once, what its holder goes on with."""
        doors = self._doors()
        text = (await _body(request)).decode("latin-1").strip()
        try:
            found = await redeem(doors.registry, doors.cell, doors.sealer, text)
        except TokenRefused:
            return JSONResponse({"code": "NOT_FOUND"}, 404, headers=_UNCACHED)
        except IdentityUnavailable as error:
            return _try_again(error)
        told = {
            "bearer": found.session,
            "expiresAt": found.expires_at.isoformat(),
            "scopes": list(found.scopes),
            "firstPasswords": found.passwords,
        }
        return JSONResponse(told, headers=_UNCACHED)

    async def finish(self, request: Request) -> Response:
        """Ends the setup of whoever sends its bearer token."""
        doors = self._doors()
        bearer = request.headers.get("authorization", "")[len("Bearer ") :].strip()
        try:
            await finish(doors.registry, doors.cell, bearer)
        except Unauthenticated:
            return JSONResponse({"code": "UNAUTHENTICATED"}, 401, headers=_UNCACHED)
        except IdentityUnavailable as error:
            return _try_again(error)
        return Response(status_code=204, headers=_UNCACHED)

    async def logout(self, request: Request) -> Response:
        """Takes a logout token and refuses what it names from then on (OIDC Back-Channel Logout 1.0, 2.5-2.8)."""
        doors = self._doors()
        body = await _body(request)
        try:
            logout = await doors.tokens.verify_logout(_logout_token(body))
            tenant_id = logout.issuer.tenant_id
            agent = Agent(tenant_id=tenant_id, now=datetime.now(UTC))
            async with cell_session(doors.cell, tenant_id) as session:
                await note_logout(session, agent, logout)
        except (TokenRefused, Replayed):
            return JSONResponse({"error": "invalid_request"}, 400, headers=_UNCACHED)
        except IdentityUnavailable as error:
            return _try_again(error)
        return Response(status_code=200, headers=_UNCACHED)


def _try_again(error: IdentityUnavailable) -> Response:
    headers = {**_UNCACHED, "retry-after": str(error.retry_after)}
    return JSONResponse({"code": "UNAVAILABLE"}, 503, headers=headers)


async def _body(request: Request) -> bytes:
    """The body; nothing for one that is larger than a token, slower than Keycloak, or cut short by its sender."""
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES + 100:
                    return b""
    except (TimeoutError, ClientDisconnect):
        return b""
    return bytes(body)


def _logout_token(body: bytes) -> str:
    """The one field that counts; nothing where the form is none."""
    try:
        form = parse_qs(body.decode("latin-1"), max_num_fields=10)
    except ValueError:
        return ""
    return form.get("logout_token", [""])[0]
