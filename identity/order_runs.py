"""Carries out what was ordered for whole health systems, to the end.

Whatever carries an order out may die at any point: the next look takes it up again, and each step finds out what is
done already (`identity/tenants.py`, `identity/lifecycle.py`, `identity/erasure.py`).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.errors import DomainError, Invalid
from domain.operators import LifecycleOrder, OrderKind, OrderState
from domain.sealing import KeyMissing, SealBroken
from identity.erasure import erase_tenant, held_by
from identity.exports import export_tenant
from identity.keycloak_failures import Invalid as Refused
from identity.keycloak_failures import KeycloakFailure
from identity.lifecycle import resume_tenant, suspend_tenant
from identity.orders import EPOCH, Ordered, first_passwords_of, new_tenant, place
from identity.realms import RealmTaken
from identity.sync import FirstLogin
from identity.tenants import NoRoom, Platform, Progress, TenantOrder, create_tenant, silent
from identity.upgrades import upgrade_realms

_FINAL = (DomainError, RealmTaken, NoRoom, Refused, KeyMissing, SealBroken)
_MENDABLE = (KeycloakFailure, OSError)
TELLS = 1.0
"""Seconds between two looks at which step an order is."""

log = logging.getLogger(__name__)


async def due(control: AsyncEngine) -> list[UUID]:
    """What is approved, whose time has come, and is not finished, the oldest first."""
    ready = (
        LifecycleOrder.state == OrderState.APPROVED.value,
        or_(LifecycleOrder.not_before.is_(None), LifecycleOrder.not_before <= func.now()),
    )
    query = select(LifecycleOrder.id).where(*ready).order_by(LifecycleOrder.created_at)
    async with control.connect() as connection:
        return list(await connection.scalars(query))


async def carry_out(
    platform: Platform, order_id: UUID, progress: Progress = silent
) -> OrderState | None:
    """Carry an order out, or go on with it; None where another process is at it.

    What may go well another time (Keycloak away) leaves it approved, with its failure told. `progress` is told each
    step as it begins; the order tells it as well.
    """
    async with platform.control.connect() as holding:
        lock = func.pg_try_advisory_lock(func.hashtextextended(str(order_id), 2))
        if not await holding.scalar(select(lock)):
            return None
        try:
            return await _carried(platform, order_id, progress)
        finally:
            unlock = func.pg_advisory_unlock(func.hashtextextended(str(order_id), 2))
            await holding.execute(select(unlock))


async def erase_now(platform: Platform, slug: str, progress: Progress = silent) -> LifecycleOrder:
    """Erase a suspended health system at once, as whoever has the machine may; go on where an earlier call was cut off.

    Answers the order as it stands then. Raises NotFound, NotSuspended, Invalid (ORDERED_ALREADY: by an operator).
    """
    mine = (
        LifecycleOrder.slug == slug,
        LifecycleOrder.kind == OrderKind.ERASE.value,
        LifecycleOrder.state == OrderState.APPROVED.value,
        LifecycleOrder.requested_by.is_(None),
    )
    async with AsyncSession(platform.control, expire_on_commit=False) as session:
        order = await session.scalar(select(LifecycleOrder).where(*mine))
    order = order or await place(platform, None, Ordered(OrderKind.ERASE, slug, {}))
    await carry_out(platform, order.id, progress)
    async with AsyncSession(platform.control, expire_on_commit=False) as session:
        return await session.get_one(LifecycleOrder, order.id)


async def _carried(platform: Platform, order_id: UUID, progress: Progress) -> OrderState:
    async with AsyncSession(platform.control, expire_on_commit=False) as session:
        order = await session.get_one(LifecycleOrder, order_id)
    if order.state != OrderState.APPROVED:
        return OrderState(order.state)
    steps: list[str] = []

    def begun(step: str) -> None:
        steps.append(step)
        progress(step)

    state, failure, report = OrderState.DONE, None, dict(order.report)
    try:
        async with _telling(platform, order_id, steps):
            report = await _WORK[OrderKind(order.kind)](platform, order, begun)
    except _FINAL as error:
        state, failure = OrderState.FAILED, str(error)
    except _MENDABLE as error:
        state, failure = OrderState.APPROVED, str(error)
        log.warning("An order could not be carried out now; it is tried again.")
    last = {"step": steps[-1]} if steps else {}
    told = {"report": report} if state is OrderState.DONE else {}
    await _note(platform, order_id, state=state.value, failure=failure, **last, **told)
    return state


async def _note(platform: Platform, order_id: UUID, **values: Any) -> None:
    async with platform.control.begin() as connection:
        await connection.execute(
            update(LifecycleOrder)
            .where(LifecycleOrder.id == order_id)
            .values(**values, updated_at=func.now())
        )


@asynccontextmanager
async def _telling(platform: Platform, order_id: UUID, steps: list[str]) -> AsyncIterator[None]:
    """Let the order say at which step it is while it is carried out."""

    async def tell() -> None:
        told = ""
        while True:
            if steps and steps[-1] != told:
                told = steps[-1]
                await _note(platform, order_id, step=told)
            await asyncio.sleep(TELLS)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        # What it came to is no matter: the last step is told at the end.
        await asyncio.gather(telling, return_exceptions=True)


Work = Callable[[Platform, LifecycleOrder, Progress], Awaitable[dict[str, Any]]]


async def _create(platform: Platform, order: LifecycleOrder, progress: Progress) -> dict[str, Any]:
    wanted = new_tenant(order.input)
    sealed = order.sealed or b""
    drawn = json.loads(platform.sealer.open(sealed, first_passwords_of(order.slug)))
    admin, officer = (
        FirstLogin(drawn[person.user_name.lower()])
        for person in (wanted.admin, wanted.privacy_officer)
    )
    told = TenantOrder(
        **{
            **wanted.order().__dict__,
            "admin_login": admin,
            "privacy_officer_login": officer,
            "otp_code_reusable": platform.codes_serve_twice,
        }
    )
    made = await create_tenant(platform, told, progress)
    return {"tenantId": str(made.tenant_id), "issuer": made.issuer}


async def _suspend(platform: Platform, order: LifecycleOrder, progress: Progress) -> dict[str, Any]:
    return {"tenantId": str(await suspend_tenant(platform, order.slug, progress))}


async def _resume(platform: Platform, order: LifecycleOrder, progress: Progress) -> dict[str, Any]:
    return {"tenantId": str(await resume_tenant(platform, order.slug, progress))}


async def _upgrade(platform: Platform, order: LifecycleOrder, progress: Progress) -> dict[str, Any]:
    reports = await upgrade_realms(platform, mend=order.input["mend"], progress=progress)
    return {"realms": [asdict(report) for report in reports]}


async def _export(platform: Platform, order: LifecycleOrder, progress: Progress) -> dict[str, Any]:
    if platform.exports is None:
        raise Invalid("This installation has no folder for exports.", code="NO_EXPORTS")
    platform.exports.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One file for one order: a run that was cut off is begun again.
    name = f"{order.slug}-{order.id}.zip"
    made = await export_tenant(platform, order.slug, platform.exports / name, progress)
    told = {"file": name, "sha256": made.sha256, "size": made.size}
    return {**told, "rows": made.rows, "realmUsers": made.people, "tenantId": str(made.tenant_id)}


async def _erase(platform: Platform, order: LifecycleOrder, progress: Progress) -> dict[str, Any]:
    report = dict(order.report)
    if "rows" not in report:  # told once, before anything goes
        progress("counted")
        report["rows"] = await held_by(platform, order.slug)
        await _note(platform, order.id, report=report)
    erased = await erase_tenant(platform, order.slug, order.input[EPOCH], progress)
    return {**report, "tenantId": str(erased)}


_WORK: dict[OrderKind, Work] = {
    OrderKind.CREATE: _create,
    OrderKind.SUSPEND: _suspend,
    OrderKind.RESUME: _resume,
    OrderKind.UPGRADE: _upgrade,
    OrderKind.EXPORT: _export,
    OrderKind.ERASE: _erase,
}
