"""Which state an appointment may come to from which, and the times it may have."""

import datetime as dt
from collections.abc import Mapping

from domain.appointments.record import AppointmentState as S
from domain.errors import Invalid
from domain.state_tables import StateTable

MOVES: Mapping[S, frozenset[S]] = {
    S.PROPOSED: frozenset({S.PENDING, S.BOOKED, S.WAITLIST, S.CANCELLED, S.ENTERED_IN_ERROR}),
    S.WAITLIST: frozenset({S.PROPOSED, S.PENDING, S.BOOKED, S.CANCELLED, S.ENTERED_IN_ERROR}),
    S.PENDING: frozenset({S.BOOKED, S.CANCELLED, S.ENTERED_IN_ERROR}),
    S.BOOKED: frozenset(
        {S.ARRIVED, S.CHECKED_IN, S.FULFILLED, S.CANCELLED, S.NOSHOW, S.ENTERED_IN_ERROR}
    ),
    S.ARRIVED: frozenset({S.CHECKED_IN, S.FULFILLED, S.CANCELLED, S.ENTERED_IN_ERROR}),
    S.CHECKED_IN: frozenset({S.FULFILLED, S.CANCELLED, S.ENTERED_IN_ERROR}),
    S.FULFILLED: frozenset({S.ENTERED_IN_ERROR}),
    S.CANCELLED: frozenset({S.ENTERED_IN_ERROR}),
    S.NOSHOW: frozenset({S.ENTERED_IN_ERROR}),
    S.ENTERED_IN_ERROR: frozenset(),
}
move = StateTable("appointment", MOVES).move

SHORTEST, LONGEST = 5, 480
"""Minutes of an appointment."""
LATE = dt.timedelta(minutes=15)
"""How long after its start an appointment may still be made: somebody stands at the desk."""
AHEAD = dt.timedelta(days=731)


def period(
    starts_at: dt.datetime, minutes: int, now: dt.datetime
) -> tuple[dt.datetime, dt.datetime]:
    """Start and end of an appointment made now. Raises Invalid: too short or long, in the past, years ahead."""
    if starts_at.tzinfo is None:
        raise Invalid("A time needs its offset from UTC.", path=("startsAt",))
    if not SHORTEST <= minutes <= LONGEST:
        raise Invalid(f"An appointment takes {SHORTEST} to {LONGEST} minutes.", path=("minutes",))
    if starts_at < now - LATE:
        raise Invalid("This time is in the past.", path=("startsAt",))
    if starts_at > now + AHEAD:
        raise Invalid("This time is more than two years ahead.", path=("startsAt",))
    return starts_at, starts_at + dt.timedelta(minutes=minutes)
