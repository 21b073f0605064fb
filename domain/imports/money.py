"""Amounts of bills, https://hl7.org/fhir/R4/datatypes.html#Money, as minor units of the health system's currency."""

from decimal import ROUND_HALF_UP, Decimal

from domain.billing import minor_units
from domain.errors import Invalid
from domain.imports.fields import Reader
from domain.organization import Tenant


def exact(holder: Reader, key: str, tenant: Tenant) -> Decimal | None:
    """An amount in minor units and fractions of them, as payers write who multiply. Raises Fault.

    A sum of money without a currency is in the health system's.
    """
    part = holder.part(key)
    value = part.number("value") if part else None
    if part is None or value is None:
        return None
    try:
        # What binary arithmetic left behind (28.104000000000003) is no money.
        rounded = value.quantize(Decimal(1).scaleb(-tenant.currency_digits), ROUND_HALF_UP)
        minor_units(rounded, part.text("currency") or tenant.currency, tenant)
    except (Invalid, ArithmeticError) as error:
        message = error.message if isinstance(error, Invalid) else "This is no amount of money."
        raise part.fault("value", message) from None
    return value.scaleb(tenant.currency_digits)


def whole(holder: Reader, key: str, tenant: Tenant) -> int | None:
    """An amount in minor units, not below zero. Raises Fault also where it has fractions of them."""
    amount = exact(holder, key, tenant)
    if amount is None:
        return None
    if amount != amount.to_integral_value():
        message = f"{tenant.currency} has {tenant.currency_digits} digits after the point."
        raise holder.fault(f"{key}.value", message)
    if amount < 0:
        raise holder.fault(f"{key}.value", "This is below zero.")
    return int(amount)


def nearest(amount: Decimal) -> int:
    """The nearest minor unit, half up."""
    return int(amount.to_integral_value(ROUND_HALF_UP))


def shared_out(total: int, parts: list[Decimal]) -> list[int] | None:
    """The parts in whole minor units that add up to the total: the largest fractions are rounded up.

    None where they do not add up to it, fractions of one unit apart.
    """
    floors = [int(part // 1) for part in parts]
    fractions = [part - floor for part, floor in zip(parts, floors, strict=True)]
    missing = total - sum(floors)
    if not 0 <= missing <= sum(fraction > 0 for fraction in fractions):
        return None
    largest = sorted(range(len(parts)), key=lambda i: (-fractions[i], i))[:missing]
    return [floor + (i in largest) for i, floor in enumerate(floors)]
