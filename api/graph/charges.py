"""Charges: listed, recorded, coded, struck out, put on invoices; and the prices that they take."""

import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Annotated

import strawberry

from api.graph.billing import ChargeItem, ChargeMasterEntry, Invoice
from api.graph.encounters import local_id
from api.graph.organization import node_argument
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.payments import amount_of
from api.graph.relay import GIVEN, After, Connection, First, Info, Within, root, value_type
from api.plan.fetch import page
from api.plan.mapping import parse_id
from api.plan.page import Listing
from api.plan.write import Payload, Work, perform, perform_on
from domain.billing import ChargeItem as ChargeItems
from domain.billing import (
    ChargeMaster,
    ChargeState,
    Charging,
    CodeSystem,
    end_price,
    issue_invoice,
    point_to,
    record_charge,
    set_price,
    void_charge,
)
from domain.encounters import Encounter as Encounters
from domain.errors import Invalid, NotFound

CHARGE = Payload("charge", "ChargeItem", model=ChargeItems)
INVOICE = Payload("invoice", "Invoice")
PRICE = Payload("entry", "ChargeMasterEntry")
LISTING = Listing(ChargeItems, "charge", "occurred_at", ChargeItems, descending=True)
MOST = 100
"""Charges of one invoice."""


@strawberry.type
class Query:
    @root("charge:read", "Charges that you may see, latest first.")
    async def charges(
        self,
        info: Info,
        node: Within = None,
        patient: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only of this patient.")
        ] = None,
        encounter: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only of this visit.")
        ] = None,
        state: Annotated[
            ChargeState | None, strawberry.argument(description="Only in this state.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[ChargeItem] | None:
        known, unit = node_argument(info, node)
        good, patient_id = local_id(patient, "Patient")
        good_too, encounter_id = local_id(encounter, "Encounter")
        if not (known and good and good_too):
            return None
        values = {
            "patient_id": patient_id,
            "encounter_id": encounter_id,
            "state": None if state is None else state.value,
        }
        return await page(
            info._raw_info,
            LISTING,
            node=unit,
            first=first,
            after=after,
            values=values,
        )


@strawberry.input(description="Something done at an encounter that costs.")
class RecordChargeInput:
    encounter: strawberry.ID = strawberry.field(description="The visit.")
    code_system: CodeSystem = strawberry.field(description="Whose code it is.")
    code: str = strawberry.field(description="A code of the price list.")
    units: str = strawberry.field(default="1", description="A decimal number above zero, as text.")
    modifiers: list[str] = strawberry.field(
        default_factory=list, description="Up to four, of two characters."
    )
    diagnoses: list[strawberry.ID] = strawberry.field(
        default_factory=list, description="Up to four conditions of the visit, the main one first."
    )
    occurred_at: dt.datetime | None = strawberry.field(
        default=None, description="When it was done; else when the visit began."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="What a charge is for.")
class CodeChargeInput:
    id: strawberry.ID = strawberry.field(description="The charge.")
    version: int = strawberry.field(description="The version that the change is based on.")
    diagnoses: list[strawberry.ID] = strawberry.field(
        description="One to four conditions of the visit, the main one first."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A charge that was entered in error.")
class VoidChargeInput:
    id: strawberry.ID = strawberry.field(description="The charge.")
    version: int = strawberry.field(description="The version that the change is based on.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A bill for charges of a patient.")
class IssueInvoiceInput:
    unit: strawberry.ID = strawberry.field(description="The clinic or department that bills.")
    patient: strawberry.ID = strawberry.field(description="Who is billed.")
    charges: list[strawberry.ID] = strawberry.field(description="Billable charges of the place.")
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="A price from a day on.")
class SetPriceInput:
    code_system: CodeSystem = strawberry.field(description="Whose code it is.")
    code: str = strawberry.field(description="The code.")
    description: str = strawberry.field(description="The code in words of your own list.")
    price: str = strawberry.field(description="Of one unit, a decimal number as text.")
    currency: str = strawberry.field(description="The currency of the health system.")
    effective_from: dt.date = strawberry.field(description="The first day.")
    unit: strawberry.ID | None = strawberry.field(
        default=None, description="The node at and below which it holds; else everywhere."
    )
    idempotency_key: str | None = idempotency_key()


@strawberry.input(description="The end of a price.")
class EndPriceInput:
    id: strawberry.ID = strawberry.field(description="The entry.")
    version: int = strawberry.field(description="The version that the change is based on.")
    effective_until: dt.date = strawberry.field(description="The day from which it holds no more.")
    idempotency_key: str | None = idempotency_key()


@value_type("The charge.")
class ChargePayload:
    charge: ChargeItem | None = strawberry.field(description="The charge as it is now.")
    user_errors: list[UserError] = payload_errors()


@value_type("The invoice.")
class IssueInvoicePayload:
    invoice: Invoice | None = strawberry.field(description="The invoice.")
    user_errors: list[UserError] = payload_errors()


@value_type("The price.")
class PricePayload:
    entry: ChargeMasterEntry | None = strawberry.field(description="The entry as it is now.")
    user_errors: list[UserError] = payload_errors()


def conditions_of(given: list[strawberry.ID]) -> tuple[uuid.UUID, ...]:
    """The ids inside. Raises NotFound."""
    parsed = [parse_id(id_, "Condition") for id_ in given]
    if any(found is None for found in parsed):
        raise NotFound(path=("diagnoses",))
    return tuple(found[1] for found in parsed if found)


@strawberry.type
class Mutation:
    @root("charge:record", "Charge something done at an encounter.")
    async def record_charge(
        self, info: Info, input: Annotated[RecordChargeInput, GIVEN]
    ) -> ChargePayload | None:
        async def command(work: Work) -> uuid.UUID:
            visit = await work.load(Encounters, input.encounter, "Encounter", "encounter")
            unit = info.context.actor.tree.units[visit.unit_id]
            agent = await work.create(
                "charge:record", work.new_row(unit, patient_id=visit.patient_id)
            )
            asked = Charging(
                code_system=input.code_system.value,
                code=input.code,
                units=amount_of(input.units, "units"),
                modifiers=tuple(input.modifiers),
                diagnosis_ids=conditions_of(input.diagnoses),
                occurred_at=input.occurred_at,
            )
            return (
                await record_charge(work.session, agent, visit, asked, charge_id=work.new_id)
            ).id

        return await perform(info._raw_info, "recordCharge", CHARGE, input, command)

    @root("charge:record", "Say which diagnoses a charge is for.")
    async def code_charge(
        self, info: Info, input: Annotated[CodeChargeInput, GIVEN]
    ) -> ChargePayload | None:
        async def command(work: Work) -> uuid.UUID:
            charge = await work.load(ChargeItems, input.id, "ChargeItem")
            agent = await work.require("charge:record", charge)
            ids = conditions_of(input.diagnoses)
            return (await point_to(work.session, agent, charge, input.version, ids)).id

        return await perform(info._raw_info, "codeCharge", CHARGE, input, command)

    @root("charge:record", "Strike out a charge that nobody has billed or claimed.")
    async def void_charge(
        self, info: Info, input: Annotated[VoidChargeInput, GIVEN]
    ) -> ChargePayload | None:
        return await perform_on(
            info._raw_info, "voidCharge", CHARGE, input, "charge:record", void_charge
        )

    @root("invoice:issue", "Bill charges of a patient; the invoice never changes.")
    async def issue_invoice(
        self, info: Info, input: Annotated[IssueInvoiceInput, GIVEN]
    ) -> IssueInvoicePayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.unit, "unit")
            patient, _ = await work.patient(input.patient, "patient")
            new = work.new_row(unit, patient_id=patient.id)
            agent = await work.create("invoice:issue", new, "charge", "patient")
            if len(input.charges) > MOST:
                raise Invalid(f"At most {MOST} charges at once.", path=("charges",))
            charges = [
                await work.load(ChargeItems, id_, "ChargeItem", "charges") for id_ in input.charges
            ]
            made = await issue_invoice(
                work.session, agent, unit, patient.id, charges, invoice_id=work.new_id
            )
            return made.id

        return await perform(info._raw_info, "issueInvoice", INVOICE, input, command)

    @root("charge_master:edit", "Let a price begin on a day; the one before ends there.")
    async def set_price(
        self, info: Info, input: Annotated[SetPriceInput, GIVEN]
    ) -> PricePayload | None:
        async def command(work: Work) -> uuid.UUID:
            new = SimpleNamespace(tenant_id=work.agent.tenant_id, id=work.new_id)
            agent = await work.create("charge_master:edit", new)
            unit = input.unit and work.unit(input.unit, "unit").id
            entry = await set_price(
                work.session,
                agent,
                input.code_system,
                input.code,
                input.description,
                amount_of(input.price, "price"),
                input.currency,
                input.effective_from,
                unit_id=unit or None,
                entry_id=work.new_id,
            )
            return entry.id

        return await perform(info._raw_info, "setPrice", PRICE, input, command)

    @root("charge_master:edit", "Let a price end on a day.")
    async def end_price(
        self, info: Info, input: Annotated[EndPriceInput, GIVEN]
    ) -> PricePayload | None:
        async def command(work: Work) -> uuid.UUID:
            entry = await work.load(ChargeMaster, input.id, "ChargeMasterEntry")
            agent = await work.require("charge_master:edit", entry)
            until = input.effective_until
            return (await end_price(work.session, agent, entry, input.version, until)).id

        return await perform(info._raw_info, "endPrice", PRICE, input, command)
