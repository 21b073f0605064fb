"""What a payer answered, https://hl7.org/fhir/R4/explanationofbenefit.html, in whole minor units that add up."""

from dataclasses import dataclass, field
from decimal import Decimal

from domain.imports.concepts import codes
from domain.imports.fields import Reader
from domain.imports.money import exact, nearest, shared_out
from domain.organization import Tenant

# http://terminology.hl7.org/CodeSystem/adjudication, and the variables of Blue Button 2.0 at the end of their URL
# (https://bluebutton.cms.gov/resources/variables/), which Synthea writes.
PAID = ("benefit", "paidtoprovider", "paid", "line_prvdr_pmt_amt")
ALLOWED = ("eligible", "allowed", "line_alowd_chrg_amt")
ZERO = Decimal(0)


@dataclass(frozen=True)
class Said:
    """About an item, in minor units with fractions: paid, and what the payer allows (None: all of it)."""

    paid: Decimal = ZERO
    allowed: Decimal | None = None


@dataclass(frozen=True)
class Answer:
    """The whole answer; `payment` None: the sum of the items."""

    payment: Decimal | None
    items: dict[int, Said] = field(default_factory=dict)

    @property
    def paid(self) -> Decimal:
        """What was paid, with fractions."""
        said = sum((item.paid for item in self.items.values()), ZERO)
        return said if self.payment is None else self.payment


@dataclass(frozen=True)
class Parts:
    """How an amount is explained, in minor units: paid + adjusted + patient = the amount."""

    paid: int
    adjusted: int
    patient: int


@dataclass(frozen=True)
class Explained:
    """The claim's parts and those of its items; none of the items where they do not add up to the payment."""

    whole: Parts
    items: dict[int, Parts]


def answer_of(resource: Reader, tenant: Tenant) -> Answer:
    """What it says. Raises Fault."""
    payment = resource.part("payment")
    items: dict[int, Said] = {}
    for item in resource.parts("item"):
        number = item.whole("sequence")
        if number is not None and (said := _said(item, tenant)) is not None:
            items[number] = said
    return Answer(exact(payment, "amount", tenant) if payment else None, items)


def _said(item: Reader, tenant: Tenant) -> Said | None:
    paid, allowed, any_ = ZERO, None, False
    for part in item.parts("adjudication"):
        amount = exact(part, "amount", tenant)
        names = {code.rpartition("/")[2] for _, code in codes(part.part("category"))}
        if amount is None:
            continue
        if not names.isdisjoint(PAID):
            paid, any_ = paid + amount, True
        elif not names.isdisjoint(ALLOWED):
            allowed, any_ = amount, True
    return Said(paid, allowed) if any_ else None


def explained(answer: Answer, amounts: dict[int, int]) -> Explained:
    """The answer to a claim whose items have these amounts.

    An item of which nothing is said is left to the patient. Fractions are rounded so that the items add up to the
    payment, which is rounded to the nearest unit.
    """
    total, paid = sum(amounts.values()), nearest(answer.paid)
    numbers = sorted(amounts)
    said = [answer.items.get(number, Said()) for number in numbers]
    shares = shared_out(paid, [item.paid for item in said])
    if shares is None:
        # The payer speaks of the claim alone, or pays something beside its items.
        allowed = [
            amounts[n] if s.allowed is None else nearest(s.allowed)
            for n, s in zip(numbers, said, strict=True)
        ]
        return Explained(_parts(total, paid, sum(allowed)), {})
    items = {
        number: _parts(
            amounts[number],
            share,
            amounts[number] if item.allowed is None else nearest(item.allowed),
        )
        for number, item, share in zip(numbers, said, shares, strict=True)
    }
    each = list(items.values())
    whole = Parts(paid, sum(p.adjusted for p in each), sum(p.patient for p in each))
    return Explained(whole, items)


def _parts(amount: int, paid: int, allowed: int) -> Parts:
    """What is not allowed is adjusted; of what is allowed the patient owes what the payer does not pay."""
    patient = max(allowed - paid, 0)
    return Parts(paid, amount - paid - patient, patient)
