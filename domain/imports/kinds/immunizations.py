"""Immunization, https://hl7.org/fhir/R4/immunization.html"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from domain.codings import VACCINES
from domain.errors import Invalid
from domain.immunizations import Immunization, ImmunizationState
from domain.imports.bundles import Entry
from domain.imports.chart import (
    day,
    happened,
    member,
    moment,
    placed,
    practitioner,
    write_entries,
    zone_of,
)
from domain.imports.concepts import needed_coding, one_line, words
from domain.imports.fields import Reader
from domain.imports.findings import unit_of
from domain.imports.kinds import Kind
from domain.imports.work import Draft, Work
from domain.quantities import checked_number

ACTORS = (("performer", "actor"),)
LOT_LENGTH = 40


def draft(entry: Entry, work: Work) -> Draft:
    """The vaccine, when and by whom it was given, or that it was not. Raises Fault, Skip."""
    resource = entry.resource
    place = placed(resource, work, subject="patient")
    zone = zone_of(place, work)
    when = moment(resource, "occurrenceDateTime", zone, work)
    lot = resource.text("lotNumber")
    values = {
        **place,
        **needed_coding(resource.part("vaccineCode"), VACCINES, work),
        **_dose(resource, work),
        "state": member(resource, "status", resource.text("status"), ImmunizationState).value,
        "state_before": None,  # as its source tells it: no step of ours
        "effective_at": happened(resource, "occurrenceDateTime", when, work),
        "lot_number": one_line(lot, resource, "lotNumber", work, LOT_LENGTH),
        "expires_on": day(resource, "expirationDate", zone, work),
        "site": one_line(words(resource.part("site")), resource, "site", work),
        "practitioner_id": practitioner(resource, ACTORS, None, work),
    }
    return Draft(entry, work.local[entry.index], values)


def _dose(resource: Reader, work: Work) -> dict[str, Any]:
    """The dose, where it is more than nothing and has a unit; otherwise it is left out."""
    dose = resource.part("doseQuantity")
    amount = dose.number("value") if dose else None
    unit = unit_of(dose) if dose else None
    if amount is not None and not (unit and _usable(amount)):
        work.leave_out(resource, "doseQuantity", "not an amount with a unit of UCUM")
        amount = None
    return {"dose_quantity": amount, "dose_unit": unit if amount is not None else None}


def _usable(amount: Decimal) -> bool:
    try:
        checked_number(amount)
    except Invalid:
        return False
    return amount > 0


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store them."""
    await write_entries(work, Immunization, drafts)


KIND = Kind(
    "Immunization",
    draft,
    write,
    after=frozenset({"Encounter", "Patient", "Practitioner"}),
    resources=frozenset({"immunization"}),
)
