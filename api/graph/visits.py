"""Starting and finishing encounters."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.encounters import Encounter, local_id
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform, perform_on
from domain.appointments import Appointment as Appointments
from domain.encounters import Encounter as Encounters
from domain.encounters import EncounterState, finish, start
from domain.errors import NotFound

ENCOUNTER = Payload("encounter", "Encounter", model=Encounters)


@strawberry.input(description="A visit that begins.")
class StartEncounterInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    patient: strawberry.ID = strawberry.field(description="Who is here.")
    kind: str = strawberry.field(default="AMB", description="FHIR class: AMB, EMER, IMP, VR, HH …")
    reason: str | None = strawberry.field(default=None, description="Why the patient came.")
    practitioner: strawberry.ID | None = strawberry.field(
        default=None, description="Who sees the patient; else the appointment's, else you."
    )
    appointment: strawberry.ID | None = strawberry.field(
        default=None, description="The appointment that is kept."
    )
    state: EncounterState = strawberry.field(
        default=EncounterState.IN_PROGRESS,
        description="PLANNED, ARRIVED, TRIAGED or IN_PROGRESS.",
    )
    started_at: dt.datetime | None = strawberry.field(
        default=None, description="When it began, or is planned for; else now."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="The end of a visit.")
class FinishEncounterInput:
    id: strawberry.ID = strawberry.field(description="The encounter.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@value_type("The encounter that has begun.")
class StartEncounterPayload:
    encounter: Encounter | None = strawberry.field(description="The encounter.")
    user_errors: list[UserError] = payload_errors()


@value_type("The finished encounter.")
class FinishEncounterPayload:
    encounter: Encounter | None = strawberry.field(description="The encounter.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root("encounter:start", "Begin a visit, of a walk-in or of an appointment.")
    async def start_encounter(
        self, info: Info, input: Annotated[StartEncounterInput, GIVEN]
    ) -> StartEncounterPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            patient, _ = await work.patient(input.patient, "patient")
            new = work.new_row(unit, patient_id=patient.id)
            agent = await work.create("encounter:start", new, "patient", "appointment")
            known, practitioner = local_id(input.practitioner, "Practitioner")
            if not known:
                raise NotFound(path=("practitioner",))
            booked = input.appointment and await work.load(
                Appointments, input.appointment, "Appointment", "appointment"
            )
            begun = await start(
                work.session,
                agent,
                unit,
                patient.id,
                kind=input.kind,
                reason=input.reason,
                practitioner_id=practitioner,
                appointment=booked or None,
                state=input.state,
                started_at=input.started_at,
                encounter_id=work.new_id,
            )
            return begun.id

        return await perform(info._raw_info, "startEncounter", ENCOUNTER, input, command)

    @root("encounter:finish", "End a visit.")
    async def finish_encounter(
        self, info: Info, input: Annotated[FinishEncounterInput, GIVEN]
    ) -> FinishEncounterPayload | None:
        return await perform_on(
            info._raw_info, "finishEncounter", ENCOUNTER, input, "encounter:finish", finish
        )
