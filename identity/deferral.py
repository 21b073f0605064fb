"""How work that follows a change in the cell is written down, by the transaction that makes the change.

A job is a row of procrastinate's table (that is the outbox): no commit, no job; a commit, and the job will run
(`identity/jobs.py`). It carries ids only. Jobs of one person or provider have a lock and run in the order of their
commits. A job meant for later has none, or it would hold up those behind it; when its time has come it defers the
real one.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import DateTime, Integer, Text, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType

QUEUE = "identity"
SYNC_PERSON = "identity:sync_person"
SYNC_PERSON_LATER = "identity:sync_person_later"
SYNC_TENANT = "identity:sync_tenant"
CHECK_REALM = "identity:check_realm"
END_SESSIONS = "identity:end_sessions"
END_SESSION = "identity:end_session"
RETIRE_USER = "identity:retire_user"
SYNC_PROVIDER = "identity:sync_provider"
APPLY_RULES = "identity:apply_rules"
CHECK_DOMAIN = "identity:check_domain"
REFRESH_PROVIDER = "identity:refresh_provider"
TELL_REFUSALS = "identity:tell_refusals"
TELL_ADMINISTRATORS = "identity:tell_administrators"
RESET_DEVICES = "identity:reset_devices"
TELL_PERSON = "identity:tell_person"
END_SETUP_LINKS = "identity:end_setup_links"
_URGENT = 10


class _JobToDefer(UserDefinedType[Any]):
    """procrastinate's row of a job."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "procrastinate_job_to_defer_v1"


async def defer_sync(
    session: AsyncSession,
    tenant_id: UUID,
    person_ids: Iterable[UUID],
    *,
    at: datetime | None = None,
    urgent: bool = False,
) -> None:
    """Bring these people's users up to date once the caller's transaction is committed, or at an instant.

    What is `urgent`, a leaver, does not wait behind what is not.
    """
    task = SYNC_PERSON if at is None else SYNC_PERSON_LATER
    jobs = [{"person_id": str(p)} for p in person_ids]
    await _defer(session, task, tenant_id, jobs, at, priority=_URGENT if urgent else 0)


def sync_job(tenant_id: UUID, person_id: UUID) -> tuple[str, str, str, dict[str, str]]:
    """The job of `defer_sync`, for who writes it by a statement of their own: queue, task, lock and arguments."""
    args = {"tenant_id": str(tenant_id), "person_id": str(person_id)}
    return QUEUE, SYNC_PERSON, _lock(tenant_id, str(person_id)), args


def _lock(tenant_id: UUID, of: str) -> str:
    return f"{tenant_id}:{of}"


async def defer_sync_tenant(session: AsyncSession, tenant_id: UUID) -> None:
    """Bring the realm's policy up to date once the caller's transaction is committed."""
    await _defer(session, SYNC_TENANT, tenant_id, [{}])


async def defer_check_realm(session: AsyncSession, tenant_id: UUID, check_id: UUID) -> None:
    """Compare the realm with the people once the caller's transaction is committed, for this report."""
    await _defer(session, CHECK_REALM, tenant_id, [{"check_id": str(check_id)}])


async def defer_end_sessions(session: AsyncSession, tenant_id: UUID, person_id: UUID) -> None:
    """End all sessions of a person in Keycloak once the caller's transaction is committed."""
    await _defer(session, END_SESSIONS, tenant_id, [{"person_id": str(person_id)}])


async def defer_end_session(
    session: AsyncSession, tenant_id: UUID, person_id: UUID, sid: str
) -> None:
    """End one session of a person in Keycloak once the caller's transaction is committed."""
    await _defer(session, END_SESSION, tenant_id, [{"person_id": str(person_id), "sid": sid}])


async def defer_end_setup_links(session: AsyncSession, tenant_id: UUID, at: datetime) -> None:
    """End what setup links leave whose time is over then."""
    await _defer(session, END_SETUP_LINKS, tenant_id, [{}], at)


async def defer_reset_devices(session: AsyncSession, tenant_id: UUID, person_id: UUID) -> None:
    """Remove a person's second factors in Keycloak once the caller's transaction is committed."""
    await _defer(session, RESET_DEVICES, tenant_id, [{"person_id": str(person_id)}])


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


async def defer_apply_rules(session: AsyncSession, tenant_id: UUID, kind: str, ref: str) -> None:
    """Apply the rules of a source to everybody it speaks of, once the caller's transaction is committed."""
    await _defer(session, APPLY_RULES, tenant_id, [{"source": kind, "source_ref": ref}])


async def defer_check_domain(session: AsyncSession, tenant_id: UUID, domain_id: UUID) -> None:
    """Look at a domain's record once the caller's transaction is committed."""
    await _defer(session, CHECK_DOMAIN, tenant_id, [{"domain_id": str(domain_id)}])


async def defer_refresh_provider(session: AsyncSession, tenant_id: UUID, provider_id: UUID) -> None:
    """Read a provider's description again once the caller's transaction is committed."""
    await _defer(session, REFRESH_PROVIDER, tenant_id, [{"provider_id": str(provider_id)}])


async def defer_tell_refusals(
    session: AsyncSession, tenant_id: UUID, test_id: UUID, at: datetime
) -> None:
    """Tell, at an instant, why the realm refused the logins of a test."""
    await _defer(session, TELL_REFUSALS, tenant_id, [{"test_id": str(test_id)}], at)


async def defer_notice(session: AsyncSession, tenant_id: UUID, kind: str, about: str) -> None:
    """Have administrators written to (`identity/notices.py`) once the caller's transaction is committed."""
    job = {"kind": kind, "about": about}
    await _defer(session, TELL_ADMINISTRATORS, tenant_id, [job])


async def defer_letters(
    session: AsyncSession, tenant_id: UUID, kind: str, about: str, people: Iterable[UUID]
) -> None:
    """Send each of these people their letter once the caller's transaction is committed."""
    told = {"kind": kind, "about": about}
    letters = [
        # First, for the lock is made of it: letters do not wait for each other.
        {"letter_id": str(uuid5(tenant_id, f"{kind} {about} {person}"))}
        | told
        | {"person_id": str(person)}
        for person in people
    ]
    await _defer(session, TELL_PERSON, tenant_id, letters)


async def _defer(
    session: AsyncSession,
    task: str,
    tenant_id: UUID,
    ids: list[dict[str, str]],
    at: datetime | None = None,
    *,
    priority: int = 0,
) -> None:
    if not ids:
        return
    jobs = [{"tenant_id": str(tenant_id), **job} for job in ids]
    locks = [None if at else _lock(tenant_id, next(iter(job.values()), "")) for job in ids]
    told = func.unnest(cast(jobs, ARRAY(JSONB)), cast(locks, ARRAY(Text)))
    each = told.table_valued("args", "lock").render_derived(name="job")
    parts = (
        cast(QUEUE, Text),
        cast(task, Text),
        cast(priority, Integer),
        each.c.lock,
        cast(None, Text),
        each.c.args,
        cast(at, DateTime(timezone=True)),
    )
    made = select(func.array_agg(cast(func.row(*parts), _JobToDefer()))).select_from(each)
    # A statement of no table: a session that guards its rows lets it pass.
    await session.execute(select(func.procrastinate_defer_jobs_v1(made.scalar_subquery())))
