"""Suspending and resuming a health system, and what the platform says of it.

Suspending denies in the cell first: from that commit on no request of the health system is answered, whether Keycloak
can be reached or not. Resuming opens the cell last. Both are safe to repeat.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, record
from domain.control import STANDING, IdentityCluster, RegistryState, TenantEntry
from domain.errors import Invalid, NotFound, unchanged
from domain.organization import JitMode, Tenant, TenantState
from domain.people import Person
from identity.deferral import defer_sync, defer_sync_tenant
from identity.keycloak import Realm
from identity.realms import LONGEST_SESSION
from identity.sync import cell_session
from identity.tenants import Platform, Progress, silent

SHORTEST_IDLE = 60


async def suspend_tenant(platform: Platform, slug: str, progress: Progress = silent) -> UUID:
    """Cut everybody off at once; the data stay. Raises NotFound, KeycloakFailure (denied here all the same)."""
    tenant_id, url, name = await _entry(platform.control, slug)
    progress("cell")
    await set_state(platform.cell, tenant_id, TenantState.SUSPENDED)
    progress("registry")
    await _register(platform.control, tenant_id, RegistryState.SUSPENDED)
    progress("realm")
    realm = await platform.accounts.as_master(url, name)
    # Before the realm is disabled: refresh tokens of sessions that are left would revive with it.
    await realm.end_all_sessions()
    await realm.update({"enabled": False})
    return tenant_id


async def resume_tenant(platform: Platform, slug: str, progress: Progress = silent) -> UUID:
    """Let people in again, each with a new login; bring all users up to date. Raises NotFound, KeycloakFailure."""
    tenant_id, url, name = await _entry(platform.control, slug)
    progress("realm")
    realm: Realm = await platform.accounts.as_master(url, name)
    await realm.update({"enabled": True})
    await realm.end_all_sessions()
    progress("registry")
    await _register(platform.control, tenant_id, RegistryState.ACTIVE)
    progress("cell")
    await set_state(platform.cell, tenant_id, TenantState.ACTIVE)
    return tenant_id


async def set_second_approval(session: AsyncSession, agent: Agent, asked: bool) -> None:
    """Say whether a second person approves who administers the health system and watches over it. Raises NotFound."""
    found = await session.scalar(
        update(Tenant)
        .where(Tenant.tenant_id == agent.tenant_id)
        .values(second_approval=asked, version=Tenant.version + 1, updated_at=agent.now)
        .returning(Tenant.tenant_id),
        execution_options={"synchronize_session": False},
    )
    if found is None:
        raise NotFound()
    record(session, agent, "tenant:configure", agent.tenant_id)


async def set_jit_mode(
    session: AsyncSession, agent: Agent, mode: JitMode, version: int | None = None
) -> None:
    """Say whose logins make people who were not there. Raises NotFound, StaleVersion."""
    await configure(session, agent, version, jit_mode=mode.value)


async def set_session_limits(
    session: AsyncSession, agent: Agent, idle: int, longest: int, version: int | None = None
) -> None:
    """Change for how many seconds logins last without use, and at the most.

    Who has been in for longer is out with the next request; the idle time is the realm's to keep, when a token is
    renewed. Raises NotFound, StaleVersion, Invalid (SESSION_LIMITS).
    """
    if not SHORTEST_IDLE <= idle <= longest <= LONGEST_SESSION:
        raise Invalid(
            "A login lasts a day at the most, and its idle time, a minute or more, is within that.",
            code="SESSION_LIMITS",
        )
    await configure(session, agent, version, session_idle=idle, session_max=longest)
    await defer_sync_tenant(session, agent.tenant_id)


async def configure(
    session: AsyncSession, agent: Agent, version: int | None, **values: Any
) -> None:
    """Write to the health system's row and raise its version; with `version` only while it has it still.

    Raises NotFound, StaleVersion.
    """
    here = Tenant.tenant_id == agent.tenant_id
    based = () if version is None else (Tenant.version == version,)
    found = await session.scalar(
        update(Tenant)
        .where(here, *based)
        .values(version=Tenant.version + 1, updated_at=agent.now, **values)
        .returning(Tenant.tenant_id),
        execution_options={"synchronize_session": False},
    )
    if found is None:
        raise unchanged(await session.scalar(select(Tenant.version).where(here)), version)
    record(session, agent, "tenant:configure", agent.tenant_id)


async def _entry(control: AsyncEngine, slug: str) -> tuple[UUID, str, str]:
    """The id, the cluster's address and the realm's name of a health system that was made ready once."""
    query = (
        select(TenantEntry.id, IdentityCluster.url, TenantEntry.realm)
        .join(IdentityCluster, IdentityCluster.id == TenantEntry.identity_cluster_id)
        .where(TenantEntry.slug == slug, TenantEntry.state.in_(STANDING))
    )
    async with control.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("There is no such health system.")
    return row.id, row.url, row.realm


async def set_state(cell: AsyncEngine, tenant_id: UUID, state: TenantState) -> None:
    """Open or close the cell to a health system's people, from the commit on; tokens of before are refused for ever."""
    agent = Agent(tenant_id=tenant_id, now=datetime.now(UTC))
    async with cell_session(cell, tenant_id) as session:
        changed = await session.scalar(
            update(Tenant)
            .where(Tenant.tenant_id == tenant_id, Tenant.state != state)
            # Access tokens live five minutes: those of before must not come to life again.
            .values(
                state=state.value,
                tokens_valid_from=agent.now,
                version=Tenant.version + 1,
                updated_at=agent.now,
            )
            .returning(Tenant.tenant_id),
            execution_options={"synchronize_session": False},
        )
        if changed is None:
            return
        record(session, agent, "tenant:configure", tenant_id)
        if state is TenantState.ACTIVE:
            people = select(Person.id).where(Person.tenant_id == tenant_id)
            await defer_sync(session, tenant_id, await session.scalars(people))


async def _register(control: AsyncEngine, tenant_id: UUID, state: RegistryState) -> None:
    """Raises NotFound where it is being erased meanwhile."""
    here = TenantEntry.id == tenant_id
    async with control.begin() as connection:
        await connection.execute(
            update(TenantEntry)
            .where(here, TenantEntry.state.in_(STANDING), TenantEntry.state != state)
            .values(state=state.value, epoch=TenantEntry.epoch + 1)
        )
        stands = await connection.scalar(select(TenantEntry.state).where(here))
    if stands != state:
        raise NotFound("There is no such health system.")
