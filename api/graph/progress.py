"""How a visit goes on between its start and its end."""

from typing import Annotated

import strawberry

from api.graph.encounters import Encounter
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.visits import ENCOUNTER
from api.plan.write import perform_on
from domain.encounters import EncounterState, arrive, cancel, progress


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
        return await perform_on(
            info._raw_info, "arriveEncounter", ENCOUNTER, input, "encounter:arrive", arrive
        )

    @root("encounter:progress", "Triage, treat, send on leave or take back.")
    async def progress_encounter(
        self, info: Info, input: Annotated[ProgressEncounterInput, GIVEN]
    ) -> ProgressEncounterPayload | None:
        return await perform_on(
            info._raw_info,
            "progressEncounter",
            ENCOUNTER,
            input,
            "encounter:progress",
            progress,
            input.state,
        )

    @root("encounter:cancel", "The visit does not take place.")
    async def cancel_encounter(
        self, info: Info, input: Annotated[ChangeEncounterInput, GIVEN]
    ) -> ChangeEncounterPayload | None:
        return await perform_on(
            info._raw_info, "cancelEncounter", ENCOUNTER, input, "encounter:cancel", cancel
        )
