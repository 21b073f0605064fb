"""Appointments and the time of practitioners, rooms and devices that they block."""

from domain.appointments.booking import (
    Booking,
    BookingStatement,
    booking_statement,
    booking_values,
)
from domain.appointments.commands import (
    NotBookableHere,
    SlotTaken,
    book,
    by_id,
    cancel,
    check_in,
    fulfil,
    no_show,
    reschedule,
    settle,
)
from domain.appointments.record import BLOCKING, Appointment, AppointmentBlock, AppointmentState
from domain.appointments.states import MOVES

__all__ = [
    "BLOCKING",
    "MOVES",
    "Appointment",
    "AppointmentBlock",
    "AppointmentState",
    "Booking",
    "BookingStatement",
    "NotBookableHere",
    "SlotTaken",
    "book",
    "booking_statement",
    "booking_values",
    "by_id",
    "cancel",
    "check_in",
    "fulfil",
    "no_show",
    "reschedule",
    "settle",
]
