"""Writing down procedures and vaccinations."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.codings import CodingInput, coding
from api.graph.immunizations import Immunization
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.procedures import Procedure
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.spots import ENCOUNTER, PATIENT, UNIT, at
from api.plan.write import Payload, Work, perform
from domain import immunizations, procedures
from domain.immunizations import ImmunizationState
from domain.procedures import Procedure as Procedures
from domain.procedures import ProcedureState
from domain.quantities import quantity_of

PROCEDURE = Payload("procedure", "Procedure")
IMMUNIZATION = Payload("immunization", "Immunization")


@strawberry.input(description="Something that is done or was done.")
class RecordProcedureInput:
    encounter: strawberry.ID | None = strawberry.field(default=None, description=ENCOUNTER)
    patient: strawberry.ID | None = strawberry.field(default=None, description=PATIENT)
    unit: strawberry.ID | None = strawberry.field(default=None, description=UNIT)
    procedure: CodingInput = strawberry.field(description="SNOMED CT, ICD-10-PCS or CPT code.")
    state: ProcedureState = strawberry.field(
        default=ProcedureState.COMPLETED, description="Where it stands."
    )
    performed_at: dt.datetime | None = strawberry.field(
        default=None, description="When it was done or begun; else now."
    )
    ended_at: dt.datetime | None = strawberry.field(default=None, description="When it was over.")
    outcome: str | None = strawberry.field(default=None, description="What came of it.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="How a procedure goes on; what is left out stays.")
class UpdateProcedureInput:
    id: strawberry.ID = strawberry.field(description="The procedure.")
    version: int = strawberry.field(description="The version that the change is based on.")
    state: ProcedureState | None = strawberry.field(
        default=None, description="Where it stands by now."
    )
    ended_at: dt.datetime | None = strawberry.field(default=None, description="When it was over.")
    outcome: str | None = strawberry.field(default=None, description="What came of it.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A vaccination, here or as the patient brought it along.")
class RecordImmunizationInput:
    encounter: strawberry.ID | None = strawberry.field(default=None, description=ENCOUNTER)
    patient: strawberry.ID | None = strawberry.field(default=None, description=PATIENT)
    unit: strawberry.ID | None = strawberry.field(default=None, description=UNIT)
    vaccine: CodingInput = strawberry.field(description="CVX code.")
    state: ImmunizationState = strawberry.field(
        default=ImmunizationState.COMPLETED, description="Given, or not."
    )
    occurred_at: dt.datetime | None = strawberry.field(
        default=None, description="When it was given; else now."
    )
    lot_number: str | None = strawberry.field(default=None, description="The vaccine's lot.")
    expires_on: dt.date | None = strawberry.field(
        default=None, description="Until when the vaccine can be given."
    )
    dose: str | None = strawberry.field(default=None, description="A decimal number, as text.")
    dose_unit: str | None = strawberry.field(default=None, description="UCUM unit of the dose.")
    site: str | None = strawberry.field(default=None, description="Where on the body.")
    idempotency_key: str | None = idempotency_key()


@value_type("The recorded procedure.")
class RecordProcedurePayload:
    procedure: Procedure | None = strawberry.field(description="The procedure.")
    user_errors: list[UserError] = payload_errors()


@value_type("The changed procedure.")
class UpdateProcedurePayload:
    procedure: Procedure | None = strawberry.field(description="The procedure.")
    user_errors: list[UserError] = payload_errors()


@value_type("The recorded vaccination.")
class RecordImmunizationPayload:
    immunization: Immunization | None = strawberry.field(description="The vaccination.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root(
        "procedure:record", "Write down what is done or was done, as the practitioner who does it."
    )
    async def record_procedure(
        self, info: Info, input: Annotated[RecordProcedureInput, GIVEN]
    ) -> RecordProcedurePayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent, spot = await at(work, "procedure:record", input)
            made = await procedures.record(
                work.session,
                agent,
                spot,
                coding(input.procedure),
                state=input.state,
                performed_at=input.performed_at,
                ended_at=input.ended_at,
                outcome=input.outcome,
                entry_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "recordProcedure", PROCEDURE, input, command)

    @root("procedure:record", "Say how a procedure goes on, as a practitioner.")
    async def update_procedure(
        self, info: Info, input: Annotated[UpdateProcedureInput, GIVEN]
    ) -> UpdateProcedurePayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Procedures, input.id, "Procedure")
            agent = await work.require("procedure:record", row)
            changed = await procedures.update(
                work.session,
                agent,
                row,
                input.version,
                state=input.state,
                ended_at=input.ended_at,
                outcome=input.outcome,
            )
            return changed.id

        return await perform(info._raw_info, "updateProcedure", PROCEDURE, input, command)

    @root("immunization:record", "Write down a vaccination.")
    async def record_immunization(
        self, info: Info, input: Annotated[RecordImmunizationInput, GIVEN]
    ) -> RecordImmunizationPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent, spot = await at(work, "immunization:record", input)
            dose = None if input.dose is None else quantity_of(input.dose, "dose")
            made = await immunizations.record(
                work.session,
                agent,
                spot,
                coding(input.vaccine),
                state=input.state,
                occurred_at=input.occurred_at,
                lot_number=input.lot_number,
                expires_on=input.expires_on,
                dose=dose,
                dose_unit=input.dose_unit,
                site=input.site,
                entry_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "recordImmunization", IMMUNIZATION, input, command)
