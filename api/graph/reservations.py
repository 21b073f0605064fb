"""Holds, overbooking on purpose, and patients who did not come."""

import uuid
from typing import Annotated, Any

import strawberry

from api.graph.alternatives import offering
from api.graph.booking import (
    APPOINTMENT,
    BookAppointmentInput,
    BookAppointmentPayload,
    ChangeAppointmentInput,
    ChangeAppointmentPayload,
    booking_of,
)
from api.graph.relay import GIVEN, Info, root
from api.plan.write import Work, driver, perform, perform_on
from domain.appointments import Booking, confirm, hold_time, no_show, overbook
from identity.calendar import defer_release


@strawberry.input(description="A time to be kept until it is confirmed.")
class HoldAppointmentInput(BookAppointmentInput):
    hold_minutes: int = strawberry.field(
        default=10, description="How long it is kept, 1 to 60 minutes."
    )


async def judged(work: Work, permission: str, given: BookAppointmentInput) -> tuple[Any, Booking]:
    """The unit and the booking of an input, the place judged and the patient visible to the asker."""
    unit, booking = booking_of(work.context, given)
    await work.create(permission, work.new_row(unit, patient_id=booking.patient_id), "patient")
    return unit, booking


@strawberry.type
class Mutation:
    @root("appointment:book", "Keep a time for some minutes; nobody else can book it meanwhile.")
    async def hold_appointment(
        self, info: Info, input: Annotated[HoldAppointmentInput, GIVEN]
    ) -> BookAppointmentPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit, booking = await judged(work, "appointment:book", input)
            async with offering(info._raw_info, unit, booking):
                held = await hold_time(
                    work.session, work.agent, unit, booking, input.hold_minutes, work.new_id
                )
            assert held.expires_at is not None
            connection = await driver(work.session)
            await defer_release(connection, held.tenant_id, held.expires_at)
            return held.id

        return await perform(info._raw_info, "holdAppointment", APPOINTMENT, input, command)

    @root("appointment:book", "Make a hold a booking, before it expires.")
    async def confirm_appointment(
        self, info: Info, input: Annotated[ChangeAppointmentInput, GIVEN]
    ) -> ChangeAppointmentPayload | None:
        return await perform_on(
            info._raw_info, "confirmAppointment", APPOINTMENT, input, "appointment:book", confirm
        )

    @root(
        "appointment:overbook",
        "Book a visit outside of the opening hours or beside another one, on purpose.",
    )
    async def overbook_appointment(
        self, info: Info, input: Annotated[BookAppointmentInput, GIVEN]
    ) -> BookAppointmentPayload | None:
        async def command(work: Work) -> uuid.UUID:
            unit, booking = await judged(work, "appointment:overbook", input)
            made = await overbook(work.session, work.agent, unit, booking, work.new_id)
            return made.id

        return await perform(info._raw_info, "overbookAppointment", APPOINTMENT, input, command)

    @root("appointment:no_show", "The patient did not come.")
    async def no_show_appointment(
        self, info: Info, input: Annotated[ChangeAppointmentInput, GIVEN]
    ) -> ChangeAppointmentPayload | None:
        return await perform_on(
            info._raw_info, "noShowAppointment", APPOINTMENT, input, "appointment:no_show", no_show
        )
