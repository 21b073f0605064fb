"""Claims and answers as other systems send them, of `patient` at `encounter` of `tests.domain.imports.bundles`."""

from typing import Any

from tests.domain.imports.bundles import (
    Json,
    bundle,
    encounter,
    entry,
    organization,
    patient,
    practitioner,
    ref,
)
from tests.domain.imports.us_core import SNOMED, coded, status

CPT = "http://www.ama-assn.org/go/cpt"
DAY = "2024-03-05T10:00:00-05:00"


def usd(amount: float, currency: str = "USD") -> Json:
    """A sum of money."""
    return {"value": amount, "currency": currency}


def item(sequence: int, net: float | None, /, **more: Any) -> Json:
    """A charged item; without an amount it is the visit, or says why something was done."""
    what = coded(SNOMED, "185349003", "Check-up") if net is None else coded(CPT, "99213", "Visit")
    given = {"sequence": sequence, "productOrService": what}
    return given | ({} if net is None else {"net": usd(net)}) | more


def claim(*items: Json, called: str = "claim", total: float | None = None, **more: Any) -> Json:
    """An active claim against an insurance that has a name only."""
    at = {"encounter": [ref("encounter")]}
    shared = {
        "resourceType": "Claim",
        "status": "active",
        "use": "claim",
        "type": status("professional"),
        "patient": ref("patient"),
        "created": DAY,
        "billablePeriod": {"start": "2024-03-05", "end": "2024-03-05"},
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "Acme Health"}}],
        "item": [at | items[0], *items[1:]],
    }
    return entry(called, shared | ({} if total is None else {"total": usd(total)}) | more)


def said(sequence: int, paid: float, allowed: float | None = None) -> Json:
    """What is answered about an item."""
    parts = [{"category": status("benefit"), "amount": usd(paid)}]
    if allowed is not None:
        parts.append({"category": status("eligible"), "amount": usd(allowed)})
    return {"sequence": sequence, "adjudication": parts}


def answer(*items: Json, paid: float | None = None, called: str = "answer", **more: Any) -> Json:
    """The payer's answer to `claim`."""
    shared = {
        "resourceType": "ExplanationOfBenefit",
        "status": "active",
        "outcome": "complete",
        "identifier": [{"system": "urn:payer", "value": f"icn-{called}"}],
        "patient": ref("patient"),
        "claim": ref("claim"),
        "created": "2024-04-02T09:00:00-05:00",
        "item": list(items),
    }
    return entry(
        called, shared | ({} if paid is None else {"payment": {"amount": usd(paid)}}) | more
    )


def coverage(called: str = "coverage", /, **more: Any) -> Json:
    """US Core Coverage."""
    member = {"type": status("MB"), "system": "urn:acme", "value": "M-1"}
    shared = {
        "resourceType": "Coverage",
        "identifier": [member],
        "status": "active",
        "subscriberId": "S-1",
        "beneficiary": ref("patient"),
        "relationship": status("spouse"),
        "period": {"start": "2024-01-01", "end": "2024-12-31"},
        "payor": [{"display": "Acme Health"}],
        "class": [{"type": status("group"), "value": "G-7"}],
    }
    return entry(called, shared | more)


def billed(*entries: Json) -> bytes:
    """A visit and what was asked and paid for it."""
    return bundle(patient(), organization(), practitioner(), encounter(), *entries)
