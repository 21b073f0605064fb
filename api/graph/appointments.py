"""Appointments: of a clinic, a practitioner or a patient, for a day or a week of the clinic's own time."""

import datetime as dt
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Optional
from zoneinfo import ZoneInfo

import strawberry
from sqlalchemy import ColumnElement, DateTime, Select, Uuid, literal_column, select

from api.graph.encounters import local_id
from api.graph.organization import OrgUnit, clinic_of, node_argument, unit_of
from api.graph.patients import Patient, patient_of
from api.graph.practitioners import BookableResource, Practitioner, practitioner_of
from api.graph.relay import After, Connection, First, Info, Node, Wanted, Within, root
from api.graph.schedules import HealthcareService, service_of
from api.plan.compile import Compiler
from api.plan.fetch import get, page
from api.plan.mapping import Row, attribute, column, computed, enum_name, joined, many, one, table
from api.plan.page import Listing
from domain.appointments import Appointment as Appointments
from domain.appointments import AppointmentBlock, AppointmentState
from domain.errors import Invalid
from domain.practitioners import ResourceKind

if TYPE_CHECKING:
    from api.graph.reminders import Reminder
    from api.graph.series import AppointmentSeries

strawberry.enum(AppointmentState, name="AppointmentState", description="FHIR appointment status.")
LISTING = Listing(Appointments, "appointment", "starts_at", Appointments)


def _rooms(up: Row, resource: Row, get_: Any) -> Select[Any]:
    """What it keeps beside the practitioner. A block is a part of its appointment and lies at the same place."""
    block = get_.compiler.parts(AppointmentBlock, up)
    return (
        select(resource)
        .join(block, (block.tenant_id == resource.tenant_id) & (block.resource_id == resource.id))
        .where(
            resource.tenant_id == attribute(up, "tenant_id"),
            block.appointment_id == attribute(up, "id"),
            block.clinic_id == attribute(up, "clinic_id"),
            block.unit_id == attribute(up, "unit_id"),
            resource.kind != literal_column(f"'{ResourceKind.PRACTITIONER}'"),
        )
    )


@table(Appointments, description="A planned visit.")
class Appointment(Node):
    state: AppointmentState | None = computed(
        "read", "Where it stands.", lambda a, *_: enum_name(a.state)
    )
    starts_at: dt.datetime | None = column("read", "When it begins.")
    ends_at: dt.datetime | None = column("read", "When it ends.")
    reason: str | None = column("read_scheduling", "Why the patient comes.")
    comment: str | None = column("read_scheduling", "What the front desk should know.")
    expires_at: dt.datetime | None = column(
        "read", "Of a hold: when it ends unless it is confirmed."
    )
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """Who comes."""

    @one("read", practitioner_of)
    def practitioner(self) -> Practitioner | None:
        """Who sees the patient."""

    @many("read", _rooms, group=None, order=lambda resource: [resource.name, resource.id])
    def resources(self, first: First = 10) -> list[BookableResource] | None:
        """The rooms and devices that it keeps."""

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """The clinic."""

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """The department, or the clinic itself."""

    @one("read", service_of)
    def service(self) -> HealthcareService | None:
        """What the visit is for, where that was said."""

    @many("read", joined("appointment_id", "id"), group=None, order=lambda r: [r.due_at, r.id])
    def reminders(
        self, first: First = 20
    ) -> list[Annotated["Reminder", strawberry.lazy("api.graph.reminders")]] | None:
        """What the patient was or is to be reminded by; there from when it is due."""

    @one("read", joined("id", "series_id"))
    def series(
        self,
    ) -> Annotated["AppointmentSeries", strawberry.lazy("api.graph.series")] | None:
        """The recurring visits that this one belongs to."""

    @one("read", joined("id", "rescheduled_from_id"))
    def rescheduled_from(self) -> Optional["Appointment"]:
        """The cancelled appointment that this one came from."""

    @one("read", joined("rescheduled_from_id", "id"))
    def rescheduled_to(self) -> Optional["Appointment"]:
        """The appointment that this one was moved to."""


