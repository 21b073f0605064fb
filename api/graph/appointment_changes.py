"""Changes of a clinic's appointments, as they happen."""

import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import orjson
import strawberry
from graphql import GraphQLResolveInfo
from sqlalchemy import Uuid, select
from sqlalchemy import literal_column as raw

from api.context import Context
from api.graph.appointments import Appointment
from api.graph.relay import Info, stream, value_type
from api.plan.aliases import alias
from api.plan.compile import Compiler, Details
from api.plan.fetch import fragment, run
from api.plan.payloads import Columns, around, finished, payload_fields
from api.plan.reach import within
from api.plan.run import Built
from api.plan.write import unit_of
from authz.actor import Actor
from authz.guard import Forbidden, Reason
from domain.appointments import Appointment as Appointments
from domain.errors import Invalid, NotFound


@strawberry.enum(description="What is told.")
class AppointmentChangeKind(Enum):
    LISTENING = strawberry.enum_value(
        "LISTENING",
        description="From now on nothing is missed: read the day anew. Comes first, and again after a gap.",
    )
    CHANGED = strawberry.enum_value("CHANGED", description="The appointment is new or has changed.")


@value_type("A change of an appointment.")
class AppointmentChange:
    kind: AppointmentChangeKind = strawberry.field(description="What is told.")
    appointment: Appointment | None = strawberry.field(
        description="The appointment as it is by now; null with LISTENING."
    )


@dataclass(frozen=True, slots=True)
class Happening:
    """A row of a clinic that has changed; None: there may be more than one knows of."""

    clinic_id: uuid.UUID
    row_id: uuid.UUID | None


async def shown(event: Happening, info: GraphQLResolveInfo[Any], **_: Any) -> Any:
    """The answer to an event; None for a row that the asker may not see, or that is of another clinic."""
    if event.row_id is None:
        listening = {"kind": "LISTENING", "__typename": "AppointmentChange", "appointment": None}
        told = {response: listening[name] for response, name in payload_fields(info)}
        return finished(orjson.dumps(told))

    def build(c: Compiler, details: Details) -> Built:
        row = alias(Appointments, "p")
        base = select(row).where(
            row.id == c.binds.value("id", Uuid()),
            row.clinic_id == c.binds.value("clinic", Uuid()),
            c.policy(row, "appointment", "read"),
        )
        shows = ("appointment", "Appointment")
        others: Columns = {"kind": raw("'CHANGED'")}
        statement, json, hidden = around(c, info, details, base, row, shows, others)
        counts = [h.number for h in hidden]
        return Built(statement.with_only_columns(json, *counts, maintain_column_froms=True), hidden)

    values = {"id": event.row_id, "clinic": event.clinic_id}
    place = ("appointment", event.clinic_id)
    return fragment(await run(info, build, variant="changed", values=values, place=place))


@strawberry.type
class Subscription:
    @stream(
        "appointment:read",
        "Appointments of a clinic as they are booked, moved, cancelled, kept or missed; those that you may see.",
        shown,
    )
    async def appointment_changed(
        self,
        info: Info,
        clinic: Annotated[strawberry.ID, strawberry.argument(description="The clinic.")],
    ) -> AsyncGenerator[AppointmentChange | None, None]:
        context: Context = info.context
        unit = unit_of(context, clinic, "clinic")
        if unit.clinic_id != unit.id:
            raise Invalid("Changes are told of a clinic.", path=("clinic",))

        def judge(actor: Actor) -> None:
            if unit.id not in actor.tree.units:
                raise NotFound()
            if within(actor, "appointment", unit.id).empty:
                raise Forbidden(Reason.NO_ROLE)

        judge(context.actor)
        assert context.presence is not None  # nothing else runs a subscription
        async with context.presence.follow("appointment", unit.id, judge) as feed:
            async for row_id in feed:
                yield Happening(unit.id, row_id)  # type: ignore[misc] # `shown` makes the answer of it
