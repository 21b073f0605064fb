"""Payments: whoever takes the money gets a receipt, also without seeing the account."""

import re
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import strawberry

from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, Money, root, value_type
from api.plan.write import Payload, Work, perform
from domain.billing import Invoice as Invoices
from domain.billing import InvoiceLine as InvoiceLines
from domain.billing import PaymentMethod, Share, minor_units, own_tenant, record_payment
from domain.billing.money import amount_of as major_units
from domain.errors import Invalid
from domain.organization import Tenant

MOST = 100
"""Lines that one request names."""
PLAIN = re.compile(r"[0-9]{1,15}(\.[0-9]{1,4})?")
strawberry.enum(PaymentMethod, name="PaymentMethod", description="How it was paid.")


@strawberry.input(description="So much for a line of an invoice.")
class AllocationInput:
    line: strawberry.ID = strawberry.field(description="The line.")
    amount: str = strawberry.field(description="A decimal number above zero, as text.")


@strawberry.input(description="Money that a patient has paid.")
class RecordPaymentInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department that took it.")
    patient: strawberry.ID = strawberry.field(description="Whose account it is for.")
    amount: str = strawberry.field(description="A decimal number above zero, as text.")
    currency: str = strawberry.field(description="The currency of the health system.")
    method: PaymentMethod = strawberry.field(description="How it was paid.")
    reference: str | None = strawberry.field(
        default=None, description="What the terminal or the cheque says."
    )
    invoice: strawberry.ID | None = strawberry.field(
        default=None, description="The invoice it is for."
    )
    unapplied: bool = strawberry.field(
        default=False, description="Allows more than is owed at the clinic."
    )
    allocations: list[AllocationInput] | None = strawberry.field(
        default=None,
        description="The lines to which it is applied; else those of the invoice, in their order.",
    )
    idempotency_key: str | None = idempotency_key()


@value_type("The proof of a payment.")
class PaymentReceipt:
    id: strawberry.ID = strawberry.field(description="The posting.")
    amount: Money = strawberry.field(description="What was paid.")


@value_type("The receipt.")
class RecordPaymentPayload:
    receipt: PaymentReceipt | None = strawberry.field(description="The receipt.")
    user_errors: list[UserError] = payload_errors()


def amount_of(text: str, path: str = "amount") -> Decimal:
    """Read an amount. Raises Invalid for what is no plain decimal number."""
    if not PLAIN.fullmatch(text):
        raise Invalid("This is no decimal number such as 12.50.", path=(path,))
    return Decimal(text)


async def shares_of(
    work: Work, tenant: Tenant, currency: str, given: Sequence[AllocationInput]
) -> list[Share]:
    """What goes to which line, in minor units. Raises Invalid, NotFound for a line that is not the asker's."""
    out = []
    for part in given[:MOST]:
        line = await work.load(InvoiceLines, part.line, "InvoiceLine", "allocations")
        amount = minor_units(amount_of(part.amount, "allocations"), currency, tenant)
        out.append(Share(line.id, amount))
    if len(given) > MOST:
        raise Invalid(f"At most {MOST} lines at once.", path=("allocations",))
    return out


def receipt(given: RecordPaymentInput, posting_id: uuid.UUID, tenant: Tenant) -> dict[str, Any]:
    """The receipt of a payment: what was said, and the posting that now stands for it."""
    amount = amount_of(given.amount)
    return {
        "__typename": "PaymentReceipt",
        "id": f"Posting:{posting_id}",
        "amount": {
            "__typename": "Money",
            "amount": str(major_units(minor_units(amount, given.currency, tenant), tenant)),
            "currency": given.currency,
        },
    }


@strawberry.type
class Mutation:
    @root("payment:record", "Take a payment; answers a receipt, never the account.")
    async def record_payment(
        self, info: Info, input: Annotated[RecordPaymentInput, GIVEN]
    ) -> RecordPaymentPayload | None:
        async def judged(work: Work) -> tuple[Any, Any]:
            unit = work.unit(input.unit, "unit")
            patient, _ = await work.patient(input.patient, "patient")
            new = work.new_row(unit, patient_id=patient.id)
            await work.create("payment:record", new, "patient")
            return unit, patient

        async def command(work: Work) -> uuid.UUID:
            unit, patient = await judged(work)
            invoice = input.invoice and await work.load(
                Invoices, input.invoice, "Invoice", "invoice"
            )
            tenant = await own_tenant(work.session, work.agent)
            shares = await shares_of(work, tenant, input.currency, input.allocations or ())
            posting = await record_payment(
                work.session,
                work.agent,
                unit,
                patient.id,
                amount_of(input.amount),
                input.currency,
                method=input.method,
                reference=input.reference,
                unapplied=input.unapplied,
                invoice=invoice or None,
                shares=shares,
                posting_id=work.new_id,
            )
            return posting.id

        async def told(work: Work, found: uuid.UUID) -> dict[str, Any]:
            if work.repeated:
                await judged(work)  # no row is selected again that today's policy would hide
            tenant = await own_tenant(work.session, work.agent)
            return {"receipt": receipt(input, found, tenant)}

        return await perform(
            info._raw_info,
            "recordPayment",
            Payload("", "Posting"),
            input,
            command,
            extra=told,
        )
