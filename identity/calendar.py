"""Work on the calendar that comes due at an hour: holds that nobody confirmed.

A job is written by the transaction that makes it due, so nobody looks through all health systems.
"""

import datetime as dt
import json
from typing import Any
from uuid import UUID

import procrastinate
from psycopg import AsyncConnection
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.appointments import release_expired
from domain.audit import Agent
from identity.sync import cell_session

QUEUE = "identity"
RELEASE_HOLDS = "calendar:release_holds"
_DEFER = (
    "select procrastinate_defer_jobs_v1(array[row(%(queue)s::varchar, %(task)s::varchar, 0, null, null,"
    " %(args)s::jsonb, %(at)s::timestamptz)::procrastinate_job_to_defer_v1])"
)


async def defer(
    connection: AsyncConnection[Any], task: str, tenant_id: UUID, at: dt.datetime, **args: str
) -> None:
    """Have a job done at an instant, once the connection's transaction is committed. `args` are ids."""
    told = json.dumps({"tenant_id": str(tenant_id), **args})
    values = {"queue": QUEUE, "task": task, "args": told, "at": at}
    async with connection.cursor() as cursor:
        await cursor.execute(_DEFER, values)


async def defer_release(
    connection: AsyncConnection[Any], tenant_id: UUID, expires_at: dt.datetime
) -> None:
    """End a hold when its time has come. Until then, and without, nobody is kept from an expired one."""
    await defer(connection, RELEASE_HOLDS, tenant_id, expires_at + dt.timedelta(seconds=1))


async def release_holds(context: procrastinate.JobContext, *, tenant_id: str) -> None:
    """End a health system's expired holds."""
    tenant = UUID(tenant_id)
    cell = context.additional_context["identity"].cell
    async with cell_session(cell, tenant) as session:
        await session.execute(text("select set_config('app.write_appointment', '*', true)"))
        await release_expired(session, await nobody(session, tenant))


async def nobody(session: AsyncSession, tenant_id: UUID) -> Agent:
    """The agent of a job, by the database's clock: jobs come by that, and one that is behind it finds nothing due."""
    now: dt.datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return Agent(tenant_id=tenant_id, now=now)
