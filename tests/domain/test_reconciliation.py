"""A payer's payment over several claims: whole or not at all, once, and nothing that an answer has posted already."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.billing import (
    Balance,
    Claim,
    ClaimReceipt,
    Posting,
    cancel_claim,
    file_claim,
    queue_claim,
    reverse,
)
from domain.billing.adjudication import paid_for
from domain.billing.reconciliation import Remittance, take_payment
from domain.errors import DomainError, Invalid, Several
from domain.model import new_id
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting
from tests.domain.test_billing import owes
from tests.domain.test_books import proven
from tests.domain.test_claims import Case, at, case, made
from tests.domain.test_fhir_claims import amount, response
from tests.domain.test_fhir_claims import taken as answered
from tests.domain.test_ledger import somebody_else

pytestmark = pytest.mark.anyio
__all__ = ["at", "case"]


def detail(claim: Claim | None, value: float, **more: Any) -> dict[str, Any]:
    of = claim.id if claim else new_id()
    return {"request": {"reference": f"Claim/{of}"}, "amount": amount(value), **more}


def payment(*details: dict[str, Any], **values: Any) -> dict[str, Any]:
    total = sum(round(d["amount"]["value"] * 100) for d in details) / 100
    return {
        "resourceType": "PaymentReconciliation",
        "status": "active",
        "outcome": "complete",
        "identifier": [{"system": "urn:payer", "value": f"P-{new_id()}"}],
        "paymentDate": "2026-03-01",
        "paymentAmount": amount(total),
        "paymentIdentifier": {"value": "EFT 1"},
        "detail": list(details),
    } | values


async def sent(engine: AsyncEngine, at: Stage, what: Any) -> tuple[Remittance, bool]:
    async with acting(engine, at.tenant_id) as session:
        raw = json.dumps(what).encode()
        nobody = replace(at.agent, person_id=None)  # as the command line takes it
        return await take_payment(session, nobody, at.tree.tenant, raw)


async def posted(engine: AsyncEngine, at: Stage) -> list[tuple[str, int]]:
    """The payer's entries in their order."""
    async with acting(engine, at.tenant_id) as session:
        found = await session.scalars(select(Posting).order_by(Posting.id))
        return [(row.kind, row.amount_minor) for row in found]


async def adds_up(engine: AsyncEngine, at: Stage, claim: Claim, paid: int) -> None:
    """Nothing differs, and so much of the payer's money is posted for the claim."""
    assert (await proven(engine, at)).difference is None
    async with acting(engine, at.tenant_id) as session:
        assert await paid_for(session, at.agent, claim) == paid


async def filed(engine: AsyncEngine, at: Stage, case: Case) -> Claim:
    return await made(engine, at, case, queue_claim, file_claim)


def elsewhere(database: Database, at: Stage) -> Claim:
    """A filed claim of 120.00 of another patient at another clinic; saved."""
    who, *sites = make.patient_at(at.tree.tenant, at.elsewhere)
    visit = make.encounter(who, at.elsewhere)  # type: ignore[arg-type] # the first is the patient
    charge = make.charge(who, at.elsewhere, encounter_id=visit.id)  # type: ignore[arg-type] # likewise
    claim = make.claim(visit, None, queue="filed")
    rows = [who, *sites, visit, charge, claim, make.claim_item(claim, charge)]
    make.save(database, *rows, make.claim_step(claim))
    return claim


