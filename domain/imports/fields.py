"""Typed reading of FHIR's JSON, https://hl7.org/fhir/R4/json.html

Whatever has another type than the one asked for raises Fault with its path: nothing is guessed or converted.
"""

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from domain.imports.faults import Fault

# https://hl7.org/fhir/R4/datatypes.html#dateTime; `fromisoformat` alone takes more than FHIR does.
INSTANT = re.compile(
    r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"
)
DAY = re.compile(r"\d{4}-\d\d-\d\d")
PARTIAL = re.compile(r"\d{4}(-\d\d)?")


class Reader:
    """An object of the input and where it is."""

    __slots__ = ("path", "value")

    def __init__(self, value: dict[str, Any], path: str) -> None:
        self.value = value
        self.path = path

    def at(self, key: str) -> str:
        """The path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, message: str) -> Fault:
        """Something wrong with a field."""
        return Fault(message, path=self.at(key))

    def text(self, key: str) -> str | None:
        """A string, or None where there is none or a blank one."""
        value = self._get(key, str, "a string")
        return value.strip() or None if value is not None else None

    def need(self, key: str) -> str:
        """A string that must be there."""
        if (value := self.text(key)) is None:
            raise self.fault(key, "This is missing.")
        return value

    def flag(self, key: str) -> bool | None:
        """A boolean."""
        value: bool | None = self._get(key, bool, "true or false")
        return value

    def number(self, key: str) -> Decimal | None:
        """A number, exact; trailing zeros and what lies beyond a double's 17 digits are lost to the JSON parser."""
        value = self.value.get(key)
        if value is None:
            return None
        if type(value) not in (int, float):
            raise self.fault(key, "This must be a number.")
        return Decimal(str(value))

    def whole(self, key: str) -> int | None:
        """A whole number."""
        value: int | None = self._get(key, int, "a whole number")
        return value

    def partial(self, key: str) -> bool:
        """Whether this is a date without its day, which FHIR allows and nothing here can store."""
        value = self.text(key)
        return value is not None and PARTIAL.fullmatch(value) is not None

    def part(self, key: str) -> "Reader | None":
        """An object."""
        value = self._get(key, dict, "an object")
        return None if value is None else Reader(value, self.at(key))

    def parts(self, key: str) -> list["Reader"]:
        """A list of objects; none if it is not there."""
        value = self._get(key, list, "a list")
        return [Reader(part, f"{self.at(key)}[{i}]") for i, part in self._listed(key, value, dict)]

    def texts(self, key: str) -> list[str]:
        """A list of strings without the blank ones."""
        value = self._get(key, list, "a list")
        return [text.strip() for _, text in self._listed(key, value, str) if text.strip()]

    def day(self, key: str) -> dt.date | None:
        """A date. A FHIR date may lack day or month: that is refused, since it would have to be invented."""
        value = self.text(key)
        if value is None:
            return None
        if PARTIAL.fullmatch(value):
            raise self.fault(key, "A date without its day cannot be stored.")
        if not DAY.fullmatch(value):
            raise self.fault(key, "This is no date.")
        return self._parsed(key, value).date()

    def instant(self, key: str, zone: str) -> dt.datetime | None:
        """A moment in UTC. A dateTime that is a day only begins at midnight of the zone."""
        value = self.text(key)
        if value is None:
            return None
        if INSTANT.fullmatch(value):
            return self._parsed(key, value).astimezone(dt.UTC)
        day = self.day(key)
        if day is None:
            return None
        return dt.datetime.combine(day, dt.time(), ZoneInfo(zone)).astimezone(dt.UTC)

    def _parsed(self, key: str, value: str) -> dt.datetime:
        try:
            return dt.datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            raise self.fault(key, "This day or time does not exist.") from None

    def _get(self, key: str, kind: type[Any], name: str) -> Any:
        value = self.value.get(key)
        # bool is a kind of int in Python, but not in JSON.
        if value is not None and type(value) is not kind:
            raise self.fault(key, f"This must be {name}.")
        return value

    def _listed(
        self, key: str, value: list[Any] | None, kind: type[Any]
    ) -> Iterator[tuple[int, Any]]:
        name = "an object" if kind is dict else "a string"
        for index, part in enumerate(value or ()):
            if type(part) is not kind:
                raise self.fault(f"{key}[{index}]", f"This must be {name}.")
            yield index, part
