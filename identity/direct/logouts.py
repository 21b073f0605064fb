"""Logging out of both: here and at the provider, whoever begins (SAML profiles, 4.4)."""

from dataclasses import dataclass
from functools import partial
from uuid import UUID

from domain.direct_logins import KeyPurpose
from domain.model import new_id
from identity.direct.addresses import them, us
from identity.direct.keys import signing
from identity.direct.logins import Desk, agent_of, gone_back, judged, provider_of
from identity.direct.requests import Way, keep, message_id, take, take_once
from identity.direct.sessions import end, end_named
from identity.saml.logouts import LogoutAsked, read_posted, read_redirected
from identity.saml.messages import logout_request, logout_response, redirect
from identity.saml.parties import Provider
from identity.sync import cell_session
from identity.tokens import Issuer


async def ask(desk: Desk, issuer: Issuer, token: str, way: Way) -> str:
    """End a session by its refresh token, here at once; where the browser goes then.

    To the provider, if it ends sessions of its own; else, and for a token of no session, back to the portal.
    """
    agent = agent_of(issuer)
    keys = await desk.keyring.of(agent.tenant_id)
    home = f"{way.redirect_uri}?state={way.state}" if way.state else way.redirect_uri
    async with cell_session(desk.cell, agent.tenant_id) as session:
        ended = await end(session, agent, way.client, token)
        if ended is None:
            return home
        provider = await provider_of(session, agent, ended.identity_provider_id)
        other = them(provider)
        if other.slo_url is None:
            return home
        own = message_id(await keep(session, agent, provider.id, way))
        signer = await signing(session, agent, keys, KeyPurpose.SAML)
    message = logout_request(
        us(issuer.issuer, provider.id),
        other.slo_url,
        own,
        agent.now,
        name_id=ended.name_id,
        name_format=ended.name_format,
        index=ended.provider_session,
    )
    return redirect(other.slo_url, "SAMLRequest", message, signer.private, own)


@dataclass(frozen=True)
class Told:
    """A logout message as it came: the text of the address's query, or the field of a form."""

    query: str | None = None
    posted: str | None = None
    relay_state: str | None = None


async def hear(desk: Desk, issuer: Issuer, provider_id: UUID, told: Told) -> str | None:
    """Follow what a provider says of a logout; where the browser goes then, None where it has nowhere to go.

    Raises SamlRefused, NotFound.
    """
    agent = agent_of(issuer)
    keys = await desk.keyring.of(agent.tenant_id)
    mine = us(issuer.issuer, provider_id)
    async with cell_session(desk.cell, agent.tenant_id) as session:
        other: Provider = them(await provider_of(session, agent, provider_id))
    read, text = (
        (read_redirected, told.query) if told.posted is None else (read_posted, told.posted)
    )
    message = await judged(partial(read, mine, other, text or "", agent.now))
    async with cell_session(desk.cell, agent.tenant_id) as session:
        if not isinstance(message, LogoutAsked):
            asked = message.request_id
            return gone_back(await take(session, agent, provider_id, asked, login=False))
        await take_once(session, agent, provider_id, message.message_id)
        await end_named(session, agent, provider_id, message.name_id, message.indexes)
        if other.slo_url is None:
            return None
        signer = await signing(session, agent, keys, KeyPurpose.SAML)
    answer = logout_response(
        mine, other.slo_url, message_id(new_id()), message.message_id, agent.now
    )
    return redirect(other.slo_url, "SAMLResponse", answer, signer.private, told.relay_state)
