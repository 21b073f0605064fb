"""What a reminder says: a wording with places for a closed set of values, none of which tells what the visit is for.

    {patient}  what the patient is called, the given name only
    {name}     what the place calls itself towards patients: of its settings, else the health system's name
    {date}     the day of the visit, in the patient's zone and the wording's language
    {time}     its beginning, likewise
    {phone}    the telephone number of the settings

Neither service, department, practitioner nor reason can be put in. A line with a value that is not there is left out.
"""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time

from domain.errors import Invalid
from domain.plain_text import line, passage

PLACES = frozenset({"patient", "name", "date", "time", "phone"})
SUBJECT, BODY = 150, 2_000
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Wording:
    """A subject and a text in a language (BCP 47)."""

    language: str
    subject: str
    body: str


DEFAULT = Wording(
    "en",
    "Your appointment on {date}",
    "Hello {patient},\n\n"
    "this is a reminder of your appointment with {name}:\n"
    "{date}, {time}.\n\n"
    "If you cannot come, or want no more reminders, please call {phone}.\n",
)
"""What is said where nobody has written anything else."""


def checked(language: str, subject: str, body: str) -> Wording:
    """A wording as it may be stored. Raises Invalid: no language that dates can be told in, an unknown place."""
    told = line(language, "language", maximum=35)
    if locale_of(told) is None:
        message = "This is no language that dates can be told in; write it as en or pt-BR."
        raise Invalid(message, path=("language",))
    wording = Wording(
        told,
        line(subject, "subject", maximum=SUBJECT),
        passage(body, "body", maximum=BODY),
    )
    for path, text in (("subject", wording.subject), ("body", wording.body)):
        unknown = sorted(set(_PLACE.findall(text)) - PLACES)
        if unknown or set("{}") & set(_PLACE.sub("", text)):
            known = ", ".join(f"{{{place}}}" for place in sorted(PLACES))
            raise Invalid(f"Only these can be put in: {known}.", path=(path,), code="UNKNOWN_PLACE")
    return wording


def locale_of(language: str) -> Locale | None:
    """How dates are told in a language; None where nobody knows."""
    try:
        return Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def values(
    wording: Wording,
    starts_at: dt.datetime,
    zone: str,
    *,
    patient: str,
    name: str,
    phone: str | None,
) -> dict[str, str | None]:
    """What is put in, in the words of the language."""
    local = starts_at.astimezone(ZoneInfo(zone))
    locale = locale_of(wording.language) or Locale("en")
    return {
        "patient": patient,
        "name": name,
        "date": format_date(local.date(), "full", locale),
        "time": format_time(local, "short", tzinfo=ZoneInfo(zone), locale=locale),
        "phone": phone,
    }


def filled(text: str, put_in: Mapping[str, str | None]) -> str:
    """The text with the values in their places, in one pass: a value that looks like a place is none."""
    kept = [
        row for row in text.split("\n") if all(put_in.get(place) for place in _PLACE.findall(row))
    ]
    return "\n".join(_PLACE.sub(lambda found: put_in[found[1]] or "", row) for row in kept)
