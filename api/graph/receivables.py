"""How old is what patients owe: of a clinic in all, and patient by patient."""

import datetime as dt
from collections.abc import Iterator
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import strawberry
from graphql import GraphQLObjectType, get_named_type
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    Select,
    Text,
    Uuid,
    case,
    cast,
    func,
    literal_column,
    select,
    union,
    union_all,
)

from api.graph.billing import minor
from api.graph.ledger import ZERO
from api.graph.organization import node_argument
from api.graph.patients import LISTINGS, Patient, PatientOrder
from api.graph.relay import After, Connection, First, Info, Money, root, value_type
from api.plan.compile import Compiler, Details
from api.plan.fetch import fragment, object_statement, page, response_path, run
from api.plan.mapping import FieldGroup, Row, attribute, joined, one, struct
from api.plan.reach import reach
from api.plan.run import Built
from domain.billing import Allocation, Posting
from domain.billing import Invoice as Invoices
from domain.billing import InvoiceLine as InvoiceLines
from domain.billing.closing import midnights

AGES = (("days0_to30", 0, 30), ("days31_to60", 31, 60), ("days61_to90", 61, 90))
OLDEST = "over90_days"
OF_CLINIC = Annotated[strawberry.ID, strawberry.argument(description="The clinic.")]
ON = Annotated[
    dt.date | None,
    strawberry.argument(description="At the end of this day of the clinic; else today."),
]


class Books:
    """The rows that count at the end of a day at a clinic, of what the asker may read: of everybody or of a patient."""

    def __init__(self, c: Compiler, patient: Row | None = None) -> None:
        self.c, self.patient = c, patient
        self.clinic = c.binds.value("clinic", Uuid())
        self.until = c.binds.value("until", DateTime(True))

    def within(self, statement: Any) -> Any:
        """A part of a statement about one patient speaks of the row outside."""
        return statement if self.patient is None else statement.correlate(self.patient)

    def at(self, row: Row) -> Iterator[ColumnElement[bool]]:
        """The row is of the clinic, and the patient's."""
        yield row.clinic_id == self.clinic
        if self.patient is not None:
            yield row.patient_id == attribute(self.patient, "id")

    def posted(self) -> Any:
        posting = self.c.alias(Posting)
        seen = (posting.posted_at < self.until, self.c.policy(posting, "posting"))
        return self.within(
            select(posting.patient_id, posting.amount_minor.label("amount")).where(
                *self.at(posting), *seen
            )
        ).subquery(f"e{self.c.label()}")

    def applied(self) -> Any:
        """What is applied, by line."""
        part = self.c.alias(Allocation)
        seen = (part.allocated_at < self.until, self.c.policy(part, "posting"))
        columns = (part.patient_id, part.invoice_line_id, func.sum(part.amount_minor))
        names = ("patient_id", "invoice_line_id", "amount")
        return self.within(
            select(*(column.label(name) for column, name in zip(columns, names, strict=True)))
            .where(*self.at(part), *seen)
            .group_by(part.patient_id, part.invoice_line_id)
        ).subquery(f"s{self.c.label()}")

    def lines(self, applied: Any) -> Any:
        """What is open of each line, and how old its invoice is in days."""
        c = self.c
        invoice = c.alias(Invoices)
        line = c.alias(InvoiceLines)
        left = line.amount_minor - func.coalesce(applied.c.amount, ZERO)
        issued = cast(func.timezone(c.binds.value("zone", Text()), invoice.issued_at), Date)
        return self.within(
            select(
                invoice.patient_id,
                (c.binds.value("day", Date()) - issued).label("age"),
                left.label("open"),
            )
            .select_from(invoice)
            .join(line, (line.tenant_id == invoice.tenant_id) & (line.invoice_id == invoice.id))
            .outerjoin(applied, applied.c.invoice_line_id == line.id)
            .where(
                *self.at(invoice),
                invoice.issued_at < self.until,
                invoice.cancelled_at.is_(None) | (invoice.cancelled_at >= self.until),
                invoice.state != literal_column("'entered-in-error'"),
                c.policy(invoice, "invoice"),
                c.policy(line, "invoice"),
            )
        ).subquery(f"o{c.label()}")

    def aged(self) -> Select[Any]:
        """One row: what was open, by age."""
        applied, posted = self.applied(), self.posted()
        lines = self.lines(applied)
        sums = {
            name: _sum(lines.c.open, lines.c.age.between(_number(low), _number(high)))
            for name, low, high in AGES
        }
        sums[OLDEST] = _sum(lines.c.open, lines.c.age > _number(AGES[-1][2]))
        ages = select(*(value.label(name) for name, value in sums.items()))
        ages_ = self.within(ages).subquery(f"g{self.c.label()}")
        credit = cast(self._all(posted) - self._all(applied), BigInteger)
        owed: ColumnElement[Any] = sum((ages_.c[name] for name in sums), ZERO)
        return select(
            cast(self.c.tenant(), Uuid()).label("tenant_id"),
            *ages_.c,
            credit.label("unapplied"),
            cast(owed - credit, BigInteger).label("total"),
        )

    def _all(self, rows: Any) -> ColumnElement[Any]:
        total = select(func.coalesce(func.sum(rows.c.amount), ZERO))
        return self.within(total).scalar_subquery()

    def debtors(self) -> Select[Any]:
        """The ids of patients of whom a line is open or some credit is applied to none."""
        applied, posted = self.applied(), self.posted()
        lines = self.lines(self.applied())
        amounts = union_all(
            select(posted.c.patient_id, posted.c.amount),
            select(applied.c.patient_id, -applied.c.amount),
        ).subquery(f"u{self.c.label()}")
        credit = (
            select(amounts.c.patient_id)
            .group_by(amounts.c.patient_id)
            .having(func.sum(amounts.c.amount) != ZERO)
        )
        either = union(select(lines.c.patient_id).where(lines.c.open != ZERO), credit)
        found = either.subquery(f"d{self.c.label()}")
        return select(found.c.patient_id)


