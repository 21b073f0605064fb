"""What operators may ask and order: the life of health systems as a whole, and nothing that lies inside one."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.control import RegistryState
from domain.errors import DomainError, NotFound
from domain.operators import LifecycleOrder, OrderKind, OrderState
from domain.organization import MfaPolicy, PolicyVariant
from identity.operators import Operator as Operators
from identity.orders import NewTenant, Ordered, decide, newest, order_by_id, place
from identity.platform import clusters, listed
from identity.provisioning import PersonDraft
from identity.setup import SCOPES, end_links, make_link
from identity.tenants import Platform


@dataclass(frozen=True)
class Desk:
    """What one request works with. `wanted` wakes whoever carries orders out; `two`: each order takes two operators."""

    operator: Operators
    platform: Platform
    wanted: asyncio.Event
    two: bool


Info = strawberry.Info[Desk, None]
GIVEN = strawberry.argument(description="What is asked for.")
strawberry.enum(MfaPolicy, name="MfaPolicy", description="Who must show a second factor.")
strawberry.enum(PolicyVariant, name="PolicyVariant", description="What administrators see.")
strawberry.enum(OrderKind, name="OrderKind", description="What is ordered.")
strawberry.enum(OrderState, name="OrderState", description="Where an order stands.")
strawberry.enum(RegistryState, name="TenantState", description="Where a health system stands.")


@strawberry.type(description="You.")
class Operator:
    id: strawberry.ID = strawberry.field(description="Its id.")
    user_name: str = strawberry.field(description="What you log in with.")


@strawberry.type(
    description="A health system as the platform knows it: no name, no person, no patient."
)
class Tenant:
    id: strawberry.ID = strawberry.field(description="Its id.")
    slug: str = strawberry.field(description="Part of its login address.")
    state: RegistryState = strawberry.field(description="Where it stands.")
    region: str = strawberry.field(description="Where its data are.")
    cell: str = strawberry.field(description="In which cell.")
    tier: str = strawberry.field(description="How many share the cell.")
    cluster: str = strawberry.field(description="At which identity cluster.")
    issuer: str = strawberry.field(description="Where its people log in.")
    created_at: dt.datetime = strawberry.field(description="When it was ordered.")


@strawberry.type(description="An identity cluster.")
class Cluster:
    name: str = strawberry.field(description="Its name.")
    region: str = strawberry.field(description="Where it is.")
    realms: int = strawberry.field(description="How many realms it holds.")
    realm_cap: int = strawberry.field(description="How many it may hold.")


@strawberry.type(description="Something that was ordered.")
class Order:
    id: strawberry.ID = strawberry.field(description="Its id.")
    kind: OrderKind = strawberry.field(description="What.")
    slug: str = strawberry.field(description="For which health system; empty for all.")
    state: OrderState = strawberry.field(description="Where it stands.")
    requested_by: strawberry.ID = strawberry.field(description="The operator who ordered it.")
    decided_by: strawberry.ID | None = strawberry.field(description="Who approved or declined it.")
    not_before: dt.datetime | None = strawberry.field(description="Nothing is done before then.")
    step: str = strawberry.field(description="The last step that was begun.")
    failure: str | None = strawberry.field(description="Why it failed, or is tried again.")
    report: strawberry.scalars.JSON = strawberry.field(description="What came of it.")
    created_at: dt.datetime = strawberry.field(description="When it was ordered.")


@strawberry.type(description="An input that cannot be taken as it is; nothing was changed.")
class InputError:
    code: str = strawberry.field(description="Stable, for programs.")
    message: str = strawberry.field(description="For people.")
    path: list[str] | None = strawberry.field(description="The field of the input.")


@strawberry.type(description="The order.")
class OrderPayload:
    order: Order | None = strawberry.field(description="The order.")
    user_errors: list[InputError] = strawberry.field(description="What to mend.")


@strawberry.type(description="A link for a customer's IT. Its text is told once.")
class SetupLink:
    id: strawberry.ID = strawberry.field(description="Its id.")
    url: str = strawberry.field(description="Hand it to the customer over a way that you trust.")
    expires_at: dt.datetime = strawberry.field(description="When it ends by itself.")
    scopes: list[str] = strawberry.field(description="What it gives the right to.")


@strawberry.type(description="The link.")
class SetupLinkPayload:
    link: SetupLink | None = strawberry.field(description="The link.")
    user_errors: list[InputError] = strawberry.field(description="What to mend.")


@strawberry.type(description="How many links were ended.")
class EndedPayload:
    ended: int | None = strawberry.field(description="How many.")
    user_errors: list[InputError] = strawberry.field(description="What to mend.")


@strawberry.input(description="Somebody who comes with a new health system.")
class FirstPersonInput:
    user_name: str = strawberry.field(description="What they will log in with.")
    given_name: str = strawberry.field(description="Given names.")
    family_name: str = strawberry.field(description="Family name.")
    email: str | None = strawberry.field(default=None, description="Address.")

    def draft(self) -> PersonDraft:
        """As commands take it."""
        return PersonDraft(self.user_name, self.given_name, self.family_name, self.email)


@strawberry.input(description="A new health system.")
class CreateTenantInput:
    slug: str = strawberry.field(description="3 to 40 of a-z, 0-9 and -.")
    name: str = strawberry.field(description="What people call it.")
    admin: FirstPersonInput = strawberry.field(description="The first system administrator.")
    privacy_officer: FirstPersonInput = strawberry.field(description="Who watches over them.")
    region: str = strawberry.field(default="local", description="Where its realm will be.")
    currency: str = strawberry.field(default="USD", description="ISO 4217.")
    mfa: MfaPolicy = strawberry.field(
        default=MfaPolicy.ADMINS, description="Who must show a second factor."
    )
    variant: PolicyVariant = strawberry.field(
        default=PolicyVariant.ADMINS_INHERIT, description="What administrators see."
    )
    idempotency_key: str = strawberry.field(description="Makes a repeat harmless.")


@strawberry.input(description="An order for a health system.")
class TenantInput:
    slug: str = strawberry.field(description="Which.")
    idempotency_key: str = strawberry.field(description="Makes a repeat harmless.")


@strawberry.input(description="An order for every realm.")
class UpgradeRealmsInput:
    mend: bool = strawberry.field(default=True, description="False only looks.")
    idempotency_key: str = strawberry.field(description="Makes a repeat harmless.")


@strawberry.input(description="A decision about somebody else's order.")
class DecideInput:
    id: strawberry.ID = strawberry.field(description="The order.")


@strawberry.input(description="A link for a customer's IT.")
class CreateSetupLinkInput:
    slug: str = strawberry.field(description="For which health system.")
    hours: int = strawberry.field(default=72, description="How long it is good for; 1 to 336.")
    scopes: list[str] = strawberry.field(
        default_factory=lambda: list(SCOPES), description="What it gives the right to."
    )


def asked(description: str) -> Callable[[Callable[..., Any]], Any]:
    """A root field."""
    return lambda resolver: strawberry.field(resolver=resolver, description=description)


def _order(row: LifecycleOrder) -> Order:
    return Order(
        id=strawberry.ID(str(row.id)),
        kind=OrderKind(row.kind),
        slug=row.slug,
        state=OrderState(row.state),
        requested_by=strawberry.ID(str(row.requested_by)),
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
    return await decide(desk.platform, desk.operator, _id(given.id), state)


@cache
def schema() -> strawberry.Schema:
    """The operators' schema. Nothing in it leads to a table of a cell."""
    return strawberry.Schema(query=Query, mutation=Mutation)
