"""`/direct/{realm}/…`: a health system's own issuer (OAuth 2.0), and for each provider of it a service provider of SAML.

What comes here comes from browsers: it is limited to 256 KB and some seconds before anything reads it, and nothing of
it is repeated in an answer.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from domain.direct_logins import KeyPurpose
from domain.errors import NotFound
from identity.direct import sessions
from identity.direct.addresses import PREFIX, issuer_at, origin_of, us
from identity.direct.keys import key_set, published, signing
from identity.direct.logins import Desk, agent_of, arrive, begin, provider_of
from identity.direct.logouts import Told, ask, hear
from identity.direct.requests import Way
from identity.errors import IdentityUnavailable
from identity.mfa import LEVEL
from identity.realms import ADMIN_PORTAL
from identity.registry import Registry
from identity.saml.documents import MAX_BYTES
from identity.saml.messages import metadata
from identity.saml.refusals import SamlRefused
from identity.sync import cell_session
from identity.tokens import Issuer

SECONDS = 10.0
_UNCACHED = {"cache-control": "no-store"}
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_STATE = 500
Form = Mapping[str, str]


class _Refused(Exception):
    """What was asked for cannot be: an error code of OAuth 2.0, or of ours."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


@dataclass(frozen=True)
class Counter:
    """What the routes work with, of a process that is running. `public_url` is ours."""

    registry: Registry
    desk: Desk
    public_url: str


def routes(counter: Callable[[], Counter]) -> list[Route]:
    """The routes; `counter` is asked at each request."""
    served = _Served(counter)
    at, provider = f"{PREFIX}/{{realm}}", f"{PREFIX}/{{realm}}/{{provider:uuid}}"
    return [
        Route(f"{at}/certs", served.guarded(served.certs), methods=["GET"]),
        Route(f"{at}/token", served.guarded(served.token), methods=["POST"]),
        Route(f"{at}/logout", served.guarded(served.logout), methods=["POST"]),
        Route(f"{provider}/metadata", served.guarded(served.metadata), methods=["GET"]),
        Route(f"{provider}/login", served.guarded(served.login), methods=["GET"]),
        Route(f"{provider}/acs", served.guarded(served.acs), methods=["POST"]),
        Route(f"{provider}/slo", served.guarded(served.slo), methods=["GET", "POST"]),
    ]