async def test_it_is_spread_over_claims_of_several_patients_and_clinics_once(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    other = elsewhere(database, at)
    what = payment(detail(claim, 130.5), detail(other, 60), detail(claim, 9.5))
    first, new = await sent(app_engine, at, what)
    assert (new, first.claims, first.amount_minor) == (True, 2, 20_000)
    assert sorted(await posted(app_engine, at)) == [
        *(("payment", 950), ("payment", 6_000), ("payment", 13_050))
    ]
    again, new = await sent(app_engine, at, what)
    assert (again.id, new) == (first.id, False)
    assert len(await posted(app_engine, at)) == 3
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(24_000, 14_000)
    await adds_up(app_engine, at, claim, 14_000)
    await adds_up(app_engine, at, other, 6_000)


async def test_of_the_same_at_one_moment_one_is_taken(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    what = payment(detail(claim, 100))
    ended = await asyncio.gather(*(sent(app_engine, at, what) for _ in range(4)))
    assert sorted(new for _, new in ended) == [False, False, False, True]
    assert await posted(app_engine, at) == [("payment", 10_000)]


async def test_what_an_answer_posted_is_not_posted_again(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    await answered(app_engine, at, response(claim))  # 199.90
    await sent(app_engine, at, payment(detail(claim, 100)))
    await sent(app_engine, at, payment(detail(claim, 99.9)))
    await adds_up(app_engine, at, claim, 19_990)
    await sent(app_engine, at, payment(detail(claim, 5)))  # paid twice in part: that is credit
    await adds_up(app_engine, at, claim, 20_490)


async def test_what_came_before_the_answer_is_not_posted_again(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    await sent(app_engine, at, payment(detail(claim, 150)))
    await answered(app_engine, at, response(claim))
    await adds_up(app_engine, at, claim, 19_990)
    assert ("payment", 4_990) in await posted(app_engine, at)
    assert (await owes(app_engine, at))[at.clinic.id].open == 24_000 - 19_990 - 2_000


async def test_more_came_than_the_answer_says(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    await sent(app_engine, at, payment(detail(claim, 230)))
    await answered(app_engine, at, response(claim))
    await adds_up(app_engine, at, claim, 23_000)


async def test_what_the_payer_takes_back_is_undone_exactly(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    await sent(app_engine, at, payment(detail(claim, 100)))
    await sent(app_engine, at, payment(detail(claim, 50)))
    await sent(app_engine, at, payment(detail(claim, -100)))
    assert (await posted(app_engine, at))[-1] == ("reversal", -10_000)
    await adds_up(app_engine, at, claim, 5_000)
    await sent(app_engine, at, payment(detail(claim, -20), detail(claim, 10)))
    assert (await posted(app_engine, at))[-3:] == [
        *(("reversal", -5_000), ("payment", 3_000), ("payment", 1_000))
    ]
    await adds_up(app_engine, at, claim, 4_000)
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(24_000, 4_000)


async def test_what_only_an_answer_told_is_taken_back_and_paid_again(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    await answered(app_engine, at, response(claim))
    await sent(app_engine, at, payment(detail(claim, -199.9)))
    await adds_up(app_engine, at, claim, 0)
    await sent(app_engine, at, payment(detail(claim, 199.9)))
    await adds_up(app_engine, at, claim, 19_990)


async def test_what_somebody_undid_comes_in_again_with_the_payment(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    await answered(app_engine, at, response(claim))
    async with acting(app_engine, at.tenant_id) as session:
        posting = (await session.scalars(select(Posting).where(Posting.kind == "payment"))).one()
        await reverse(session, somebody_else(at, database), posting)
    await sent(app_engine, at, payment(detail(claim, 199.9)))
    await adds_up(app_engine, at, claim, 19_990)


async def test_a_payment_brings_no_more_than_itself(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    """What somebody undid of an earlier payment stays undone."""
    claim = await filed(app_engine, at, case)
    await sent(app_engine, at, payment(detail(claim, 100)))
    async with acting(app_engine, at.tenant_id) as session:
        posting = (await session.scalars(select(Posting))).one()
        await reverse(session, somebody_else(at, database), posting)
    await sent(app_engine, at, payment(detail(claim, 50)))
    await adds_up(app_engine, at, claim, 5_000)


@pytest.mark.parametrize("wrong", ["P\0", "P" * 201, "P\u200b"])
@pytest.mark.parametrize("part", ["system", "value"])
async def test_a_name_that_cannot_be_kept_is_refused(
    at: Stage, app_engine: AsyncEngine, case: Case, part: str, wrong: str
) -> None:
    claim = await filed(app_engine, at, case)
    named = {"system": "urn:payer", "value": "P-1"} | {part: wrong}
    with pytest.raises(Invalid) as refused:
        await sent(app_engine, at, payment(detail(claim, 1), identifier=[named]))
    assert refused.value.path == ("identifier",)


async def test_every_entry_that_is_wrong_is_named_and_nothing_is_taken(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    other = {"request": {"reference": "Patient/1"}, "amount": amount(1)}
    entries = [
        detail(claim, 10),
        detail(None, 1),
        other,
        detail(claim, 1.005),
        detail(claim, 1) | {"amount": amount(1, "EUR")},
        detail(claim, 1) | {"amount": {}},
    ]
    what = payment(detail(claim, 10)) | {"detail": entries}
    with pytest.raises(Several) as refused:
        await sent(app_engine, at, what)
    assert [(".".join(e.path), e.code) for e in refused.value.errors] == [
        ("detail.1.request", "NOT_FOUND"),
        ("detail.2.request", "INVALID"),
        ("detail.3.amount", "INVALID"),
        ("detail.4.currency", "WRONG_CURRENCY"),
        ("detail.5.amount", "INVALID"),
    ]
    assert await posted(app_engine, at) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"status": "cancelled"}, ("status",)),
        ({"outcome": "queued"}, ("outcome",)),
        ({"paymentDate": "soon"}, ("paymentDate",)),
        ({"paymentAmount": amount(99.99)}, ("paymentAmount",)),
        ({"paymentAmount": amount(10**13)}, ("amount",)),
        ({"paymentIdentifier": {"value": "x" * 81}}, ("paymentIdentifier",)),
        ({"detail": []}, ("detail",)),
        ({"identifier": []}, ("identifier",)),
        ({"resourceType": "ClaimResponse"}, ("resourceType",)),
    ],
)
async def test_what_cannot_be_taken(
    at: Stage, app_engine: AsyncEngine, case: Case, change: dict[str, Any], path: tuple[str, ...]
) -> None:
    claim = await filed(app_engine, at, case)
    with pytest.raises(Invalid) as refused:
        await sent(app_engine, at, payment(detail(claim, 100)) | change)
    assert refused.value.path == path
    assert await posted(app_engine, at) == []


async def test_nothing_of_a_payment_stays_when_a_later_entry_is_refused(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await filed(app_engine, at, case)
    with pytest.raises(DomainError) as refused:
        await sent(app_engine, at, payment(detail(claim, 100), detail(claim, -100.01)))
    assert (refused.value.path, refused.value.code) == (("detail", "1", "amount"), "ABOVE_PAID")
    assert await posted(app_engine, at) == []
    async with acting(app_engine, at.tenant_id) as session:
        assert await session.scalar(select(func.count()).select_from(ClaimReceipt)) == 0


async def test_a_claim_that_was_never_filed_is_not_paid(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    for moves in ((), (queue_claim,), (cancel_claim,)):
        claim = await made(app_engine, at, case, *moves)
        with pytest.raises(Several) as refused:
            await sent(app_engine, at, payment(detail(claim, 100)))
        assert [e.code for e in refused.value.errors] == ["NOT_FILED"]
        if not moves or moves == (queue_claim,):
            async with acting(app_engine, at.tenant_id) as session:
                await cancel_claim(session, at.agent, claim, claim.version)
