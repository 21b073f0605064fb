"""What operators order for whole health systems: written down, approved where it takes two, carried out to the end.

Whatever carries an order out may die at any point: the next look takes it up again, and each step finds out what is
done already (`identity/tenants.py`, `identity/lifecycle.py`).
"""

import datetime as dt
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.control import RegistryState, TenantEntry
from domain.errors import DomainError, IllegalMove, Invalid, NotAllowed, NotFound
from domain.model import new_id
from domain.operators import LifecycleOrder, OrderKind, OrderState
from domain.organization import MfaPolicy, PolicyVariant
from identity.keycloak_failures import Invalid as Refused
from identity.keycloak_failures import KeycloakFailure
from identity.lifecycle import resume_tenant, suspend_tenant
from identity.operators import Operator
from identity.provisioning import PersonDraft
from identity.realms import RealmTaken
from identity.sync import FirstLogin
from identity.tenants import (
    NoRoom,
    Platform,
    Progress,
    TenantOrder,
    checked,
    create_tenant,
    drawn_password,
)
from identity.upgrades import upgrade_realms

_MENDABLE = (KeycloakFailure, OSError)

log = logging.getLogger(__name__)


class KeyReused(Invalid):
    """The key was used for something else."""

    def __init__(self) -> None:
        super().__init__(
            "This key was used for another order.",
            path=("idempotencyKey",),
            code="IDEMPOTENCY_KEY_REUSED",
        )


class OwnOrder(NotAllowed):
    """Nobody approves what they ordered themselves."""

    code = "OWN_REQUEST"

    def __init__(self) -> None:
        super().__init__("Somebody else has to approve what you ordered.")


@dataclass(frozen=True)
class Ordered:
    """What is asked for: of which kind, for which health system, with what."""

    kind: OrderKind
    slug: str
    input: dict[str, Any]


@dataclass(frozen=True)
class NewTenant:
    """A health system as an operator orders it. People are {userName, givenName, familyName, email}."""

    slug: str
    name: str
    admin: PersonDraft
    privacy_officer: PersonDraft
    region: str = "local"
    currency: str = "USD"
    mfa: MfaPolicy = MfaPolicy.ADMINS
    variant: PolicyVariant = PolicyVariant.ADMINS_INHERIT

    def order(self) -> TenantOrder:
        """What the health system is made of."""
        return TenantOrder(
            self.slug,
            self.name,
            self.admin,
            self.privacy_officer,
            mfa=self.mfa,
            currency=self.currency,
            variant=self.variant,
            region=self.region,
        )

    @property
    def input(self) -> dict[str, Any]:
        """As it is written down."""
        return {k: v.value if hasattr(v, "value") else v for k, v in asdict(self).items()}


def new_tenant(told: dict[str, Any]) -> NewTenant:
    """What was written down."""
    people = {name: PersonDraft(**told[name]) for name in ("admin", "privacy_officer")}
    kinds = {"mfa": MfaPolicy(told["mfa"]), "variant": PolicyVariant(told["variant"])}
    return NewTenant(**{**told, **people, **kinds})


async def place(
    platform: Platform,
    operator: Operator,
    ordered: Ordered,
    *,
    key: str | None = None,
    two: bool = False,
) -> LifecycleOrder:
    """Write an order down; with a key at most once. `two`: another operator has to approve it.

    Raises Invalid (SLUG_TAKEN, what is wrong with the input), NotFound, KeyReused.
    """
    kind, sealed = ordered.kind, None
    if key is not None and not 0 < len(key) <= 200:
        raise Invalid("A key has 1 to 200 characters.", path=("idempotencyKey",))
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        earlier = await _earlier(session, operator, ordered, key)
        if earlier is not None:
            return earlier
        await _fits(session, ordered)
        if kind is OrderKind.CREATE:
            sealed = _first_passwords(platform, new_tenant(ordered.input))
        made = await session.scalar(
            insert(LifecycleOrder)
            .values(
                id=new_id(),
                kind=kind.value,
                slug=ordered.slug,
                key=key,
                input=ordered.input,
                state=(OrderState.REQUESTED if two else OrderState.APPROVED).value,
                requested_by=operator.id,
                sealed=sealed,
            )
            .on_conflict_do_nothing(constraint="uq_lifecycle_order_key")
            .returning(LifecycleOrder)
        )
        if made is None:  # the same request at the same moment
            made = await _earlier(session, operator, ordered, key)
    if made is None:
        raise LookupError("the order was not kept")
    return made


async def _earlier(
    session: AsyncSession, operator: Operator, ordered: Ordered, key: str | None
) -> LifecycleOrder | None:
    if key is None:
        return None
    mine = (LifecycleOrder.requested_by == operator.id, LifecycleOrder.key == key)
    earlier: LifecycleOrder | None = await session.scalar(select(LifecycleOrder).where(*mine))
    if earlier is not None:
        same = (earlier.kind, earlier.slug, earlier.input)
        if same != (ordered.kind.value, ordered.slug, ordered.input):
            raise KeyReused()
    return earlier


