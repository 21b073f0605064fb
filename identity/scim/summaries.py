"""How the directories of a health system are doing, in numbers."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.organization import Tenant
from domain.scim import ScimGroup, ScimUser
from domain.scim_departures import ScimRelease
from domain.scim_requests import ScimRequest
from identity.scim.departures import count_held, limits_of

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Summary:
    """Requests are those of the last day; `departures_a_day` so many people may leave before others are held.

    That is worked out of the limits that follow; `version` is the health system's.
    """

    last_request_at: dt.datetime | None
    requests: int
    failures: int
    users: int
    groups: int
    held_departures: int
    departures_a_day: int
    departures_few: int
    departures_most: int
    departures_percent: int
    version: int
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
    version = select(Tenant.version).where(Tenant.tenant_id == agent.tenant_id)
    limits, pushed = await limits_of(session, agent), await session.scalar(users) or 0
    groups = select(func.count(ScimGroup.id)).where(
        ScimGroup.tenant_id == agent.tenant_id, ScimGroup.deleted_at.is_(None)
    )
    return Summary(
        last_request_at=await session.scalar(last),
        requests=requests,
        failures=failures,
        users=pushed,
        groups=await session.scalar(groups) or 0,
        held_departures=await count_held(session, agent),
        departures_a_day=limits.of(pushed),
        departures_few=limits.few,
        departures_most=limits.most,
        departures_percent=limits.percent,
        version=await session.scalar(version) or 0,
        released_until=await session.scalar(until),
    )
