"""What the operators' schema is made of: types and inputs, without a table of a cell behind them."""

import datetime as dt

import strawberry

from domain.control import RegistryState
from domain.operators import OrderKind, OrderState
from domain.organization import MfaPolicy, PolicyVariant
from identity.provisioning import PersonDraft
from identity.setup import SCOPES

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
    requested_by: strawberry.ID | None = strawberry.field(
        description="The operator who ordered it; nobody where the command line did."
    )
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


@strawberry.input(description="An order that nothing takes back once it has begun.")
class EraseTenantInput:
    slug: str = strawberry.field(description="Which; it has to be suspended.")
    confirmation: str = strawberry.field(description="The slug once more, as you typed it.")
    idempotency_key: str = strawberry.field(description="Makes a repeat harmless.")
