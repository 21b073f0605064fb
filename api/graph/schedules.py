"""Opening hours: services, weekly rules and closures of a clinic."""

import datetime as dt
from typing import Annotated, Any

import strawberry
from sqlalchemy import Text, cast, func, select
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects.postgresql import ARRAY

from api.graph.organization import OrgUnit, node_argument, unit_of
from api.graph.practitioners import BookableResource
from api.graph.relay import Info, Node, root
from api.plan.fetch import listed
from api.plan.mapping import Row, column, computed, joined, one, table
from domain.schedules import HealthcareService as HealthcareServices
from domain.schedules import ScheduleClosure as ScheduleClosures
from domain.schedules import ScheduleRule as ScheduleRules
from domain.schedules import Weekday

strawberry.enum(Weekday, name="Weekday", description="FHIR days of the week.")
AtClinic = Annotated[strawberry.ID, strawberry.argument(description="The clinic or department.")]
service_of = joined("id", "service_id")
resource_of = joined("id", "resource_id")


@table(HealthcareServices, description="What visits are made for (FHIR HealthcareService).")
class HealthcareService(Node):
    name: str | None = column("read", "What people call it.")
    minutes: int | None = column("read", "How long a visit usually takes.")
    active: bool | None = column("read", "Whether it is offered.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """Where it is offered: a clinic with all its departments, or one department."""


def _weekdays(rule: Row, *_: Any) -> Any:
    return cast(func.upper(cast(rule.weekdays, Text)), ARRAY(Text))


@table(ScheduleRules, description="A weekly window in which visits can be booked.")
class ScheduleRule(Node):
    weekdays: list[Weekday] | None = computed("read", "The days it holds on.", _weekdays)
    opens: dt.time | None = column("read", "When it opens, by the clinic's clocks.")
    closes: dt.time | None = column(
        "read", "When it closes; at or before `opens` it is on the next day."
    )
    minutes: int | None = column("read", "A visit takes a multiple of this.")
    step: int | None = column("read", "Visits begin a multiple of this after `opens`, in minutes.")
    buffer_before: int | None = column("read", "Minutes kept free before each visit.")
    buffer_after: int | None = column("read", "Minutes kept free after each visit.")
    valid_from: dt.date | None = column("read", "The first day.")
    valid_until: dt.date | None = column("read", "The last day; null: without end.")
    active: bool | None = column("read", "False once withdrawn.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """Where it holds: a clinic with all its departments, or one department."""

    @one("read", resource_of)
    def resource(self) -> BookableResource | None:
        """Whose it is; null: every practitioner's who has no rules of their own there."""

    @one("read", service_of)
    def service(self) -> HealthcareService | None:
        """The only service that it takes visits of; null: visits of any."""


@table(ScheduleClosures, description="Days on which a place is closed or somebody is away.")
class ScheduleClosure(Node):
    first_on: dt.date | None = column("read", "The first day.")
    last_on: dt.date | None = column("read", "The last day.")
    from_time: dt.time | None = column("read", "From when on each day; null: from midnight.")
    until_time: dt.time | None = column("read", "Until when on each day; null: to midnight.")
    reason: str | None = column("read", "Why, for people.")
    active: bool | None = column("read", "False once withdrawn.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """What is closed: a clinic with all its departments, or one department."""

    @one("read", resource_of)
    def resource(self) -> BookableResource | None:
        """Who or what is away; null: the place itself is closed."""


async def at_clinic(info: Info, clinic: str, type_: Any, order: Any) -> Any:
    """The rows at a unit and below it that are in force."""
    known, unit = node_argument(info, strawberry.ID(clinic))
    if not known:
        return None
    return await listed(
        info._raw_info,
        type_,
        rows=lambda c, row: select(row).where(
            row.tenant_id == c.tenant(),
            row.unit_id == func.any(c.binds.units("units")),
            row.active == raw("true"),
        ),
        order=order,
        values={"units": info.context.actor.tree.nodes_under(unit)},
    )


@strawberry.type
class Query:
    @root("schedule:read", "The services offered at a clinic or one of its departments, by name.")
    async def healthcare_services(
        self, info: Info, clinic: AtClinic
    ) -> list[HealthcareService] | None:
        return await at_clinic(info, clinic, HealthcareService, lambda row: [row.name, row.id])

    @root("schedule:read", "The rules in force at a clinic or one of its departments.")
    async def schedule_rules(self, info: Info, clinic: AtClinic) -> list[ScheduleRule] | None:
        return await at_clinic(info, clinic, ScheduleRule, lambda row: [row.valid_from, row.id])

    @root("schedule:read", "The closures of a clinic or one of its departments, past ones too.")
    async def schedule_closures(self, info: Info, clinic: AtClinic) -> list[ScheduleClosure] | None:
        return await at_clinic(info, clinic, ScheduleClosure, lambda row: [row.first_on, row.id])
