"""Recording observations, one or a panel of them, and bringing awaited results on."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Annotated, Any

import strawberry

from api.graph.codings import CodingInput, coding
from api.graph.observations import Observation
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.spots import at_visit
from api.plan.write import Payload, Work, perform
from domain.corrections import correct
from domain.errors import Invalid, Several
from domain.observations import Finding, Interpretation, ObservationState, Value, record, update
from domain.observations import Observation as Observations
from domain.quantities import quantity_of


@strawberry.input(
    description="What was found: a quantity with its unit, a text, a code, or yes or no."
)
class ObservationValueInput:
    quantity: str | None = strawberry.field(
        default=None, description="A decimal number, as text so that it stays exact."
    )
    unit: str | None = strawberry.field(default=None, description="UCUM unit of the quantity.")
    text: str | None = strawberry.field(default=None, description="A value in words.")
    code: CodingInput | None = strawberry.field(default=None, description="A coded value.")
    boolean: bool | None = strawberry.field(default=None, description="Yes or no.")
    range_low: str | None = strawberry.field(
        default=None, description="From where it is normal, in the same unit."
    )
    range_high: str | None = strawberry.field(
        default=None, description="Until where it is normal, in the same unit."
    )
    range_text: str | None = strawberry.field(default=None, description="What is normal, in words.")
    interpretation: Interpretation | None = strawberry.field(
        default=None, description="What it means; else low, normal or high by the range."
    )


@strawberry.input(description="A part of a finding that has no meaning alone.")
class ObservationComponentInput:
    code: CodingInput = strawberry.field(description="LOINC code of the part.")
    value: ObservationValueInput = strawberry.field(description="What was found.")


@strawberry.input(description="A finding.")
class ObservationInput:
    code: CodingInput = strawberry.field(description="LOINC code of what was measured.")
    value: ObservationValueInput | None = strawberry.field(
        default=None, description="What was found; none beside components, or while it is awaited."
    )
    components: list[ObservationComponentInput] = strawberry.field(
        default_factory=list, description="What it is made of, as systolic and diastolic pressure."
    )
    state: ObservationState = strawberry.field(
        default=ObservationState.FINAL, description="Where it stands."
    )
    effective_at: dt.datetime | None = strawberry.field(
        default=None, description="When it was true of the patient; else now."
    )


@strawberry.input(description="Findings of a visit, recorded together or not at all.")
class RecordObservationsInput:
    encounter: strawberry.ID = strawberry.field(description="The visit.")
    observations: list[ObservationInput] = strawberry.field(description="The findings, 1 to 50.")
    panel: CodingInput | None = strawberry.field(
        default=None, description="LOINC code of the panel that they make up; it is answered first."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A result that comes in, or is final now.")
class UpdateObservationInput:
    id: strawberry.ID = strawberry.field(description="The observation.")
    version: int = strawberry.field(description="The version that the change is based on.")
    state: ObservationState | None = strawberry.field(
        default=None, description="Where it stands by now."
    )
    value: ObservationValueInput | None = strawberry.field(
        default=None, description="What was found; replaces what was preliminary."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A final finding that was wrong, or has more to it.")
class CorrectObservationInput:
    id: strawberry.ID = strawberry.field(
        description="The observation; it becomes the version before."
    )
    version: int = strawberry.field(description="The version that the change is based on.")
    state: ObservationState = strawberry.field(
        description="AMENDED where something is added, CORRECTED where it was wrong."
    )
    value: ObservationValueInput | None = strawberry.field(
        default=None, description="What was found; none beside components."
    )
    components: list[ObservationComponentInput] = strawberry.field(
        default_factory=list, description="All of what it is made of."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("The recorded findings.")
class RecordObservationsPayload:
    observations: list[Observation] | None = strawberry.field(
        description="The panel first, if there is one, then the findings in their order."
    )
    user_errors: list[UserError] = payload_errors()


@value_type("The changed observation.")
class UpdateObservationPayload:
    observation: Observation | None = strawberry.field(description="The observation.")
    user_errors: list[UserError] = payload_errors()


def number(text: str | None, *path: str) -> Decimal | None:
    """A decimal number of an input. Raises Invalid."""
    return None if text is None else quantity_of(text, *path)


def value_of(given: ObservationValueInput | None, *path: str) -> Value:
    """A value as the domain takes it. Raises Invalid."""
    if given is None:
        return Value()
    return Value(
        quantity=number(given.quantity, *path, "quantity"),
        unit=given.unit,
        text=given.text,
        code=coding(given.code) if given.code else None,
        truth=given.boolean,
        low=number(given.range_low, *path, "rangeLow"),
        high=number(given.range_high, *path, "rangeHigh"),
        range_text=given.range_text,
        interpretation=given.interpretation,
    )


def components_of(given: list[ObservationComponentInput], *path: str) -> tuple[Finding, ...]:
    """What a finding is made of. Raises Invalid."""
    return tuple(
        Finding(coding(part.code), value_of(part.value, *path, "components", str(i), "value"))
        for i, part in enumerate(given)
    )


def finding(given: ObservationInput, *path: str) -> Finding:
    """A finding as the domain takes it. Raises Invalid."""
    parts = components_of(given.components, *path)
    value = value_of(given.value, *path, "value")
    return Finding(coding(given.code), value, given.state, given.effective_at, parts)


def findings(given: list[ObservationInput]) -> list[Finding]:
    """All findings. Raises Several with what is wrong with each."""
    found, wrong = [], []
    for i, each in enumerate(given):
        try:
            found.append(finding(each, "observations", str(i)))
        except Invalid as error:
            wrong.append(error)
    if wrong:
        raise Several(wrong)
    return found


@strawberry.type
class Mutation:
    @root("observation:record", "Record findings of a visit, all of them or none.")
    async def record_observations(
        self, info: Info, input: Annotated[RecordObservationsInput, GIVEN]
    ) -> RecordObservationsPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent, visit = await at_visit(work, "observation:record", input.encounter)
            panel = coding(input.panel) if input.panel else None
            given = findings(input.observations)
            rows = await record(
                work.session, agent, visit, given, panel=panel, first_id=work.new_id
            )
            return rows[0].id

        number_of = len(input.observations) + (input.panel is not None)
        payload = Payload("observations", "Observation", number_of)
        return await perform(info._raw_info, "recordObservations", payload, input, command)

    @root("observation:record", "Bring an awaited or preliminary result on.")
    async def update_observation(
        self, info: Info, input: Annotated[UpdateObservationInput, GIVEN]
    ) -> UpdateObservationPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Observations, input.id, "Observation")
            agent = await work.require("observation:record", row)
            value: Any = None if input.value is None else value_of(input.value, "value")
            changed = await update(
                work.session, agent, row, input.version, state=input.state, value=value
            )
            return changed.id

        payload = Payload("observation", "Observation")
        return await perform(info._raw_info, "updateObservation", payload, input, command)

    @root(
        "observation:mark_entered_in_error",
        "Put a final finding right: a new version with another value, linked to the one before.",
    )
    async def correct_observation(
        self, info: Info, input: Annotated[CorrectObservationInput, GIVEN]
    ) -> UpdateObservationPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Observations, input.id, "Observation")
            # It takes away what was said, and says something else.
            await work.require("observation:record", row)
            agent = await work.require("observation:mark_entered_in_error", row)
            made = await correct(
                work.session,
                agent,
                row,
                input.version,
                input.state,
                value_of(input.value, "value"),
                components_of(input.components),
                correction_id=work.new_id,
            )
            return made.id

        payload = Payload("observation", "Observation")
        return await perform(info._raw_info, "correctObservation", payload, input, command)
