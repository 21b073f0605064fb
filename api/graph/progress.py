"""How a visit goes on between its start and its end."""

import uuid
from typing import Annotated

import strawberry

from api.graph.encounters import Encounter
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform
from domain.encounters import Encounter as Encounters
from domain.encounters import EncounterState, arrive, cancel, progress

ENCOUNTER = Payload("encounter", "Encounter")


@strawberry.input(description="A visit and the version that the change is based on.")
class ChangeEncounterInput:
    id: strawberry.ID = strawberry.field(description="The encounter.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="How a visit goes on.")
class ProgressEncounterInput:
    id: strawberry.ID = strawberry.field(description="The encounter.")
    version: int = strawberry.field(description="The version that the change is based on.")
    state: EncounterState = strawberry.field(description="TRIAGED, IN_PROGRESS or ONLEAVE.")
    idempotency_key: str | None = idempotency_key()


@value_type("The changed visit.")
class ChangeEncounterPayload:
    encounter: Encounter | None = strawberry.field(description="The encounter.")
    user_errors: list[UserError] = payload_errors()


@value_type("The visit as it goes on.")
class ProgressEncounterPayload:
    encounter: Encounter | None = strawberry.field(description="The encounter.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root("encounter:arrive", "The patient of a planned visit is here.")
    async def arrive_encounter(
        self, info: Info, input: Annotated[ChangeEncounterInput, GIVEN]
    ) -> ChangeEncounterPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Encounters, input.id, "Encounter")
            agent = await work.require("encounter:arrive", row)
            changed = await arrive(work.session, agent, row, input.version)
            return changed.id

        return await perform(info._raw_info, "arriveEncounter", ENCOUNTER, input, command)

    @root("encounter:progress", "Triage, treat, send on leave or take back.")
    async def progress_encounter(
        self, info: Info, input: Annotated[ProgressEncounterInput, GIVEN]
    ) -> ProgressEncounterPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Encounters, input.id, "Encounter")
            agent = await work.require("encounter:progress", row)
            changed = await progress(work.session, agent, row, input.version, input.state)
            return changed.id

        return await perform(info._raw_info, "progressEncounter", ENCOUNTER, input, command)

    @root("encounter:cancel", "The visit does not take place.")
    async def cancel_encounter(
        self, info: Info, input: Annotated[ChangeEncounterInput, GIVEN]
    ) -> ChangeEncounterPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Encounters, input.id, "Encounter")
            agent = await work.require("encounter:cancel", row)
            changed = await cancel(work.session, agent, row, input.version)
            return changed.id

        return await perform(info._raw_info, "cancelEncounter", ENCOUNTER, input, command)
