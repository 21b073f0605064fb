"""Jobs that were given up: looked at, and put back in the line once what made them fail is mended.

Each reads the present state when it runs, so one that comes late does what is right by then.
"""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from identity.deferral import QUEUE
from identity.jobs import make_app

_DEAD = """\
select j.id, j.task_name, j.args ->> 'tenant_id' as tenant_id, j.args - 'tenant_id' as about, j.attempts,
    (select max(e.at) from procrastinate_events e where e.job_id = j.id) as at
from procrastinate_jobs j
where j.queue_name = %(queue)s and j.status = 'failed'
    and (%(tenant)s::text is null or j.args ->> 'tenant_id' = %(tenant)s::text)
order by j.id limit %(most)s"""
_REPLAY = """\
update procrastinate_jobs set status = 'todo', attempts = 0, scheduled_at = now()
where queue_name = %(queue)s and status = 'failed'
    and (%(tenant)s::text is null or args ->> 'tenant_id' = %(tenant)s::text)
    and (%(ids)s::bigint[] is null or id = any (%(ids)s::bigint[]))
returning id"""
MOST = 1_000


@dataclass(frozen=True)
class DeadJob:
    """A job that nothing tries again: what it was for, by ids, how often it was tried, and when last."""

    id: int
    task: str
    tenant_id: str | None
    about: dict[str, str]
    attempts: int
    at: dt.datetime | None


async def dead_jobs(dsn: str, tenant_id: UUID | None = None) -> list[DeadJob]:
    """The oldest thousand, of one health system or of all. `dsn` is the worker's role."""
    async with make_app(dsn).open_async() as app:
        rows = await app.connector.execute_query_all_async(
            _DEAD, queue=QUEUE, tenant=_text(tenant_id), most=MOST
        )
    return [DeadJob(*(row[n] for n in _COLUMNS)) for row in rows]


_COLUMNS = ("id", "task_name", "tenant_id", "about", "attempts", "at")


async def replay(
    dsn: str, ids: list[int] | None = None, tenant_id: UUID | None = None
) -> list[int]:
    """Let dead jobs run again, all or these, with as much patience as new ones; answers which. `dsn` as above."""
    async with make_app(dsn).open_async() as app:
        rows = await app.connector.execute_query_all_async(
            _REPLAY, queue=QUEUE, tenant=_text(tenant_id), ids=ids
        )
    return sorted(row["id"] for row in rows)


def _text(tenant_id: UUID | None) -> str | None:
    return None if tenant_id is None else str(tenant_id)
