"""Identity providers of a health system: added as a draft, tried, opened, closed.

As in `identity/provisioning.py`: in the caller's transaction, one audit event each, the asker judged before; what
Keycloak has of it follows by a job.
"""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid
from domain.identity_providers import (
    IdentityLink,
    IdentityProvider,
    Protocol,
    ProviderState,
    ProviderTest,
)
from domain.model import new_id
from domain.people import Person
from domain.plain_text import identifier, line
from domain.sealing import TenantKeys
from domain.versions import change
from identity.assertions import check_map
from identity.brokers import SECRET
from identity.deferral import defer_end_sessions, defer_sync_provider, defer_tell_refusals
from identity.metadata import Described, MetadataRefused, certificate, described, is_here
from identity.provisioning import Oneself
from identity.sync import cell_session
from identity.vendors import check_issuer, speaks

Fetch = Callable[[str], Awaitable[str]]
TEST_LASTS = dt.timedelta(minutes=15)
TOLD_AFTER = (20, 60, 180, 600, 900)
"""Seconds after the beginning of a test at which it is told what the realm refused."""
_MOVES = {
    ProviderState.ACTIVE: (ProviderState.TESTED, ProviderState.SUSPENDED),
    ProviderState.SUSPENDED: (ProviderState.ACTIVE,),
}


class ClientMissing(Invalid):
    """OpenID Connect needs the client that the provider knows us as."""

    code = "CLIENT_MISSING"
    constraints = ("ck_identity_provider_oidc_client",)

    def __init__(self) -> None:
        super().__init__(
            "The client's id and secret at the provider are needed.",
            path=("clientId",),
            code=self.code,
        )


@dataclass(frozen=True)
class ProviderDraft:
    """A provider as somebody describes it; `issuer`, `endpoints` and `certificates` come from vetted metadata.

    `direct`: the API itself is to speak with it by SAML, and not the realm.
    """

    protocol: Protocol
    vendor: str
    name: str
    issuer: str
    endpoints: dict[str, Any]
    attributes: dict[str, str]
    certificates: tuple[str, ...] = ()
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    creates: bool = False
    metadata_url: str | None = None
    direct: bool = False
    secret_expires_at: dt.datetime | None = None