class _Served:
    def __init__(self, counter: Callable[[], Counter]) -> None:
        self._counter = counter

    def guarded(
        self, serve: Callable[[Request, Issuer], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Find the health system, and turn refusals into answers."""

        async def answer(request: Request) -> Response:
            counter = self._counter()
            try:
                realm = request.path_params["realm"]
                issuer = await counter.registry.issuer(issuer_at(counter.public_url, realm))
                if issuer is None:
                    raise NotFound()
                return await serve(request, issuer)
            except NotFound:
                return _problem("NOT_FOUND", 404)
            except SamlRefused as refused:
                return _problem("SAML_REFUSED", 400, reason=refused.flaw.value)
            except _Refused as refused:
                return _problem(refused.code, refused.status)
            except IdentityUnavailable:
                return _problem("UNAVAILABLE", 503)

        return answer

    async def certs(self, _: Request, issuer: Issuer) -> Response:
        """The keys that tokens are signed with (RFC 7517)."""
        async with cell_session(self._counter().desk.cell, issuer.tenant_id) as session:
            found = await published(session, issuer.tenant_id, KeyPurpose.TOKENS)
        return Response(key_set(found), media_type="application/json", headers=_UNCACHED)

    async def metadata(self, request: Request, issuer: Issuer) -> Response:
        """Our description for the provider's administrators."""
        desk, agent = self._counter().desk, agent_of(issuer)
        provider_id: UUID = request.path_params["provider"]
        keys = await desk.keyring.of(agent.tenant_id)
        async with cell_session(desk.cell, agent.tenant_id) as session:
            await provider_of(session, agent, provider_id)
            await signing(session, agent, keys, KeyPurpose.SAML)
            found = await published(session, agent.tenant_id, KeyPurpose.SAML)
        text = metadata(us(issuer.issuer, provider_id), [key.public for key in found])
        return Response(text, media_type="application/samlmetadata+xml", headers=_UNCACHED)

    async def login(self, request: Request, issuer: Issuer) -> Response:
        """Begin a login (RFC 6749, section 4.1.1; RFC 7636): the browser goes to the provider."""
        told = dict(request.query_params)
        challenge = told.get("code_challenge", "")
        if told.get("response_type") != "code" or told.get("code_challenge_method") != "S256":
            raise _Refused("invalid_request")
        if not _CHALLENGE.fullmatch(challenge):
            raise _Refused("invalid_request")
        way = Way(*self._known(told, "redirect_uri"), _state(told), challenge)
        provider_id: UUID = request.path_params["provider"]
        anew = told.get("prompt") == "login" or told.get("max_age") == "0"
        second = way.client == ADMIN_PORTAL or LEVEL in told.get("acr_values", "").split()
        desk = self._counter().desk
        to = await begin(desk, issuer, provider_id, way, anew=anew, second_factor=second)
        return _go(to)

    async def acs(self, request: Request, issuer: Issuer) -> Response:
        """Take a provider's answer (SAML bindings, 3.5): the browser goes back to the portal."""
        form = await _form(request)
        posted, state = form.get("SAMLResponse", ""), form.get("RelayState", "")
        provider_id: UUID = request.path_params["provider"]
        return _go(await arrive(self._counter().desk, issuer, provider_id, posted, state))

    async def slo(self, request: Request, issuer: Issuer) -> Response:
        """Take a logout that a provider asks for or has carried out."""
        if request.method == "POST":
            form = await _form(request)
            posted = form.get("SAMLRequest") or form.get("SAMLResponse") or ""
            told = Told(posted=posted, relay_state=form.get("RelayState"))
        else:
            query = request.scope["query_string"].decode("latin-1")
            told = Told(query=query, relay_state=request.query_params.get("RelayState"))
        to = await hear(self._counter().desk, issuer, request.path_params["provider"], told)
        return _go(to) if to else Response(status_code=204, headers=_UNCACHED)

    async def token(self, request: Request, issuer: Issuer) -> Response:
        """Tokens for a code or a refresh token (RFC 6749, sections 4.1.3 and 6)."""
        form, desk, agent = await _form(request), self._counter().desk, agent_of(issuer)
        client = form.get("client_id", "")
        keys = await desk.keyring.of(agent.tenant_id)
        async with cell_session(desk.cell, agent.tenant_id) as session:
            if form.get("grant_type") == "authorization_code":
                given = await sessions.redeem(
                    session,
                    agent,
                    keys,
                    issuer,
                    client=client,
                    code=form.get("code", ""),
                    redirect_uri=form.get("redirect_uri", ""),
                    verifier=form.get("code_verifier", ""),
                )
            elif form.get("grant_type") == "refresh_token":
                brought = form.get("refresh_token", "")
                given = await sessions.refresh(
                    session, agent, keys, issuer, client=client, token=brought
                )
            else:
                raise _Refused("unsupported_grant_type")
        if given is None:
            raise _Refused("invalid_grant")
        answer = {
            "access_token": given.access,
            "token_type": "Bearer",
            "expires_in": sessions.LIVES,
            "refresh_token": given.refresh,
        }
        return JSONResponse(answer, headers=_UNCACHED)

    async def logout(self, request: Request, issuer: Issuer) -> Response:
        """End a session, here and at the provider: a form that the portal has the browser send."""
        form = await _form(request)
        way = Way(*self._known(form, "post_logout_redirect_uri"), _state(form))
        return _go(await ask(self._counter().desk, issuer, form.get("refresh_token", ""), way))

    def _known(self, told: Form, name: str) -> tuple[str, str]:
        """The client and its address, of those that are known: nowhere else is anybody sent."""
        client, to = told.get("client_id", ""), told.get(name, "")
        known = self._counter().desk.redirects.get(client, ())
        if name != "redirect_uri":
            known += tuple(f"{origin_of(one)}/" for one in known)
        if to not in known:
            raise _Refused("invalid_request")
        return client, to


def _state(told: Form) -> str | None:
    state = told.get("state")
    if state is not None and not (len(state) <= _STATE and state.isprintable()):
        raise _Refused("invalid_request")
    return state


def _go(to: str) -> Response:
    """Send the browser on; with GET, whatever it came with."""
    return RedirectResponse(to, 303, headers={**_UNCACHED, "referrer-policy": "no-referrer"})


def _problem(code: str, status: int, **more: str) -> Response:
    return JSONResponse({"error": code, **more}, status, headers=_UNCACHED)


async def _form(request: Request) -> Form:
    """The fields of a form, each once. Raises _Refused for one that is too large, too slow or no form."""
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise _Refused("invalid_request", 413)
    except (TimeoutError, ClientDisconnect):
        raise _Refused("invalid_request") from None
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise _Refused("invalid_request") from None
    if any(len(values) > 1 for values in found.values()):
        raise _Refused("invalid_request")
    return {name: values[0] for name, values in found.items()}
