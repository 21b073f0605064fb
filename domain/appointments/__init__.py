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
from domain.appointments.holds import HOLDS, HoldExpired, TooManyHolds, confirm, release_expired
from domain.appointments.record import BLOCKING, Appointment, AppointmentBlock, AppointmentState
from domain.appointments.reserving import hold_time, overbook, reschedule
from domain.appointments.series import (
    AppointmentSeries,
    Frequency,
    Recurrence,
    SeriesTaken,
    book_series,
    cancel_following,
    move_following,
)
from domain.appointments.states import MOVES
from domain.appointments.waitlist import WaitlistEntry, WaitlistState

__all__ = [
    "BLOCKING",
    "HOLDS",
    "MOVES",
    "Appointment",
    "AppointmentBlock",
    "AppointmentSeries",
    "AppointmentState",
    "Booking",
    "BookingStatement",
    "Frequency",
    "HoldExpired",
    "NotBookableHere",
    "Recurrence",
    "SeriesTaken",
    "SlotTaken",
    "TooManyHolds",
    "WaitlistEntry",
    "WaitlistState",
    "book",
    "book_series",
    "booking_statement",
    "booking_values",
    "by_id",
    "cancel",
    "cancel_following",
    "check_in",
    "confirm",
    "fulfil",
    "hold_time",
    "move_following",
    "no_show",
    "overbook",
    "release_expired",
    "reschedule",
    "settle",
]
