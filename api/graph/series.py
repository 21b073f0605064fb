"""Recurring visits: booked as a whole, and changed one by one or from one on."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import strawberry

from api.graph.appointments import Appointment
from api.graph.booking import (
    APPOINTMENT,
    BookAppointmentInput,
    ChangeAppointmentInput,
    ChangeAppointmentPayload,
    RescheduleAppointmentPayload,
)
from api.graph.encounters import local_id
from api.graph.organization import OrgUnit, unit_of
from api.graph.patients import Patient, patient_of
from api.graph.payloads import UserError, idempotency_key, payload_errors
from api.graph.practitioners import Practitioner, practitioner_of
from api.graph.relay import GIVEN, First, Info, Node, root, value_type
from api.graph.reservations import judged
from api.plan.mapping import column, computed, enum_name, instant, joined, many, one, table
from api.plan.write import Payload, Work, perform, perform_on
from domain.appointments import Appointment as Appointments
from domain.appointments import AppointmentSeries as SeriesRecord
from domain.appointments import (
    Frequency,
    Recurrence,
    book_series,
    cancel_following,
    move_following,
)
from domain.appointments import SeriesTaken as Taken
from domain.errors import NotFound

SERIES = Payload("series", "AppointmentSeries")
strawberry.enum(Frequency, name="Frequency", description="RFC 5545 frequency.")


@table(SeriesRecord, description="What recurring visits were made from.")
class AppointmentSeries(Node):
    frequency: Frequency | None = computed(
        "read", "Days, weeks or months.", lambda s, *_: enum_name(s.frequency)
    )
    every: int | None = column("read", "Every so many of them.")
    visits: int | None = column("read", "How many visits it had when it was made.")
    minutes: int | None = column("read", "How long each was to take.")
    starts_at: dt.datetime | None = column("read", "When the first was to begin.")

    @one("read", patient_of)
    def patient(self) -> Patient | None:
        """Who comes."""

    @one("read", practitioner_of)
    def practitioner(self) -> Practitioner | None:
        """Who was to see the patient."""

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """The clinic or department."""

    @many(
        "read",
        joined("series_id", "id"),
        group=None,
        order=lambda visit: [visit.starts_at, visit.id],
    )
    def appointments(self, first: First = 52) -> list[Appointment] | None:
        """Its visits, also cancelled and moved ones, by their beginning."""


@value_type("A visit of a series that cannot be booked.")
class SeriesConflict:
    starts_at: dt.datetime = strawberry.field(description="When it would begin.")
    code: str = strawberry.field(description="Why, for programs: SLOT_TAKEN, OUTSIDE_HOURS …")
    message: str = strawberry.field(description="Why, for people.")


@value_type("Some visits of a series cannot be booked, so none was.")
class SeriesTaken(UserError):
    """Every conflict is told, so that the series can be mended at once."""

    conflicts: list[SeriesConflict] = strawberry.field(description="Each, in their order.")


@strawberry.input(description="Visits to be booked as a whole.")
class BookAppointmentSeriesInput(BookAppointmentInput):
    frequency: Frequency = strawberry.field(
        default=Frequency.WEEKLY,
        description="Days, weeks or months by the clinic's clocks; months without the day are left out.",
    )
    every: int = strawberry.field(default=1, description="Every so many of them, 1 to 12.")
    visits: int = strawberry.field(default=2, description="How many visits, 2 to 52.")


@strawberry.input(description="Another time for a visit of a series and all that follow it.")
class MoveAppointmentSeriesInput:
    id: strawberry.ID = strawberry.field(description="The first visit to be moved.")
    version: int = strawberry.field(description="The version that the change is based on.")
    starts_at: dt.datetime = strawberry.field(
        description="When it is to begin; the others follow by as many days at the same time of the day."
    )
    minutes: int = strawberry.field(description="How long each takes, 5 to 480.")
    practitioner: strawberry.ID | None = strawberry.field(
        default=None, description="Who sees the patient; else the same as before."
    )
    idempotency_key: str | None = idempotency_key()


@value_type("The series.")
class BookAppointmentSeriesPayload:
    series: AppointmentSeries | None = strawberry.field(description="The series with its visits.")
    user_errors: list[UserError] = payload_errors()


@asynccontextmanager
async def telling() -> AsyncIterator[None]:
    """Tell each conflict of a series that cannot be booked."""
    try:
        yield
    except Taken as error:
        error.details = {
            "__typename": "SeriesTaken",
            "conflicts": [
                {
                    "__typename": "SeriesConflict",
                    "startsAt": instant(starts_at),
                    "code": reason.code,
                    "message": reason.message,
                }
                for starts_at, reason in error.conflicts
            ],
        }
        raise


@strawberry.type
class Mutation:
    @root("appointment:book", "Book recurring visits, all of them or none.")
    async def book_appointment_series(
        self, info: Info, input: Annotated[BookAppointmentSeriesInput, GIVEN]
    ) -> BookAppointmentSeriesPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit, booking = await judged(work, "appointment:book", input)
            recurrence = Recurrence(input.frequency, input.every, input.visits)
            async with telling():
                made = await book_series(
                    work.session, work.agent, unit, booking, recurrence, work.new_id
                )
            return made.id

        return await perform(info._raw_info, "bookAppointmentSeries", SERIES, input, command)

    @root("appointment:cancel", "Cancel a visit of a series and all that follow it.")
    async def cancel_appointment_series(
        self, info: Info, input: Annotated[ChangeAppointmentInput, GIVEN]
    ) -> ChangeAppointmentPayload | None:
        return await perform_on(
            info._raw_info,
            "cancelAppointmentSeries",
            APPOINTMENT,
            input,
            "appointment:cancel",
            cancel_following,
        )

    @root("appointment:reschedule", "Move a visit of a series and all that follow it, or none.")
    async def move_appointment_series(
        self, info: Info, input: Annotated[MoveAppointmentSeriesInput, GIVEN]
    ) -> RescheduleAppointmentPayload | None:
        async def command(work: Work) -> uuid.UUID:
            appointment = await work.load(Appointments, input.id, "Appointment")
            agent = await work.require("appointment:reschedule", appointment)
            known, practitioner = local_id(input.practitioner, "Practitioner")
            if not known:
                raise NotFound(path=("practitioner",))
            async with telling():
                moved = await move_following(
                    work.session,
                    agent,
                    info.context.actor.tree.units[appointment.unit_id],
                    appointment,
                    input.version,
                    input.starts_at,
                    input.minutes,
                    practitioner_id=practitioner,
                    appointment_id=work.new_id,
                )
            return moved.id

        return await perform(info._raw_info, "moveAppointmentSeries", APPOINTMENT, input, command)
