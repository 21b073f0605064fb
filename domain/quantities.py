"""Measured quantities: an exact number with its UCUM unit, https://hl7.org/fhir/R4/datatypes.html#Quantity"""

import re
from decimal import Decimal

from domain.errors import Invalid

# UCUM's case-sensitive terminal symbols: printable ASCII without white space (https://ucum.org/ucum, section 4).
UCUM = re.compile(r"[!-~]{1,40}")
DIGITS = 18
PLAIN = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


def quantity_of(text: str, *path: str) -> Decimal:
    """A decimal number written plainly, as -0.5 or 98.60; its digits stay. Raises Invalid."""
    if not PLAIN.fullmatch(text):
        raise Invalid("A quantity is a decimal number such as 98.6.", path=path)
    return Decimal(text)


def checked_number(quantity: Decimal, *path: str) -> None:
    """Raises Invalid for no number, or one of too many digits."""
    parts = quantity.as_tuple()
    if not quantity.is_finite() or len(parts.digits) > DIGITS or abs(quantity.adjusted()) > DIGITS:
        raise Invalid(f"A number of at most {DIGITS} digits.", path=path)


def checked_quantity(
    quantity: Decimal, unit: str | None, path: tuple[str, ...], unit_path: tuple[str, ...]
) -> None:
    """Raises Invalid for no number, one of too many digits, or a missing unit (a count has the unit 1)."""
    checked_number(quantity, *path)
    if unit is None or not UCUM.fullmatch(unit):
        raise Invalid("A quantity has a unit of UCUM, as mm[Hg] or /min.", path=unit_path)
