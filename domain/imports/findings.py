"""The value of an Observation or of a component, https://hl7.org/fhir/R4/observation-definitions.html#Observation.value_x_"""

from decimal import Decimal
from typing import Any

from domain.codings import ANSWERS, Coding
from domain.errors import Invalid
from domain.imports.chart import optional_member
from domain.imports.concepts import coding_of, one_line, several_lines, words
from domain.imports.fields import Reader
from domain.imports.work import Skip, Work
from domain.observations import Interpretation, Value, value_columns
from domain.quantities import UCUM, checked_number

UCUM_SYSTEM = "http://unitsofmeasure.org"
COUNT = "1"
"""UCUM's unit of a bare number."""
ODD = ("valueRatio", "valueSampledData")
"""Values that have no column and lose their meaning as text."""


def value_of(holder: Reader, work: Work) -> dict[str, Any]:
    """The columns of what was found. Raises Skip, Fault."""
    found = _found(holder, work) | _range(holder, work)
    meant = [part for part in holder.parts("interpretation") if first_code_of(part)]
    code = first_code_of(meant[0]) if meant else None
    known = optional_member(holder, "interpretation", code, Interpretation, work)
    try:
        columns = value_columns(
            Value(**found, interpretation=None if known is None else Interpretation(known)), ()
        )
    except Invalid as error:
        raise holder.fault(".".join(error.path), error.message) from None
    if meant and known is None:
        # What the source says of it is not known here: nothing is said instead.
        columns["interpretation"] = None
    return columns


def first_code_of(concept: Reader) -> str | None:
    """The first code of a concept."""
    return next((c for coding in concept.parts("coding") if (c := coding.text("code"))), None)


def _found(holder: Reader, work: Work) -> dict[str, Any]:
    """The arguments of `Value` for the one value that there is."""
    if any(holder.value.get(key) is not None for key in ODD):
        raise Skip("its value is of a kind that is not kept")
    if (measured := holder.part("valueQuantity")) is not None:
        return _quantity(measured)
    if (answer := holder.part("valueCodeableConcept")) is not None:
        coded = coding_of(answer, ANSWERS, work)
        if coded is not None:
            return {
                "code": Coding(coded["code_system"] or "", coded["code"] or "", coded["display"])
            }
        return {"text": several_lines(words(answer), holder, "valueCodeableConcept", work)}
    if (number := holder.whole("valueInteger")) is not None:
        return {"quantity": Decimal(number), "unit": COUNT}
    if (truth := holder.flag("valueBoolean")) is not None:
        return {"truth": truth}
    return {"text": _text(holder, work)}


def _text(holder: Reader, work: Work) -> str | None:
    for key in ("valueString", "valueDateTime", "valueTime"):
        if (said := holder.text(key)) is not None:
            return several_lines(said, holder, key, work)
    if (span := holder.part("valueRange")) is not None:
        low, high = _shown(span.part("low")), _shown(span.part("high"))
        return f"{low} to {high}" if low and high else low or high or None
    if (period := holder.part("valuePeriod")) is not None:
        return f"{period.text('start') or ''} / {period.text('end') or ''}".strip(" /") or None
    return None


def _shown(quantity: Reader | None) -> str:
    if quantity is None or (number := quantity.number("value")) is None:
        return ""
    return f"{number} {quantity.text('unit') or ''}".strip()


def _quantity(measured: Reader) -> dict[str, Any]:
    """A number and its unit; one that is only compared with (`<5 mg/dL`) is no number, but a text."""
    number = measured.number("value")
    if number is None:
        return {}
    unit = unit_of(measured)
    if comparator := measured.text("comparator"):
        return {"text": f"{comparator}{number} {unit or measured.text('unit') or ''}".strip()}
    if unit is None:
        raise Skip("its quantity has no unit of UCUM")
    return {"quantity": number, "unit": unit}


def unit_of(quantity: Reader) -> str | None:
    """The UCUM code; of a quantity without a coded unit what it is called, if that can be one."""
    code, unit = quantity.text("code"), quantity.text("unit")
    named = code if code and quantity.text("system") in (None, UCUM_SYSTEM) else unit
    return named if named is not None and UCUM.fullmatch(named) else None


def _range(holder: Reader, work: Work) -> dict[str, Any]:
    """The first reference range, as far as it can be kept."""
    ranges = holder.parts("referenceRange")
    if not ranges:
        return {}
    bounds: dict[str, Any] = {}
    for key in ("low", "high"):
        bound = ranges[0].part(key)
        bounds[key] = bound.number("value") if bound else None
    try:
        for bound in bounds.values():
            if bound is not None:
                checked_number(bound)
        backwards = None not in bounds.values() and bounds["high"] < bounds["low"]
    except Invalid:
        backwards = True
    if backwards:
        work.leave_out(holder, "referenceRange", "not a range")
        bounds = {}
    text = one_line(ranges[0].text("text"), ranges[0], "text", work)
    if len(ranges) > 1:
        work.leave_out(holder, "referenceRange", "further ranges")
    return bounds | {"range_text": text}
