"""A health system erased: its key, its realm, its jobs, every row of it. What stays is its place in the registry.

Only one that is suspended, and as it stood when it was ordered: whoever let its people in again has taken the order
back. From the first step on nothing turns it round; each step finds out what is done already, so that after a crash at
any point the same call ends where an undisturbed one would have.

The key goes first: from then on what was sealed is unreadable, in backups too, however long the rest may take. The
slug, the realm's name and the ids are never given out again.
"""

import asyncio
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import ColumnElement, Text, cast, delete, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.control import DomainEntry, IdentityCluster, RegistryState, ServiceAccount, TenantEntry
from domain.errors import DomainError, NotFound
from domain.holdings import BATCH, Holding, erase_some, held, holdings, see_all, tidy
from domain.operators import LifecycleOrder, OrderKind
from domain.organization import TenantState
from identity.keycloak_failures import NotFound as NoRealm
from identity.lifecycle import set_state
from identity.realms import RealmTaken
from identity.tenants import Platform, Progress, silent

ROUNDS = 20
UNTIDY = 20_000
"""So many rows may be gone from a table before the database is told to forget them."""
_BETWEEN = 0.01
"""Seconds between two batches: others come to their turn."""
_JOBS = text("delete from procrastinate_jobs where args->>'tenant_id' = :tenant")


class NotSuspended(DomainError):
    """It is not suspended, or was not throughout."""

    code = "NOT_SUSPENDED"

    def __init__(self) -> None:
        message = (
            "Only a health system that is suspended, and was since this was ordered, is erased."
        )
        super().__init__(message, path=("slug",))


class StillHeld(OSError):
    """Rows came as fast as they went; another run may find an end."""


class CountsAway(OSError):
    """Redis does not answer."""


async def held_by(platform: Platform, slug: str) -> dict[str, int]:
    """How many rows the cell holds of a health system, by table. Raises NotFound."""
    entry, _ = await _entry(platform.control, slug)
    async with AsyncSession(platform.cell) as session, session.begin():
        await see_all(session, entry.id)
        return await held(session, entry.id)


async def erase_tenant(
    platform: Platform,
    slug: str,
    epoch: int,
    progress: Progress = silent,
    *,
    batch: int = BATCH,
) -> UUID:
    """Erase a health system that was suspended at this epoch of the registry. `progress` is told each step as it begins.

    Raises NotFound, NotSuspended, RealmTaken (the realm is another's: nothing of it is touched), KeycloakFailure,
    CountsAway, StillHeld.
    """
    entry, url = await _entry(platform.control, slug)
    if entry.state == RegistryState.ERASED:
        return entry.id
    progress("closed")
    await _close(platform.control, entry, epoch)
    await set_state(platform.cell, entry.id, TenantState.SUSPENDED)
    progress("key")
    await platform.keys.destroy(entry.id)
    progress("realm")
    await _erase_realm(platform, entry, url)
    progress("jobs")
    await _erase_jobs(platform.cell, entry.id)
    await _erase_rows(platform.cell, entry.id, progress, batch)
    progress("counts")
    await _erase_counts(platform.redis_url, entry.id)
    progress("registry")
    await _bury(platform.control, entry)
    return entry.id


async def _entry(control: AsyncEngine, slug: str) -> tuple[TenantEntry, str]:
    query = (
        select(TenantEntry, IdentityCluster.url)
        .join(IdentityCluster, IdentityCluster.id == TenantEntry.identity_cluster_id)
        .where(TenantEntry.slug == slug)
    )
    async with AsyncSession(control, expire_on_commit=False) as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound("There is no such health system.", path=("slug",))
    return row[0], row[1]


async def _close(control: AsyncEngine, entry: TenantEntry, epoch: int) -> None:
    """Nobody resumes it from here on. Raises NotSuspended."""
    if entry.state == RegistryState.ERASING:
        return
    async with control.begin() as connection:
        closed = await connection.scalar(
            update(TenantEntry)
            .where(
                TenantEntry.id == entry.id,
                TenantEntry.state == RegistryState.SUSPENDED.value,
                TenantEntry.epoch == epoch,
            )
            .values(state=RegistryState.ERASING.value, epoch=TenantEntry.epoch + 1)
            .returning(TenantEntry.id)
        )
    if closed is None:
        raise NotSuspended()


async def _erase_realm(platform: Platform, entry: TenantEntry, url: str) -> None:
    realm = await platform.accounts.as_master(url, entry.realm)
    try:
        attributes = (await realm.read()).get("attributes", {})
        if attributes.get("tenant_id") != str(entry.id):
            raise RealmTaken("The realm belongs to another health system; nothing was changed.")
        await realm.delete()
    except NoRealm:
        return


async def _erase_jobs(cell: AsyncEngine, tenant_id: UUID) -> None:
    """Also those that are being carried out: they find neither a realm nor a key, and are not tried again."""
    async with cell.begin() as connection:
        await connection.execute(_JOBS, {"tenant": str(tenant_id)})


async def _erase_rows(cell: AsyncEngine, tenant_id: UUID, progress: Progress, batch: int) -> None:
    """Every table, and again until nothing is found: what was under way may have written once more."""
    for _ in range(ROUNDS):
        found = 0
        for holding in holdings():
            found += await _erase_holding(cell, holding, tenant_id, progress, batch)
        if not found:
            return
    raise StillHeld("Something still writes for this health system.")


async def _erase_holding(
    cell: AsyncEngine, holding: Holding, tenant_id: UUID, progress: Progress, batch: int
) -> int:
    gone = untidy = 0
    while True:
        async with cell.begin() as connection:
            await see_all(connection, tenant_id)
            some = await erase_some(connection, holding, tenant_id, batch)
        untidy += some
        if untidy >= (UNTIDY if some else batch):
            await tidy(cell, holding)
            untidy = 0
        if not some:
            return gone
        gone += some
        progress(f"rows of {holding.name}")
        await asyncio.sleep(_BETWEEN)


async def _erase_counts(redis_url: str | None, tenant_id: UUID) -> None:
    """How often its people and directories asked; they would be gone within a day."""
    if redis_url is None:
        return
    redis = Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=5)
    try:
        async for key in redis.scan_iter(match=f"caretree:*{tenant_id}*", count=1_000):
            await redis.unlink(key)
    except RedisError:
        raise CountsAway("Redis does not answer.") from None
    finally:
        await redis.aclose()


async def _bury(control: AsyncEngine, entry: TenantEntry) -> None:
    """What the control plane knows of it goes, but for its row and what operators ordered; names of people go there too."""
    people = ("admin", "privacy_officer", "name")
    async with control.begin() as connection:
        await connection.execute(delete(ServiceAccount).where(ServiceAccount.tenant_id == entry.id))
        await connection.execute(delete(DomainEntry).where(DomainEntry.tenant_id == entry.id))
        told: ColumnElement[Any] = LifecycleOrder.input.expression
        for name in people:
            told = told.op("-", return_type=JSONB)(cast(name, Text))
        await connection.execute(
            update(LifecycleOrder)
            .where(
                LifecycleOrder.slug == entry.slug,
                LifecycleOrder.kind == OrderKind.CREATE.value,
            )
            .values(input=told, sealed=None)
        )
        await connection.execute(
            update(TenantEntry)
            .where(TenantEntry.id == entry.id, TenantEntry.state == RegistryState.ERASING.value)
            .values(state=RegistryState.ERASED.value, epoch=TenantEntry.epoch + 1)
        )
