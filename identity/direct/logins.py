"""The way of a login by SAML without the broker: asked of the provider, judged, decided, and opened by a code.

Who somebody is and what they may do is decided by `identity/arrivals.py`, as for logins through the realm: the same
links, people held, rules and log. What it yields is a session of the health system's own issuer (`sessions.py`).
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.direct_logins import DirectSession, KeyPurpose, SamlRequest
from domain.errors import NotFound
from domain.identity_providers import IdentityProvider, ProviderState, SignIn
from domain.model import new_id
from domain.organization import Tenant
from domain.sealing import Keyring
from identity.arrivals import Arrival, receive
from identity.assertions import Assertion, asserted, contexts_of
from identity.direct.addresses import them, us
from identity.direct.keys import signing
from identity.direct.requests import Way, keep, message_id, take, take_once
from identity.direct.sessions import LIVES, drawn
from identity.errors import SAID as HELD
from identity.provider_tests import Step, finish
from identity.realms import ADMIN_PORTAL
from identity.saml.messages import login_request, redirect
from identity.saml.refusals import SAID, SamlRefused
from identity.saml.responses import PERSISTENT, SignedIn, read_response
from identity.sync import cell_session
from identity.tokens import Issuer, Token

T = TypeVar("T")
_UNMET = "A second factor is asked for, and your login did not show one that is taken."
log = logging.getLogger(__name__)
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="saml")
"""A response takes milliseconds of the processor: no more of them are looked at at a time, the others wait."""


@dataclass(frozen=True)
class Desk:
    """What logins work with. `cell` as the API's role; `redirects` are the portals' addresses, by client."""

    cell: AsyncEngine
    keyring: Keyring
    redirects: Mapping[str, tuple[str, ...]]


async def judged(judge: Callable[[], T]) -> T:
    """What a judgement of a document comes to, carried out beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, judge)


def agent_of(issuer: Issuer) -> Agent:
    """Nobody yet, at the health system of an issuer, now."""
    return Agent(tenant_id=issuer.tenant_id, now=dt.datetime.now(dt.UTC))


async def provider_of(session: AsyncSession, agent: Agent, provider_id: UUID) -> IdentityProvider:
    """A provider that the API itself speaks with. Raises NotFound."""
    found = await session.scalar(
        select(IdentityProvider).where(
            IdentityProvider.tenant_id == agent.tenant_id,
            IdentityProvider.id == provider_id,
            IdentityProvider.direct,
        )
    )
    if found is None:
        raise NotFound()
    return found


def is_tried(provider: IdentityProvider, agent: Agent) -> bool:
    """Whether a login would only try the provider."""
    waits = provider.test_until is not None and provider.test_until > agent.now
    return provider.state != ProviderState.ACTIVE and waits


async def begin(
    desk: Desk,
    issuer: Issuer,
    provider_id: UUID,
    way: Way,
    *,
    anew: bool = False,
    second_factor: bool = False,
) -> str:
    """Where a browser goes to log in: the provider, with a request of ours. Raises NotFound for one that is not open.

    `second_factor`: by one of those that the provider's word is taken for; where there are none, straight back.
    """
    agent = agent_of(issuer)
    keys = await desk.keyring.of(agent.tenant_id)
    async with cell_session(desk.cell, agent.tenant_id) as session:
        provider = await provider_of(session, agent, provider_id)
        if provider.state != ProviderState.ACTIVE and not is_tried(provider, agent):
            raise NotFound()
        if second_factor and not provider.mfa_contexts:
            return unmet(issuer, way)
        own = message_id(await keep(session, agent, provider_id, way))
        signer = await signing(session, agent, keys, KeyPurpose.SAML)
    other = them(provider)
    message = login_request(
        us(issuer.issuer, provider_id),
        other,
        own,
        agent.now,
        name_format=provider.endpoints.get("name_id_format", PERSISTENT),
        # Others are told as attributes (RFC 8176) and cannot be asked for by name.
        contexts=[c for c in provider.mfa_contexts if second_factor and ":" in c],
        anew=anew,
    )
    return redirect(other.sso_url, "SAMLRequest", message, signer.private, own)


async def arrive(
    desk: Desk, issuer: Issuer, provider_id: UUID, posted: str, relay_state: str
) -> str:
    """Where the browser goes with what a provider has answered: to the portal, with a code or why there is none.

    Raises SamlRefused for an answer to nothing that we asked, NotFound.
    """
    agent = agent_of(issuer)
    keys = await desk.keyring.of(agent.tenant_id)
    async with cell_session(desk.cell, agent.tenant_id) as session:
        provider = await provider_of(session, agent, provider_id)
        # First of all and for good: each request pays for one look at one document.
        request = await take(session, agent, provider_id, relay_state, login=True)
        ours = (await signing(session, agent, keys, KeyPurpose.SAML)).private
    try:
        parties = us(issuer.issuer, provider_id), them(provider)
        read = partial(read_response, *parties, posted, relay_state, agent.now, ours)
        said = await judged(read)
        return await _decided(desk, issuer, agent, request, said)
    except SamlRefused as refused:
        log.info("A response by SAML was refused: %s.", refused.flaw.value)
        if is_tried(provider, agent):
            await _tell(desk, agent, provider_id, refused)
        return back(issuer, request, "access_denied", SAID[refused.flaw], refused.flaw.value)


