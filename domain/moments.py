"""Times and days from outside: what lies in the past, and periods the right way round."""

import datetime as dt

from domain.audit import Agent
from domain.errors import Invalid

EARLY = dt.timedelta(minutes=15)
"""How far clocks may differ before a time counts as in the future."""
LONGEST = 150 * 366
"""Days of the longest life: nothing of a patient is older."""


def past(given: dt.datetime | None, agent: Agent, *path: str) -> dt.datetime:
    """A moment that is not in the future, by default now. Raises Invalid."""
    if given is None:
        return agent.now
    if given.tzinfo is None:
        raise Invalid("A time needs its offset from UTC.", path=path)
    if given > agent.now + EARLY:
        raise Invalid("This time is in the future.", path=path)
    if given < agent.now - dt.timedelta(days=LONGEST):
        raise Invalid("This time is too long ago.", path=path)
    return given


def past_day(given: dt.date | None, agent: Agent, *path: str) -> dt.date | None:
    """A day that is not in the future anywhere on earth. Raises Invalid."""
    if given is not None and given > agent.now.date() + dt.timedelta(days=1):
        raise Invalid("This day is in the future.", path=path)
    return day(given, agent, *path)


def day(given: dt.date | None, agent: Agent, *path: str) -> dt.date | None:
    """A day within a lifetime of today, before or after. Raises Invalid."""
    if given is not None and abs(given - agent.now.date()).days > LONGEST:
        raise Invalid("This day is too far away.", path=path)
    return given


def in_order(
    start: dt.datetime | dt.date | None, end: dt.datetime | dt.date | None, *path: str
) -> None:
    """Raises Invalid where a period ends before it starts."""
    if start is not None and end is not None and end < start:
        raise Invalid("The end comes before the start.", path=path)
