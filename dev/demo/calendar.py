"""Free time of practitioners, handed out so that nobody is booked twice."""

import datetime as dt
import random
import uuid
from collections.abc import Iterator
from zoneinfo import ZoneInfo

WEEKS_BACK, WEEKS_AHEAD = 2, 4
FIRST_HOUR, SLOTS = 8, 16
SLOT = dt.timedelta(minutes=30)


def monday(day: dt.date) -> dt.date:
    """The Monday of the day's week."""
    return day - dt.timedelta(days=day.weekday())


class Calendar:
    """Slots of half an hour from 8 to 16 o'clock at the clinic, on each day of seven weeks around today.

    The weeks begin two before the present one. Of `parts` calendars with the same seed each hands out slots that no
    other does, so that batches can be made one by one and in any order.
    """

    def __init__(self, seed: str, today: dt.date, part: int, parts: int) -> None:
        self._seed, self._part, self._parts = seed, part, parts
        self._first = monday(today) - dt.timedelta(weeks=WEEKS_BACK)
        self._streams: dict[uuid.UUID, Iterator[dt.datetime]] = {}

    def next(self, practitioner_id: uuid.UUID, zone: str) -> dt.datetime | None:
        """A free slot's beginning in UTC, or None when this part of the practitioner's time is used up."""
        stream = self._streams.get(practitioner_id)
        if stream is None:
            stream = self._streams[practitioner_id] = self._slots(practitioner_id, zone)
        return next(stream, None)

    def _slots(self, practitioner_id: uuid.UUID, zone: str) -> Iterator[dt.datetime]:
        days = (WEEKS_BACK + 1 + WEEKS_AHEAD) * 7
        numbers = list(range(days * SLOTS))
        random.Random(f"{self._seed} {practitioner_id}").shuffle(numbers)
        local = ZoneInfo(zone)
        for number in numbers[self._part :: self._parts]:
            day, slot = divmod(number, SLOTS)
            midnight = dt.datetime.combine(
                self._first + dt.timedelta(days=day), dt.time(FIRST_HOUR)
            )
            yield (midnight + slot * SLOT).replace(tzinfo=local).astimezone(dt.UTC)
