"""Work for Keycloak that follows a change in the cell, carried out by the worker once the change is committed.

A job is written into procrastinate's table by the transaction that makes the change (that is the outbox): no commit,
no job; a commit, and the job will run. It carries ids only and reads the present state when it runs. Jobs of one
person have a lock and run in the order of their commits. A job meant for later has none, or it would hold up those
behind it; when its time has come it defers the real one.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import procrastinate
from procrastinate.jobs import Job
from sqlalchemy import DateTime, Integer, Text, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.types import UserDefinedType

from domain.sealing import Keyring
from identity.accounts import Accounts, NoAccount
from identity.brokers import sync_provider
from identity.calendar import RELEASE_HOLDS, release_holds
from identity.housekeeping import FORGET_KEYS, KEEP_HOUSE, forget_keys, keep_house
from identity.keycloak_failures import Invalid, NotFound
from identity.realms import SVC_IDENTITY, SVC_POLICY
from identity.reminders import LOOK, SEND, Notifiers, look_through, send
from identity.sync import UserTaken, cell_session, subject_of, sync_person, sync_tenant

QUEUE = "identity"
SYNC_PERSON = "identity:sync_person"
SYNC_PERSON_LATER = "identity:sync_person_later"
SYNC_TENANT = "identity:sync_tenant"
END_SESSIONS = "identity:end_sessions"
END_SESSION = "identity:end_session"
RETIRE_USER = "identity:retire_user"
SYNC_PROVIDER = "identity:sync_provider"
RETRY_STALLED = "identity:retry_stalled"
_RESOURCES = "identity"
_HEARTBEAT_SECONDS = 30.0


class _JobToDefer(UserDefinedType[Any]):
    """procrastinate's row of a job."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "procrastinate_job_to_defer_v1"


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """What jobs work with: the cell as the API's role (row-level security holds), the realms' accounts, keys.

    A channel without its notifier is one that this installation has not.
    """

    cell: AsyncEngine
    accounts: Accounts
    keys: Keyring
    notifiers: Notifiers = field(default_factory=dict)


async def defer_sync(
    session: AsyncSession,
    tenant_id: UUID,
    person_ids: Iterable[UUID],
    *,
    at: datetime | None = None,
) -> None:
    """Bring these people's users up to date once the caller's transaction is committed, or at an instant."""
    task = SYNC_PERSON if at is None else SYNC_PERSON_LATER
    await _defer(session, task, tenant_id, [{"person_id": str(p)} for p in person_ids], at)


async def defer_sync_tenant(session: AsyncSession, tenant_id: UUID) -> None:
    """Bring the realm's policy up to date once the caller's transaction is committed."""
    await _defer(session, SYNC_TENANT, tenant_id, [{}])


async def defer_end_sessions(session: AsyncSession, tenant_id: UUID, person_id: UUID) -> None:
    """End all sessions of a person in Keycloak once the caller's transaction is committed."""
    await _defer(session, END_SESSIONS, tenant_id, [{"person_id": str(person_id)}])


async def defer_end_session(
    session: AsyncSession, tenant_id: UUID, person_id: UUID, sid: str
) -> None:
    """End one session of a person in Keycloak once the caller's transaction is committed."""
    await _defer(session, END_SESSION, tenant_id, [{"person_id": str(person_id), "sid": sid}])


async def defer_retire_user(
    session: AsyncSession, tenant_id: UUID, person_id: UUID, subject: str
) -> None:
    """Remove a user whom a person is no longer, once the caller's transaction is committed."""
    job = {"person_id": str(person_id), "subject": subject}
    await _defer(session, RETIRE_USER, tenant_id, [job])


async def defer_sync_provider(
    session: AsyncSession, tenant_id: UUID, provider_id: UUID, *, at: datetime | None = None
) -> None:
    """Bring an identity provider in the realm up to date after the caller's transaction, or at an instant."""
    job = {"provider_id": str(provider_id)}
    await _defer(session, SYNC_PROVIDER, tenant_id, [job], at)


async def _defer(
    session: AsyncSession,
    task: str,
    tenant_id: UUID,
    ids: list[dict[str, str]],
    at: datetime | None = None,
) -> None:
    if not ids:
        return
    jobs = []
    for job in ids:
        lock = None if at else f"{tenant_id}:{job.get('person_id') or job.get('provider_id', '')}"
        parts = (
            cast(QUEUE, Text),
            cast(task, Text),
            cast(0, Integer),
            cast(lock, Text),
            cast(None, Text),
            cast({"tenant_id": str(tenant_id), **job}, JSONB),
            cast(at, DateTime(timezone=True)),
        )
        jobs.append(cast(func.row(*parts), _JobToDefer()))
    # A statement of no table: a session that guards its rows lets it pass.
    await session.execute(select(func.procrastinate_defer_jobs_v1(array(jobs))))


class Backoff(procrastinate.BaseRetryStrategy):
    """Two seconds, four, eight … five minutes at most. What no repeat can mend is given up after three tries."""

    def get_retry_decision(
        self, *, exception: BaseException, job: Job
    ) -> procrastinate.RetryDecision | None:
        tries = 3 if isinstance(exception, Invalid | UserTaken | NoAccount) else 300
        if job.attempts >= tries:
            return None
        seconds = min(2 ** min(job.attempts + 1, 9), 300)
        return procrastinate.RetryDecision(retry_in={"seconds": seconds})


