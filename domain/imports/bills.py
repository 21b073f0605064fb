"""What a Claim asks for, https://hl7.org/fhir/R4/claim.html: its charges, who pays, at which encounter.

Charges keep system, code and amount of their source; there need not be a price for them here. What the total has
beyond its items belongs to the first item without an amount: the visit itself. Other items without an amount (a
diagnosis) are no charges; their diagnoses are the visit's.
"""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.billing import ClaimKind, line_amount
from domain.imports.chart import moment, since
from domain.imports.concepts import codes, one_line, words
from domain.imports.fields import Reader
from domain.imports.money import whole
from domain.imports.policies import Policy, order_of, payer_named, policy_of
from domain.imports.work import Skip, Work, possible
from domain.model import new_id

MOST_DIAGNOSES = 4
LARGEST_SEQUENCE = 32_767
ONE = Decimal(1)


@dataclass
class Charge:
    """A charged item. `sequence` is the source's."""

    sequence: int
    code_system: str
    code: str
    description: str
    units: Decimal
    price_minor: int
    amount_minor: int
    occurred_at: dt.datetime
    diagnosis_ids: list[uuid.UUID]
    id: uuid.UUID = field(default_factory=new_id)


@dataclass
class Bill:
    """A claim with its charges, in minor units."""

    place: dict[str, Any]
    kind: str
    priority: int
    policy: Policy | None
    total_minor: int
    billed_at: dt.datetime
    charges: list[Charge]


def bill_of(resource: Reader, place: dict[str, Any], zone: str, work: Work) -> Bill:
    """The claim of an encounter. Raises Fault, Skip."""
    kind = next((code for _, code in codes(resource.part("type"))), "")
    if kind not in ClaimKind.__members__.values():
        raise resource.fault("type", f"This is none of {', '.join(ClaimKind)}.")
    billed = moment(resource, "created", zone, work) or since(resource, "billable", zone, work)
    if billed is None:
        raise Skip("it does not say on which day it was")
    insured = _insured(resource)
    items = resource.parts("item")
    total, amounts = _amounts(resource, items, work)
    served = since(resource, "billable", zone, work) or billed
    return Bill(
        place=place,
        kind=kind,
        priority=order_of(insured, "sequence"),
        policy=_policy(resource, insured, place["patient_id"], zone, work),
        total_minor=total,
        billed_at=billed,
        charges=_charges(resource, items, amounts, served, zone, work),
    )


def _insured(resource: Reader) -> Reader | None:
    """The coverage that this claim is judged by."""
    listed = resource.parts("insurance")
    return next((part for part in listed if part.flag("focal")), listed[0] if listed else None)


def _policy(
    resource: Reader, insured: Reader | None, patient_id: uuid.UUID, zone: str, work: Work
) -> Policy | None:
    """Of a Coverage in the bundle or contained; of one that only has a name, that."""
    part = insured.part("coverage") if insured else None
    if part is None:
        return None
    reference = part.text("reference") or ""
    found: Reader | None = None
    if reference.startswith("#"):
        inside = resource.parts("contained")
        found = next((p for p in inside if p.text("id") == reference[1:]), None)
    elif (entry := work.target(reference)) is not None and entry.type == "Coverage":
        found = None if entry.index in work.skipped else entry.resource
    else:
        known = _earlier(part, reference, patient_id, work)
        if known is not None:
            return known
    if found is not None:
        return policy_of(found, patient_id, zone, work)
    payer = payer_named(part.text("display"), part, work)
    if payer is None:
        work.leave_out(part, "reference", "no coverage of this or an earlier bundle")
        return None
    return Policy(patient_id, payer)


def _earlier(part: Reader, reference: str, patient_id: uuid.UUID, work: Work) -> Policy | None:
    """The coverage of an earlier bundle. Raises Fault for another patient's."""
    for name in possible(reference, ["Coverage"]):
        known: Policy | None = work.policies.get(work.names[name]) if name in work.names else None
        if known is not None and known.patient_id != patient_id:
            raise part.fault("reference", "The coverage is another patient's.")
        if known is not None:
            return known
    return None


