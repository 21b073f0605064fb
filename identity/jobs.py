"""Work for Keycloak that follows a change in the cell, carried out by the worker once the change is committed.

Jobs are written down by the transaction that makes the change (`identity/deferral.py`); each reads the present state
when it runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import procrastinate
from procrastinate.jobs import Job
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.sealing import Keyring
from identity.accounts import Accounts, NoAccount
from identity.brokers import sync_provider
from identity.calendar import RELEASE_HOLDS, release_holds
from identity.deferral import (
    APPLY_RULES,
    CHECK_DOMAIN,
    CHECK_REALM,
    END_SESSION,
    END_SESSIONS,
    END_SETUP_LINKS,
    QUEUE,
    REFRESH_PROVIDER,
    RESET_DEVICES,
    RETIRE_USER,
    SYNC_PERSON,
    SYNC_PERSON_LATER,
    SYNC_PROVIDER,
    SYNC_TENANT,
    TELL_REFUSALS,
    defer_sync,
)
from identity.device_resets import remove_devices
from identity.domains import Lookup, check_domain, lead, look_up
from identity.fetching import fetched
from identity.housekeeping import (
    FORGET_KEYS,
    KEEP_HOUSE,
    LOOK_AFTER,
    forget_keys,
    keep_house,
    look_after,
)
from identity.keycloak_failures import Invalid, NotFound
from identity.login_events import tell_refusals
from identity.mail import Mail
from identity.mapping_sources import Source
from identity.notices import TASKS
from identity.providers import Fetch, refresh
from identity.realm_checks import check_realm
from identity.realms import SVC_IDENTITY
from identity.reminders import LOOK, SEND, Notifiers, look_through, send
from identity.rule_runs import apply_rules
from identity.setup import end_expired
from identity.sync import UserTaken, cell_session, subject_of, sync_person, sync_tenant
from identity.sync_states import failing
from identity.watching import watch_alone

RETRY_STALLED = "identity:retry_stalled"
_RESOURCES = "identity"
_HEARTBEAT_SECONDS = 30.0


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """What jobs work with: the cell as the API's role (row-level security holds), the realms' accounts, keys,
    the DNS, and customers' addresses.

    A channel without its notifier is one that this installation has not; without `mail` administrators are told nothing.
    """

    cell: AsyncEngine
    accounts: Accounts
    keys: Keyring
    notifiers: Notifiers = field(default_factory=dict)
    mail: Mail | None = None
    look: Lookup = look_up
    fetch: Fetch = fetched


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
    try:
        realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
        await sync_person(resources.cell, realm, tenant, person)
    except Exception as error:
        last = Backoff().get_retry_decision(exception=error, job=context.job) is None
        async with cell_session(resources.cell, tenant) as session:
            await failing(session, tenant, person, error, last=last)
        raise


async def _sync_person_later(
    context: procrastinate.JobContext, *, tenant_id: str, person_id: str
) -> None:
    tenant = UUID(tenant_id)
    async with cell_session(_resources(context).cell, tenant) as session:
        await defer_sync(session, tenant, [UUID(person_id)])


async def _check_realm(
    context: procrastinate.JobContext, *, tenant_id: str, check_id: str | None = None
) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    await check_realm(resources.cell, realm, tenant, UUID(check_id) if check_id else None)


async def _sync_tenant(context: procrastinate.JobContext, *, tenant_id: str) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    realm = await resources.accounts.as_master(*await resources.accounts.place(tenant))
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
    await lead(resources.cell, resources.accounts.control, tenant, UUID(provider_id))
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    keys = await resources.keys.of(tenant)
    issuer = await resources.accounts.issuer(tenant)
    await sync_provider(resources.cell, realm, keys, issuer, UUID(provider_id))


async def _apply_rules(
    context: procrastinate.JobContext, *, tenant_id: str, source: str, source_ref: str
) -> None:
    await apply_rules(_resources(context).cell, UUID(tenant_id), Source(source, source_ref))


async def _refresh_provider(
    context: procrastinate.JobContext, *, tenant_id: str, provider_id: str
) -> None:
    resources = _resources(context)
    await refresh(resources.cell, UUID(tenant_id), UUID(provider_id), resources.fetch)


async def _tell_refusals(
    context: procrastinate.JobContext, *, tenant_id: str, test_id: str
) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    await tell_refusals(resources.cell, realm, tenant, UUID(test_id))


async def _check_domain(
    context: procrastinate.JobContext, *, tenant_id: str, domain_id: str
) -> None:
    resources = _resources(context)
    control = resources.accounts.control
    tenant, domain = UUID(tenant_id), UUID(domain_id)
    await check_domain(resources.cell, control, resources.look, tenant, domain)


async def _end_setup_links(context: procrastinate.JobContext, *, tenant_id: str) -> None:
    agent = Agent(tenant_id=UUID(tenant_id), now=datetime.now(UTC))
    async with cell_session(_resources(context).cell, agent.tenant_id) as session:
        await end_expired(session, agent)


async def _reset_devices(
    context: procrastinate.JobContext, *, tenant_id: str, person_id: str
) -> None:
    resources = _resources(context)
    tenant = UUID(tenant_id)
    realm = await resources.accounts.realm(tenant, SVC_IDENTITY)
    await _unless_gone(remove_devices(resources.cell, realm, tenant, UUID(person_id)))


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
        CHECK_REALM: _check_realm,
        END_SESSIONS: _end_sessions,
        END_SESSION: _end_session,
        RETIRE_USER: _retire_user,
        SYNC_PROVIDER: _sync_provider,
        APPLY_RULES: _apply_rules,
        CHECK_DOMAIN: _check_domain,
        REFRESH_PROVIDER: _refresh_provider,
        TELL_REFUSALS: _tell_refusals,
        RESET_DEVICES: _reset_devices,
        END_SETUP_LINKS: _end_setup_links,
        LOOK_AFTER: look_after,
        RELEASE_HOLDS: release_holds,
        LOOK: look_through,
        SEND: send,
        **TASKS,
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
    """Carry out jobs, and watch the realms, until a signal ends the process; jobs under way are finished first.

    `dsn` is the worker's role, which sees procrastinate's tables; the jobs themselves see the cell as the API does.
    Ended jobs are removed, failed ones stay to be looked at.
    """
    async with make_app(dsn).open_async() as app:
        watching = asyncio.create_task(watch_alone(dsn, resources.cell, resources.accounts))
        try:
            await app.run_worker_async(**_options(resources))
        finally:
            watching.cancel()
            await asyncio.wait({watching})


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
