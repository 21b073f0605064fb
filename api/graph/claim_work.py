"""What is done with claims: made, coded, filed, rejected, answered, settled, taken back."""

import uuid
from typing import Annotated

import strawberry

from api.graph.claims import Claim
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.payments import amount_of
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform, perform_on
from domain.billing import (
    AdjustmentGroup,
    ClaimKind,
    ItemAnswer,
    adjudicate,
    cancel_claim,
    create_claim,
    file_claim,
    minor_units,
    own_tenant,
    queue_claim,
    recode_claim,
    reject_claim,
    settle,
)
from domain.billing import Claim as Claims
from domain.billing import Coverage as Coverages
from domain.encounters import Encounter as Encounters
from domain.errors import Invalid
from domain.organization import Tenant

CLAIM = Payload("claim", "Claim", model=Claims)
MOST = 999
"""Items of a claim (X12 837P: 50 for most payers), adjustments of an item."""


@strawberry.input(description="A claim for an encounter.")
class CreateClaimInput:
    encounter: strawberry.ID = strawberry.field(description="The visit.")
    coverage: strawberry.ID = strawberry.field(description="Who is asked, in which order.")
    kind: ClaimKind = strawberry.field(default=ClaimKind.PROFESSIONAL, description="Its type.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A step of a claim.")
class MoveClaimInput:
    id: strawberry.ID = strawberry.field(description="The claim.")
    version: int = strawberry.field(description="The version that the step is based on.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A step of a claim, and why.")
class ReturnClaimInput:
    id: strawberry.ID = strawberry.field(description="The claim.")
    version: int = strawberry.field(description="The version that the step is based on.")
    reason: str = strawberry.field(description="Why.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Why less is paid than was asked.")
class ItemAdjustmentInput:
    group: AdjustmentGroup = strawberry.field(description="Who bears it.")
    reason_code: str = strawberry.field(description="Claim adjustment reason code.")
    amount: str = strawberry.field(description="A decimal number, as text.")


@strawberry.input(description="The payer's answer about an item.")
class ItemAnswerInput:
    sequence: int = strawberry.field(description="The item's number on the claim.")
    paid: str = strawberry.field(description="A decimal number, as text.")
    adjustments: list[ItemAdjustmentInput] = strawberry.field(
        default_factory=list, description="Together with `paid` they explain the whole amount."
    )


@strawberry.input(description="The payer's answer to a claim.")
class AdjudicateClaimInput:
    id: strawberry.ID = strawberry.field(description="The claim.")
    version: int = strawberry.field(description="The version that the answer is for.")
    currency: str = strawberry.field(description="The currency of the health system.")
    items: list[ItemAnswerInput] = strawberry.field(description="One answer for each item.")
    reference: str | None = strawberry.field(default=None, description="The payer's own number.")
    idempotency_key: str | None = idempotency_key()


@value_type("The claim.")
class ClaimPayload:
    claim: Claim | None = strawberry.field(description="The claim as it is now.")
    user_errors: list[UserError] = payload_errors()


def answers_of(given: AdjudicateClaimInput, tenant: Tenant) -> list[ItemAnswer]:
    """The answers in minor units. Raises Invalid."""
    if len(given.items) > MOST or any(len(item.adjustments) > MOST for item in given.items):
        raise Invalid(f"At most {MOST} at once.", path=("items",))

    def minor(text: str) -> int:
        return minor_units(amount_of(text, "items"), given.currency, tenant)

    return [
        ItemAnswer(
            item.sequence,
            minor(item.paid),
            [(a.group, a.reason_code, minor(a.amount)) for a in item.adjustments],
        )
        for item in given.items
    ]


@strawberry.type
class Mutation:
    @root("claim:create", "Ask a payer for all charges of an encounter; it needs coding first.")
    async def create_claim(
        self, info: Info, input: Annotated[CreateClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        async def command(work: Work) -> uuid.UUID:
            visit = await work.load(Encounters, input.encounter, "Encounter", "encounter")
            unit = info.context.actor.tree.units[visit.unit_id]
            agent = await work.create(
                "claim:create", work.new_row(unit, patient_id=visit.patient_id)
            )
            cover = await work.load(Coverages, input.coverage, "Coverage", "coverage")
            made = await create_claim(
                work.session, agent, visit, cover, kind=input.kind, claim_id=work.new_id
            )
            return made.id

        return await perform(info._raw_info, "createClaim", CLAIM, input, command)

    @root("claim:create", "The claim is coded and may be filed.")
    async def queue_claim(
        self, info: Info, input: Annotated[MoveClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        return await perform_on(
            info._raw_info, "queueClaim", CLAIM, input, "claim:create", queue_claim
        )

    @root("claim:create", "Send a claim back to coding.")
    async def recode_claim(
        self, info: Info, input: Annotated[ReturnClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        return await perform_on(
            info._raw_info, "recodeClaim", CLAIM, input, "claim:create", recode_claim, input.reason
        )

    @root("claim:create", "Take back a claim that does not lie with the payer.")
    async def cancel_claim(
        self, info: Info, input: Annotated[MoveClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        return await perform_on(
            info._raw_info, "cancelClaim", CLAIM, input, "claim:create", cancel_claim
        )

    @root("claim:file", "The claim went to the payer.")
    async def file_claim(
        self, info: Info, input: Annotated[MoveClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        return await perform_on(info._raw_info, "fileClaim", CLAIM, input, "claim:file", file_claim)

    @root("claim:file", "The payer or the clearing house did not take the claim.")
    async def reject_claim(
        self, info: Info, input: Annotated[ReturnClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        return await perform_on(
            info._raw_info, "rejectClaim", CLAIM, input, "claim:file", reject_claim, input.reason
        )

    @root("claim:adjudicate", "Take the payer's answer to a filed claim and post it.")
    async def adjudicate_claim(
        self, info: Info, input: Annotated[AdjudicateClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        async def command(work: Work) -> uuid.UUID:
            claim = await work.load(Claims, input.id, "Claim")
            agent = await work.require("claim:adjudicate", claim, "posting")
            answers = answers_of(input, await own_tenant(work.session, agent))
            told = input.reference
            done = await adjudicate(
                work.session, agent, claim, input.version, answers, reference=told
            )
            return done.id

        return await perform(info._raw_info, "adjudicateClaim", CLAIM, input, command)

    @root("claim:adjudicate", "Put an answered claim where it belongs: patient or zero balance.")
    async def settle_claim(
        self, info: Info, input: Annotated[MoveClaimInput, GIVEN]
    ) -> ClaimPayload | None:
        return await perform_on(
            info._raw_info,
            "settleClaim",
            CLAIM,
            input,
            "claim:adjudicate",
            settle,
            also=("posting",),
        )
