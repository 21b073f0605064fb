"""What administrators are written to about identity providers: certificates or a client's secret that end.

Looked at each day, whichever way the provider is spoken with. They are told once for each of the terms 60, 30 and 7 days,
and anew for what replaces what has ended.
"""

import datetime as dt
import uuid

from sqlalchemy import DateTime, select, type_coerce
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.direct_logins import ProviderWarning
from domain.identity_providers import IdentityProvider, Protocol, ProviderState
from identity.deferral import defer_notice

TERMS = (7, 30, 60)
"""Days before the end, at each of which administrators are told."""
DAY = dt.timedelta(days=1)


async def warn_of_providers(session: AsyncSession, agent: Agent) -> None:
    """Have administrators told of what ends soon at providers that people come in by, and note that they were."""
    ends = type_coerce(IdentityProvider.expires_at, DateTime(timezone=True))
    ending = await session.execute(
        select(IdentityProvider.id, ends).where(
            IdentityProvider.tenant_id == agent.tenant_id,
            IdentityProvider.state == ProviderState.ACTIVE,
            IdentityProvider.expires_at > agent.now,
            IdentityProvider.expires_at <= agent.now + TERMS[-1] * DAY,
        )
    )
    for provider_id, expires_at in ending.all():
        term = next(days for days in TERMS if expires_at <= agent.now + days * DAY)
        new = await session.scalar(
            insert(ProviderWarning)
            .values(
                tenant_id=agent.tenant_id,
                identity_provider_id=provider_id,
                expires_at=expires_at,
                days=term,
            )
            .on_conflict_do_nothing()
            .returning(ProviderWarning.days)
        )
        if new is not None:
            about = f"{provider_id} {expires_at:%Y-%m-%d} {term}"
            await defer_notice(session, agent.tenant_id, "identity_provider", about)


async def provider_ends(session: AsyncSession, agent: Agent, about: str) -> tuple[str, str] | None:
    """The letter about a provider; None where it was seen to meanwhile."""
    provider_id = uuid.UUID(about.split()[0])
    provider = await session.get(IdentityProvider, (agent.tenant_id, provider_id))
    if provider is None or provider.state != ProviderState.ACTIVE or provider.expires_at is None:
        return None
    if provider.expires_at > agent.now + TERMS[-1] * DAY:
        return None
    days = max(0, round((provider.expires_at - agent.now) / DAY))
    what, then = (
        ("client secret", "make a new one there and give it to us")
        if provider.protocol == Protocol.OIDC
        else ("last certificate", "give us its metadata with the certificate that follows")
    )
    return (
        f"Logins by {provider.name} end in {days} days",
        f"The {what} of the identity provider {provider.name!r} ends on {provider.expires_at:%Y-%m-%d}. From then on nobody"
        " can log in by it any more.\n\n"
        f"Before that, {then} (updateIdentityProvider). Whoever is logged in stays so.\n",
    )
