"""People whom an identity provider has proven and of whom nobody knew who they are: shown, and decided about."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, func
from sqlalchemy import literal_column as raw

from api.graph.identity_providers import IdentityProvider
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.people import Person
from api.graph.relay import GIVEN, After, Connection, First, Info, Node, root, value_type
from api.plan.fetch import page
from api.plan.mapping import column, computed, enum_name, joined, one, table
from api.plan.page import Listing
from api.plan.write import Payload, Work, perform, perform_on
from domain.identity_providers import Decision, HeldReason
from domain.identity_providers import HeldAccount as HeldAccounts
from domain.people import Person as People
from identity.held import create_held, dismiss_held, link_held
from identity.provisioning import PersonDraft

LISTING = Listing(HeldAccounts, "tenant", "created_at", HeldAccounts, descending=True)
HELD = Payload("heldAccount", "HeldAccount", model=HeldAccounts)
strawberry.enum(HeldReason, name="HeldReason", description="Why somebody was not let in.")
strawberry.enum(Decision, name="HeldAccountState", description="What became of somebody.")


def _said(name: str) -> Any:
    """The first value of what the provider said."""
    first: ColumnElement[Any] = raw(f"'{name}', '0'")
    return lambda held, *_: func.jsonb_extract_path_text(held.asserted, first)


@table(
    HeldAccounts,
    description="Somebody whom a provider has proven and about whom an administrator decides.",
)
class HeldAccount(Node):
    reason: HeldReason | None = computed(
        "read", "Why they were not let in.", lambda held, *_: enum_name(held.reason)
    )
    state: Decision | None = computed(
        "read", "What became of them.", lambda held, *_: enum_name(held.state)
    )
    subject: str | None = column("read", "The provider's id of them.")
    user_name: str | None = computed("read", "Their user name there.", _said("userName"))
    given_name: str | None = computed("read", "Their given name there.", _said("givenName"))
    family_name: str | None = computed("read", "Their family name there.", _said("familyName"))
    email: str | None = computed("read", "Their address there.", _said("email"))
    created_at: dt.datetime | None = column("read", "When they first came.")
    decided_at: dt.datetime | None = column("read", "When somebody decided.")
    version: int | None = column("read", "Rises with every change; decisions name it.")

    @one("read", joined("id", "person_id"))
    def person(self) -> Person | None:
        """Who has their user name, or who they turned out to be."""

    @one("read", joined("id", "decided_by"))
    def decided_by(self) -> Person | None:
        """Who decided."""

    @one("read", joined("id", "identity_provider_id"))
    def identity_provider(self) -> IdentityProvider | None:
        """By which provider they came."""


@strawberry.input(description="Somebody is this person.")
class LinkHeldAccountInput:
    id: strawberry.ID = strawberry.field(description="Who was held.")
    version: int = strawberry.field(description="The version that the decision is based on.")
    person: strawberry.ID = strawberry.field(description="Who they are.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Somebody becomes a person of their own.")
class CreateHeldAccountInput:
    id: strawberry.ID = strawberry.field(description="Who was held.")
    version: int = strawberry.field(description="The version that the decision is based on.")
    user_name: str = strawberry.field(description="What they are to be called here.")
    given_name: str = strawberry.field(description="Given names.")
    family_name: str = strawberry.field(description="Family name.")
    email: str | None = strawberry.field(default=None, description="Where mail reaches them.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Somebody stays outside.")
class DismissHeldAccountInput:
    id: strawberry.ID = strawberry.field(description="Who was held.")
    version: int = strawberry.field(description="The version that the decision is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("Who was held.")
class HeldAccountPayload:
    held_account: HeldAccount | None = strawberry.field(description="Who was held.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Query:
    @root("tenant:read", "Who was held, the newest first.")
    async def held_accounts(
        self,
        info: Info,
        state: Annotated[
            Decision | None, strawberry.argument(description="Only in this state.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[HeldAccount] | None:
        values = {"state": None if state is None else state.value}
        return await page(
            info._raw_info,
            LISTING,
            node=None,
            first=first,
            after=after,
            values=values,
        )


@strawberry.type
class Mutation:
    @root("tenant:configure", "Say that somebody is a person here; their next login is as them.")
    async def link_held_account(
        self, info: Info, input: Annotated[LinkHeldAccountInput, GIVEN]
    ) -> HeldAccountPayload | None:
        async def command(work: Work) -> uuid.UUID:
            held = await work.load(HeldAccounts, input.id, "HeldAccount")
            person = await work.load(People, input.person, "Person", "person")
            # Whoever links a login to somebody could be them from then on.
            await work.require("person:manage", (person, ()))
            agent = await work.require("tenant:configure", held)
            return (await link_held(work.session, agent, held, input.version, person)).id

        return await perform(info._raw_info, "linkHeldAccount", HELD, input, command)

    @root("tenant:configure", "Make somebody a person of their own.")
    async def create_held_account(
        self, info: Info, input: Annotated[CreateHeldAccountInput, GIVEN]
    ) -> HeldAccountPayload | None:
        async def command(work: Work) -> uuid.UUID:
            held = await work.load(HeldAccounts, input.id, "HeldAccount")
            await work.create("person:manage", (held, ()))
            agent = await work.require("tenant:configure", held)
            draft = PersonDraft(input.user_name, input.given_name, input.family_name, input.email)
            return (await create_held(work.session, agent, held, input.version, draft)).id

        return await perform(info._raw_info, "createHeldAccount", HELD, input, command)

    @root("tenant:configure", "Let somebody stay outside.")
    async def dismiss_held_account(
        self, info: Info, input: Annotated[DismissHeldAccountInput, GIVEN]
    ) -> HeldAccountPayload | None:
        return await perform_on(
            info._raw_info, "dismissHeldAccount", HELD, input, "tenant:configure", dismiss_held
        )
