"""Claim, https://hl7.org/fhir/R4/claim.html: charges, their invoice, and what the payer is asked for."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from domain.billing import Claim as ClaimRow
from domain.billing import ClaimKind, FinancialState
from domain.imports.bill_rows import insert_bills
from domain.imports.bills import Bill, bill_of
from domain.imports.bundles import Entry
from domain.imports.chart import FIXED, patient_of, visited
from domain.imports.faults import Fault, Faults
from domain.imports.fields import Reader
from domain.imports.kinds import Kind
from domain.imports.rows import stored
from domain.imports.work import Draft, Skip, Total, Work

BILL = "bill"
OTHERWISE = (
    "It was imported before with other content; what was billed is corrected here, not overwritten."
)


def draft(entry: Entry, work: Work) -> Draft:
    """An active claim of an encounter. Raises Fault, Skip."""
    resource = entry.resource
    if resource.need("status") != FinancialState.ACTIVE:
        raise Skip("it is not active")
    if resource.text("use") not in ("claim", None):
        raise Skip("it asks for no money yet")
    place = _place(resource, work)
    zone = work.rule.zone(place["clinic_id"])
    return Draft(entry, work.local[entry.index], {BILL: bill_of(resource, place, zone, work)})


def _place(resource: Reader, work: Work) -> dict[str, Any]:
    """Where the one encounter of the items is. Raises Fault, Skip."""
    patient, found = patient_of(resource, "patient", work), None
    for item in resource.parts("item"):
        for index, part in enumerate(item.parts("encounter")):
            holder = Reader({"encounter": part.value}, f"{item.path}[{index}]")
            visit_id = work.refer(holder, "encounter", "Encounter")
            if found not in (None, visit_id):
                raise Skip("it is about several encounters")
            found = visit_id
    if found is None:
        raise Skip("it names no encounter")
    return visited(resource, "item.encounter", patient, found, work)


async def write(work: Work, drafts: Sequence[Draft]) -> None:
    """Store new claims; one that is there stays as it is. Raises Faults where it would have to change."""
    if not drafts:
        return
    known = await stored(work.session, ClaimRow, work.agent.tenant_id, (d.id for d in drafts))
    faults, fresh = [], []
    taken: set[tuple[object, int]] = set()
    for made in drafts:
        bill: Bill = made.values[BILL]
        row = known.get(made.id)
        order = (bill.place["encounter_id"], bill.priority)
        several = bill.kind != ClaimKind.PHARMACY
        if row is None and several and order in taken:
            work.skip(made.entry, "the encounter has another claim of this payer order")
            continue
        if several:
            taken.add(order)
        if row is None:
            fresh.append((made, bill))
        elif _same(row, bill):
            work.count("unchanged", made.entry)
        else:
            faults.append(Fault(OTHERWISE, path="Claim", entry=made.entry.index))
        work.totals.append(
            Total("charged", made.id, bill.total_minor, Decimal(bill.total_minor), row is None)
        )
    if faults:
        raise Faults(*faults)
    await insert_bills(work, fresh)


def _same(row: ClaimRow, bill: Bill) -> bool:
    kept = all(getattr(row, name) == bill.place[name] for name in FIXED)
    return kept and (row.total_minor, row.kind) == (bill.total_minor, bill.kind)


KIND = Kind(
    "Claim",
    draft,
    write,
    after=frozenset({"Condition", "Coverage", "Encounter", "Patient"}),
    resources=frozenset({"charge", "claim", "coverage", "daily_close", "invoice"}),
)