@strawberry.enum(description="How long a calendar page is.")
class CalendarSpan(Enum):
    DAY = strawberry.enum_value("day", description="One day.")
    WEEK = strawberry.enum_value("week", description="Seven days from Monday on.")


@strawberry.input(description="A day or week of local time.")
class CalendarInput:
    date: dt.date = strawberry.field(description="The day, or any day of the week.")
    span: CalendarSpan = strawberry.field(default=CalendarSpan.DAY, description="Day or week.")
    zone: str | None = strawberry.field(
        default=None,
        description="IANA time zone; without it the clinic's, where `node` is one, else UTC.",
    )


def period(calendar: CalendarInput, zone: str | None) -> tuple[dt.datetime, dt.datetime]:
    """The instants at which the page begins and ends; a day of a change of clocks has 23 or 25 hours.

    Raises Invalid for an unknown zone or a date at the end of time.
    """
    try:
        local = ZoneInfo(calendar.zone or zone or "UTC")
    except (KeyError, ValueError, OSError):
        raise Invalid("There is no such time zone.", path=("calendar", "zone")) from None
    days = 1 if calendar.span is CalendarSpan.DAY else 7
    try:
        start = calendar.date - dt.timedelta(days=calendar.date.weekday() if days == 7 else 0)
        end = start + dt.timedelta(days=days)
        return tuple(  # type: ignore[return-value] # exactly two
            dt.datetime.combine(day, dt.time(), local).astimezone(dt.UTC) for day in (start, end)
        )
    except OverflowError:
        raise Invalid("The date is out of range.", path=("calendar", "date")) from None


def _conditions(values: dict[str, Any]) -> Any:
    present = {name for name, value in values.items() if value is not None}

    def build(row: Row, c: Compiler, _walks: bool) -> list[ColumnElement[bool]]:
        out: list[ColumnElement[bool]] = [
            attribute(row, f"{name}_id") == c.binds.value(name, Uuid())
            for name in ("patient", "practitioner")
            if name in present
        ]
        if "start" in present:
            starts = attribute(row, "starts_at")
            out.append(starts >= c.binds.value("start", DateTime(True)))
            out.append(starts < c.binds.value("end", DateTime(True)))
        return out

    return build


@strawberry.type
class Query:
    @root("appointment:read", "An appointment; null where there is none that you may see.")
    async def appointment(self, info: Info, id: Wanted) -> Appointment | None:
        return await get(info._raw_info, Appointment, id)

    @root(
        "appointment:read",
        "Appointments by their beginning: of a node, a practitioner or a patient, for a day or a week.",
    )
    async def appointments(
        self,
        info: Info,
        node: Within = None,
        practitioner: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only with this practitioner.")
        ] = None,
        patient: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only of this patient.")
        ] = None,
        calendar: Annotated[
            CalendarInput | None, strawberry.argument(description="Only of this day or week.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Appointment] | None:
        known, unit = node_argument(info, node)
        good_practitioner, practitioner_id = local_id(practitioner, "Practitioner")
        good_patient, patient_id = local_id(patient, "Patient")
        if not (known and good_practitioner and good_patient):
            return None
        values: dict[str, Any] = {"practitioner": practitioner_id, "patient": patient_id}
        if calendar is not None:
            values["start"], values["end"] = period(calendar, _zone(info, unit))
        return await page(
            info._raw_info,
            LISTING,
            node=unit,
            first=first,
            after=after,
            filters=_conditions(values),
            values=values,
        )


def _zone(info: Info, unit: Any) -> str | None:
    """The time zone of a clinic or of a department's clinic."""
    units = info.context.actor.tree.units
    clinic = units[unit].clinic_id if unit else None
    return units[clinic].zone if clinic else None