def _amounts(resource: Reader, items: list[Reader], work: Work) -> tuple[int, dict[int, int]]:
    """The total, and the amount of each item that is a charge, by its index. Raises Fault, Skip."""
    amounts: dict[int, int] = {}
    for index, item in enumerate(items):
        if (net := whole(item, "net", work.tenant)) is not None:
            amounts[index] = net
    total = whole(resource, "total", work.tenant)
    rest = 0 if total is None else total - sum(amounts.values())
    bare = next((index for index in range(len(items)) if index not in amounts), None)
    if rest < 0 or (rest > 0 and bare is None):
        raise resource.fault("total", "The items do not add up to the total.")
    if rest > 0 and bare is not None:
        amounts[bare] = rest
    if not amounts:
        raise Skip("it asks for nothing")
    return sum(amounts.values()), amounts


def _charges(
    resource: Reader,
    items: list[Reader],
    amounts: dict[int, int],
    served: dt.datetime,
    zone: str,
    work: Work,
) -> list[Charge]:
    diagnoses = _diagnoses(resource, work)
    charges: list[Charge] = []
    visits: list[uuid.UUID] = []
    used: set[int] = set()
    for index, item in enumerate(items):
        pointed = [diagnoses[n] for n in _pointers(item) if n in diagnoses]
        if index not in amounts:
            visits += pointed
            continue
        sequence = item.whole("sequence")
        if sequence is None or not 1 <= sequence <= LARGEST_SEQUENCE or sequence in used:
            raise item.fault("sequence", "Items have numbers of their own, from 1.")
        used.add(sequence)
        when = since(item, "serviced", zone, work) or served
        charges.append(_charge(item, sequence, amounts[index], when, pointed, work))
    if charges:
        charges[0].diagnosis_ids += [d for d in visits if d not in charges[0].diagnosis_ids]
    for charge in charges:
        if len(charge.diagnosis_ids) > MOST_DIAGNOSES:
            work.leave_out(resource, "diagnosis", f"more than {MOST_DIAGNOSES} of one charge")
        charge.diagnosis_ids = charge.diagnosis_ids[:MOST_DIAGNOSES]
    return charges


def _charge(
    item: Reader,
    sequence: int,
    amount: int,
    when: dt.datetime,
    diagnoses: list[uuid.UUID],
    work: Work,
) -> Charge:
    product = item.part("productOrService")
    system, code = next(codes(product), ("", ""))
    shown = one_line(words(product), item, "productOrService", work)
    kept = one_line(code, item, "productOrService", work) or shown
    if kept is None:
        raise item.fault("productOrService", "This is missing.")
    units, price = _units(item, amount, work)
    return Charge(
        sequence,
        system,
        kept,
        shown or kept,
        units,
        price,
        amount,
        when,
        list(dict.fromkeys(diagnoses)),
    )


def _units(item: Reader, amount: int, work: Work) -> tuple[Decimal, int]:
    """Units and price, where they make the amount; else one of it."""
    counted = item.part("quantity")
    units = counted.number("value") if counted else None
    price = whole(item, "unitPrice", work.tenant)
    if units is None or price is None or not 0 < units < 1_000_000:
        return ONE, amount
    exact = units == units.quantize(Decimal("0.001"))
    return (units, price) if exact and line_amount(units, price) == amount else (ONE, amount)


def _pointers(item: Reader) -> list[int]:
    given = item.value.get("diagnosisSequence") or []
    return [n for n in given if type(n) is int] if isinstance(given, list) else []


def _diagnoses(resource: Reader, work: Work) -> dict[int, uuid.UUID]:
    """The conditions that the claim numbers, as far as they were taken."""
    found: dict[int, uuid.UUID] = {}
    for part in resource.parts("diagnosis"):
        try:
            known = work.refer(part, "diagnosisReference", "Condition")
        except Skip:
            continue
        if known is not None and (number := part.whole("sequence")) is not None:
            found[number] = known
    return found
