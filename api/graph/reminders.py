"""Reminders that were sent or are to be, read with their appointments; and by which rules, settings and wordings."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import func, select
from sqlalchemy import literal_column as raw

from api.graph.organization import OrgUnit, node_argument, unit_of
from api.graph.relay import After, Connection, First, Info, Node, Within, root
from api.plan.compile import Compiler
from api.plan.fetch import listed, page
from api.plan.mapping import Row, attribute, column, computed, enum_name, joined, one, table
from api.plan.page import Listing
from domain.patients import Channel as ReminderChannel
from domain.reminders import Cause as ReminderCause
from domain.reminders import Reminder as Reminders
from domain.reminders import ReminderRule as Rules
from domain.reminders import ReminderSetting as Settings
from domain.reminders import ReminderState
from domain.reminders import ReminderTemplate as Templates

if TYPE_CHECKING:
    from api.graph.appointments import Appointment

strawberry.enum(ReminderState, name="ReminderState", description="Where a reminder stands.")
strawberry.enum(
    ReminderCause, name="ReminderCause", description="Why a reminder was not sent, or has failed."
)
LISTING = Listing(Reminders, "appointment", "due_at", Reminders, descending=True)
Here = Annotated[
    strawberry.ID,
    strawberry.argument(description="A unit: what is said at it, below it and above it."),
]


def _named(column_name: str) -> Any:
    return lambda row, *_: enum_name(attribute(row, column_name))


@table(Rules, description="By what and how long before a visit patients are reminded.")
class ReminderRule(Node):
    channel: ReminderChannel | None = computed("read", "By what.", _named("channel"))
    minutes_before: int | None = column(
        "read", "How long before the visit; null: by this channel not at all."
    )
    active: bool | None = column("read", "False once withdrawn.")
    since: dt.datetime | None = column(
        "read", "What was due before is not made up for: when it was made or last changed."
    )
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """Where it holds, and below where no nearer unit has rules for the channel."""


@table(Settings, description="How a unit reminds; what is null is said by the unit above.")
class ReminderSettings(Node):
    quiet_from: dt.time | None = column(
        "read", "When the quiet hours begin, by the patient's clocks; 21:00 where nobody says."
    )
    quiet_until: dt.time | None = column(
        "read", "When they end; 08:00 where nobody says. The same as the beginning: none."
    )
    display_name: str | None = column(
        "read", "What messages call the place; the health system's name where nobody says."
    )
    phone: str | None = column("read", "What messages tell to call.")
    webhook_url: str | None = column("manage", "Which address takes the reminders of WEBHOOK.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """Where it holds, and below where no nearer unit says otherwise."""


@table(Templates, description="What messages say in a language.")
class ReminderTemplate(Node):
    language: str | None = column("read", "Of which language (BCP 47).")
    subject: str | None = column("read", "The subject.")
    body: str | None = column("read", "The text; {patient}, {name}, {date}, {time}, {phone}.")
    active: bool | None = column("read", "False once withdrawn.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """Where it holds, and below where no nearer unit has one of the language."""


@table(Reminders, description="One reminder of one visit by one rule.")
class Reminder(Node):
    channel: ReminderChannel | None = computed("read", "By what.", _named("channel"))
    state: ReminderState | None = computed("read", "Where it stands.", _named("state"))
    cause: ReminderCause | None = computed(
        "read", "Why it was not sent, or has failed.", _named("cause")
    )
    due_at: dt.datetime | None = column("read", "When it goes out, quiet hours heeded.")
    sent_at: dt.datetime | None = column("read", "When its receiver took it.")
    attempts: int | None = column("read", "How often it was tried.")

    @one("read", joined("id", "appointment_id"))
    def appointment(
        self,
    ) -> Annotated["Appointment", strawberry.lazy("api.graph.appointments")] | None:
        """Of which visit."""

    @one("read", joined("id", "rule_id"))
    def rule(self) -> ReminderRule | None:
        """By which rule."""


async def said(info: Info, node: str, type_: Any, *order: str, active: bool = True) -> Any:
    """The rows of a unit, of the units below it and of those above it."""
    known, unit = node_argument(info, strawberry.ID(node))
    if not known or unit is None:
        return None
    tree = info.context.actor.tree
    units = sorted({*tree.nodes_under(unit), *tree.ancestors(unit)})

    def rows(c: Compiler, row: Row) -> Any:
        here = select(row).where(
            row.tenant_id == c.tenant(), row.unit_id == func.any(c.binds.units("units"))
        )
        return here.where(row.active == raw("true")) if active else here

    return await listed(
        info._raw_info,
        type_,
        rows=rows,
        order=lambda row: [*(attribute(row, name) for name in order), row.id],
        values={"units": units},
    )


@strawberry.type
class Query:
    @root("reminder_rule:read", "The rules in force at a unit, below it and above it.")
    async def reminder_rules(self, info: Info, node: Here) -> list[ReminderRule] | None:
        return await said(info, node, ReminderRule, "since")

    @root("reminder_rule:read", "The settings of a unit, of those below it and above it.")
    async def reminder_settings(self, info: Info, node: Here) -> list[ReminderSettings] | None:
        return await said(info, node, ReminderSettings, active=False)

    @root("reminder_rule:read", "The wordings in use at a unit, below it and above it.")
    async def reminder_templates(self, info: Info, node: Here) -> list[ReminderTemplate] | None:
        return await said(info, node, ReminderTemplate, "language")

    @root("appointment:read", "Reminders, the last to go out first.")
    async def reminders(
        self,
        info: Info,
        node: Within = None,
        state: Annotated[
            ReminderState | None, strawberry.argument(description="Only those that stand there.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Reminder] | None:
        known, unit = node_argument(info, node)
        if not known:
            return None
        values = {} if state is None else {"state": state.value}
        return await page(
            info._raw_info,
            LISTING,
            node=unit,
            first=first,
            after=after,
            values=values,
        )
