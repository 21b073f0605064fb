"""Claims as FHIR R4 Claim, and payers' answers from ClaimResponse (https://hl7.org/fhir/R4/claimresponse.html).

Amounts are decimal numbers with the currency's digits, never floats. A description of a code is never sent: payers
know their codes, and CPT's are licensed.
"""

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.billing.adjudication import ItemAnswer, adjudicate, items_of
from domain.billing.claim_record import Claim, ClaimItem
from domain.billing.claims import reject_claim
from domain.billing.coverage_record import Coverage
from domain.billing.money import amount_of
from domain.billing.posting_record import AdjustmentGroup
from domain.billing.record import ChargeItem
from domain.billing.remittances import (
    claim_named,
    code,
    identity,
    minor,
    parsed,
    parts,
    take,
    taken,
)
from domain.conditions import Condition
from domain.errors import Invalid, NotFound
from domain.organization import Tenant

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
SYSTEMS = {
    "CPT": "http://www.ama-assn.org/go/cpt",
    "HCPCS": "http://terminology.hl7.org/CodeSystem/HCPCS-all-codes",
    "INTERNAL": "urn:caretree:charge-codes",
}
"""The URI of a charge's code system; an imported charge has one already."""
PATIENT_PARTS = {"deductible": "1", "coinsurance": "2", "copay": "3"}
"""Adjudication category -> claim adjustment reason code of what the patient bears."""
REST = "45"
"""Reason code of what the answer explains no further: the charge exceeds the fee schedule."""


def number(value: Decimal) -> orjson.Fragment:
    """A decimal number as JSON, exact."""
    return orjson.Fragment(f"{value:f}")


def coded(system: str, code: str) -> dict[str, Any]:
    """A CodeableConcept of one code."""
    return {"coding": [{"system": system, "code": code}]}


async def claim_json(session: AsyncSession, agent: Agent, tenant: Tenant, claim: Claim) -> bytes:
    """The claim as a FHIR R4 Claim, with its diagnoses, as far as the session shows them."""
    items = await items_of(session, agent, claim)
    charges = {row.id: row for row in await _of(session, agent, ChargeItem, _charges(items))}
    order = list(dict.fromkeys(d for i in items for d in charges[i.charge_item_id].diagnosis_ids))
    conditions = {row.id: row for row in await _of(session, agent, Condition, order)}
    known = [id_ for id_ in order if id_ in conditions]
    cover = await _of(session, agent, Coverage, [claim.coverage_id] if claim.coverage_id else [])

    def money(minor: int) -> dict[str, Any]:
        return {"value": number(amount_of(minor, tenant)), "currency": tenant.currency}

    def item(row: ClaimItem) -> dict[str, Any]:
        charge = charges[row.charge_item_id]
        pointers = [known.index(id_) + 1 for id_ in charge.diagnosis_ids if id_ in conditions]
        system = SYSTEMS.get(charge.code_system, charge.code_system)
        made = {
            "sequence": row.sequence,
            "diagnosisSequence": pointers,
            "productOrService": coded(system, charge.code),
            "modifier": [{"coding": [{"code": code}]} for code in charge.modifiers],
            "servicedDate": charge.occurred_at.date().isoformat(),
            "quantity": {"value": number(Decimal(row.units))},
            "unitPrice": money(charge.unit_price_minor),
            "net": money(row.total_minor),
            "encounter": [{"reference": f"Encounter/{claim.encounter_id}"}],
        }
        return {name: value for name, value in made.items() if value != []}

    told: dict[str, Any] = {
        "resourceType": "Claim",
        "id": str(claim.id),
        "status": claim.state,
        "type": coded(f"{TERMINOLOGY}/claim-type", claim.kind),
        "use": "claim",
        "patient": {"reference": f"Patient/{claim.patient_id}"},
        "created": claim.recorded_at.isoformat(),
        "provider": {"reference": f"Organization/{claim.clinic_id}"},
        "priority": coded(f"{TERMINOLOGY}/processpriority", "normal"),
        "insurance": [
            {
                "sequence": claim.priority,
                "focal": True,
                "coverage": {"reference": f"Coverage/{claim.coverage_id}"},
            }
        ],
        "item": [item(row) for row in items],
        "total": money(claim.total_minor),
    }
    if cover:
        told["insurer"] = {"reference": f"Organization/{cover[0].payer_id}"}
    if known:
        told["diagnosis"] = [
            {
                "sequence": i,
                "diagnosisCodeableConcept": coded(conditions[k].code_system, conditions[k].code),
            }
            for i, k in enumerate(known, 1)
        ]
    return orjson.dumps(told, option=orjson.OPT_INDENT_2)


def _charges(items: Sequence[ClaimItem]) -> list[uuid.UUID]:
    return [item.charge_item_id for item in items]


async def _of(
    session: AsyncSession, agent: Agent, model: Any, ids: Sequence[uuid.UUID]
) -> Sequence[Any]:
    found = await session.scalars(
        select(model).where(model.tenant_id == agent.tenant_id, model.id.in_(ids))
    )
    return found.all()


async def take_response(
    session: AsyncSession, agent: Agent, tenant: Tenant, raw: bytes
) -> tuple[Claim, bool]:
    """Take a payer's ClaimResponse; answers the claim and whether anything was changed. The same again changes nothing.

    Outcome `complete` is posted, `error` rejects the claim. Raises Invalid, NotFound, IllegalMove.
    """
    answer = parsed(raw, "ClaimResponse")
    source, value = identity(answer)
    claim_id = claim_named(answer)
    earlier = await taken(session, agent, "ClaimResponse", source, value)
    claim = await session.get(Claim, {"tenant_id": agent.tenant_id, "id": earlier or claim_id})
    if claim is None or claim.id != claim_id:
        raise NotFound("The claim of the answer is not there.", path=("request",))
    if earlier is not None:
        return claim, False
    outcome = answer.get("outcome")
    if outcome == "error":
        why = str(answer.get("disposition") or "rejected by the payer")
        claim = await reject_claim(session, agent, claim, claim.version, why[:200])
    elif outcome == "complete":
        items = await items_of(session, agent, claim)
        answers = [_answer(item, answer, tenant) for item in items]
        told = value[:80]
        claim = await adjudicate(session, agent, claim, claim.version, answers, reference=told)
    else:
        raise Invalid("The outcome is complete or error.", path=("outcome",))
    await take(session, agent, "ClaimResponse", source, value, claim.id)
    return claim, True


def _answer(item: ClaimItem, answer: Mapping[str, Any], tenant: Tenant) -> ItemAnswer:
    """Paid is the benefit; what the patient bears by category; the rest is adjusted. Raises Invalid."""
    mine = [p for p in parts(answer, "item") if p.get("itemSequence") == item.sequence]
    if len(mine) != 1:
        raise Invalid("Each item of the claim has one answer.", path=("item",))
    paid, reason = 0, REST
    out: list[tuple[AdjustmentGroup, str, int]] = []
    for part in parts(mine[0], "adjudication"):
        category = code(part, "category")
        if category == "benefit":
            paid += minor(part, "amount", tenant, "item")
            reason = code(part, "reason") or reason
        elif category in PATIENT_PARTS and minor(part, "amount", tenant, "item"):
            out.append(
                (
                    AdjustmentGroup.PATIENT,
                    PATIENT_PARTS[category],
                    minor(part, "amount", tenant, "item"),
                )
            )
    rest = item.total_minor - paid - sum(amount for *_, amount in out)
    if rest:
        out.append((AdjustmentGroup.CONTRACTUAL, reason, rest))
    return ItemAnswer(item.sequence, paid, out)
