"""What requests for, statements about and administrations of medicines share.

https://hl7.org/fhir/R4/dosage.html, https://hl7.org/fhir/R4/medication.html
"""

import datetime as dt
from typing import Any

from domain.codings import MEDICINES
from domain.imports.chart import day, in_order, moment
from domain.imports.concepts import needed_coding, several_lines, words
from domain.imports.fields import Reader
from domain.imports.work import Work

# https://hl7.org/fhir/R4/valueset-units-of-time.html
UNITS = {"s": "second", "min": "minute", "h": "hour", "d": "day", "wk": "week", "mo": "month"}
UNITS |= {"a": "year"}


def medicine(resource: Reader, work: Work) -> dict[str, str | None]:
    """The code of the medicine: in the resource, in a contained Medication or in one of the bundle. Raises Skip."""
    concept = resource.part("medicationCodeableConcept")
    named = resource.part("medicationReference")
    if concept is None and named is not None:
        found = _referred(resource, named.text("reference") or "", work)
        concept = found.part("code") if found else None
    return needed_coding(concept, MEDICINES, work)


def _referred(resource: Reader, reference: str, work: Work) -> Reader | None:
    if reference.startswith("#"):
        inner = resource.parts("contained")
        return next((part for part in inner if part.text("id") == reference[1:]), None)
    entry = work.target(reference)
    return entry.resource if entry is not None and entry.type == "Medication" else None


def period(holder: Reader | None, zone: str, work: Work) -> dict[str, dt.date | None]:
    """The first and the last day of a Period. Raises Fault."""
    begins, ends = day(holder, "start", zone, work), day(holder, "end", zone, work)
    if holder is not None:
        in_order(holder, "end", begins, ends)
    # An end without a beginning says nothing that could be compared.
    return {"starts_on": begins, "ends_on": ends}


def directions(resource: Reader, key: str, work: Work) -> str | None:
    """How it is taken, in words: as written, else told from its parts."""
    told = [text for dosage in resource.parts(key) if (text := _direction(dosage))]
    return several_lines("\n".join(told) or None, resource, key, work)


def _direction(dosage: Reader) -> str | None:
    if text := dosage.text("text") or dosage.text("patientInstruction"):
        return text
    further = [words(part) for part in dosage.parts("additionalInstruction")]
    said = [_dose(dosage), _rhythm(dosage), *further]
    if dosage.flag("asNeededBoolean"):
        said.append("as needed")
    return ", ".join(part for part in said if part) or None


def _dose(dosage: Reader) -> str | None:
    """Such as `2 mg`; a number alone counts what is taken."""
    for rate in dosage.parts("doseAndRate"):
        amount = rate.part("doseQuantity")
        if amount is not None and (number := amount.number("value")) is not None:
            return f"dose {number.normalize():f} {amount.text('unit') or ''}".strip()
    return None


def _rhythm(dosage: Reader) -> str | None:
    """Such as `2 times in 1 day`."""
    timing = dosage.part("timing")
    repeat = timing.part("repeat") if timing else None
    if repeat is None:
        return words(timing.part("code")) if timing else None
    often, span = repeat.whole("frequency"), repeat.number("period")
    unit = repeat.text("periodUnit") or ""
    if often is None or span is None or unit not in UNITS:
        return None
    times = "time" if often == 1 else "times"
    return f"{often} {times} in {span.normalize():f} {UNITS[unit]}{'' if span == 1 else 's'}"


def bounds(resource: Reader) -> Reader | None:
    """The Period of the first dosage's timing."""
    for dosage in resource.parts("dosageInstruction"):
        timing = dosage.part("timing")
        repeat = timing.part("repeat") if timing else None
        return repeat.part("boundsPeriod") if repeat else None
    return None


def asserted(resource: Reader, zone: str, work: Work, *keys: str) -> dt.datetime | None:
    """The first moment of some fields."""
    found: Any = (moment(resource, key, zone, work) for key in keys)
    return next((when for when in found if when is not None), None)
