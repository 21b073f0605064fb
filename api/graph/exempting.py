"""Taking an identity provider's word on second factors."""

import uuid
from typing import Annotated

import strawberry

from api.graph.connecting import PROVIDER, IdentityProviderPayload
from api.graph.payloads import idempotency_key
from api.graph.relay import GIVEN, Info, root
from api.plan.write import Work, perform
from domain.identity_providers import IdentityProvider as IdentityProviders
from identity.exemptions import exempt_provider


@strawberry.input(description="Which assertions of a provider are second factors.")
class ExemptIdentityProviderInput:
    id: strawberry.ID = strawberry.field(description="The provider.")
    version: int = strawberry.field(description="The version that the change is based on.")
    contexts: list[str] = strawberry.field(
        description="Values of `acr`, `amr` or of SAML's authentication context; an empty list takes"
        " the exemption back."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.type
class Mutation:
    @root(
        "tenant:configure",
        "Ask whoever comes with one of these contexts asserted for no second factor here.",
    )
    async def exempt_identity_provider(
        self, info: Info, input: Annotated[ExemptIdentityProviderInput, GIVEN]
    ) -> IdentityProviderPayload | None:
        async def command(work: Work) -> uuid.UUID:
            provider = await work.load(IdentityProviders, input.id, "IdentityProvider")
            agent = await work.require("tenant:configure", provider)
            work.tree_changes += 1  # the health system's version
            given = (input.version, input.contexts)
            return (await exempt_provider(work.session, agent, provider, *given)).id

        return await perform(info._raw_info, "exemptIdentityProvider", PROVIDER, input, command)
