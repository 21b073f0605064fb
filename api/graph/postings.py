"""The ledger's entries: read, adjusted, transferred, undone, applied to lines."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry

from api.graph.billing import Invoice, InvoiceLine, minor
from api.graph.encounters import local_id
from api.graph.ledger import unapplied
from api.graph.organization import OrgUnit, clinic_of, node_argument
from api.graph.patients import Patient, patient_of
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.payments import AllocationInput, amount_of, shares_of
from api.graph.relay import (
    GIVEN,
    After,
    Connection,
    First,
    Info,
    Money,
    Node,
    Within,
    root,
    value_type,
)
from api.plan.fetch import page
from api.plan.mapping import (
    column,
    computed,
    enum_name,
    joined,
    many,
    one,
    struct,
    table,
)
from api.plan.page import Listing
from api.plan.write import Payload, Work, perform
from domain.billing import (
    Adjustment,
    AdjustmentGroup,
    PostingKind,
    adjust,
    allocate,
    counterpart,
    own_tenant,
    reverse,
    transfer,
)
from domain.billing import Allocation as Allocations
from domain.billing import Posting as Postings

strawberry.enum(PostingKind, name="PostingKind", description="What an entry of the ledger is.")
LISTING = Listing(Postings, "posting", "posted_at", Postings, descending=True)
POSTING = Payload("posting", "Posting")


@table(Allocations, description="A part of a posting, applied to a line of an invoice.")
class Allocation(Node):
    amount: Money | None = struct(
        "read", "How much; below zero: taken back.", minor("amount_minor")
    )
    allocated_at: dt.datetime | None = column("read", "When.")

    @one("read", joined("id", "invoice_line_id"))
    def line(self) -> InvoiceLine | None:
        """The line."""


@table(Postings, description="An entry of the ledger; a positive amount lowers what is owed.")
class Posting(Node):
    kind: PostingKind | None = computed(
        "read", "What it is.", lambda posting, *_: enum_name(posting.kind)
    )
    amount: Money | None = struct("read", "How much.", minor("amount_minor"))
    unapplied: Money | None = struct(
        "read", "What of it is applied to no line.", unapplied("posting_id")
    )
    method: str | None = column("read", "How it was paid.")
    reference: str | None = column("read", "The number of the terminal, the cheque, the payer.")
    group_code: str | None = column("read", "Who bears an adjustment, by X12.")
    reason_code: str | None = column("read", "Why it was adjusted, moved or undone.")
    posted_at: dt.datetime | None = column("read", "When it was posted.")

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """Whose account it is in."""

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """At which clinic."""

    @one("read", joined("id", "invoice_id"))
    def invoice(self) -> Invoice | None:
        """The invoice that it was said to be for."""

    @many("read", joined("posting_id", "id"), group=None, order=lambda part: [part.id])
    def allocations(self, first: First = 100) -> list[Allocation] | None:
        """What it is applied to."""


@strawberry.type
class Query:
    @root("posting:read", "Entries of the ledger that you may see, latest first.")
    async def postings(
        self,
        info: Info,
        node: Within = None,
        patient: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only of this patient.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Posting] | None:
        known, unit = node_argument(info, node)
        good, patient_id = local_id(patient, "Patient")
        if not (known and good):
            return None
        values = {"patient_id": patient_id}
        return await page(
            info._raw_info,
            LISTING,
            node=unit,
            first=first,
            after=after,
            values=values,
        )


@strawberry.input(description="Less is owed, for a reason.")
class AdjustAccountInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department.")
    patient: strawberry.ID = strawberry.field(description="Whose account.")
    amount: str = strawberry.field(description="A decimal number above zero, as text.")
    currency: str = strawberry.field(description="The currency of the health system.")
    group: AdjustmentGroup = strawberry.field(description="Who bears it.")
    reason_code: str = strawberry.field(description="Claim adjustment reason code.")
    allocations: list[AllocationInput] | None = strawberry.field(
        default=None, description="The lines to which it is applied."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="Credit goes from one clinic to another.")
class TransferCreditInput:
    source: strawberry.ID = strawberry.field(description="Where the credit is.")
    target: strawberry.ID = strawberry.field(description="Where it goes.")
    patient: strawberry.ID = strawberry.field(description="Whose accounts.")
    amount: str = strawberry.field(description="A decimal number above zero, as text.")
    currency: str = strawberry.field(description="The currency of the health system.")
    reason: str | None = strawberry.field(default=None, description="Why.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="An entry of somebody else is wrong.")
class CorrectPostingInput:
    id: strawberry.ID = strawberry.field(description="The posting.")
    reason_code: str | None = strawberry.field(default=None, description="Why.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="What is left of a posting goes to lines.")
class AllocatePostingInput:
    id: strawberry.ID = strawberry.field(description="The posting.")
    allocations: list[AllocationInput] = strawberry.field(description="The lines.")
    currency: str = strawberry.field(description="The currency of the health system.")
    idempotency_key: str | None = idempotency_key()


@value_type("The adjustment.")
class AdjustAccountPayload:
    posting: Posting | None = strawberry.field(description="The posting.")
    user_errors: list[UserError] = payload_errors()


@value_type("The transfer.")
class TransferCreditPayload:
    posting: Posting | None = strawberry.field(description="The posting at the target.")
    user_errors: list[UserError] = payload_errors()


@value_type("The reversal.")
class CorrectPostingPayload:
    posting: Posting | None = strawberry.field(description="The posting that undoes it.")
    user_errors: list[UserError] = payload_errors()


@value_type("The posting with what it is applied to.")
class AllocatePostingPayload:
    posting: Posting | None = strawberry.field(description="The posting.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root("posting:adjust", "Lower what a patient owes, for a reason.")
    async def adjust_account(
        self, info: Info, input: Annotated[AdjustAccountInput, GIVEN]
    ) -> AdjustAccountPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            patient, _ = await work.patient(input.patient, "patient")
            new = work.new_row(unit, patient_id=patient.id)
            agent = await work.create("posting:adjust", new, "patient")
            tenant = await own_tenant(work.session, agent)
            posting = await adjust(
                work.session,
                agent,
                tenant,
                unit,
                patient.id,
                amount_of(input.amount),
                input.currency,
                Adjustment(input.group, input.reason_code),
                shares=await shares_of(work, tenant, input.currency, input.allocations or ()),
                posting_id=work.new_id,
            )
            return posting.id

        return await perform(info._raw_info, "adjustAccount", POSTING, input, command)

    @root("posting:transfer", "Move a patient's credit to another clinic.")
    async def transfer_credit(
        self, info: Info, input: Annotated[TransferCreditInput, GIVEN]
    ) -> TransferCreditPayload | None:
        async def command(work: Work) -> uuid.UUID:
            source = work.unit(input.source, "source")
            target = work.unit(input.target, "target")
            patient, _ = await work.patient(input.patient, "patient")
            for unit in (source, target):
                new = work.new_row(unit, patient_id=patient.id)
                await work.create("posting:transfer", new, "patient")
            posting = await transfer(
                work.session,
                work.agent,
                await own_tenant(work.session, work.agent),
                source,
                target,
                patient.id,
                amount_of(input.amount),
                input.currency,
                reason=input.reason,
                posting_id=work.new_id,
            )
            return posting.id

        return await perform(info._raw_info, "transferCredit", POSTING, input, command)

    @root("posting:correct", "Undo an entry of somebody else by its exact opposite, once.")
    async def correct_posting(
        self, info: Info, input: Annotated[CorrectPostingInput, GIVEN]
    ) -> CorrectPostingPayload | None:
        async def command(work: Work) -> uuid.UUID:
            posting = await work.load(Postings, input.id, "Posting")
            agent = await work.require("posting:correct", posting)
            for other in await counterpart(work.session, agent, posting):
                await work.require("posting:correct", other)
            undone = await reverse(
                work.session, agent, posting, input.reason_code, posting_id=work.new_id
            )
            return undone.id

        return await perform(info._raw_info, "correctPosting", POSTING, input, command)

    @root("posting:allocate", "Apply what is left of a posting to lines of invoices.")
    async def allocate_posting(
        self, info: Info, input: Annotated[AllocatePostingInput, GIVEN]
    ) -> AllocatePostingPayload | None:
        async def command(work: Work) -> uuid.UUID:
            posting = await work.load(Postings, input.id, "Posting")
            agent = await work.require("posting:allocate", posting)
            tenant = await own_tenant(work.session, agent)
            shares = await shares_of(work, tenant, input.currency, input.allocations)
            return (await allocate(work.session, agent, posting, shares)).id

        return await perform(info._raw_info, "allocatePosting", POSTING, input, command)
