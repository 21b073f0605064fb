"""What operators may ask and order: the life of health systems as a whole, and nothing that lies inside one."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any
from uuid import UUID

import strawberry

from api.platform.types import (
    Cluster,
    CreateSetupLinkInput,
    CreateTenantInput,
    DecideInput,
    EndedPayload,
    EraseTenantInput,
    InputError,
    Operator,
    Order,
    OrderPayload,
    SetupLink,
    SetupLinkPayload,
    Tenant,
    TenantInput,
    UpgradeRealmsInput,
)
from domain.control import RegistryState
from domain.errors import DomainError, NotFound
from domain.operators import LifecycleOrder, OrderKind, OrderState
from identity.operators import Operator as Operators
from identity.orders import NewTenant, Ordered, decide, newest, order_by_id, place
from identity.platform import clusters, listed
from identity.setup import end_links, make_link
from identity.tenants import Platform


@dataclass(frozen=True)
class Desk:
    """What one request works with. `wanted` wakes whoever carries orders out; `two`: each order takes two operators.

    What is erased waits so long after its approval.
    """

    operator: Operators
    platform: Platform
    wanted: asyncio.Event
    two: bool
    wait: dt.timedelta


Info = strawberry.Info[Desk, None]
GIVEN = strawberry.argument(description="What is asked for.")


def asked(description: str) -> Callable[[Callable[..., Any]], Any]:
    """A root field."""
    return lambda resolver: strawberry.field(resolver=resolver, description=description)


def _order(row: LifecycleOrder) -> Order:
    return Order(
        id=strawberry.ID(str(row.id)),
        kind=OrderKind(row.kind),
        slug=row.slug,
        state=OrderState(row.state),
        requested_by=strawberry.ID(str(row.requested_by)) if row.requested_by else None,
        decided_by=strawberry.ID(str(row.decided_by)) if row.decided_by else None,
        not_before=row.not_before,
        step=row.step,
        failure=row.failure,
        report=strawberry.scalars.JSON(row.report),
        created_at=row.created_at,
    )


def _mend(error: DomainError) -> list[InputError]:
    return [InputError(code=error.code, message=error.message, path=list(error.path) or None)]


def _id(text: str) -> UUID:
    """Raises NotFound for what is no id."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(path=("id",)) from None


async def _payload(info: Info, work: Awaitable[LifecycleOrder]) -> OrderPayload:
    try:
        row = await work
    except DomainError as error:
        return OrderPayload(order=None, user_errors=_mend(error))
    info.context.wanted.set()
    return OrderPayload(order=_order(row), user_errors=[])


async def _placed(info: Info, kind: OrderKind, given: TenantInput) -> OrderPayload:
    desk = info.context
    ordered = Ordered(kind, given.slug, {})
    work = place(desk.platform, desk.operator, ordered, key=given.idempotency_key, two=desk.two)
    return await _payload(info, work)


@strawberry.type
class Query:
    @asked("You.")
    async def viewer(self, info: Info) -> Operator:
        operator = info.context.operator
        return Operator(id=strawberry.ID(str(operator.id)), user_name=operator.user_name)

    @asked("Every health system.")
    async def tenants(self, info: Info) -> list[Tenant]:
        return [
            Tenant(
                id=strawberry.ID(str(row.id)),
                slug=row.slug,
                state=RegistryState(row.state),
                region=row.region,
                cell=row.cell,
                tier=row.tier,
                cluster=cluster,
                issuer=row.issuer,
                created_at=row.created_at,
            )
            for row, cluster in await listed(info.context.platform)
        ]

    @asked("The identity clusters and how full they are.")
    async def clusters(self, info: Info) -> list[Cluster]:
        found = await clusters(info.context.platform)
        return [Cluster(**asdict(cluster)) for cluster in found]

    @asked("An order.")
    async def order(self, info: Info, id: strawberry.ID) -> Order | None:
        try:
            row = await order_by_id(info.context.platform.control, _id(id))
        except NotFound:
            return None
        return _order(row) if row else None

    @asked("The newest 200 orders.")
    async def orders(self, info: Info, slug: str | None = None) -> list[Order]:
        return [_order(row) for row in await newest(info.context.platform.control, slug)]


