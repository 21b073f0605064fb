"""How the directories of a health system are doing, in numbers."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.scim import ScimGroup, ScimUser
from domain.scim_departures import ScimRelease
from domain.scim_requests import ScimRequest
from identity.scim.departures import count_held, limit_of

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Summary:
    """Requests are those of the last day; `departures_a_day` so many people may leave before others are held."""

    last_request_at: dt.datetime | None
    requests: int
    failures: int
    users: int
    groups: int
    held_departures: int
    departures_a_day: int
    released_until: dt.datetime | None


async def summary_of(session: AsyncSession, agent: Agent) -> Summary:
    """The numbers of now."""
    here = ScimRequest.tenant_id == agent.tenant_id
    counts = select(func.count(ScimRequest.id), func.count().filter(ScimRequest.status >= 400))
    lately = counts.where(here, ScimRequest.created_at > agent.now - DAY)
    requests, failures = (await session.execute(lately)).one()
    last = select(func.max(ScimRequest.created_at)).where(here)
    until = select(func.max(ScimRelease.until)).where(
        ScimRelease.tenant_id == agent.tenant_id, ScimRelease.until > agent.now
    )
    users = select(func.count(ScimUser.id)).where(
        ScimUser.tenant_id == agent.tenant_id, ScimUser.deleted_at.is_(None)
    )
    groups = select(func.count(ScimGroup.id)).where(
        ScimGroup.tenant_id == agent.tenant_id, ScimGroup.deleted_at.is_(None)
    )
    return Summary(
        last_request_at=await session.scalar(last),
        requests=requests,
        failures=failures,
        users=await session.scalar(users) or 0,
        groups=await session.scalar(groups) or 0,
        held_departures=await count_held(session, agent),
        departures_a_day=await limit_of(session, agent),
        released_until=await session.scalar(until),
    )
