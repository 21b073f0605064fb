"""How Keycloak follows: the nightly comparisons of the realm with the people, and trying again."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated

import strawberry

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.people import Person
from api.graph.relay import GIVEN, After, Connection, First, Info, Node, root, value_type
from api.plan.fetch import page
from api.plan.mapping import column, table
from api.plan.page import Listing
from api.plan.write import Payload, Work, perform
from domain.people import Person as People
from domain.realms import RealmCheck as RealmChecks
from identity.realm_checks import ask_check
from identity.sync_states import retry_sync

LISTING = Listing(RealmChecks, "tenant", "started_at", RealmChecks, descending=True)
PERSON = Payload("person", "Person")
CHECK = Payload("realmCheck", "RealmCheck")


@table(RealmChecks, description="A comparison of the realm's users with the people, both ways.")
class RealmCheck(Node):
    started_at: dt.datetime | None = column("read", "When it was begun.")
    finished_at: dt.datetime | None = column("read", "When it was done.")
    people: int | None = column("read", "How many people were looked at.")
    users: int | None = column("read", "How many users of the realm were looked at.")
    repaired: int | None = column("read", "How many people's users are brought up to date by it.")
    findings: list[str] | None = column(
        "read", "The numbers by kind, then each difference by ids: the first three hundred."
    )


@strawberry.input(description="Whose user in Keycloak is brought up to date once more.")
class SyncPersonInput:
    id: strawberry.ID = strawberry.field(description="The person.")
    idempotency_key: str | None = idempotency_key()


@value_type("The person.")
class SyncPersonPayload:
    person: Person | None = strawberry.field(description="The person.")
    user_errors: list[UserError] = payload_errors()


@strawberry.input(description="A comparison of the realm with the people.")
class CheckRealmInput:
    idempotency_key: str | None = idempotency_key()


@value_type("The comparison, which is carried out within moments.")
class CheckRealmPayload:
    realm_check: RealmCheck | None = strawberry.field(
        description="The comparison; `finishedAt` is null until it is done."
    )
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Query:
    @root("tenant:read", "Comparisons of the realm with the people, the newest first.")
    async def realm_checks(
        self, info: Info, first: First = 50, after: After = None
    ) -> Connection[RealmCheck] | None:
        return await page(info._raw_info, LISTING, node=None, first=first, after=after)


@strawberry.type
class Mutation:
    @root("person:manage", "Try once more to let Keycloak follow, of one person.")
    async def sync_person(
        self, info: Info, input: Annotated[SyncPersonInput, GIVEN]
    ) -> SyncPersonPayload | None:
        async def command(work: Work) -> uuid.UUID:
            person = await work.load(People, input.id, "Person")
            agent = await work.require("person:manage", person)
            await retry_sync(work.session, agent, person.id)
            return person.id

        return await perform(info._raw_info, "syncPerson", PERSON, input, command)

    @root(
        "tenant:configure", "Have the realm compared with the people now; what is ours is mended."
    )
    async def check_realm(
        self, info: Info, input: Annotated[CheckRealmInput, GIVEN]
    ) -> CheckRealmPayload | None:
        async def command(work: Work) -> uuid.UUID:
            new = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("tenant:configure", new)
            return await ask_check(work.session, agent, work.new_id)

        return await perform(info._raw_info, "checkRealm", CHECK, input, command)
