"""The jobs that remind patients: one that looks through a health system's calendar, and one for each reminder.

The looking job defers its own successor, in the transaction that writes down what it found; where no rule is in force
there is none. A second one of the same health system finds that it is not yet time, and ends. So a chain that broke is
begun anew by whatever defers a job: the day's housekeeping does.
"""

import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import procrastinate
from psycopg import AsyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.patients import Channel
from domain.reminders import (
    Attempt,
    Ended,
    Message,
    Notifier,
    NotTaken,
    Refused,
    begin,
    finish,
    look,
    watch,
)
from identity.calendar import QUEUE, defer, nobody
from identity.sync import cell_session

LOOK = "reminders:look"
SEND = "reminders:send"
Notifiers = Mapping[Channel, Notifier]
_SIGHT = ("app.scope_appointment", "app.scope_patient", "app.write_appointment")
# Behind the jobs of people, who wait for them.
_DEFER = text(
    "select procrastinate_defer_jobs_v1(array_agg(row(cast(:queue as varchar), cast(:task as varchar), -1, null, null,"
    " jsonb_build_object('tenant_id', cast(:tenant as text), 'reminder_id', r.id), r.at)"
    "::procrastinate_job_to_defer_v1)) from unnest(cast(:ids as text[]), cast(:ats as timestamptz[])) r (id, at)"
)
log = logging.getLogger(__name__)


async def start(session: AsyncSession, connection: AsyncConnection[Any], agent: Agent) -> None:
    """Have a health system's calendar looked through, once the transaction is committed, unless it is already."""
    if await watch(session, agent):
        await defer(connection, LOOK, agent.tenant_id, agent.now)


async def look_through(context: procrastinate.JobContext, *, tenant_id: str) -> None:
    """Write down what comes due in a health system in the next minutes, and have it sent then."""
    tenant = UUID(tenant_id)
    async with _session(context, tenant) as session:
        looked = await look(session, await nobody(session, tenant))
        if looked is None:
            return
        await _defer_sends(session, tenant, looked.due)
        if looked.again_at is not None:
            raw = await (await session.connection()).get_raw_connection()
            connection: Any = raw.driver_connection
            await defer(connection, LOOK, tenant, looked.again_at)


async def send(context: procrastinate.JobContext, *, tenant_id: str, reminder_id: str) -> None:
    """Send one reminder, if it is still to be sent; or have it asked for again."""
    tenant, reminder = UUID(tenant_id), UUID(reminder_id)
    resources = context.additional_context["identity"]
    keys = await resources.keys.of(tenant)
    async with _session(context, tenant) as session:
        begun = await begin(session, await nobody(session, tenant), keys, reminder)
        if isinstance(begun, dt.datetime):
            await _defer_sends(session, tenant, [(reminder, begun)])
    if not isinstance(begun, Attempt):
        return
    ended = await _handed_over(resources.notifiers, begun)
    async with _session(context, tenant) as session:
        again_at = await finish(session, await nobody(session, tenant), begun, ended)
        if again_at is not None:
            await _defer_sends(session, tenant, [(reminder, again_at)])


async def _handed_over(notifiers: Notifiers, attempt: Attempt) -> Ended:
    notifier = notifiers.get(attempt.channel)
    if notifier is None or not _addressed(attempt.channel, attempt.message):
        return Ended.NOT_CONFIGURED
    try:
        await notifier.send(attempt.message)
    except Refused:
        return Ended.REFUSED
    except NotTaken:
        return Ended.NOT_TAKEN
    except Exception as error:  # its text may hold an address
        log.error("A notifier failed: %s", type(error).__name__)
        return Ended.NOT_TAKEN
    return Ended.TAKEN


def _addressed(channel: Channel, message: Message) -> bool:
    return channel is not Channel.WEBHOOK or message.endpoint is not None


async def _defer_sends(
    session: AsyncSession, tenant_id: UUID, reminders: Iterable[tuple[UUID, dt.datetime]]
) -> None:
    at = list(reminders)
    if at:
        values = {
            "queue": QUEUE,
            "task": SEND,
            "tenant": str(tenant_id),
            "ids": [str(reminder) for reminder, _ in at],
            "ats": [moment for _, moment in at],
        }
        await session.execute(_DEFER, values)


@asynccontextmanager
async def _session(
    context: procrastinate.JobContext, tenant_id: UUID
) -> AsyncIterator[AsyncSession]:
    """A transaction that sees the calendar and the patients of a health system, and writes its reminders."""
    cell: AsyncEngine = context.additional_context["identity"].cell
    async with cell_session(cell, tenant_id) as session:
        for name in _SIGHT:
            await session.execute(text("select set_config(:name, '*', true)"), {"name": name})
        yield session
