"""Charges, invoices, accounts and the charge master. A balance adds up only what the asker may read as billing."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    Text,
    Uuid,
    any_,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from api.graph.encounters import Encounter, local_id
from api.graph.ledger import ZERO, ledger, outstanding, total, unapplied
from api.graph.organization import OrgUnit, clinic_of, node_argument, unit_of
from api.graph.patients import Patient, patient_of, prefix
from api.graph.relay import (
    After,
    Connection,
    First,
    Info,
    Money,
    Node,
    Wanted,
    Within,
    money,
    root,
    value_type,
)
from api.plan.compile import Compiler
from api.plan.fetch import get, page
from api.plan.mapping import (
    FieldGroup,
    Row,
    attribute,
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
from domain.billing import AdjustmentGroup, ChargeMaster, ChargeState, CodeSystem, InvoiceState
from domain.billing import ChargeItem as ChargeItems
from domain.billing import Invoice as Invoices
from domain.billing import InvoiceLine as InvoiceLines
from domain.errors import Invalid
from domain.patients import Patient as Patients
from domain.patients import fold

if TYPE_CHECKING:
    from api.graph.conditions import Condition

strawberry.enum(
    AdjustmentGroup, name="AdjustmentGroup", description="Who bears an adjustment, by X12."
)
strawberry.enum(InvoiceState, name="InvoiceState", description="FHIR invoice status.")
strawberry.enum(ChargeState, name="ChargeState", description="FHIR charge item status.")
strawberry.enum(CodeSystem, name="ChargeCodeSystem", description="Whose codes an entry uses.")


def minor(name: str) -> Any:
    """A Money from a column in minor units."""
    return money(lambda row, _c: attribute(row, name))


@table(InvoiceLines, description="A line of an invoice, as it was when the invoice was issued.")
class InvoiceLine(Node):
    code: str | None = column("read", "What was charged.")
    description: str | None = column("read", "The code in words.")
    units: str | None = computed(
        "read", "How many, as a decimal text.", lambda line, *_: cast(line.units, Text)
    )
    unit_price: Money | None = struct("read", "Price of one.", minor("unit_price_minor"))
    amount: Money | None = struct("read", "Units times price.", minor("amount_minor"))
    open: Money | None = struct(
        "read",
        "What of it is not settled, of what you may read; nothing once cancelled.",
        unapplied("invoice_line_id", live=True),
    )


@table(Invoices, description="A bill for one patient at one place.")
class Invoice(Node):
    number: str | None = computed(
        "read",
        "Gapless within the health system; null for a draft.",
        lambda i, *_: cast(i.number, Text),
    )
    state: InvoiceState | None = computed(
        "read", "Where it stands.", lambda i, *_: enum_name(i.state)
    )
    issued_at: dt.datetime | None = column("read", "When it was issued.")
    cancelled_at: dt.datetime | None = column("read", "When it was taken back.")
    cancel_reason: str | None = column("read", "Why it was taken back.")
    total: Money | None = struct("read", "Sum of its lines.", minor("total_minor"))
    version: int | None = column("read", "Rises with every change.")

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """Who is billed."""

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """Whose bill it is."""

    @many("read", joined("invoice_id", "id"), group=None, order=lambda line: [line.id])
    def lines(self, first: First = 100) -> list[InvoiceLine] | None:
        """What was charged."""


def _pointed_to(up: Any, condition: Any, _get: Any) -> Select[Any]:
    ids = attribute(up, "diagnosis_ids")
    return (
        select(condition)
        .where(condition.tenant_id == attribute(up, "tenant_id"), condition.id == any_(ids))
        .order_by(func.array_position(ids, condition.id))
    )


@table(
    ChargeItems,
    description="Something done that costs.",
    gates={"condition:read": FieldGroup.CLINICAL},
)
class ChargeItem(Node):
    code_system: str | None = column("read", "Whose code it is.")
    code: str | None = column("read", "What was done.")
    description: str | None = column("read", "The code in words.")
    units: str | None = computed(
        "read", "How many, as a decimal text.", lambda item, *_: cast(item.units, Text)
    )
    modifiers: list[str] | None = column("read", "Up to four, of two characters.")
    state: ChargeState | None = computed(
        "read", "Where it stands.", lambda item, *_: enum_name(item.state)
    )
    version: int | None = column("read", "Rises with every change; updates name it.")
    occurred_at: dt.datetime | None = column("read", "When it was done.")
    unit_price: Money | None = struct("read_billing", "Price of one.", minor("unit_price_minor"))
    amount: Money | None = struct("read_billing", "Units times price.", minor("amount_minor"))

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """To whom it was done."""

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """Where."""

    @one("read", joined("id", "encounter_id"))
    def encounter(self) -> Encounter | None:
        """At which visit."""

    @many("read", _pointed_to, group=FieldGroup.CLINICAL)
    def diagnoses(
        self, first: First = 4
    ) -> list[Annotated["Condition", strawberry.lazy("api.graph.conditions")]] | None:
        """What it is for, the main one first."""


@table(ChargeMaster, description="A price for a code, for a time.", name="ChargeMasterEntry")
class ChargeMasterEntry(Node):
    code_system: CodeSystem | None = column("read", "Whose codes it uses.")
    code: str | None = column("read", "What is charged.")
    description: str | None = column("read", "The code in words.")
    price: Money | None = struct("read", "Price of one unit.", minor("price_minor"))
    effective_from: dt.date | None = column("read", "The first day of the price.")
    effective_until: dt.date | None = column("read", "The day the price ends; null without end.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """The node at and below which it holds; null: everywhere."""


def _unbilled(patient: Row, c: Compiler) -> ColumnElement[Any]:
    item = c.alias(ChargeItems)
    return (
        select(func.coalesce(func.sum(item.amount_minor), ZERO))
        .where(
            item.patient_id == attribute(patient, "id"),
            item.state == literal_column("'billable'"),
            c.policy(item, "charge", "read_billing"),
        )
        .correlate(patient)
        .scalar_subquery()
    )


def _by_clinic(up: Row, c: Compiler, _get: Any) -> Select[Any]:
    rows = ledger(up, c).subquery(f"s{c.label()}")
    return select(
        cast(c.tenant(), Uuid()).label("tenant_id"),
        rows,
        (rows.c.charged - rows.c.paid - rows.c.adjusted - rows.c.transferred).label("balance"),
    ).order_by(rows.c.clinic_id)


@value_type("What a patient owes at one clinic.")
class AccountAtClinic:
    charges: Money | None = struct("read_billing", "Lines of issued invoices.", minor("charged"))
    payments: Money | None = struct("read_billing", "Payments less their reversals.", minor("paid"))
    adjustments: Money | None = struct(
        "read_billing", "Adjustments less their reversals.", minor("adjusted")
    )
    transfers: Money | None = struct(
        "read_billing", "Credit from other clinics less what went there.", minor("transferred")
    )
    balance: Money | None = struct("read_billing", "What is still owed.", minor("balance"))

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """The clinic."""


@table(
    Patients,
    action="read_billing",
    name="Account",
    description="What a patient owes, of the places whose billing you may read.",
)
class Account(Node):
    charges: Money | None = struct("read_billing", "Lines of issued invoices.", total("charged"))
    payments: Money | None = struct("read_billing", "Payments less their reversals.", total("paid"))
    adjustments: Money | None = struct(
        "read_billing", "Adjustments less their reversals.", total("adjusted")
    )
    transfers: Money | None = struct(
        "read_billing", "Credit from other clinics less what went there.", total("transferred")
    )
    balance: Money | None = struct(
        "read_billing", "What is still owed.", money(outstanding, always=True)
    )
    unbilled: Money | None = struct(
        "read_billing",
        "Charges that no invoice holds yet; not in the balance.",
        money(_unbilled, always=True),
    )

    @one("read", joined("id", "id"))
    def patient(self) -> Patient | None:
        """Whose account it is."""

    @many("read_billing", _by_clinic, group=None)
    def clinics(self) -> list[AccountAtClinic] | None:
        """The same by clinic."""


INVOICES = Listing(Invoices, "invoice", "issued_at", Invoices, descending=True)
CHARGE_MASTER = Listing(ChargeMaster, "charge_master", "code", ChargeMaster)


def _invoice_conditions(values: dict[str, Any]) -> Any:
    def build(row: Row, c: Compiler, _walks: bool) -> list[ColumnElement[bool]]:
        out: list[ColumnElement[bool]] = [attribute(row, "issued_at").is_not(None)]
        if values["patient"] is not None:
            out.append(attribute(row, "patient_id") == c.binds.value("patient", Uuid()))
        if values["state"] is not None:
            out.append(attribute(row, "state") == c.binds.value("state"))
        return out

    return build


def _entry_conditions(values: dict[str, Any]) -> Any:
    def build(row: Row, c: Compiler, _walks: bool) -> list[ColumnElement[bool]]:
        day = c.binds.value("day", Date())
        until = attribute(row, "effective_until")
        out: list[ColumnElement[bool]] = [
            attribute(row, "effective_from") <= day,
            until.is_(None) | (until > day),
        ]
        if values["code"] is not None:
            code = prefix(attribute(row, "code"), c.binds.value("code"))
            words = prefix(attribute(row, "description_key"), c.binds.value("words"))
            out.append(or_(code, words))
        return out

    return build


@strawberry.type
class Query:
    @root("invoice:read", "An invoice; null where there is none that you may see.")
    async def invoice(self, info: Info, id: Wanted) -> Invoice | None:
        return await get(info._raw_info, Invoice, id)

    @root("invoice:read", "Issued invoices that you may see, latest first.")
    async def invoices(
        self,
        info: Info,
        node: Within = None,
        patient: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only of this patient.")
        ] = None,
        state: Annotated[
            InvoiceState | None, strawberry.argument(description="Only in this state.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Invoice] | None:
        known, unit = node_argument(info, node)
        good, patient_id = local_id(patient, "Patient")
        if not (known and good):
            return None
        values = {"patient": patient_id, "state": None if state is None else state.value}
        return await page(
            info._raw_info,
            INVOICES,
            node=unit,
            first=first,
            after=after,
            filters=_invoice_conditions(values),
            values=values,
        )

    @root("patient:read_billing", "What a patient owes; null where you may not read that.")
    async def account(
        self,
        info: Info,
        patient: Annotated[strawberry.ID, strawberry.argument(description="Whose account.")],
    ) -> Account | None:
        kind, _, rest = patient.partition(":")
        return await get(info._raw_info, Account, f"Account:{rest}") if kind == "Patient" else None

    @root("charge_master:read", "Prices in force on a day (today without one), by code.")
    async def charge_master(
        self,
        info: Info,
        search: Annotated[
            str | None, strawberry.argument(description="Start of the code or of the description.")
        ] = None,
        on: Annotated[
            dt.date | None, strawberry.argument(description="The day; today without one.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[ChargeMasterEntry] | None:
        words = fold(search) if search is not None else None
        if words == "":
            raise Invalid("A search needs at least one letter or digit.", path=("search",))
        values = {
            "code": search.strip().upper() if search is not None else None,
            "words": words,
            "day": on or dt.datetime.now(dt.UTC).date(),
        }
        return await page(
            info._raw_info,
            CHARGE_MASTER,
            node=None,
            first=first,
            after=after,
            filters=_entry_conditions(values),
            values=values,
        )
