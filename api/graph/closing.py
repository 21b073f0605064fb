"""The end of a clinic's day, and how old is what patients owe."""

import datetime as dt
import uuid
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
)
from sqlalchemy.orm import aliased

from api.graph.billing import minor
from api.graph.ledger import ZERO
from api.graph.organization import OrgUnit, clinic_of, node_argument
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, Money, Node, root, value_type
from api.plan.compile import Compiler, Details
from api.plan.fetch import fragment, listed, object_statement, response_path, run
from api.plan.mapping import FieldGroup, column, one, struct, table
from api.plan.reach import reach
from api.plan.run import Built
from api.plan.write import Payload, Work, perform
from domain.billing import Allocation, Posting, close_day
from domain.billing import DailyClose as DailyCloses
from domain.billing import Invoice as Invoices
from domain.billing import InvoiceLine as InvoiceLines
from domain.billing.closing import midnights
from domain.errors import NotFound
from domain.organization import OrgUnit as OrgUnits

CLOSE = Payload("dailyClose", "DailyClose")
AGES = (("days0_to30", 0, 30), ("days31_to60", 31, 60), ("days61_to90", 61, 90))
OLDEST = "over90_days"


@table(DailyCloses, description="What was billed and posted at a clinic on a day of its own.")
class DailyClose(Node):
    day: dt.date | None = column("read", "The day, in the clinic's zone.")
    charges: Money | None = struct("read", "Invoices issued.", minor("charged_minor"))
    payments: Money | None = struct("read", "Payments less reversals.", minor("paid_minor"))
    adjustments: Money | None = struct(
        "read", "Adjustments less reversals.", minor("adjusted_minor")
    )
    transfers: Money | None = struct(
        "read", "Credit that came less what went.", minor("transferred_minor")
    )
    closed_at: dt.datetime | None = column("read", "When it was written down.")

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """The clinic."""


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


def _aged(c: Compiler) -> Select[Any]:
    """One row: what was open at the end of a day, by age, of what the asker may read at the clinic."""
    clinic, until = c.binds.value("clinic", Uuid()), c.binds.value("until", DateTime(True))
    part = aliased(Allocation, name=f"a{c.label()}")
    applied = (
        select(part.invoice_line_id, func.sum(part.amount_minor).label("amount"))
        .where(
            part.clinic_id == clinic,
            part.allocated_at < until,
            c.policy(part, "posting"),
        )
        .group_by(part.invoice_line_id)
        .subquery(f"s{c.label()}")
    )
    invoice = aliased(Invoices, name=f"i{c.label()}")
    line = aliased(InvoiceLines, name=f"l{c.label()}")
    left = line.amount_minor - func.coalesce(applied.c.amount, ZERO)
    issued = cast(func.timezone(c.binds.value("zone", Text()), invoice.issued_at), Date)
    lines = (
        select((c.binds.value("day", Date()) - issued).label("age"), left.label("open"))
        .select_from(invoice)
        .join(line, (line.tenant_id == invoice.tenant_id) & (line.invoice_id == invoice.id))
        .outerjoin(applied, applied.c.invoice_line_id == line.id)
        .where(
            invoice.clinic_id == clinic,
            invoice.issued_at < until,
            invoice.cancelled_at.is_(None) | (invoice.cancelled_at >= until),
            invoice.state != literal_column("'entered-in-error'"),
            c.policy(invoice, "invoice"),
            c.policy(line, "invoice"),
        )
        .subquery(f"o{c.label()}")
    )
    posting = aliased(Posting, name=f"p{c.label()}")
    posted = (
        select(func.coalesce(func.sum(posting.amount_minor), ZERO))
        .where(posting.clinic_id == clinic, posting.posted_at < until, c.policy(posting, "posting"))
        .scalar_subquery()
    )
    taken = select(func.coalesce(func.sum(applied.c.amount), ZERO)).scalar_subquery()
    sums = {
        name: _sum(lines.c.open, lines.c.age.between(_number(low), _number(high)))
        for name, low, high in AGES
    }
    sums[OLDEST] = _sum(lines.c.open, lines.c.age > _number(AGES[-1][2]))
    ages = select(*(value.label(name) for name, value in sums.items())).subquery(f"g{c.label()}")
    credit = cast(posted - taken, BigInteger)
    owed: ColumnElement[Any] = sum((ages.c[name] for name in sums), ZERO)
    return select(
        cast(c.tenant(), Uuid()).label("tenant_id"),
        *ages.c,
        credit.label("unapplied"),
        cast(owed - credit, BigInteger).label("total"),
    )


def _number(value: int) -> ColumnElement[Any]:
    return literal_column(str(value))


def _sum(of: ColumnElement[Any], where: ColumnElement[bool]) -> ColumnElement[Any]:
    return cast(func.coalesce(func.sum(case((where, of), else_=ZERO)), ZERO), BigInteger)


@strawberry.type
class Query:
    @root("daily_close:read", "Closed days of a clinic that you may see, latest first.")
    async def daily_closes(
        self,
        info: Info,
        clinic: Annotated[strawberry.ID, strawberry.argument(description="The clinic.")],
    ) -> list[DailyClose] | None:
        known, unit = node_argument(info, clinic)
        if not known:
            return None
        return await listed(
            info._raw_info,
            DailyClose,
            rows=lambda c, row: select(row).where(row.clinic_id == c.binds.value("clinic", Uuid())),
            order=lambda row: [row.day.desc(), row.id],
            limit=366,
            values={"clinic": unit},
        )

    @root("invoice:read", "How old is what patients owe at a clinic, of what you may read.")
    async def receivables(
        self,
        info: Info,
        clinic: Annotated[strawberry.ID, strawberry.argument(description="The clinic.")],
        on: Annotated[
            dt.date | None,
            strawberry.argument(description="At the end of this day of the clinic; else today."),
        ] = None,
    ) -> Receivables | None:
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

        def build(c: Compiler, details: Details) -> Built:
            type_ = get_named_type(raw.return_type)
            assert isinstance(type_, GraphQLObjectType)
            row = _aged(c).subquery("p")
            return object_statement(c, type_, row, details, select(row), response_path(raw))

        values = {
            "clinic": node.id,
            "day": day,
            "until": midnights(day, zone)[1],
            "zone": zone.key,
        }
        return fragment(await run(raw, build, variant="receivables", values=values, lane="page"))


@strawberry.input(description="A day of a clinic that is over.")
class CloseDayInput:
    clinic: strawberry.ID = strawberry.field(description="The clinic.")
    day: dt.date = strawberry.field(description="The day, in the clinic's zone.")
    idempotency_key: str | None = idempotency_key()


@value_type("The closed day.")
class CloseDayPayload:
    daily_close: DailyClose | None = strawberry.field(description="Its sums.")
    user_errors: list[UserError] = payload_errors()


@strawberry.type
class Mutation:
    @root("daily_close:close", "Write down what was billed and posted at a clinic on a day.")
    async def close_day(
        self, info: Info, input: Annotated[CloseDayInput, GIVEN]
    ) -> CloseDayPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit = work.unit(input.clinic, "clinic")
            agent = await work.create("daily_close:close", work.new_row(unit))
            key = {"tenant_id": agent.tenant_id, "id": unit.id}
            clinic = await work.session.get(OrgUnits, key)
            if clinic is None:
                raise NotFound(path=("clinic",))
            session, id_ = work.session, work.new_id
            return (await close_day(session, agent, clinic, input.day, close_id=id_)).id

        return await perform(info._raw_info, "closeDay", CLOSE, input, command)
