"""The end of a clinic's day."""

import datetime as dt
import uuid
from typing import Annotated

import strawberry
from sqlalchemy import (
    Uuid,
    select,
)

from api.graph.billing import minor
from api.graph.organization import OrgUnit, clinic_of, node_argument
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.relay import GIVEN, Info, Money, Node, root, value_type
from api.plan.fetch import listed
from api.plan.mapping import column, one, struct, table
from api.plan.write import Payload, Work, perform
from domain.billing import DailyClose as DailyCloses
from domain.billing import close_day
from domain.errors import NotFound
from domain.organization import OrgUnit as OrgUnits

CLOSE = Payload("dailyClose", "DailyClose")


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