async def _fits(session: AsyncSession, ordered: Ordered) -> None:
    if ordered.kind is OrderKind.UPGRADE:
        return
    # Of two orders for one slug the second finds the first.
    lock = func.pg_advisory_xact_lock(func.hashtextextended(ordered.slug, 1))
    await session.execute(select(lock))
    entry = await session.scalar(select(TenantEntry).where(TenantEntry.slug == ordered.slug))
    if ordered.kind is not OrderKind.CREATE:
        if entry is None or entry.state == RegistryState.CREATING:
            raise NotFound("There is no such health system.", path=("slug",))
        return
    checked(new_tenant(ordered.input).order())
    open_ = LifecycleOrder.state.in_([OrderState.REQUESTED.value, OrderState.APPROVED.value])
    asked = select(LifecycleOrder.id).where(
        LifecycleOrder.slug == ordered.slug, LifecycleOrder.kind == OrderKind.CREATE.value, open_
    )
    if entry is not None or await session.scalar(asked):
        raise Invalid("This slug is taken.", path=("slug",), code="SLUG_TAKEN")


def _first_passwords(platform: Platform, wanted: NewTenant) -> bytes:
    """Of the first two people, sealed: the operator never reads them (`identity/setup.py` hands them over)."""
    people = (wanted.admin.user_name.lower(), wanted.privacy_officer.user_name.lower())
    drawn = {user_name: drawn_password() for user_name in people}
    return platform.sealer.seal(json.dumps(drawn).encode(), first_passwords_of(wanted.slug))


def first_passwords_of(slug: str) -> bytes:
    """Where sealed first passwords belong."""
    return f"{slug}|first_passwords".encode()


async def decide(
    platform: Platform, operator: Operator, order_id: UUID, state: OrderState
) -> LifecycleOrder:
    """Approve or decline what waits; also whoever ordered it may decline.

    Raises NotFound, OwnOrder, IllegalMove.
    """
    now = dt.datetime.now(dt.UTC)
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        order = await session.get(LifecycleOrder, order_id, with_for_update=True)
        if order is None:
            raise NotFound("There is no such order.", path=("id",))
        if order.state != OrderState.REQUESTED:
            raise IllegalMove("order", order.state, state.value)
        if state is OrderState.APPROVED and order.requested_by == operator.id:
            raise OwnOrder()
        order.state, order.updated_at = state.value, now
        if order.requested_by != operator.id:
            order.decided_by, order.decided_at = operator.id, now
    return order


async def order_by_id(control: AsyncEngine, order_id: UUID) -> LifecycleOrder | None:
    """An order, or None."""
    async with AsyncSession(control) as session:
        found: LifecycleOrder | None = await session.get(LifecycleOrder, order_id)
        return found


async def newest(
    control: AsyncEngine, slug: str | None = None, most: int = 200
) -> list[LifecycleOrder]:
    """The newest orders, of one health system or of all."""
    query = select(LifecycleOrder).order_by(LifecycleOrder.created_at.desc()).limit(most)
    if slug is not None:
        query = query.where(LifecycleOrder.slug == slug)
    async with AsyncSession(control) as session:
        return list(await session.scalars(query))


async def due(control: AsyncEngine) -> list[UUID]:
    """What is approved, whose time has come, and is not finished, the oldest first."""
    ready = (
        LifecycleOrder.state == OrderState.APPROVED.value,
        or_(LifecycleOrder.not_before.is_(None), LifecycleOrder.not_before <= func.now()),
    )
    query = select(LifecycleOrder.id).where(*ready).order_by(LifecycleOrder.created_at)
    async with control.connect() as connection:
        return list(await connection.scalars(query))


async def carry_out(platform: Platform, order_id: UUID) -> OrderState | None:
    """Carry an order out, or go on with it; None where another process is at it.

    What may go well another time (Keycloak away) leaves it approved, with its failure told.
    """
    async with platform.control.connect() as holding:
        lock = func.pg_try_advisory_lock(func.hashtextextended(str(order_id), 2))
        if not await holding.scalar(select(lock)):
            return None
        try:
            return await _carried(platform, order_id)
        finally:
            unlock = func.pg_advisory_unlock(func.hashtextextended(str(order_id), 2))
            await holding.execute(select(unlock))


async def _carried(platform: Platform, order_id: UUID) -> OrderState:
    async with AsyncSession(platform.control, expire_on_commit=False) as session:
        order = await session.get_one(LifecycleOrder, order_id)
    if order.state != OrderState.APPROVED:
        return OrderState(order.state)
    steps: list[str] = []
    state, failure, report = OrderState.DONE, None, {}
    try:
        report = await _WORK[OrderKind(order.kind)](platform, order, steps.append)
    except (DomainError, RealmTaken, NoRoom, Refused) as error:
        state, failure = OrderState.FAILED, str(error)
    except _MENDABLE as error:
        state, failure = OrderState.APPROVED, str(error)
        log.warning("An order could not be carried out now; it is tried again.")
    async with platform.control.begin() as connection:
        await connection.execute(
            update(LifecycleOrder)
            .where(LifecycleOrder.id == order_id)
            .values(
                state=state.value,
                failure=failure,
                step=steps[-1] if steps else "",
                report=report,
                updated_at=func.now(),
            )
        )
    return state


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


_WORK: dict[OrderKind, Work] = {
    OrderKind.CREATE: _create,
    OrderKind.SUSPEND: _suspend,
    OrderKind.RESUME: _resume,
    OrderKind.UPGRADE: _upgrade,
}
