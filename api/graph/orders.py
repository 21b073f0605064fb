"""Ordering medicines, and writing down what a patient takes."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.codings import CodingInput, coding
from api.graph.medications import MedicationRequest, MedicationStatement
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.spots import ENCOUNTER, PATIENT, UNIT, at
from api.plan.write import Payload, Work, perform
from domain.medications import MedicationRequest as Requests
from domain.medications import MedicationStatement as Statements
from domain.medications import (
    RequestIntent,
    RequestState,
    StatementState,
    order,
    state_taken,
    update_order,
    update_statement,
)

REQUEST = Payload("medicationRequest", "MedicationRequest")
STATEMENT = Payload("medicationStatement", "MedicationStatement")


@strawberry.input(description="An order of a medicine.")
class OrderMedicationInput:
    encounter: strawberry.ID | None = strawberry.field(default=None, description=ENCOUNTER)
    patient: strawberry.ID | None = strawberry.field(default=None, description=PATIENT)
    unit: strawberry.ID | None = strawberry.field(default=None, description=UNIT)
    medicine: CodingInput = strawberry.field(description="RxNorm or SNOMED CT code.")
    state: RequestState = strawberry.field(
        default=RequestState.ACTIVE, description="A draft, or active."
    )
    intent: RequestIntent = strawberry.field(
        default=RequestIntent.ORDER, description="Proposal, plan or order."
    )
    dosage: str | None = strawberry.field(default=None, description="How it is to be taken.")
    starts_on: dt.date | None = strawberry.field(
        default=None, description="From when; else from today."
    )
    ends_on: dt.date | None = strawberry.field(default=None, description="Until when.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="How an order goes on; what is left out stays.")
class UpdateMedicationRequestInput:
    id: strawberry.ID = strawberry.field(description="The order.")
    version: int = strawberry.field(description="The version that the change is based on.")
    state: RequestState | None = strawberry.field(
        default=None, description="Where it stands by now."
    )
    ends_on: dt.date | None = strawberry.field(
        default=None, description="Until when it is to be taken."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="What a patient takes.")
class RecordMedicationStatementInput:
    encounter: strawberry.ID | None = strawberry.field(default=None, description=ENCOUNTER)
    patient: strawberry.ID | None = strawberry.field(default=None, description=PATIENT)
    unit: strawberry.ID | None = strawberry.field(default=None, description=UNIT)
    medicine: CodingInput = strawberry.field(description="RxNorm or SNOMED CT code.")
    state: StatementState = strawberry.field(
        default=StatementState.ACTIVE, description="Where it stands."
    )
    dosage: str | None = strawberry.field(default=None, description="How it is taken.")
    starts_on: dt.date | None = strawberry.field(default=None, description="Since when.")
    ends_on: dt.date | None = strawberry.field(default=None, description="Until when.")
    request: strawberry.ID | None = strawberry.field(
        default=None, description="The order that it follows."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="How it goes on; what is left out stays.")
class UpdateMedicationStatementInput:
    id: strawberry.ID = strawberry.field(description="The statement.")
    version: int = strawberry.field(description="The version that the change is based on.")
    state: StatementState | None = strawberry.field(
        default=None, description="Where it stands by now."
    )
    ends_on: dt.date | None = strawberry.field(default=None, description="Until when it was taken.")
    idempotency_key: str | None = idempotency_key()


@value_type("The order.")
class OrderMedicationPayload:
    medication_request: MedicationRequest | None = strawberry.field(description="The order.")
    user_errors: list[UserError] = payload_errors()


@value_type("The changed order.")
class UpdateMedicationRequestPayload:
    medication_request: MedicationRequest | None = strawberry.field(description="The order.")
    user_errors: list[UserError] = payload_errors()


@value_type("The statement.")
class RecordMedicationStatementPayload:
    medication_statement: MedicationStatement | None = strawberry.field(
        description="The statement."
    )
    user_errors: list[UserError] = payload_errors()


@value_type("The changed statement.")
class UpdateMedicationStatementPayload:
    medication_statement: MedicationStatement | None = strawberry.field(
        description="The statement."
    )
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root("medication_request:record", "Order a medicine, as a practitioner.")
    async def order_medication(
        self, info: Info, input: Annotated[OrderMedicationInput, GIVEN]
    ) -> OrderMedicationPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent, spot = await at(work, "medication_request:record", input)
            made = await order(
                work.session,
                agent,
                spot,
                coding(input.medicine),
                state=input.state,
                intent=input.intent,
                dosage=input.dosage,
                starts_on=input.starts_on,
                ends_on=input.ends_on,
                entry_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "orderMedication", REQUEST, input, command)

    @root(
        "medication_request:record",
        "Hold, resume, complete, stop or withdraw an order, as a practitioner.",
    )
    async def update_medication_request(
        self, info: Info, input: Annotated[UpdateMedicationRequestInput, GIVEN]
    ) -> UpdateMedicationRequestPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Requests, input.id, "MedicationRequest")
            agent = await work.require("medication_request:record", row)
            changed = await update_order(
                work.session,
                agent,
                row,
                input.version,
                state=input.state,
                ends_on=input.ends_on,
            )
            return changed.id

        return await perform(info._raw_info, "updateMedicationRequest", REQUEST, input, command)

    @root("medication_statement:record", "Write down what a patient takes.")
    async def record_medication_statement(
        self, info: Info, input: Annotated[RecordMedicationStatementInput, GIVEN]
    ) -> RecordMedicationStatementPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent, spot = await at(work, "medication_statement:record", input)
            request = input.request and await work.load(
                Requests, input.request, "MedicationRequest", "request"
            )
            made = await state_taken(
                work.session,
                agent,
                spot,
                coding(input.medicine),
                state=input.state,
                dosage=input.dosage,
                starts_on=input.starts_on,
                ends_on=input.ends_on,
                request=request or None,
                entry_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "recordMedicationStatement", STATEMENT, input, command)

    @root("medication_statement:record", "Say how it goes on.")
    async def update_medication_statement(
        self, info: Info, input: Annotated[UpdateMedicationStatementInput, GIVEN]
    ) -> UpdateMedicationStatementPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Statements, input.id, "MedicationStatement")
            agent = await work.require("medication_statement:record", row)
            changed = await update_statement(
                work.session,
                agent,
                row,
                input.version,
                state=input.state,
                ends_on=input.ends_on,
            )
            return changed.id

        return await perform(info._raw_info, "updateMedicationStatement", STATEMENT, input, command)