async def add_provider(
    session: AsyncSession,
    agent: Agent,
    keys: TenantKeys,
    draft: ProviderDraft,
    provider_id: uuid.UUID | None = None,
) -> IdentityProvider:
    """Describe a provider; nobody comes in by it before it was tried and opened. Raises Invalid, ClientMissing."""
    made = provider_id or new_id()
    check_issuer(draft.vendor, draft.issuer)
    if draft.direct:
        check_direct(draft.protocol, draft.endpoints)
    if draft.protocol is Protocol.OIDC and not (draft.client_id and draft.client_secret):
        raise ClientMissing()
    provider = IdentityProvider(
        tenant_id=agent.tenant_id,
        id=made,
        protocol=draft.protocol.value,
        direct=draft.direct,
        vendor=draft.vendor,
        name=line(draft.name, "name"),
        state=ProviderState.DRAFT.value,
        issuer=draft.issuer,
        endpoints=speaks(draft.vendor, draft.protocol) | draft.endpoints,
        certificates=list(draft.certificates),
        client_id=identifier(draft.client_id, "clientId") if draft.client_id else None,
        client_secret_sealed=_sealed(keys, made, draft.client_secret),
        attributes=check_map(draft.attributes, "attributes"),
        creates=draft.creates,
        metadata_url=draft.metadata_url,
        metadata_read_at=agent.now,
        expires_at=draft.secret_expires_at or ends(draft.certificates),
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(provider)
    record(session, agent, "tenant:configure", made)
    await session.flush()
    await defer_sync_provider(session, agent.tenant_id, made)
    return provider


async def change_provider(
    session: AsyncSession,
    agent: Agent,
    keys: TenantKeys,
    provider: IdentityProvider,
    version: int,
    *,
    name: str | None = None,
    told: Described | None = None,
    attributes: dict[str, str] | None = None,
    client_secret: str | None = None,
    secret_expires_at: dt.datetime | None = None,
    creates: bool | None = None,
    of_directory: bool | None = None,
) -> IdentityProvider:
    """Change what is said of a provider; None stays. Sessions stay open; logins from now on go by it.

    Raises Invalid (ISSUER_STAYS, attributes), StaleVersion.
    """
    values: dict[str, Any] = {}
    if name is not None:
        values["name"] = line(name, "name")
    if told is not None:
        values |= followed(provider, told) | {"metadata_read_at": agent.now}
    if attributes is not None:
        values["attributes"] = check_map(attributes, "attributes")
    if client_secret is not None:
        values["client_secret_sealed"] = _sealed(keys, provider.id, client_secret)
        values["expires_at"] = secret_expires_at
    if creates is not None:
        values["creates"] = creates
    if of_directory is not None:
        values["of_directory"] = of_directory
    changed = await change(session, agent, provider, version, **values)
    record(session, agent, "tenant:configure", provider.id)
    await defer_sync_provider(session, agent.tenant_id, provider.id)
    return changed


def followed(provider: IdentityProvider, told: Described) -> dict[str, Any]:
    """The columns that follow a newer description. Raises Invalid for one of another issuer."""
    if told.issuer != provider.issuer:
        raise Invalid(
            "This describes another provider: people are linked by the issuer, which stays.",
            path=("metadata",),
            code="ISSUER_STAYS",
        )
    protocol = Protocol(provider.protocol)
    if provider.direct:
        check_direct(protocol, told.endpoints)
    ending = {"expires_at": ends(told.certificates)} if told.certificates else {}
    return ending | {
        "metadata_problem": None,
        "endpoints": speaks(provider.vendor, protocol) | told.endpoints,
        "certificates": list(told.certificates),
    }


def check_direct(protocol: Protocol, endpoints: dict[str, Any]) -> None:
    """Raises Invalid for a provider that the API itself cannot speak with."""
    if protocol is not Protocol.SAML:
        raise Invalid("Only SAML goes without the broker.", path=("direct",))
    if "single_sign_on_redirect" not in endpoints:
        raise Invalid(
            "It has no address to log in at by redirect.",
            path=("metadata",),
            code=MetadataRefused.code,
        )


def ends(certificates: Sequence[str]) -> dt.datetime | None:
    """When the last of these certificates (PEM) ends; None without any."""
    return max((certificate(pem).not_valid_after_utc for pem in certificates), default=None)


async def refresh(
    cell: AsyncEngine, tenant_id: uuid.UUID, provider_id: uuid.UUID, fetch: Fetch
) -> None:
    """Read a provider's description again where it is published, and follow it: keys are rolled over so.

    What cannot be taken changes nothing but `metadata_problem`, which says why. Safe to repeat.
    """
    key = (tenant_id, provider_id)
    async with cell_session(cell, tenant_id) as session:
        provider = await session.get(IdentityProvider, key)
    if provider is None or provider.metadata_url is None:
        return
    agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
    values: dict[str, Any]
    try:
        text = await fetch(provider.metadata_url)
        told = described(Protocol(provider.protocol), text, loopback=is_here(provider.metadata_url))
        values = followed(provider, told) | {"metadata_read_at": agent.now}
    except Invalid as error:
        values = {"metadata_problem": error.message}
    async with cell_session(cell, tenant_id) as session:
        present = await session.get_one(IdentityProvider, key, with_for_update=True)
        news = {n: v for n, v in values.items() if getattr(present, n) != v}
        if not news:
            return
        for name, value in news.items():
            setattr(present, name, value)
        if news.keys() - {"metadata_read_at"}:
            present.version += 1
            record(session, agent, "tenant:configure", provider_id)
            await defer_sync_provider(session, tenant_id, provider_id)


async def published(cell: AsyncEngine, tenant_id: uuid.UUID) -> list[uuid.UUID]:
    """The providers whose description is published somewhere."""
    async with cell_session(cell, tenant_id) as session:
        found = select(IdentityProvider.id).where(
            IdentityProvider.tenant_id == tenant_id, IdentityProvider.metadata_url.is_not(None)
        )
        return list(await session.scalars(found.order_by(IdentityProvider.id)))


def _sealed(keys: TenantKeys, provider_id: uuid.UUID, secret: str | None) -> bytes | None:
    return None if secret is None else keys.seal(SECRET, provider_id, secret.encode())


async def start_test(
    session: AsyncSession,
    agent: Agent,
    provider: IdentityProvider,
    version: int,
    test_id: uuid.UUID | None = None,
) -> ProviderTest:
    """Let one login try the provider within a quarter of an hour. Nobody comes in by it.

    Raises IllegalMove, StaleVersion.
    """
    if provider.state == ProviderState.ACTIVE:
        # Whoever logs in comes in: the log of logins says how it went.
        raise IllegalMove("provider", provider.state, "tried")
    until = agent.now + TEST_LASTS
    await change(session, agent, provider, version, test_until=until)
    test = ProviderTest(
        tenant_id=agent.tenant_id,
        id=test_id or new_id(),
        identity_provider_id=provider.id,
        started_by=agent.person_id,
        until=until,
        steps=[],
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(test)
    record(session, agent, "tenant:configure", provider.id, test.id)
    await session.flush()
    await defer_sync_provider(session, agent.tenant_id, provider.id)
    await defer_sync_provider(session, agent.tenant_id, provider.id, at=until)
    if provider.direct:  # what is wrong with a login is written down when it comes
        return test
    for seconds in TOLD_AFTER:
        moment = agent.now + dt.timedelta(seconds=seconds)
        await defer_tell_refusals(session, agent.tenant_id, test.id, moment)
    return test


async def activate(
    session: AsyncSession, agent: Agent, provider: IdentityProvider, version: int
) -> IdentityProvider:
    """Let people in by a provider that was tried, or again by a suspended one. Raises IllegalMove, StaleVersion."""
    changed = await _move(session, agent, provider, version, ProviderState.ACTIVE)
    await defer_sync_provider(session, agent.tenant_id, provider.id)
    return changed


async def suspend(
    session: AsyncSession, agent: Agent, provider: IdentityProvider, version: int
) -> IdentityProvider:
    """Let nobody in by a provider, and end what is open: here with the next request, then in Keycloak.

    Raises IllegalMove, StaleVersion, Oneself for somebody who would shut themselves out.
    """
    changed = await _move(session, agent, provider, version, ProviderState.SUSPENDED)
    linked = select(IdentityLink.person_id).where(
        IdentityLink.tenant_id == agent.tenant_id,
        IdentityLink.identity_provider_id == provider.id,
    )
    if await session.scalar(linked.where(IdentityLink.person_id == agent.person_id)):
        raise Oneself()
    people = await session.scalars(
        update(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id.in_(linked))
        .values(
            # The clock of the moment of writing: a token of the second before must not slip through.
            tokens_valid_from=func.greatest(agent.now, func.now()),
            version=Person.version + 1,
            updated_at=agent.now,
        )
        .returning(Person.id),
        execution_options={"synchronize_session": False},
    )
    await defer_sync_provider(session, agent.tenant_id, provider.id)
    for person_id in people:
        await defer_end_sessions(session, agent.tenant_id, person_id)
    return changed


async def _move(
    session: AsyncSession,
    agent: Agent,
    provider: IdentityProvider,
    version: int,
    to: ProviderState,
) -> IdentityProvider:
    if provider.state not in _MOVES[to]:
        raise IllegalMove("provider", provider.state, to.value)
    changed = await change(session, agent, provider, version, state=to.value, test_until=None)
    record(session, agent, "tenant:configure", provider.id)
    return changed
