"""What administrators are written to about directories: tokens that end, people whom the guard holds.

Tokens are looked at each day. Of one that ends within 60, 30 or 7 days they are told once for each of these terms, but for
terms longer than the token was made for.
"""

import datetime as dt
import uuid

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.organization import Tenant
from domain.scim import ScimToken
from identity.deferral import defer_notice
from identity.scim.departures import KEPT, count_held, is_released

TERMS = (7, 30, 60)
"""Days before the end of a token, at each of which administrators are told."""
DAY = dt.timedelta(days=1)


async def warn_of_tokens(session: AsyncSession, agent: Agent) -> None:
    """Have administrators told of tokens that end soon, and note that they were."""
    ending = await session.scalars(
        select(ScimToken)
        .where(
            ScimToken.tenant_id == agent.tenant_id,
            ScimToken.revoked_at.is_(None),
            ScimToken.expires_at > agent.now,
            ScimToken.expires_at <= agent.now + TERMS[-1] * DAY,
        )
        .with_for_update(skip_locked=True)
    )
    for token in ending.all():
        term = next(days for days in TERMS if token.expires_at <= agent.now + days * DAY)
        told = token.warned_days is not None and token.warned_days <= term
        if told or token.expires_at - token.created_at <= term * DAY:
            continue
        token.warned_days = term
        await defer_notice(session, agent.tenant_id, "scim_token", f"{token.id} {term}")


async def token_ends(session: AsyncSession, agent: Agent, about: str) -> tuple[str, str] | None:
    """The letter about a token that ends."""
    token = await session.get(ScimToken, (agent.tenant_id, uuid.UUID(about.split()[0])))
    if token is None or token.revoked_at is not None or token.expires_at <= agent.now:
        return None
    days = max(1, round((token.expires_at - agent.now) / DAY))
    used = f"on {token.last_used_at:%Y-%m-%d}" if token.last_used_at else "never"
    return (
        f"A token of your directory ends in {days} days",
        f"The token {token.name!r}, by which a directory pushes people and groups at {await _name(session, agent)}, ends on"
        f" {token.expires_at:%Y-%m-%d}. It was last used {used}.\n\n"
        "From then on nobody is brought over any more: who joins cannot work, and who leaves keeps their access.\n\n"
        "Replace it on the sync page and give the new one to the directory; both open until the old one ends. If it is"
        " used no longer, revoke it.\n",
    )


async def departures_held(session: AsyncSession, agent: Agent, _: str) -> tuple[str, str] | None:
    """The letter about people whom the guard holds."""
    held = await count_held(session, agent)
    if not held or await is_released(session, agent):
        return None
    return (
        "Your directory shuts out more people than usual",
        f"A directory asked to shut out, or take roles from, more people of {await _name(session, agent)} within a day than"
        f" usual. {held} of them are held: they can work as before.\n\n"
        "The sync page shows who they are. If they are meant to leave, release them there and let the directory send it"
        f" again. If not, mend it in the directory; what is not sent again for {KEPT.days} days is forgotten.\n\n"
        "Whoever has to be out now can be deactivated by hand at any time.\n",
    )


async def _name(session: AsyncSession, agent: Agent) -> str:
    tenant = await session.get(Tenant, agent.tenant_id)
    return tenant.name if tenant is not None else "your health system"
