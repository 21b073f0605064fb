"""Lost devices: somebody's second factors are removed once two administrators agree."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.people import Person
from api.graph.relay import GIVEN, After, Connection, First, Info, Node, root, value_type
from api.plan.fetch import page
from api.plan.mapping import column, computed, enum_name, joined, one, table
from api.plan.page import Listing
from api.plan.write import Payload, Work, perform, perform_on
from domain.people import Person as People
from domain.second_factors import DeviceReset as DeviceResets
from domain.second_factors import ResetState
from identity.device_resets import approve_reset, decline_reset, request_reset

LISTING = Listing(DeviceResets, "tenant", "created_at", DeviceResets, descending=True)
RESET = Payload("deviceReset", "DeviceReset", model=DeviceResets)
strawberry.enum(ResetState, name="DeviceResetState", description="What became of a reset.")


@table(
    DeviceResets,
    description="Somebody's lost device, whose removal takes a second administrator.",
)
class DeviceReset(Node):
    reason: str | None = column("read", "Why; one line.")
    state: ResetState | None = computed(
        "read", "What became of it.", lambda reset, *_: enum_name(reset.state)
    )
    created_at: dt.datetime | None = column("read", "When it was asked for.")
    lapses_at: dt.datetime | None = column("read", "Until when it can be approved.")
    decided_at: dt.datetime | None = column("read", "When it was approved or declined.")
    version: int | None = column("read", "Rises with every change; decisions name it.")

    @one("read", joined("id", "person_id"))
    def person(self) -> Person | None:
        """Who has lost something."""

    @one("read", joined("id", "requested_by"))
    def requested_by(self) -> Person | None:
        """Who asked."""

    @one("read", joined("id", "decided_by"))
    def decided_by(self) -> Person | None:
        """Who approved or declined."""


@strawberry.input(description="Somebody who has lost what they log in with.")
class RequestDeviceResetInput:
    person: strawberry.ID = strawberry.field(description="The person.")
    reason: str = strawberry.field(
        description="Why, and how you know that it is they; one line. Another administrator reads it."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="What becomes of a reset.")
class DecideDeviceResetInput:
    id: strawberry.ID = strawberry.field(description="The reset.")
    version: int = strawberry.field(description="The version that the decision is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The reset.")
class DeviceResetPayload:
    device_reset: DeviceReset | None = strawberry.field(description="The reset.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Query:
    @root("tenant:read", "Resets of devices, the newest first.")
    async def device_resets(
        self,
        info: Info,
        state: Annotated[
            ResetState | None, strawberry.argument(description="Only in this state.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[DeviceReset] | None:
        values = {"state": None if state is None else state.value}
        return await page(
            info._raw_info, LISTING, node=None, first=first, after=after, values=values
        )


@strawberry.type
class Mutation:
    @root("tenant:configure", "Ask to remove somebody's second factors; they are told by mail.")
    async def request_device_reset(
        self, info: Info, input: Annotated[RequestDeviceResetInput, GIVEN]
    ) -> DeviceResetPayload | None:
        async def command(work: Work) -> uuid.UUID:
            person = await work.load(People, input.person, "Person", "person")
            await work.require("person:manage", person)
            new = DeviceResets(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("tenant:configure", new)
            reset = await request_reset(work.session, agent, person, input.reason, work.new_id)
            return reset.id

        return await perform(info._raw_info, "requestDeviceReset", RESET, input, command)

    @root(
        "tenant:configure",
        "Approve what another administrator asked for: sessions end, the second factors are removed.",
    )
    async def approve_device_reset(
        self, info: Info, input: Annotated[DecideDeviceResetInput, GIVEN]
    ) -> DeviceResetPayload | None:
        async def command(work: Work) -> uuid.UUID:
            reset = await work.load(DeviceResets, input.id, "DeviceReset")
            person = await work.load(People, f"Person:{reset.person_id}", "Person", "id")
            await work.require("person:manage", person)
            agent = await work.require("tenant:configure", reset)
            return (await approve_reset(work.session, agent, reset, input.version)).id

        return await perform(info._raw_info, "approveDeviceReset", RESET, input, command)

    @root("tenant:configure", "Decline a reset, or take back one's own: nothing is removed.")
    async def decline_device_reset(
        self, info: Info, input: Annotated[DecideDeviceResetInput, GIVEN]
    ) -> DeviceResetPayload | None:
        return await perform_on(
            info._raw_info,
            "declineDeviceReset",
            RESET,
            input,
            "tenant:configure",
            decline_reset,
        )