@strawberry.type
class Mutation:
    @asked("Order a new health system.")
    async def create_tenant(
        self, info: Info, input: Annotated[CreateTenantInput, GIVEN]
    ) -> OrderPayload:
        wanted = NewTenant(
            slug=input.slug,
            name=input.name,
            admin=input.admin.draft(),
            privacy_officer=input.privacy_officer.draft(),
            region=input.region,
            currency=input.currency,
            mfa=input.mfa,
            variant=input.variant,
        )
        desk, ordered = info.context, Ordered(OrderKind.CREATE, input.slug, wanted.input)
        key = input.idempotency_key
        return await _payload(
            info, place(desk.platform, desk.operator, ordered, key=key, two=desk.two)
        )

    @asked("Cut everybody of a health system off. Its data stay.")
    async def suspend_tenant(
        self, info: Info, input: Annotated[TenantInput, GIVEN]
    ) -> OrderPayload:
        return await _placed(info, OrderKind.SUSPEND, input)

    @asked("Let the people of a suspended health system in again.")
    async def resume_tenant(self, info: Info, input: Annotated[TenantInput, GIVEN]) -> OrderPayload:
        return await _placed(info, OrderKind.RESUME, input)

    @asked("Write a health system's rows and realm into an archive in the folder for exports.")
    async def export_tenant(self, info: Info, input: Annotated[TenantInput, GIVEN]) -> OrderPayload:
        return await _placed(info, OrderKind.EXPORT, input)

    @asked("Erase a suspended health system: another operator approves it, then it waits its time.")
    async def erase_tenant(
        self, info: Info, input: Annotated[EraseTenantInput, GIVEN]
    ) -> OrderPayload:
        desk, ordered = info.context, Ordered(OrderKind.ERASE, input.slug, {})
        if input.confirmation != input.slug:
            refused = InputError(
                code="NOT_CONFIRMED", message="Type the slug.", path=["confirmation"]
            )
            return OrderPayload(order=None, user_errors=[refused])
        key = input.idempotency_key
        return await _payload(info, place(desk.platform, desk.operator, ordered, key=key, two=True))

    @asked("Bring every realm to the present template.")
    async def upgrade_realms(
        self, info: Info, input: Annotated[UpgradeRealmsInput, GIVEN]
    ) -> OrderPayload:
        desk = info.context
        ordered = Ordered(OrderKind.UPGRADE, "", {"mend": input.mend})
        return await _payload(
            info, place(desk.platform, desk.operator, ordered, key=input.idempotency_key)
        )

    @asked("Approve what another operator ordered.")
    async def approve_order(self, info: Info, input: Annotated[DecideInput, GIVEN]) -> OrderPayload:
        return await _payload(info, _decided(info, input, OrderState.APPROVED))

    @asked("Decline an order, or take back one's own, before it begins.")
    async def decline_order(self, info: Info, input: Annotated[DecideInput, GIVEN]) -> OrderPayload:
        return await _payload(info, _decided(info, input, OrderState.DECLINED))

    @asked("Make a link by which a customer's IT sets a system up.")
    async def create_setup_link(
        self, info: Info, input: Annotated[CreateSetupLinkInput, GIVEN]
    ) -> SetupLinkPayload:
        desk = info.context
        lasts = dt.timedelta(hours=input.hours)
        try:
            made = await make_link(
                desk.platform, desk.operator, input.slug, scopes=input.scopes, lasts=lasts
            )
        except DomainError as error:
            return SetupLinkPayload(link=None, user_errors=_mend(error))
        link = SetupLink(
            id=strawberry.ID(str(made.id)),
            url=made.url,
            expires_at=made.expires_at,
            scopes=list(made.scopes),
        )
        return SetupLinkPayload(link=link, user_errors=[])

    @asked("End every setup link of a health system, at once.")
    async def end_setup_links(
        self, info: Info, input: Annotated[TenantInput, GIVEN]
    ) -> EndedPayload:
        desk = info.context
        try:
            ended = await end_links(desk.platform, desk.operator, input.slug)
        except DomainError as error:
            return EndedPayload(ended=None, user_errors=_mend(error))
        return EndedPayload(ended=ended, user_errors=[])


async def _decided(info: Info, given: DecideInput, state: OrderState) -> LifecycleOrder:
    desk = info.context
    return await decide(desk.platform, desk.operator, _id(given.id), state, wait=desk.wait)


@cache
def schema() -> strawberry.Schema:
    """The operators' schema. Nothing in it leads to a table of a cell."""
    return strawberry.Schema(query=Query, mutation=Mutation)