async def _decided(
    desk: Desk, issuer: Issuer, agent: Agent, request: SamlRequest, said: SignedIn
) -> str:
    """Let somebody in whom the provider has proven, or say why not."""
    opened = new_id()
    async with cell_session(desk.cell, agent.tenant_id) as session:
        provider_id = request.identity_provider_id
        await take_once(session, agent, provider_id, said.assertion_id)
        provider = await provider_of(session, agent, provider_id)
        arrival = _arrival(issuer, agent, request, provider, said, opened)
        shown = not arrival.assertion.contexts.isdisjoint(provider.mfa_contexts)
        if request.client == ADMIN_PORTAL and not shown and not is_tried(provider, agent):
            return unmet(issuer, request)
        cause = await receive(session, agent, arrival)
        code = "" if cause else await _opened(session, agent, request, said, opened)
    if cause is not None:
        return back(issuer, request, "access_denied", HELD[cause], cause.value)
    return _with(request, code=code, iss=issuer.issuer)


def _arrival(
    issuer: Issuer,
    agent: Agent,
    request: SamlRequest,
    provider: IdentityProvider,
    said: SignedIn,
    opened: UUID,
) -> Arrival:
    """The login as those through the realm arrive; whose it is is not known before it was decided."""
    now = int(agent.now.timestamp())
    token = Token(
        issuer=issuer,
        subject="",
        session=str(opened),
        client=request.client,
        issued_at=now,
        expires_at=now + LIVES,
        auth_time=now,
        acr="1",
        amr=frozenset({"fed"}),
        provider=provider.id,
    )
    told = {ours: said.attributes.get(theirs) for ours, theirs in provider.attributes.items()}
    proven = {"amr": told.get("amr"), "acr": [said.context] if said.context else []}
    assertion = Assertion(said.name_id, asserted(told), contexts_of(proven), said.authenticated_at)
    return Arrival(token, provider.id, assertion)


async def _opened(
    session: AsyncSession, agent: Agent, request: SamlRequest, said: SignedIn, opened: UUID
) -> str:
    """A session for the person who was let in; answers the code that opens it."""
    await session.flush()
    person_id = await session.scalar(
        select(SignIn.person_id).where(
            SignIn.tenant_id == agent.tenant_id, SignIn.sid == str(opened)
        )
    )
    longest = await session.scalar(
        select(Tenant.session_max).where(Tenant.tenant_id == agent.tenant_id)
    )
    ends = agent.now + dt.timedelta(seconds=longest or 0)
    code, hashed = drawn(opened)
    session.add(
        DirectSession(
            tenant_id=agent.tenant_id,
            id=opened,
            person_id=person_id,
            identity_provider_id=request.identity_provider_id,
            client=request.client,
            redirect_uri=request.redirect_uri,
            challenge=request.challenge,
            name_id=said.name_id,
            name_format=said.name_format,
            provider_session=said.session_index,
            code_hash=hashed,
            used_at=agent.now,
            authenticated_at=agent.now,
            ends_at=min(ends, said.ends_at or ends),
        )
    )
    return code


async def _tell(desk: Desk, agent: Agent, provider_id: UUID, refused: SamlRefused) -> None:
    """Write down what was wrong, for whoever tries the provider."""
    async with cell_session(desk.cell, agent.tenant_id) as session:
        provider = await provider_of(session, agent, provider_id)
        step = Step(refused.flaw.value, False, SAID[refused.flaw])
        await finish(session, agent, provider, [step])


def unmet(issuer: Issuer, way: Way | SamlRequest) -> str:
    """The portal's address where the provider shows no second factor that its word is taken for.

    The code is of OpenID Connect's "Unmet Authentication Requirements" 1.0. Administrators' portal asks for one at
    each login, as in the realms (`minimum.acr.value`).
    """
    return back(issuer, way, "unmet_authentication_requirements", _UNMET, "MFA_REQUIRED")


def back(issuer: Issuer, request: Way | SamlRequest, error: str, said: str, reason: str) -> str:
    """The portal's address with why nobody comes in (RFC 6749, section 4.1.2.1); `reason` is one of our codes."""
    told = {"error": error, "error_description": said, "reason": reason}
    return _with(request, **told, iss=issuer.issuer)


def _with(request: Way | SamlRequest, **told: str) -> str:
    """A portal's address with what it is told; `iss` by RFC 9207."""
    if request.state is not None:
        told["state"] = request.state
    return f"{request.redirect_uri}?{urlencode(told)}"


def gone_back(request: SamlRequest) -> str:
    """The portal's address after a logout."""
    return _with(request) if request.state is not None else request.redirect_uri
