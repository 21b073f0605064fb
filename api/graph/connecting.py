"""Connecting an identity provider: described, tried, opened, closed."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated

import strawberry

from api.context import Context
from api.graph.identity_providers import IdentityProvider, ProviderTest
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform, perform_on
from domain.identity_providers import IdentityProvider as IdentityProviders
from domain.identity_providers import Protocol
from identity.fetching import fetched
from identity.metadata import MetadataRefused, described
from identity.providers import (
    ProviderDraft,
    activate,
    add_provider,
    change_provider,
    start_test,
    suspend,
)
from identity.vendors import attributes_of

PROVIDER = Payload("identityProvider", "IdentityProvider", model=IdentityProviders)
TEST = Payload("test", "ProviderTest")


@strawberry.input(description="One attribute of people, by our name and by the provider's.")
class AttributeSourceInput:
    name: str = strawberry.field(description="Our name, one of SCIM's.")
    source: str = strawberry.field(description="What the provider calls it.")


@strawberry.input(description="A provider, as its own description has it.")
class AddIdentityProviderInput:
    protocol: Protocol = strawberry.field(description="What it speaks.")
    name: str = strawberry.field(description="What people call it.")
    metadata: str | None = strawberry.field(
        default=None,
        description="Its own description: the discovery document (JSON) or the SAML metadata (XML).",
    )
    metadata_url: str | None = strawberry.field(
        default=None, description="Where it is published instead; it is read again each day."
    )
    vendor: str = strawberry.field(
        default="generic", description="okta, entra, adfs, google or generic."
    )
    attributes: list[AttributeSourceInput] | None = strawberry.field(
        default=None, description="What differs from the vendor's usual names."
    )
    client_id: str | None = strawberry.field(
        default=None, description="What it knows us as (OpenID Connect)."
    )
    client_secret: str | None = strawberry.field(
        default=None, description="The client's secret (OpenID Connect); never shown again."
    )
    secret_expires_at: dt.datetime | None = strawberry.field(
        default=None, description="When the provider will not take it any more."
    )
    direct: bool = strawberry.field(
        default=False,
        description="Whether the API itself is to speak with it, and not the realm (SAML).",
    )
    creates: bool = strawberry.field(
        default=False, description="Whether its logins may make people."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="What changes of a provider; what is left out stays.")
class UpdateIdentityProviderInput:
    id: strawberry.ID = strawberry.field(description="The provider.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: str | None = strawberry.field(default=None, description="What people call it.")
    metadata: str | None = strawberry.field(
        default=None, description="Its description as it is by now; of the same issuer."
    )
    attributes: list[AttributeSourceInput] | None = strawberry.field(
        default=None, description="The whole map anew."
    )
    client_secret: str | None = strawberry.field(
        default=None, description="The client's new secret (OpenID Connect)."
    )
    secret_expires_at: dt.datetime | None = strawberry.field(
        default=None, description="When the provider will not take the new one any more."
    )
    creates: bool | None = strawberry.field(
        default=None, description="Whether its logins may make people."
    )
    of_directory: bool | None = strawberry.field(
        default=None,
        description="Whether it proves whom the directory pushes: its ids are the directory's external ids.",
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A provider that changes as a whole.")
class ChangeIdentityProviderInput:
    id: strawberry.ID = strawberry.field(description="The provider.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The provider.")
class IdentityProviderPayload:
    identity_provider: IdentityProvider | None = strawberry.field(description="The provider.")
    user_errors: list[UserError] = payload_errors()


@value_type("The try.")
class ProviderTestPayload:
    test: ProviderTest | None = strawberry.field(description="The try; its verdict comes later.")
    user_errors: list[UserError] = payload_errors()


async def _told(
    context: Context, given: AddIdentityProviderInput
) -> tuple[str, MetadataRefused | None]:
    """The description that was given, or what its address answers: before any transaction is open.

    Nothing is fetched for somebody whom the command will refuse.
    """
    if (given.metadata is None) is (given.metadata_url is None):
        return "", MetadataRefused("Give the metadata, or where they are published.")
    whole = SimpleNamespace(tenant_id=context.actor.tenant_id)
    if given.metadata_url is None or not context.actor.predicate("tenant", "configure").allows(
        whole
    ):
        return given.metadata or "", None
    try:
        return await fetched(given.metadata_url, loopback=context.loopback), None
    except MetadataRefused as refused:
        return "", refused


def _map(given: list[AttributeSourceInput] | None) -> dict[str, str]:
    return {one.name: one.source for one in given or ()}


@strawberry.type
class Mutation:
    @root("tenant:configure", "Describe an identity provider. Nobody comes in by it yet.")
    async def add_identity_provider(
        self, info: Info, input: Annotated[AddIdentityProviderInput, GIVEN]
    ) -> IdentityProviderPayload | None:
        text, problem = await _told(info.context, input)

        async def command(work: Work) -> uuid.UUID:
            new = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("tenant:configure", new)
            if problem is not None:
                raise problem
            told = described(input.protocol, text, loopback=work.context.loopback)
            draft = ProviderDraft(
                input.protocol,
                input.vendor,
                input.name,
                told.issuer,
                told.endpoints,
                attributes_of(input.vendor, input.protocol) | _map(input.attributes),
                told.certificates,
                input.client_id,
                input.client_secret,
                input.creates,
                input.metadata_url,
                input.direct,
                input.secret_expires_at,
            )
            keys = await work.sealer()
            return (await add_provider(work.session, agent, keys, draft, work.new_id)).id

        return await perform(info._raw_info, "addIdentityProvider", PROVIDER, input, command)

    @root("tenant:configure", "Change a provider. Its issuer stays: people are linked by it.")
    async def update_identity_provider(
        self, info: Info, input: Annotated[UpdateIdentityProviderInput, GIVEN]
    ) -> IdentityProviderPayload | None:
        async def command(work: Work) -> uuid.UUID:
            provider = await work.load(IdentityProviders, input.id, "IdentityProvider")
            agent = await work.require("tenant:configure", provider)
            told = input.metadata and described(
                Protocol(provider.protocol), input.metadata, loopback=work.context.loopback
            )
            changed = await change_provider(
                work.session,
                agent,
                await work.sealer(),
                provider,
                input.version,
                name=input.name,
                told=told or None,
                attributes=None if input.attributes is None else _map(input.attributes),
                client_secret=input.client_secret,
                secret_expires_at=input.secret_expires_at,
                creates=input.creates,
                of_directory=input.of_directory,
            )
            return changed.id

        return await perform(info._raw_info, "updateIdentityProvider", PROVIDER, input, command)

    @root("tenant:configure", "Let one login try a provider within a quarter of an hour.")
    async def test_identity_provider(
        self, info: Info, input: Annotated[ChangeIdentityProviderInput, GIVEN]
    ) -> ProviderTestPayload | None:
        async def command(work: Work) -> uuid.UUID:
            provider = await work.load(IdentityProviders, input.id, "IdentityProvider")
            agent = await work.require("tenant:configure", provider)
            version = input.version
            return (await start_test(work.session, agent, provider, version, work.new_id)).id

        return await perform(info._raw_info, "testIdentityProvider", TEST, input, command)

    @root("tenant:configure", "Let people in by a provider that was tried, or again by it.")
    async def activate_identity_provider(
        self, info: Info, input: Annotated[ChangeIdentityProviderInput, GIVEN]
    ) -> IdentityProviderPayload | None:
        return await perform_on(
            info._raw_info,
            "activateIdentityProvider",
            PROVIDER,
            input,
            "tenant:configure",
            activate,
        )

    @root("tenant:configure", "Let nobody in by a provider, and end the sessions of its people.")
    async def suspend_identity_provider(
        self, info: Info, input: Annotated[ChangeIdentityProviderInput, GIVEN]
    ) -> IdentityProviderPayload | None:
        return await perform_on(
            info._raw_info,
            "suspendIdentityProvider",
            PROVIDER,
            input,
            "tenant:configure",
            suspend,
            also=("person",),
        )
