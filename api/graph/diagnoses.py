"""Recording problems, diagnoses and allergies."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.allergies import AllergyIntolerance
from api.graph.codings import CodingInput, coding
from api.graph.conditions import Condition
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.graph.spots import ENCOUNTER, PATIENT, UNIT, at, at_visit
from api.plan.write import Payload, Work, perform
from domain import allergies, conditions
from domain.allergies import (
    AllergyCategory,
    AllergyKind,
    AllergyStatus,
    AllergyVerification,
    Criticality,
)
from domain.allergies import AllergyIntolerance as Allergies
from domain.conditions import Category, ClinicalStatus, VerificationStatus
from domain.conditions import Condition as Conditions

CONDITION = Payload("condition", "Condition")
ALLERGY = Payload("allergy", "AllergyIntolerance")


@strawberry.input(description="A problem or diagnosis.")
class RecordConditionInput:
    encounter: strawberry.ID = strawberry.field(description="The visit it is recorded at.")
    diagnosis: CodingInput = strawberry.field(description="ICD-10-CM or SNOMED CT code.")
    clinical_status: ClinicalStatus = strawberry.field(
        default=ClinicalStatus.ACTIVE, description="Whether it is present."
    )
    verification_status: VerificationStatus = strawberry.field(
        default=VerificationStatus.CONFIRMED, description="How sure it is."
    )
    category: Category = strawberry.field(
        default=Category.ENCOUNTER_DIAGNOSIS, description="Of the problem list, or of this visit."
    )
    onset_on: dt.date | None = strawberry.field(default=None, description="When it began.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="How a problem stands by now; what is left out stays.")
class UpdateConditionInput:
    id: strawberry.ID = strawberry.field(description="The condition.")
    version: int = strawberry.field(description="The version that the change is based on.")
    clinical_status: ClinicalStatus | None = strawberry.field(
        default=None, description="Whether it is present."
    )
    verification_status: VerificationStatus | None = strawberry.field(
        default=None, description="How sure it is."
    )
    category: Category | None = strawberry.field(
        default=None, description="Of the problem list, or of its visit."
    )
    abated_on: dt.date | None = strawberry.field(default=None, description="When it was over.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A substance that the patient does not bear.")
class RecordAllergyInput:
    encounter: strawberry.ID | None = strawberry.field(default=None, description=ENCOUNTER)
    patient: strawberry.ID | None = strawberry.field(default=None, description=PATIENT)
    unit: strawberry.ID | None = strawberry.field(default=None, description=UNIT)
    substance: CodingInput = strawberry.field(description="RxNorm or SNOMED CT code.")
    clinical_status: AllergyStatus = strawberry.field(
        default=AllergyStatus.ACTIVE, description="Whether it is present."
    )
    verification_status: AllergyVerification = strawberry.field(
        default=AllergyVerification.CONFIRMED, description="How sure it is."
    )
    kind: AllergyKind | None = strawberry.field(default=None, description="Allergy or intolerance.")
    category: AllergyCategory | None = strawberry.field(
        default=None, description="What sort of substance."
    )
    criticality: Criticality | None = strawberry.field(
        default=None, description="How bad it could become."
    )
    reaction: str | None = strawberry.field(default=None, description="What happens.")
    onset_on: dt.date | None = strawberry.field(default=None, description="Since when.")
    recorded_at: dt.datetime | None = strawberry.field(
        default=None, description="When it was recorded, if not now."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="How an allergy stands by now; what is left out stays.")
class UpdateAllergyInput:
    id: strawberry.ID = strawberry.field(description="The allergy.")
    version: int = strawberry.field(description="The version that the change is based on.")
    clinical_status: AllergyStatus | None = strawberry.field(
        default=None, description="Whether it is present."
    )
    verification_status: AllergyVerification | None = strawberry.field(
        default=None, description="How sure it is."
    )
    criticality: Criticality | None = strawberry.field(
        default=None, description="How bad it could become."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("The recorded condition.")
class RecordConditionPayload:
    condition: Condition | None = strawberry.field(description="The condition.")
    user_errors: list[UserError] = payload_errors()


@value_type("The changed condition.")
class UpdateConditionPayload:
    condition: Condition | None = strawberry.field(description="The condition.")
    user_errors: list[UserError] = payload_errors()


@value_type("The recorded allergy.")
class RecordAllergyPayload:
    allergy: AllergyIntolerance | None = strawberry.field(description="The allergy.")
    user_errors: list[UserError] = payload_errors()


@value_type("The changed allergy.")
class UpdateAllergyPayload:
    allergy: AllergyIntolerance | None = strawberry.field(description="The allergy.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root("condition:record", "Record a problem or diagnosis, as a practitioner.")
    async def record_condition(
        self, info: Info, input: Annotated[RecordConditionInput, GIVEN]
    ) -> RecordConditionPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent, visit = await at_visit(work, "condition:record", input.encounter)
            made = await conditions.record(
                work.session,
                agent,
                visit,
                coding(input.diagnosis),
                clinical_status=input.clinical_status,
                verification=input.verification_status,
                category=input.category,
                onset_on=input.onset_on,
                condition_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "recordCondition", CONDITION, input, command)

    @root("condition:record", "Say how a problem stands by now, as a practitioner.")
    async def update_condition(
        self, info: Info, input: Annotated[UpdateConditionInput, GIVEN]
    ) -> UpdateConditionPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Conditions, input.id, "Condition")
            agent = await work.require("condition:record", row)
            changed = await conditions.update(
                work.session,
                agent,
                row,
                input.version,
                clinical_status=input.clinical_status,
                verification=input.verification_status,
                category=input.category,
                abated_on=input.abated_on,
            )
            return changed.id

        return await perform(info._raw_info, "updateCondition", CONDITION, input, command)

    @root("allergy:record", "Record an allergy or intolerance, as a practitioner.")
    async def record_allergy(
        self, info: Info, input: Annotated[RecordAllergyInput, GIVEN]
    ) -> RecordAllergyPayload | None:
        async def command(work: Work) -> uuid.UUID:
            agent, spot = await at(work, "allergy:record", input)
            made = await allergies.record(
                work.session,
                agent,
                spot,
                coding(input.substance),
                clinical_status=input.clinical_status,
                verification=input.verification_status,
                kind=input.kind,
                category=input.category,
                criticality=input.criticality,
                reaction=input.reaction,
                onset_on=input.onset_on,
                recorded_at=input.recorded_at,
                entry_id=work.new_id,
            )
            return made.id

        return await perform(info._raw_info, "recordAllergy", ALLERGY, input, command)

    @root("allergy:record", "Say how an allergy stands by now, as a practitioner.")
    async def update_allergy(
        self, info: Info, input: Annotated[UpdateAllergyInput, GIVEN]
    ) -> UpdateAllergyPayload | None:
        async def command(work: Work) -> uuid.UUID:
            row = await work.load(Allergies, input.id, "AllergyIntolerance")
            agent = await work.require("allergy:record", row)
            changed = await allergies.update(
                work.session,
                agent,
                row,
                input.version,
                clinical_status=input.clinical_status,
                verification=input.verification_status,
                criticality=input.criticality,
            )
            return changed.id

        return await perform(info._raw_info, "updateAllergy", ALLERGY, input, command)
