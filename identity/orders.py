"""What operators order for whole health systems: written down, approved where it takes two, taken back in time.

`identity/order_runs.py` carries orders out.
"""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.control import STANDING, RegistryState, TenantEntry
from domain.errors import IllegalMove, Invalid, NotAllowed, NotFound
from domain.model import new_id
from domain.operators import LifecycleOrder, OrderKind, OrderState
from domain.organization import MfaPolicy, PolicyVariant
from identity.erasure import NotSuspended
from identity.operators import Operator
from identity.provisioning import PersonDraft
from identity.tenants import Platform, TenantOrder, checked, drawn_password

OPEN = (OrderState.REQUESTED.value, OrderState.APPROVED.value)
EPOCH = "epoch"
"""In what an order to erase keeps: how the registry's row stood then."""


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
    operator: Operator | None,
    ordered: Ordered,
    *,
    key: str | None = None,
    two: bool = False,
) -> LifecycleOrder:
    """Write an order down; with a key at most once. `two`: another operator has to approve it.

    Without an operator it is the command line's. Raises Invalid (SLUG_TAKEN, ORDERED_ALREADY, what is wrong with the
    input), NotFound, NotSuspended, KeyReused.
    """
    kind, sealed = ordered.kind, None
    if key is not None and not 0 < len(key) <= 200:
        raise Invalid("A key has 1 to 200 characters.", path=("idempotencyKey",))
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        earlier = await _earlier(session, operator, ordered, key)
        if earlier is not None:
            return earlier
        fixed = await _fits(session, ordered)
        if kind is OrderKind.CREATE:
            sealed = _first_passwords(platform, new_tenant(ordered.input))
        made = await session.scalar(
            insert(LifecycleOrder)
            .values(
                id=new_id(),
                kind=kind.value,
                slug=ordered.slug,
                key=key,
                input={**ordered.input, **fixed},
                state=(OrderState.REQUESTED if two else OrderState.APPROVED).value,
                requested_by=operator.id if operator else None,
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
    session: AsyncSession, operator: Operator | None, ordered: Ordered, key: str | None
) -> LifecycleOrder | None:
    if key is None or operator is None:
        return None
    mine = (LifecycleOrder.requested_by == operator.id, LifecycleOrder.key == key)
    earlier: LifecycleOrder | None = await session.scalar(select(LifecycleOrder).where(*mine))
    if earlier is not None:
        told = {name: value for name, value in earlier.input.items() if name != EPOCH}
        same = (earlier.kind, earlier.slug, told)
        if same != (ordered.kind.value, ordered.slug, ordered.input):
            raise KeyReused()
    return earlier


async def _fits(session: AsyncSession, ordered: Ordered) -> dict[str, Any]:
    """Refuse what cannot be carried out; answer what is to be kept beside the input."""
    if ordered.kind is OrderKind.UPGRADE:
        return {}
    # Of two orders for one slug the second finds the first.
    lock = func.pg_advisory_xact_lock(func.hashtextextended(ordered.slug, 1))
    await session.execute(select(lock))
    entry = await session.scalar(select(TenantEntry).where(TenantEntry.slug == ordered.slug))
    if ordered.kind is OrderKind.CREATE:
        checked(new_tenant(ordered.input).order())
        if entry is not None or await _ordered(session, ordered):
            raise Invalid("This slug is taken.", path=("slug",), code="SLUG_TAKEN")
        return {}
    erasing = ordered.kind is OrderKind.ERASE
    # One that is half gone may be ordered again, where the first order failed for good.
    stands = (*STANDING, RegistryState.ERASING) if erasing else STANDING
    if entry is None or entry.state not in stands:
        raise NotFound("There is no such health system.", path=("slug",))
    if not erasing:
        return {}
    if entry.state == RegistryState.ACTIVE:
        raise NotSuspended()
    if await _ordered(session, ordered):
        raise Invalid("This was ordered already.", path=("slug",), code="ORDERED_ALREADY")
    return {EPOCH: entry.epoch}


async def _ordered(session: AsyncSession, ordered: Ordered) -> bool:
    """Whether the same kind of order is open for the slug."""
    same = (LifecycleOrder.slug == ordered.slug, LifecycleOrder.kind == ordered.kind.value)
    query = select(LifecycleOrder.id).where(*same, LifecycleOrder.state.in_(OPEN))
    return await session.scalar(query) is not None


def _first_passwords(platform: Platform, wanted: NewTenant) -> bytes:
    """Of the first two people, sealed: the operator never reads them (`identity/setup.py` hands them over)."""
    people = (wanted.admin.user_name.lower(), wanted.privacy_officer.user_name.lower())
    drawn = {user_name: drawn_password() for user_name in people}
    return platform.sealer.seal(json.dumps(drawn).encode(), first_passwords_of(wanted.slug))


def first_passwords_of(slug: str) -> bytes:
    """Where sealed first passwords belong."""
    return f"{slug}|first_passwords".encode()


async def decide(
    platform: Platform,
    operator: Operator,
    order_id: UUID,
    state: OrderState,
    *,
    wait: dt.timedelta = dt.timedelta(0),
) -> LifecycleOrder:
    """Approve or decline what waits; also whoever ordered it may decline, and until its time what was approved.

    What is erased waits so long after its approval. Raises NotFound, OwnOrder, IllegalMove.
    """
    now = dt.datetime.now(dt.UTC)
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        order = await session.get(LifecycleOrder, order_id, with_for_update=True)
        if order is None:
            raise NotFound("There is no such order.", path=("id",))
        taken_back = (
            state is OrderState.DECLINED
            and order.state == OrderState.APPROVED
            and order.not_before is not None
            and order.not_before > now
        )
        if order.state != OrderState.REQUESTED and not taken_back:
            raise IllegalMove("order", order.state, state.value)
        if state is OrderState.APPROVED and order.requested_by == operator.id:
            raise OwnOrder()
        if state is OrderState.APPROVED and order.kind == OrderKind.ERASE:
            order.not_before = now + wait
        if taken_back:
            order.report = {**order.report, "takenBackBy": str(operator.id)}
        elif order.requested_by != operator.id:
            order.decided_by, order.decided_at = operator.id, now
        order.state, order.updated_at = state.value, now
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
