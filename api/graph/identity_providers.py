"""A health system's own identity providers: how they stand, how tries went, who logged in by them."""

import datetime as dt
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, case, func
from sqlalchemy import literal_column as raw

from api.graph.encounters import local_id
from api.graph.people import Person
from api.graph.relay import After, Connection, First, Info, Node, root
from api.plan.fetch import page
from api.plan.mapping import column, computed, enum_name, joined, many, one, table
from api.plan.page import Listing
from domain.identity_providers import IdentityProvider as IdentityProviders
from domain.identity_providers import Outcome, Protocol, ProviderState
from domain.identity_providers import ProviderTest as ProviderTests
from domain.identity_providers import SignIn as SignIns

PROVIDERS = Listing(IdentityProviders, "tenant", "name", IdentityProviders)
SIGN_INS = Listing(SignIns, "tenant", "created_at", SignIns, descending=True)
strawberry.enum(Protocol, name="IdentityProtocol", description="What a provider speaks.")
strawberry.enum(
    ProviderState,
    name="IdentityProviderState",
    description="Nobody comes in by a provider that is not ACTIVE.",
)
strawberry.enum(Outcome, name="SignInOutcome", description="How a login ended.")


def _of_map(path: str) -> Any:
    """The names on one side of a provider's map of attributes, both sides in one order."""
    found: ColumnElement[Any] = raw(f"'$.keyvalue().{path}'::jsonpath")
    return lambda row, *_: func.jsonb_path_query_array(row.attributes, found)


def _warning(ends: Any) -> ColumnElement[Any]:
    """The shortest of the terms of warning that has begun."""
    begun: list[tuple[Any, ColumnElement[Any]]] = [
        (ends <= func.now() + raw(f"interval '{days} days'"), raw(str(days)))
        for days in (0, 7, 30, 60)
    ]
    return case(*begun)


@table(ProviderTests, description="A login that only tried a provider: nobody came in by it.")
class ProviderTest(Node):
    created_at: dt.datetime | None = column("read", "When it was begun.")
    until: dt.datetime | None = column("read", "Until when the login can be done.")
    finished_at: dt.datetime | None = column("read", "When somebody did; null while it waits.")
    passed: bool | None = column("read", "Whether every step passed.")
    steps: list[str] | None = column("read", "What was looked at, a line for each step.")


@table(
    IdentityProviders,
    name="IdentityProvider",
    description="An identity provider of the health system's own, by OpenID Connect or SAML.",
)
class IdentityProvider(Node):
    protocol: Protocol | None = computed(
        "read", "What it speaks.", lambda p, *_: enum_name(p.protocol)
    )
    direct: bool | None = column(
        "read", "Whether the API itself speaks with it, and not the realm (SAML)."
    )
    vendor: str | None = column("read", "Whose product it is; `generic` for any other.")
    name: str | None = column("read", "What people call it.")
    state: ProviderState | None = computed(
        "read", "Whether people come in by it.", lambda p, *_: enum_name(p.state)
    )
    issuer: str | None = column("read", "Its issuer (OpenID Connect) or entity id (SAML).")
    client_id: str | None = column("read", "What it knows us as (OpenID Connect).")
    certificates: list[str] | None = column("read", "What it signs with (SAML), PEM.")
    attribute_names: list[str] | None = computed(
        "read", "What we ask it about people, by our names.", _of_map("key")
    )
    attribute_sources: list[str] | None = computed(
        "read", "Its own names of the same, in the same order.", _of_map("value")
    )
    creates: bool | None = column("read", "Whether its logins may make people.")
    mfa_contexts: list[str] | None = column(
        "read", "Who comes with one of these asserted needs no further second factor."
    )
    of_directory: bool | None = column(
        "read",
        "Whether it proves whom the directory pushes: its ids are the directory's external ids.",
    )
    metadata_url: str | None = column("read", "Where its description is read again each day.")
    metadata_read_at: dt.datetime | None = column("read", "When it was last read and taken.")
    metadata_problem: str | None = column("read", "Why it could not be taken since; else null.")
    expires_at: dt.datetime | None = column(
        "read", "When its last certificate, or the client's secret, ends; null where nobody said."
    )
    expires_within: int | None = computed(
        "read",
        "A warning: that is within 60, 30 or 7 days, or 0 where it is over; else null.",
        lambda p, *_: _warning(p.expires_at),
    )
    version: int | None = column("read", "Rises with every change; updates name it.")

    @many(
        "read",
        joined("identity_provider_id", "id"),
        group=None,
        order=lambda test: [test.created_at.desc(), test.id.desc()],
    )
    def tests(self, first: First = 5) -> list[ProviderTest] | None:
        """How tries went, the newest first."""


@table(SignIns, name="SignIn", description="A login through an identity provider.")
class SignIn(Node):
    outcome: Outcome | None = computed("read", "How it ended.", lambda s, *_: enum_name(s.outcome))
    cause: str | None = column("read", "Why it was held; null where it was not.")
    subject: str | None = column("read", "The provider's id of the person.")
    authenticated_at: dt.datetime | None = column("read", "When they showed who they are.")
    created_at: dt.datetime | None = column("read", "When they arrived here.")

    @one("read", joined("id", "person_id"))
    def person(self) -> Person | None:
        """Whom they came in as; null where nobody could tell."""

    @one("read", joined("id", "identity_provider_id"))
    def identity_provider(self) -> IdentityProvider | None:
        """By which provider."""


@strawberry.type
class Query:
    @root("tenant:read", "The health system's own identity providers, by name.")
    async def identity_providers(
        self, info: Info, first: First = 50, after: After = None
    ) -> Connection[IdentityProvider] | None:
        return await page(
            info._raw_info,
            PROVIDERS,
            node=None,
            first=first,
            after=after,
        )

    @root("tenant:read", "Logins through identity providers, the newest first.")
    async def sign_ins(
        self,
        info: Info,
        person: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only this person's.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[SignIn] | None:
        good, whose = local_id(person, "Person")
        if not good:
            return None
        values = {"person_id": whose}
        return await page(
            info._raw_info,
            SIGN_INS,
            node=None,
            first=first,
            after=after,
            values=values,
        )
