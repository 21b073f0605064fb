"""Taking an invoice back."""

import uuid
from typing import Annotated

import strawberry

from api.graph.billing import Invoice
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, root, value_type
from api.plan.write import Payload, Work, perform
from domain.billing import Invoice as Invoices
from domain.billing import applied_to, cancel_invoice

INVOICE = Payload("invoice", "Invoice")


@strawberry.input(description="An invoice that was wrong.")
class CancelInvoiceInput:
    id: strawberry.ID = strawberry.field(description="The invoice.")
    version: int = strawberry.field(description="The version that the change is based on.")
    reason: str = strawberry.field(description="Why; it stays with the invoice.")
    idempotency_key: str | None = idempotency_key()


@value_type("The cancelled invoice.")
class CancelInvoicePayload:
    invoice: Invoice | None = strawberry.field(description="The invoice as it is now.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root(
        "invoice:cancel",
        "Take an invoice back: its charges can be billed again, what was paid of it is credit.",
    )
    async def cancel_invoice(
        self, info: Info, input: Annotated[CancelInvoiceInput, GIVEN]
    ) -> CancelInvoicePayload | None:
        async def command(work: Work) -> uuid.UUID:
            invoice = await work.load(Invoices, input.id, "Invoice")
            agent = await work.require("invoice:cancel", invoice, "charge", "posting")
            for posting in await applied_to(work.session, agent, invoice):
                await work.require("posting:allocate", posting)
            session, version = work.session, input.version
            return (await cancel_invoice(session, agent, invoice, version, input.reason)).id

        return await perform(info._raw_info, "cancelInvoice", INVOICE, input, command)