def _number(value: int) -> ColumnElement[Any]:
    return literal_column(str(value))


def _sum(of: ColumnElement[Any], where: ColumnElement[bool]) -> ColumnElement[Any]:
    return cast(func.coalesce(func.sum(case((where, of), else_=ZERO)), ZERO), BigInteger)


@value_type("What patients owe at a clinic, by the age of the invoice in days.")
class Receivables:
    days0_to30: Money | None = struct("read", "0 to 30 days old.", minor("days0_to30"))
    days31_to60: Money | None = struct("read", "31 to 60 days old.", minor("days31_to60"))
    days61_to90: Money | None = struct("read", "61 to 90 days old.", minor("days61_to90"))
    over90_days: Money | None = struct("read", "Older.", minor(OLDEST))
    unapplied: Money | None = struct(
        "read", "Credit that is applied to no line; it lowers the total.", minor("unapplied")
    )
    total: Money | None = struct("read", "What is owed in all: the balance.", minor("total"))


@value_type("What one patient owes at a clinic.")
class PatientReceivables:
    @one("read", joined("id", "id"))
    def patient(self) -> Patient | None:
        """Who."""

    @one("read", lambda patient, c, _get: Books(c, patient).aged())
    def receivables(self) -> Receivables | None:
        """How much, by age."""


def _asked(info: Info, clinic: strawberry.ID, on: dt.date | None) -> dict[str, Any] | None:
    """The values of the statement; None for what is no clinic, or where the asker reads no bills."""
    raw, actor = info._raw_info, info.context.actor
    known, unit = node_argument(info, clinic)
    node = actor.tree.units[unit] if known else None
    if node is None or node.clinic_id != node.id:
        return None
    if reach(actor, "invoice", node.id) is None:
        info.context.note_masked(((response_path(raw), FieldGroup.BILLING.name, 1),))
        return None
    zone = ZoneInfo(node.zone or "UTC")
    day = on or dt.datetime.now(zone).date()
    return {"clinic": node.id, "day": day, "until": midnights(day, zone, "on")[1], "zone": zone.key}


@strawberry.type
class Query:
    @root("invoice:read", "How old is what patients owe at a clinic, of what you may read.")
    async def receivables(self, info: Info, clinic: OF_CLINIC, on: ON = None) -> Receivables | None:
        raw = info._raw_info
        values = _asked(info, clinic, on)
        if values is None:
            return None

        def build(c: Compiler, details: Details) -> Built:
            type_ = get_named_type(raw.return_type)
            assert isinstance(type_, GraphQLObjectType)
            row = Books(c).aged().subquery("p")
            return object_statement(c, type_, row, details, select(row), response_path(raw))

        return fragment(await run(raw, build, variant="receivables", values=values, lane="page"))

    @root("invoice:read", "Who owes something at a clinic or has credit there, by name.")
    async def debtors(
        self,
        info: Info,
        clinic: OF_CLINIC,
        on: ON = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[PatientReceivables] | None:
        values = _asked(info, clinic, on)
        if values is None:
            return None

        def owing(row: Row, c: Compiler, walks_model: bool) -> list[ColumnElement[bool]]:
            who = attribute(row, "id" if walks_model else "patient_id")
            return [who.in_(Books(c).debtors())]

        return await page(
            info._raw_info,
            LISTINGS[PatientOrder.FAMILY_NAME_ASC],
            node=values["clinic"],
            first=first,
            after=after,
            filters=owing,
            variant="debtors",
            values=values,
        )
