"""Money: Decimal outside, minor units inside, never a float. A tenant has one currency and says its digits."""

from decimal import ROUND_HALF_UP, Decimal

from domain.errors import Invalid
from domain.organization import Tenant

LARGEST = 10**12
"""Minor units of the largest amount of one entry: nine million of them fit into 64 bits, and each into a float's digits."""


def minor_units(amount: Decimal, currency: str, tenant: Tenant) -> int:
    """An amount in minor units. Raises Invalid: another currency, more digits than it has, no number, too large."""
    if currency != tenant.currency:
        raise Invalid(
            "This is not the health system's currency.",
            path=("currency",),
            code="WRONG_CURRENCY",
        )
    if not amount.is_finite() or abs(amount.adjusted()) > 30:
        raise Invalid("This is no amount of money.", path=("amount",))
    scaled = amount.scaleb(tenant.currency_digits)
    if scaled != scaled.to_integral_value():
        raise Invalid(
            f"{currency} has {tenant.currency_digits} digits after the point.", path=("amount",)
        )
    if abs(scaled) > LARGEST:
        raise Invalid("This amount is too large.", path=("amount",))
    return int(scaled)


def amount_of(minor: int, tenant: Tenant) -> Decimal:
    """The amount with as many digits after the point as the currency has."""
    return Decimal(minor).scaleb(-tenant.currency_digits)


def line_amount(units: Decimal, unit_price_minor: int) -> int:
    """Units times price, rounded once, half up (away from zero), as PostgreSQL's round does."""
    return int((units * unit_price_minor).to_integral_value(ROUND_HALF_UP))
