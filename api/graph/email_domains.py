"""E-mail domains: claimed, proven by a record in the DNS, and where their people log in."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry
from sqlalchemy import literal_column as raw

from api.graph.identity_providers import IdentityProvider
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, After, Connection, First, Info, Node, root, value_type
from api.plan.fetch import page
from api.plan.mapping import column, computed, enum_name, joined, one, table
from api.plan.page import Listing
from api.plan.write import Payload, Work, perform, perform_on
from domain.email_domains import RECORD, DomainState
from domain.email_domains import EmailDomain as EmailDomains
from domain.identity_providers import IdentityProvider as IdentityProviders
from identity.domains import add_domain, ask_again

LISTING = Listing(EmailDomains, "tenant", "domain", EmailDomains)
DOMAIN = Payload("emailDomain", "EmailDomain", model=EmailDomains)
strawberry.enum(DomainState, name="EmailDomainState", description="Whether it is proven.")


@table(EmailDomains, description="A domain of e-mail addresses, claimed or proven.")
class EmailDomain(Node):
    domain: str | None = column("read", "The domain.")
    state: DomainState | None = computed(
        "read", "Whether it is proven.", lambda domain, *_: enum_name(domain.state)
    )
    record_name: str | None = computed(
        "read",
        "Where the record has to lie in the DNS (TXT).",
        lambda domain, *_: raw(f"'{RECORD}.'").concat(domain.domain),
    )
    challenge: str | None = column("read", "What the record has to hold.")
    proven_at: dt.datetime | None = column("read", "When it was first proven.")
    checked_at: dt.datetime | None = column("read", "When the record was last looked for.")
    version: int | None = column("read", "Rises with every change.")

    @one("read", joined("id", "identity_provider_id"))
    def identity_provider(self) -> IdentityProvider | None:
        """Where its people log in."""


@strawberry.input(description="A domain of e-mail addresses.")
class AddEmailDomainInput:
    domain: str = strawberry.field(description="The part behind the @.")
    identity_provider: strawberry.ID = strawberry.field(description="Where its people log in.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A domain whose record is to be looked for.")
class CheckEmailDomainInput:
    id: strawberry.ID = strawberry.field(description="The domain.")
    version: int = strawberry.field(description="The version that was seen.")
    idempotency_key: str | None = idempotency_key()


@value_type("The domain.")
class EmailDomainPayload:
    email_domain: EmailDomain | None = strawberry.field(description="The domain.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Query:
    @root("tenant:read", "The health system's e-mail domains, by name.")
    async def email_domains(
        self, info: Info, first: First = 50, after: After = None
    ) -> Connection[EmailDomain] | None:
        return await page(
            info._raw_info,
            LISTING,
            node=None,
            first=first,
            after=after,
        )


@strawberry.type
class Mutation:
    @root("tenant:configure", "Claim a domain; it counts once its record is in the DNS.")
    async def add_email_domain(
        self, info: Info, input: Annotated[AddEmailDomainInput, GIVEN]
    ) -> EmailDomainPayload | None:
        async def command(work: Work) -> uuid.UUID:
            given = input.identity_provider
            provider = await work.load(
                IdentityProviders, given, "IdentityProvider", "identityProvider"
            )
            agent = await work.require("tenant:configure", provider)
            made = await add_domain(
                work.session, agent, input.domain, provider.id, domain_id=work.new_id
            )
            return made.id

        return await perform(info._raw_info, "addEmailDomain", DOMAIN, input, command)

    @root("tenant:configure", "Have the record looked for now, as it is each day.")
    async def check_email_domain(
        self, info: Info, input: Annotated[CheckEmailDomainInput, GIVEN]
    ) -> EmailDomainPayload | None:
        return await perform_on(
            info._raw_info, "checkEmailDomain", DOMAIN, input, "tenant:configure", ask_again
        )
