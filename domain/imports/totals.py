"""Compares the money of a bundle's documents with what the database holds of them, and keeps both for the report."""

import uuid
from collections import defaultdict
from typing import Any

from sqlalchemy import func, select

from domain.billing import (
    ChargeItem,
    ClaimItem,
    Invoice,
    InvoiceLine,
    Posting,
    PostingKind,
)
from domain.imports.faults import Fault, Faults
from domain.imports.work import Work

CHARGED, INVOICED, PAID = "charged", "invoiced", "paid"


async def compare(work: Work) -> None:
    """Count what the source says and what is stored. Raises Faults where rows made now differ from their source."""
    if not work.totals:
        return
    left_out = {work.local[index] for index in work.skipped if index in work.local}
    totals = [total for total in work.totals if total.row_id not in left_out]
    held = await _held(work, {total.row_id for total in totals})
    for total in totals:
        stored = [held[total.what][total.row_id]]
        if total.what == CHARGED:
            stored.append(held[INVOICED][total.row_id])
        if total.fresh and set(stored) != {total.minor}:
            raise Faults(Fault("What is stored is not what the source says.", path=total.what))
        work.tally.earn((total.what, "source"), total.minor)
        work.tally.earn((total.what, "exact"), total.exact)
        work.tally.earn((total.what, "stored"), stored[0])


async def _held(work: Work, ids: set[uuid.UUID]) -> dict[str, dict[uuid.UUID, int]]:
    """What charges, invoices and payments of each claim come to, in minor units."""
    tenant_id = work.agent.tenant_id
    charges = (
        select(ClaimItem.claim_id, func.sum(ChargeItem.amount_minor))
        .join(
            ChargeItem,
            (ChargeItem.tenant_id == ClaimItem.tenant_id)
            & (ChargeItem.id == ClaimItem.charge_item_id),
        )
        .where(ClaimItem.tenant_id == tenant_id, ClaimItem.claim_id.in_(ids))
        .group_by(ClaimItem.claim_id)
    )
    of_claim = (
        select(ClaimItem.claim_id, InvoiceLine.invoice_id)
        .join(
            InvoiceLine,
            (InvoiceLine.tenant_id == ClaimItem.tenant_id)
            & (InvoiceLine.charge_item_id == ClaimItem.charge_item_id),
        )
        .where(ClaimItem.tenant_id == tenant_id, ClaimItem.claim_id.in_(ids))
        .distinct()
        .subquery()
    )
    invoices = (
        select(of_claim.c.claim_id, func.sum(Invoice.total_minor))
        .join(Invoice, (Invoice.tenant_id == tenant_id) & (Invoice.id == of_claim.c.invoice_id))
        .group_by(of_claim.c.claim_id)
    )
    payments = (
        select(Posting.claim_id, func.sum(Posting.amount_minor))
        .where(
            Posting.tenant_id == tenant_id,
            Posting.claim_id.in_(ids),
            Posting.kind == PostingKind.PAYMENT.value,
        )
        .group_by(Posting.claim_id)
    )
    found: dict[str, dict[uuid.UUID, int]] = {}
    for what, query in ((CHARGED, charges), (INVOICED, invoices), (PAID, payments)):
        sums: Any = await work.session.execute(query)
        found[what] = defaultdict(int, {claim_id: int(total) for claim_id, total in sums})
    return found
