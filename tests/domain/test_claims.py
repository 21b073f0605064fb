"""Claims go their legal ways only, and what a payer answers adds up and is posted once."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.billing import (
    AdjustmentGroup,
    Balance,
    ChargeItem,
    Claim,
    ClaimExists,
    ClaimQueue,
    ClaimStep,
    Coverage,
    CoverageOverlaps,
    CoverageTerms,
    DayClosed,
    FinancialState,
    InvoiceLine,
    ItemAnswer,
    Payer,
    PayerTaken,
    Posting,
    Share,
    add_payer,
    adjudicate,
    cancel_claim,
    change_coverage,
    close_day,
    create_claim,
    file_claim,
    queue_claim,
    recode_claim,
    record_coverage,
    record_payment,
    reject_claim,
    settle,
    void_charge,
)
from domain.billing.claim_record import CANCELLABLE, MOVES
from domain.encounters import Encounter
from domain.errors import IllegalMove, Invalid, StaleVersion
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, audited, stage
from tests.domain.test_billing import owes

pytestmark = pytest.mark.anyio
CO, PR = AdjustmentGroup.CONTRACTUAL, AdjustmentGroup.PATIENT


@pytest.fixture
def at(database: Database) -> Stage:
    made = stage(database)
    made.tree.tenant.currency, made.tree.tenant.currency_digits = "USD", 2
    return made


class Case:
    """An encounter with two charges of 120.00, coded and invoiced, and a coverage."""

    def __init__(self, at: Stage, database: Database) -> None:
        self.visit: Encounter = make.encounter(at.patient, at.clinic)
        self.payer: Payer = make.payer(at.tree.tenant)
        self.coverage: Coverage = make.coverage(at.patient, at.clinic, self.payer)
        finding = make.condition(self.visit)
        self.charges: list[ChargeItem] = [
            make.charge(
                at.patient,
                at.clinic,
                encounter_id=self.visit.id,
                diagnosis_ids=[finding.id],
                state="billed",
            )
            for _ in range(2)
        ]
        bill = make.invoice(at.patient, at.clinic, number=1, total_minor=24_000)
        self.lines: list[InvoiceLine] = [
            make.invoice_line(bill, charge_item_id=charge.id) for charge in self.charges
        ]
        rows = [self.visit, self.payer, self.coverage, finding, *self.charges, bill, *self.lines]
        make.save(database, *rows)


@pytest.fixture
def case(at: Stage, database: Database) -> Case:
    return Case(at, database)


async def made(engine: AsyncEngine, at: Stage, case: Case, *moves: Any) -> Claim:
    """A claim of the case, moved on."""
    async with acting(engine, at.tenant_id) as session:
        claim = await create_claim(session, at.agent, case.visit, case.coverage)
        for move in moves:
            claim = await move(session, at.agent, claim, claim.version)
    return claim


async def test_a_claim_asks_for_all_charges_of_the_encounter(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    claim = await made(app_engine, at, case)
    assert (claim.queue, claim.state, claim.total_minor, claim.priority) == (
        *("needs-coding", "draft"),
        24_000,
        1,
    )
    with pytest.raises(ClaimExists):
        await made(app_engine, at, case)
    async with acting(app_engine, at.tenant_id) as session:
        cancelled = await cancel_claim(session, at.agent, claim, 1)
        assert (cancelled.state, cancelled.version) == ("cancelled", 2)
        with pytest.raises(IllegalMove):
            await cancel_claim(session, at.agent, cancelled, 2)
        with pytest.raises(IllegalMove):
            await queue_claim(session, at.agent, cancelled, 2)
    await made(app_engine, at, case)


async def test_who_covers_the_patient_that_day_is_asked(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    day = make.NOW.date()
    other, *sites = make.patient_at(at.tree.tenant, at.clinic)
    wrong = [
        make.coverage(at.patient, at.clinic, case.payer, priority=2, starts_on=day + DAY),
        make.coverage(at.patient, at.clinic, case.payer, priority=3, ends_on=day - DAY),
        make.coverage(at.patient, at.clinic, case.payer, state="cancelled"),
        make.coverage(other, at.clinic, case.payer),  # type: ignore[arg-type] # the first is the patient
    ]
    make.save(database, other, *sites, *wrong)
    for coverage in wrong:
        case.coverage = coverage
        with pytest.raises(Invalid) as refused:
            await made(app_engine, at, case)
        assert refused.value.code == "NOT_COVERED"


DAY = dt.timedelta(days=1)


async def test_what_cannot_be_claimed(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    for state, code in (("planned", "NOT_CHARGEABLE"), ("finished", "NO_CHARGES")):
        case.visit = make.encounter(at.patient, at.clinic, state=state)
        make.save(database, case.visit)
        with pytest.raises(Invalid) as refused:
            await made(app_engine, at, case)
        assert refused.value.code == code


async def test_a_claim_is_coded_before_it_is_filed(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    uncoded = make.charge(at.patient, at.clinic, encounter_id=case.visit.id)
    make.save(database, uncoded)
    with pytest.raises(Invalid) as refused:
        await made(app_engine, at, case, queue_claim)
    assert refused.value.code == "NOT_CODED"
    await made(app_engine, at, case)
    with pytest.raises(Invalid):  # it is claimed now
        async with acting(app_engine, at.tenant_id) as session:
            await void_charge(session, at.agent, uncoded, 1)


async def rejected(session: Any, agent: Any, claim: Claim, version: int) -> Claim:
    return await reject_claim(session, agent, claim, version, "A7: no such member")


async def recoded(session: Any, agent: Any, claim: Claim, version: int) -> Claim:
    return await recode_claim(session, agent, claim, version, "modifier missing")


async def test_a_claim_comes_back_and_goes_again(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    ways = (queue_claim, file_claim, rejected, recoded, queue_claim, recoded, queue_claim)
    claim = await made(app_engine, at, case, *ways, file_claim, rejected, queue_claim)
    assert (claim.queue, claim.state, claim.step, claim.version) == ("queued", "active", 10, 11)
    async with acting(app_engine, at.tenant_id) as session:
        steps = (await session.scalars(select(ClaimStep).order_by(ClaimStep.step))).all()
        assert [s.from_queue for s in steps[1:]] == [s.queue for s in steps[:-1]]
        assert steps[3].reason == "A7: no such member"
        with pytest.raises(StaleVersion):
            await file_claim(session, at.agent, claim, 10)
        assert len(await audited(session, at.agent)) == 11


async def placed(database: Database, at: Stage, case: Case, queue: ClaimQueue) -> Claim:
    """A claim that lies in a queue; saved."""
    claim = make.claim(case.visit, case.coverage, queue=queue.value, kind="pharmacy")
    items = [make.claim_item(claim, charge, sequence=i) for i, charge in enumerate(case.charges, 1)]
    make.save(database, claim, make.claim_step(claim), *items)
    return claim


@pytest.mark.parametrize("present", list(ClaimQueue))
async def test_no_other_ways_by_command_nor_by_the_database(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case, present: ClaimQueue
) -> None:
    commands: dict[ClaimQueue, Any] = {
        ClaimQueue.NEEDS_CODING: recoded,
        ClaimQueue.QUEUED: queue_claim,
        ClaimQueue.FILED: file_claim,
        ClaimQueue.REJECTED: rejected,
        ClaimQueue.ADJUDICATED: answered,
    }
    for wanted in set(ClaimQueue) - MOVES[present]:
        claim = await placed(database, at, case, present)
        if wanted in commands:
            with pytest.raises(IllegalMove):
                async with acting(app_engine, at.tenant_id) as session:
                    await commands[wanted](session, at.agent, claim, 1)
        step = make.claim_step(claim, step=1, from_queue=present.value, queue=wanted.value)
        with pytest.raises(DBAPIError, match="ck_claim_step_move"):
            make.save(database, step)
    if present not in CANCELLABLE:
        claim = await placed(database, at, case, present)
        with pytest.raises(IllegalMove):
            async with acting(app_engine, at.tenant_id) as session:
                await cancel_claim(session, at.agent, claim, 1)


async def test_the_database_holds_a_claim_at_its_steps(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    claim = await placed(database, at, case, ClaimQueue.FILED)
    here = (Claim.tenant_id == at.tenant_id, Claim.id == claim.id)
    jumps: list[tuple[dict[str, Any], str]] = [
        ({"queue": "queued"}, "fk_claim_step"),
        ({"step": 1}, "fk_claim_step"),
        ({"state": "draft"}, "ck_claim_state_of_queue"),
        ({"paid_minor": 1}, "ck_claim_answer"),
        ({"paid_minor": 1, "adjusted_minor": 0, "patient_minor": 1}, "ck_claim_answer"),
    ]
    for values, rule in jumps:
        with pytest.raises(DBAPIError, match=rule):
            async with acting(app_engine, at.tenant_id) as session:
                await session.execute(update(Claim).where(*here).values(**values))
    # A step must continue the one before.
    broken = make.claim_step(claim, step=1, from_queue="queued", queue="filed")
    with pytest.raises(DBAPIError, match="fk_claim_step_before"):
        make.save(database, broken)
    for column in ("total_minor", "priority", "kind"):
        same = {column: getattr(Claim, column)}
        with pytest.raises(DBAPIError, match="permission denied"):
            async with acting(app_engine, at.tenant_id) as session:
                await session.execute(update(Claim).where(*here).values(same))


ANSWERS = [
    ItemAnswer(1, 8_000, [(CO, "45", 2_000), (PR, "2", 2_000)]),
    ItemAnswer(2, 10_000, [(CO, "45", 1_500), (CO, "97", 500)]),
]


async def answered(session: Any, agent: Any, claim: Claim, version: int) -> Claim:
    return await adjudicate(session, agent, claim, version, ANSWERS, reference="ICN-1")


async def test_an_answer_is_posted_and_applied_to_the_lines(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    claim = await made(app_engine, at, case, queue_claim, file_claim, answered)
    assert (claim.paid_minor, claim.adjusted_minor, claim.patient_minor) == (18_000, 4_000, 2_000)
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(24_000, 18_000, 4_000)
    async with acting(app_engine, at.tenant_id) as session:
        posted = (await session.scalars(select(Posting).order_by(Posting.amount_minor))).all()
        assert [(p.kind, p.reason_code, p.amount_minor) for p in posted] == [
            ("adjustment", "97", 500),
            ("adjustment", "45", 3_500),
            ("payment", None, 18_000),
        ]
        assert {p.claim_id for p in posted} == {claim.id}
    async with acting(app_engine, at.tenant_id) as session:
        claim = await settle(session, at.agent, claim, claim.version)
        assert claim.queue == "patient-balance"
        with pytest.raises(IllegalMove):
            await settle(session, at.agent, claim, claim.version)
    async with acting(app_engine, at.tenant_id) as session:
        share = Share(case.lines[0].id, 2_000)
        paid = (at.clinic, at.patient.id, Decimal(20), "USD")
        await record_payment(session, at.agent, *paid, shares=[share])
        claim = await settle(session, at.agent, claim, claim.version)
        assert claim.queue == "zero-balance"
    assert (await owes(app_engine, at))[at.clinic.id].open == 0


async def test_a_payers_money_is_kept_where_no_line_takes_it_up(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    """The patient paid before: what the payer pays is credit then."""
    async with acting(app_engine, at.tenant_id) as session:
        share = Share(case.lines[0].id, 12_000)
        paid = (at.clinic, at.patient.id, Decimal(120), "USD")
        await record_payment(session, at.agent, *paid, shares=[share])
    await made(app_engine, at, case, queue_claim, file_claim, answered)
    assert (await owes(app_engine, at))[at.clinic.id].open == 24_000 - 12_000 - 18_000 - 4_000


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"paid_minor": 8_001}, "NOT_BALANCED"),
        ({"paid_minor": -1, "adjustments": [(CO, "45", 12_001)]}, "INVALID"),
        ({"adjustments": [(CO, " ", 4_000)]}, "INVALID"),
        ({"sequence": 3}, "INVALID"),
        ({"sequence": 2}, "INVALID"),
        ({"paid_minor": 13_000, "adjustments": [(PR, "1", -1_000)]}, "INVALID"),
    ],
)
async def test_an_answer_explains_the_whole_amount(
    at: Stage, app_engine: AsyncEngine, case: Case, change: dict[str, Any], code: str
) -> None:
    claim = await made(app_engine, at, case, queue_claim, file_claim)
    answers = [replace(ANSWERS[0], **change), ANSWERS[1]]
    with pytest.raises(Invalid) as refused:
        async with acting(app_engine, at.tenant_id) as session:
            await adjudicate(session, at.agent, claim, claim.version, answers)
    assert refused.value.code == code
    assert (await owes(app_engine, at))[at.clinic.id] == Balance(24_000)


async def test_coverages_of_one_order_do_not_overlap(
    at: Stage, app_engine: AsyncEngine, case: Case
) -> None:
    terms = CoverageTerms(case.payer, 1, "W1", dt.date(2026, 1, 1))
    args = (at.clinic, at.patient.id)
    with pytest.raises(CoverageOverlaps):
        async with acting(app_engine, at.tenant_id) as session:
            await record_coverage(session, at.agent, *args, terms)
    async with acting(app_engine, at.tenant_id) as session:
        until = CoverageTerms(case.payer, 1, "W1", dt.date(2020, 1, 1), dt.date(2025, 12, 31))
        ended = await change_coverage(session, at.agent, case.coverage, 1, until)
        made_ = await record_coverage(session, at.agent, *args, terms)
        assert (ended.version, made_.state) == (2, "active")
        with pytest.raises(StaleVersion):
            await change_coverage(session, at.agent, case.coverage, 1, until)
    ever = replace(until, ends_on=None)
    with pytest.raises(CoverageOverlaps):
        async with acting(app_engine, at.tenant_id) as session:
            await change_coverage(session, at.agent, ended, 2, ever)
    async with acting(app_engine, at.tenant_id) as session:
        error = FinancialState.ENTERED_IN_ERROR
        gone = await change_coverage(session, at.agent, ended, 2, until, error)
        with pytest.raises(Invalid):
            await change_coverage(session, at.agent, gone, 3, until)
    for wrong in (
        replace(terms, priority=0),
        replace(terms, priority=10),
        replace(terms, member_id=" "),
        replace(terms, ends_on=dt.date(2025, 1, 1)),
    ):
        with pytest.raises(Invalid):
            async with acting(app_engine, at.tenant_id) as session:
                await record_coverage(session, at.agent, *args, wrong)


async def test_a_payer_is_listed_once(at: Stage, app_engine: AsyncEngine) -> None:
    known: dict[str, Any] = {"identifier_system": "urn:payer", "identifier": "60054"}
    async with acting(app_engine, at.tenant_id) as session:
        assert (await add_payer(session, at.agent, "Aetna", **known)).name_key == "aetna"
    with pytest.raises(PayerTaken):
        async with acting(app_engine, at.tenant_id) as session:
            await add_payer(session, at.agent, "Aetna again", **known)
    with pytest.raises(Invalid):
        async with acting(app_engine, at.tenant_id) as session:
            await add_payer(session, at.agent, "Half", identifier="1")


async def test_a_day_is_closed_once_and_after_its_end_in_the_clinics_zone(
    at: Stage, app_engine: AsyncEngine, database: Database, case: Case
) -> None:
    day = make.NOW.date()  # 09:00 UTC is 03:00 in Chicago
    first, late = make.NOW.replace(hour=6), make.NOW + dt.timedelta(hours=20, minutes=59)
    early = make.NOW.replace(hour=5, minute=59)
    make.save(
        database,
        *(make.posting(at.patient, at.clinic, posted_at=t) for t in (early, first, late)),
        make.posting(at.patient, at.clinic, posted_at=make.NOW + dt.timedelta(hours=21)),
    )
    with pytest.raises(Invalid) as refused:
        async with acting(app_engine, at.tenant_id) as session:
            await close_day(session, at.at(hours=20), at.clinic, day)
    assert refused.value.code == "DAY_NOT_OVER"
    async with acting(app_engine, at.tenant_id) as session:
        close = await close_day(session, at.at(hours=21), at.clinic, day)
        assert (close.charged_minor, close.paid_minor) == (24_000, 10_000)
    for unit, error in ((at.clinic, DayClosed), (at.ward, Invalid)):
        with pytest.raises(error):
            async with acting(app_engine, at.tenant_id) as session:
                await close_day(session, at.at(hours=21), unit, day)
