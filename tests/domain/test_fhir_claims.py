"""Claims leave as FHIR and answers come back once."""

import json
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.billing import Balance, Claim, file_claim, queue_claim
from domain.billing.fhir import claim_json, take_response
from domain.errors import DomainError, Invalid, NotFound
from domain.model import new_id
from tests.database import Database
from tests.domain.acting import Stage, acting
from tests.domain.test_billing import owes
from tests.domain.test_claims import Case, at, case, made

pytestmark = pytest.mark.anyio
__all__ = ["at", "case"]


def amount(value: float, currency: str = "USD") -> dict[str, Any]:
    return {"value": value, "currency": currency}


def part(category: str, value: float, **more: Any) -> dict[str, Any]:
    return {"category": {"coding": [{"code": category}]}, "amount": amount(value), **more}


def response(claim: Claim, **values: Any) -> dict[str, Any]:
    return {
        "resourceType": "ClaimResponse",
        "identifier": [{"system": "urn:payer", "value": f"R-{claim.id}"}],
        "request": {"reference": f"Claim/{claim.id}"},
        "outcome": "complete",
        "item": [
            {
                "itemSequence": 1,
                "adjudication": [
                    part("submitted", 120),
                    part("copay", 20.10),
                    part("benefit", 79.9),
                ],
            },
            {"itemSequence": 2, "adjudication": [part("benefit", 120)]},
        ],
    } | values


async def taken(engine: AsyncEngine, at: Stage, answer: Any) -> tuple[Claim, bool]:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    async with acting(engine, at.tenant_id) as session:
        return await take_response(session, at.agent, at.tree.tenant, raw)


async def test_a_claim_as_fhir(at: Stage, app_engine: AsyncEngine, case: Case) -> None:
    claim = await made(app_engine, at, case, queue_claim, file_claim)
    async with acting(app_engine, at.tenant_id) as session:
        raw = await claim_json(session, at.agent, at.tree.tenant, claim)
    assert b'"value": 240.00' in raw
    told = json.loads(raw)
    assert (told["resourceType"], told["status"], told["use"]) == ("Claim", "active", "claim")
    assert told["total"] == {"value": 240.0, "currency": "USD"}
    assert [item["diagnosisSequence"] for item in told["item"]] == [[1], [1]]
    assert told["diagnosis"][0]["diagnosisCodeableConcept"]["coding"][0]["code"] == "E11.9"
    assert "display" not in raw.decode()
    assert told["insurer"]["reference"] == f"Organization/{case.payer.id}"


async def test_an_answer_is_taken_once(at: Stage, app_engine: AsyncEngine, case: Case) -> None:
    claim = await made(app_engine, at, case, queue_claim, file_claim)
    found, new = await taken(app_engine, at, response(claim))
    assert (new, found.queue) == (True, "adjudicated")
    assert (found.paid_minor, found.adjusted_minor, found.patient_minor) == (19_990, 2_000, 2_010)
    before = await owes(app_engine, at)
    assert before[at.clinic.id] == Balance(24_000, 19_990, 2_000)
    found, new = await taken(app_engine, at, response(claim))
    assert (new, found.queue) == (False, "adjudicated")
    assert await owes(app_engine, at) == before


async def test_an_error_rejects_the_claim(at: Stage, app_engine: AsyncEngine, case: Case) -> None:
    claim = await made(app_engine, at, case, queue_claim, file_claim)
    found, _ = await taken(app_engine, at, response(claim, outcome="error", disposition="A7"))
    assert found.queue == "rejected"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"resourceType": "Claim"}, Invalid),
        ({"identifier": []}, Invalid),
        ({"request": {"reference": "Claim/x"}}, Invalid),
        ({"request": {"reference": f"Claim/{new_id()}"}}, NotFound),
        ({"outcome": "queued"}, Invalid),
        ({"item": []}, Invalid),
        ({"item": [{"itemSequence": n, "adjudication": [{"category": {"coding": [{"code": "benefit"}]}}]} for n in (1, 2)]}, Invalid),
        ({"item": [{"itemSequence": n, "adjudication": [part("benefit", 1) | {"amount": amount(1, "EUR")}]} for n in (1, 2)]}, Invalid),
        ({"item": [{"itemSequence": n, "adjudication": [part("benefit", -1)]} for n in (1, 2)]}, Invalid),
        ({"item": [{"itemSequence": n, "adjudication": [part("benefit", 1.005)]} for n in (1, 2)]}, Invalid),
    ],
)  # fmt: skip
async def test_what_is_no_answer_changes_nothing(
    at: Stage,
    app_engine: AsyncEngine,
    database: Database,
    case: Case,
    change: dict[str, Any],
    error: type[DomainError],
) -> None:
    claim = await made(app_engine, at, case, queue_claim, file_claim)
    with pytest.raises(error):
        await taken(app_engine, at, response(claim, **change))
    for raw in (b"{", b"[]", b"null"):
        with pytest.raises(Invalid):
            await taken(app_engine, at, raw)
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(24_000)
