"""E-mail domains of a health system: proven by a record in the DNS, looked at each day, and where their people log in.

The record lies at `_caretree.<domain>` (TXT) and holds what was drawn for it. Proving one opens two things: its
provider may make people with such addresses, and whoever types one is sent to that provider.
"""

import datetime as dt
import secrets
import uuid
from collections.abc import Awaitable, Callable

import dns.asyncresolver
import dns.exception
import dns.resolver
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, record
from domain.control import DomainEntry
from domain.email_domains import PREFIX, RECORD, DomainState, EmailDomain, known_domain
from domain.identity_providers import IdentityProvider, ProviderState
from domain.model import new_id
from identity.deferral import defer_check_domain
from identity.sync import cell_session

SECONDS = 5.0
Lookup = Callable[[str], Awaitable[frozenset[str]]]
"""The TXT records of a name; none where there are none. Raises NoAnswer where the DNS itself does not answer."""


class NoAnswer(Exception):
    """The DNS cannot be asked now: that says nothing about a domain."""


async def look_up(name: str) -> frozenset[str]:
    """Ask the resolver of this machine for TXT records (RFC 1035 section 3.3.14). Raises NoAnswer."""
    try:
        found = await dns.asyncresolver.resolve(name, "TXT", lifetime=SECONDS, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return frozenset()
    except (dns.exception.DNSException, OSError):
        raise NoAnswer() from None
    return frozenset(
        b"".join(answer.strings).decode("ascii", "replace") for answer in found.rrset or ()
    )


async def add_domain(
    session: AsyncSession,
    agent: Agent,
    domain: str,
    provider_id: uuid.UUID,
    domain_id: uuid.UUID | None = None,
) -> EmailDomain:
    """Claim a domain for a provider; it counts once it is proven. Raises Invalid, DomainTaken (by the constraint)."""
    made = EmailDomain(
        tenant_id=agent.tenant_id,
        id=domain_id or new_id(),
        domain=known_domain(domain, "domain"),
        identity_provider_id=provider_id,
        challenge=PREFIX + secrets.token_urlsafe(24),
        state=DomainState.PENDING.value,
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(made)
    record(session, agent, "tenant:configure", made.id)
    await session.flush()
    await defer_check_domain(session, agent.tenant_id, made.id)
    return made


async def ask_again(
    session: AsyncSession, agent: Agent, domain: EmailDomain, version: int
) -> EmailDomain:
    """Have a domain looked at now. `version` is not asked for: nothing of it changes by asking."""
    del version
    await defer_check_domain(session, agent.tenant_id, domain.id)
    return domain


async def check_domain(
    cell: AsyncEngine,
    control: AsyncEngine,
    look: Lookup,
    tenant_id: uuid.UUID,
    domain_id: uuid.UUID,
) -> None:
    """Look at the record, and open or close what hangs on it. Safe to repeat; raises NoAnswer, which changes nothing.

    `control` connects as the worker. A domain that another health system has proven stays pending here.
    """
    async with cell_session(cell, tenant_id) as session:
        domain = await session.get(EmailDomain, (tenant_id, domain_id))
        if domain is None:
            return
        provider = await session.get_one(IdentityProvider, (tenant_id, domain.identity_provider_id))
    there = domain.challenge in await look(f"{RECORD}.{domain.domain}")
    there = await _published(control, domain, there, provider)
    now = dt.datetime.now(dt.UTC)
    state = DomainState.PROVEN if there else DomainState.LOST
    if not there and domain.proven_at is None:
        state = DomainState.PENDING
    async with cell_session(cell, tenant_id) as session:
        await session.execute(
            update(EmailDomain)
            .where(EmailDomain.tenant_id == tenant_id, EmailDomain.id == domain_id)
            .values(
                state=state.value,
                proven_at=domain.proven_at or (now if there else None),
                checked_at=now,
                version=EmailDomain.version + int(state != domain.state),
                updated_at=now,
            ),
            execution_options={"synchronize_session": False},
        )
        if state != domain.state:
            agent = Agent(tenant_id=tenant_id, now=now)
            record(session, agent, "tenant:configure", domain_id)


async def lead(
    cell: AsyncEngine, control: AsyncEngine, tenant_id: uuid.UUID, provider_id: uuid.UUID
) -> None:
    """Let the domains of a provider lead to it while it is open, and nowhere while it is not. Safe to repeat."""
    async with cell_session(cell, tenant_id) as session:
        provider = await session.get(IdentityProvider, (tenant_id, provider_id))
    if provider is None:
        return
    async with control.begin() as connection:
        await connection.execute(
            update(DomainEntry)
            .where(
                DomainEntry.tenant_id == tenant_id,
                DomainEntry.identity_provider_id == provider_id,
            )
            .values(closed=_is_closed(provider))
        )


def _is_closed(provider: IdentityProvider) -> bool:
    return provider.state != ProviderState.ACTIVE


async def _published(
    control: AsyncEngine, domain: EmailDomain, there: bool, provider: IdentityProvider
) -> bool:
    """Keep the control plane's list of where domains log in; whether this health system has the domain."""
    mine = (DomainEntry.domain == domain.domain, DomainEntry.tenant_id == domain.tenant_id)
    async with control.begin() as connection:
        if not there:
            await connection.execute(delete(DomainEntry).where(*mine))
            return False
        values = {
            "identity_provider_id": domain.identity_provider_id,
            "direct": provider.direct,
            "closed": _is_closed(provider),
        }
        await connection.execute(
            insert(DomainEntry)
            .values(domain=domain.domain, tenant_id=domain.tenant_id, **values)
            .on_conflict_do_update(
                index_elements=["domain"],
                set_=values,
                where=DomainEntry.tenant_id == domain.tenant_id,
            )
        )
        return await connection.scalar(select(DomainEntry.domain).where(*mine)) is not None


async def domains_of(cell: AsyncEngine, tenant_id: uuid.UUID) -> list[uuid.UUID]:
    """Every domain of a health system."""
    async with cell_session(cell, tenant_id) as session:
        found = select(EmailDomain.id).where(EmailDomain.tenant_id == tenant_id)
        return list(await session.scalars(found.order_by(EmailDomain.id)))
