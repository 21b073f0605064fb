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
    settle,
)
from domain.appointments.record import BLOCKING, Appointment, AppointmentBlock, AppointmentState
from domain.appointments.reserving import (
    HoldExpired,
    confirm,
    hold_time,
    overbook,
    release_expired,
    reschedule,
)
from domain.appointments.states import MOVES

__all__ = [
    "BLOCKING",
    "MOVES",
    "Appointment",
    "AppointmentBlock",
    "AppointmentState",
    "Booking",
    "BookingStatement",
    "HoldExpired",
    "NotBookableHere",
    "SlotTaken",
    "book",
    "booking_statement",
    "booking_values",
    "by_id",
    "cancel",
    "check_in",
    "confirm",
    "fulfil",
    "hold_time",
    "no_show",
    "overbook",
    "release_expired",
    "reschedule",
    "settle",
]