async def _sync_person(
    context: procrastinate.JobContext, *, tenant_id: str, person_id: str
) -> None:
    resources = _resources(context)
    tenant, person = UUID(tenant_id), UUID(person_id)
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    await sync_person(resources.cell, realm, tenant, person)


async def _sync_person_later(
    context: procrastinate.JobContext, *, tenant_id: str, person_id: str
) -> None:
    tenant = UUID(tenant_id)
    async with cell_session(_resources(context).cell, tenant) as session:
        await defer_sync(session, tenant, [UUID(person_id)])


async def _sync_tenant(context: procrastinate.JobContext, *, tenant_id: str) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    realm = await resources.accounts.realm(tenant, SVC_POLICY)
    await sync_tenant(resources.cell, realm, tenant)


async def _retire_user(
    context: procrastinate.JobContext, *, tenant_id: str, person_id: str, subject: str
) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    # Never the user whom the person is by now: they may have come back as this one.
    if await subject_of(resources.cell, tenant, UUID(person_id)) != subject:
        await _unless_gone(realm.delete_user(subject))


async def _sync_provider(
    context: procrastinate.JobContext, *, tenant_id: str, provider_id: str
) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    keys = await resources.keys.of(tenant)
    issuer = await resources.accounts.issuer(tenant)
    await sync_provider(resources.cell, realm, keys, issuer, UUID(provider_id))


async def _end_sessions(
    context: procrastinate.JobContext, *, tenant_id: str, person_id: str
) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    subject = await subject_of(resources.cell, tenant, UUID(person_id))
    if subject is not None:
        realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
        await _unless_gone(realm.end_sessions(subject))


async def _end_session(
    context: procrastinate.JobContext, *, tenant_id: str, person_id: str, sid: str
) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    subject = await subject_of(resources.cell, tenant, UUID(person_id))
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    # Only a session of this very person: the id may have come from outside.
    if subject is not None and sid in {s["id"] for s in await realm.sessions(subject)}:
        await _unless_gone(realm.end_session(sid))


async def _unless_gone(call: Awaitable[None]) -> None:
    try:
        await call
    except NotFound:
        return


async def _retry_stalled(context: procrastinate.JobContext, timestamp: int) -> None:
    """Take up again what a worker had begun when it died; every job here may run twice."""
    del timestamp  # when the library says it was due
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=_HEARTBEAT_SECONDS):
        await jobs.retry_job(job)
        log.info("A stalled job is taken up again.")


def _resources(context: procrastinate.JobContext) -> Resources:
    resources: Resources = context.additional_context[_RESOURCES]
    return resources


def make_app(dsn: str) -> procrastinate.App:
    """The worker's application over procrastinate's tables at `dsn` (the worker's role)."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    tasks: dict[str, Callable[..., Awaitable[None]]] = {
        SYNC_PERSON: _sync_person,
        SYNC_PERSON_LATER: _sync_person_later,
        SYNC_TENANT: _sync_tenant,
        END_SESSIONS: _end_sessions,
        END_SESSION: _end_session,
        RETIRE_USER: _retire_user,
        SYNC_PROVIDER: _sync_provider,
        RELEASE_HOLDS: release_holds,
        LOOK: look_through,
        SEND: send,
    }
    for name, task in tasks.items():
        app.task(name=name, queue=QUEUE, pass_context=True, retry=Backoff())(task)
    stalled = app.task(name=RETRY_STALLED, queue=QUEUE, pass_context=True)(_retry_stalled)
    app.periodic(cron="* * * * *")(stalled)
    app.task(name=FORGET_KEYS, queue=QUEUE, pass_context=True)(forget_keys)
    house = app.task(name=KEEP_HOUSE, queue=QUEUE, pass_context=True)(keep_house)
    app.periodic(cron="17 3 * * *")(house)
    return app


async def run_worker(dsn: str, resources: Resources) -> None:
    """Carry out jobs until a signal ends the process; those under way are finished first.

    `dsn` is the worker's role, which sees procrastinate's tables; the jobs themselves see the cell as the API does.
    Ended jobs are removed, failed ones stay to be looked at.
    """
    async with make_app(dsn).open_async() as app:
        await app.run_worker_async(**_options(resources))


async def work_off(dsn: str, resources: Resources) -> None:
    """Carry out what is due now, jobs that wait for others of their person included; then return.

    What fails is tried once, and again by the next call or the worker.
    """
    async with make_app(dsn).open_async() as app:
        while True:
            await app.run_worker_async(
                **_options(resources),
                wait=False,
                listen_notify=False,
                install_signal_handlers=False,
            )
            if not await _is_untried(app):
                return


async def _is_untried(app: procrastinate.App) -> bool:
    """Whether a job is due that nobody has begun; one that is blocked by a failing one does not count."""
    now = datetime.now(UTC)
    waiting = await app.job_manager.list_jobs_async(queue=QUEUE, status="todo")
    failing = {job.lock for job in waiting if job.attempts}
    return any(
        job.attempts == 0
        and job.lock not in failing - {None}
        and (job.scheduled_at is None or job.scheduled_at <= now)
        for job in waiting
    )


def _options(resources: Resources) -> dict[str, Any]:
    return {
        "queues": [QUEUE],
        "concurrency": 8,
        "delete_jobs": "successful",
        # New jobs are announced; one that waited for another of its person is found by looking again.
        "fetch_job_polling_interval": 1.0,
        "additional_context": {_RESOURCES: resources},
    }
