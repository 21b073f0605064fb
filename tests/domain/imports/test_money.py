"""Claims and answers become charges, invoices, claims and postings: to the minor unit, once."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, text

from domain.billing import DailyClose
from domain.imports.answers import Answer, Parts, Said, explained
from domain.imports.money import shared_out
from tests.domain.imports import us_core as us
from tests.domain.imports.bundles import Json, bundle, organization, patient, ref
from tests.domain.imports.conftest import Target
from tests.domain.imports.money import answer, billed, claim, coverage, item, said, usd

pytestmark = pytest.mark.anyio
TABLES = (
    "payer",
    "coverage",
    "charge_item",
    "claim",
    "claim_item",
    "claim_step",
    "invoice",
    "invoice_line",
    "posting",
    "allocation",
)
BOOK = (
    claim(item(1, None), item(2, 80.00), item(3, 40.10), total=245.10),
    answer(said(2, 64.004, 70), said(3, 32.08), paid=96.084),
)


def filled(target: Target) -> dict[str, int]:
    query = "select count(*) from {} where tenant_id = :t"
    return {table: target.one(query.format(table))[0] for table in TABLES}


async def test_a_claim_and_its_answer(target: Target) -> None:
    report = await target.take(billed(*BOOK))
    assert (report.failed, dict(report.tally.skipped)) == (0, {}), report.problems
    assert filled(target) == dict(zip(TABLES, (1, 1, 3, 1, 3, 3, 1, 3, 2, 3), strict=True))
    charges = target.rows("select * from charge_item where tenant_id = :t order by amount_minor")
    assert [(c.amount_minor, c.state, c.code) for c in charges] == [
        (4010, "billed", "99213"),
        (8000, "billed", "99213"),
        (12500, "billed", "185349003"),  # what the total has beyond its items is the visit
    ]
    assert (charges[2].code_system, charges[2].charge_master_id) == (us.SNOMED, None)
    asked = target.one("select * from claim where tenant_id = :t")
    assert (asked.queue, asked.state, asked.total_minor) == ("patient-balance", "active", 24510)
    assert (asked.paid_minor, asked.adjusted_minor, asked.patient_minor) == (9608, 1000, 13902)
    assert asked.payer_reference == "icn-answer"
    money = "select kind, amount_minor, group_code, reason_code from posting where tenant_id = :t order by 1"
    assert [tuple(row) for row in target.rows(money)] == [
        ("adjustment", 1000, "CO", "45"),
        ("payment", 9608, None, None),
    ]
    bill = target.one("select number, total_minor, state from invoice where tenant_id = :t")
    assert tuple(bill) == (1, 24510, "issued")
    assert report.money() == {
        "charged": {"source": "245.10", "stored": "245.10", "exact": "245.10", "currency": "USD"},
        "paid": {"source": "96.08", "stored": "96.08", "exact": "96.084", "currency": "USD"},
    }


async def test_again_nothing_changes(target: Target) -> None:
    await target.take(billed(*BOOK))
    before = filled(target)
    again = await target.take(billed(*BOOK))
    assert (again.failed, filled(target)) == (0, before), again.problems
    assert (again.tally.taken.total(), again.tally.changed.total()) == (0, 0)
    assert again.money()["paid"]["stored"] == "96.08"
    more = claim(item(1, 5), called="more", type=us.status("pharmacy"))
    dry = await target.take(billed(*BOOK, more), dry_run=True)
    assert dict(dry.tally.taken) == {"Claim": 1}
    assert filled(target) == before


@pytest.mark.parametrize(
    "changed",
    [
        claim(item(1, None), item(2, 80.00), item(3, 40.10), total=245.11),
        answer(said(2, 64), said(3, 32.08), paid=96.09),
    ],
)
async def test_what_was_billed_is_not_overwritten(target: Target, changed: Json) -> None:
    await target.take(billed(*BOOK))
    kept = [one for one in BOOK if one["fullUrl"] != changed["fullUrl"]]
    both = sorted([changed, *kept], key=lambda one: str(one["resource"]["resourceType"]))
    report = await target.take(billed(*both))
    assert "imported before with other" in report.problems[0].message
    assert target.one("select total_minor, paid_minor from claim where tenant_id = :t") == (
        24510,
        9608,
    )


async def test_an_answer_comes_later(target: Target) -> None:
    await target.take(billed(BOOK[0]))
    assert target.one("select queue, step from claim where tenant_id = :t") == ("filed", 0)
    report = await target.take(bundle(BOOK[1]))
    assert report.failed == 0, report.problems
    assert target.one("select queue, step from claim where tenant_id = :t") == (
        "patient-balance",
        2,
    )
    second = await target.take(bundle(answer(paid=1, called="second")))
    reason = ("ExplanationOfBenefit", "its claim is not waiting for an answer")
    assert dict(second.tally.skipped) == {reason: 1}
    assert filled(target)["posting"] == 2


PAY = """\
with paid as (
    insert into posting (tenant_id, id, clinic_id, unit_id, patient_id, kind, amount_minor, method, posted_at)
    select tenant_id, id, clinic_id, unit_id, patient_id, 'payment', amount_minor, 'card', now()
    from invoice_line where tenant_id = :t)
insert into allocation (tenant_id, id, clinic_id, unit_id, patient_id, posting_id, posting_minor, invoice_line_id,
    line_minor, amount_minor, allocated_at)
select tenant_id, id, clinic_id, unit_id, patient_id, id, amount_minor, id, amount_minor, amount_minor, now()
from invoice_line where tenant_id = :t
"""


async def test_what_the_patient_has_paid_meanwhile_takes_no_more(target: Target) -> None:
    """The payer's money is credit then; no line is paid twice."""
    await target.take(billed(BOOK[0]))
    with target.database.owner_engine.begin() as owner:
        owner.execute(text(PAY), {"t": target.tenant_id})
    report = await target.take(bundle(BOOK[1]))
    assert report.failed == 0, report.problems
    over = """select sum(a.amount_minor) - l.amount_minor from allocation a
        join invoice_line l on l.tenant_id = a.tenant_id and l.id = a.invoice_line_id
        where a.tenant_id = :t group by l.id, l.amount_minor"""
    assert [extra for (extra,) in target.rows(over)] == [0, 0, 0]
    posted = "select sum(amount_minor) from posting where tenant_id = :t"
    assert target.one(posted) == (24_510 + 9_608 + 1_000,)
    assert target.one("select state from invoice where tenant_id = :t") == ("balanced",)


async def test_what_the_payer_has_paid_before_its_answer_is_not_posted_again(
    target: Target,
) -> None:
    """As where both come one by one (`domain/billing/reconciliation.py`)."""
    await target.take(billed(BOOK[0]))
    with target.database.owner_engine.begin() as owner:
        paid = """insert into posting (tenant_id, id, clinic_id, unit_id, patient_id, claim_id, kind, amount_minor,
                method, posted_at)
            select tenant_id, gen_random_uuid(), clinic_id, unit_id, patient_id, id, 'payment', 5000, 'payer', now()
            from claim where tenant_id = :t"""
        owner.execute(text(paid), {"t": target.tenant_id})
    report = await target.take(bundle(BOOK[1]))
    assert report.failed == 0, report.problems
    posted = "select amount_minor from posting where tenant_id = :t and kind = 'payment' order by 1"
    assert [amount for (amount,) in target.rows(posted)] == [4_608, 5_000]
    assert report.money()["paid"]["stored"] == "96.08"


async def test_all_paid_is_a_zero_balance(target: Target) -> None:
    await target.take(billed(claim(item(1, 50)), answer(said(1, 50))))
    assert target.one("select queue from claim where tenant_id = :t")[0] == "zero-balance"


async def test_a_card_is_one_coverage(target: Target) -> None:
    insured = [{"sequence": 1, "focal": True, "coverage": ref("coverage")}]
    report = await target.take(billed(coverage(), claim(item(1, 50), insurance=insured)))
    assert report.failed == 0, report.problems
    card = target.one("select * from coverage where tenant_id = :t")
    assert (card.member_id, card.group_number, card.relationship) == ("M-1", "G-7", "spouse")
    assert (card.starts_on, card.ends_on) == (dt.date(2024, 1, 1), dt.date(2024, 12, 31))
    assert target.one("select coverage_id from claim where tenant_id = :t")[0] == card.id
    ended = coverage(period={"start": "2024-01-01", "end": "2024-06-30"})
    again = await target.take(billed(ended, claim(item(1, 50), insurance=insured)))
    assert dict(again.tally.changed) == {"Coverage": 1}
    assert target.one("select ends_on from coverage where tenant_id = :t")[0] == dt.date(
        2024, 6, 30
    )
    contained = coverage()["resource"] | {"id": "c"}
    own = claim(
        item(1, 9),
        called="second",
        type=us.status("pharmacy"),
        contained=[contained],
        insurance=[{"focal": True, "coverage": {"reference": "#c"}}],
    )
    assert (await target.take(billed(own))).failed == 0
    assert filled(target)["coverage"] == filled(target)["payer"] == 1


async def test_diagnoses_are_those_of_the_charge(target: Target) -> None:
    given: Json = {"diagnosis": [{"sequence": 1, "diagnosisReference": ref("condition")}]}
    asked = claim(item(1, None), item(2, None, diagnosisSequence=[1]), total=10, **given)
    report = await target.take(billed(us.condition(), asked))
    assert report.failed == 0, report.problems
    charge = target.one("select diagnosis_ids, amount_minor from charge_item where tenant_id = :t")
    condition = target.one("select id from condition where tenant_id = :t")[0]
    assert (charge.diagnosis_ids, charge.amount_minor) == ([condition], 1000)


async def test_units_and_price_where_they_make_the_amount(target: Target) -> None:
    counted = {"quantity": {"value": 3}, "unitPrice": usd(2.50)}
    odd = {"quantity": {"value": 3}, "unitPrice": usd(2)}
    await target.take(billed(claim(item(1, 7.50, **counted), item(2, 7.50, **odd))))
    query = "select units, unit_price_minor from charge_item where tenant_id = :t order by 1"
    assert [tuple(row) for row in target.rows(query)] == [(1, 750), (3, 250)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (claim(item(1, 5), status="draft"), "it is not active"),
        (claim(item(1, 5), use="preauthorization"), "it asks for no money yet"),
        (claim(item(1, None)), "it asks for nothing"),
        (claim(item(1, 5, encounter=[])), "it names no encounter"),
        (answer(outcome="queued", paid=1), "the payer has not decided"),
        (answer(claim=None, paid=1), "it answers no claim"),
        (coverage(payor=[]), "it names no payer"),
    ],
)
async def test_what_is_no_bill_is_skipped(target: Target, one: Json, reason: str) -> None:
    report = await target.take(billed(one))
    assert report.failed == 0, report.problems
    assert dict(report.tally.skipped) == {(one["resource"]["resourceType"], reason): 1}
    assert filled(target)["claim"] == filled(target)["posting"] == 0


@pytest.mark.parametrize(
    ("one", "path", "message"),
    [
        (claim(item(1, 5), total=4), "Claim.total", "do not add up"),
        (claim(item(1, 5), total=6), "Claim.total", "do not add up"),
        (claim(item(1, -5)), "Claim.item[0].net.value", "below zero"),
        (claim(item(1, 5.001)), "Claim.item[0].net.value", "2 digits"),
        (claim(item(1, 5, net=usd(5, "EUR"))), "Claim.item[0].net.value", "currency"),
        (claim(item(1, 5), item(1, 6)), "Claim.item[1].sequence", "numbers of their own"),
        (claim(item(1, 5), type=us.status("gift")), "Claim.type", "none of"),
        (claim(item(1, 5), patient=ref("other")), "Claim.item.encounter", "another patient's"),
    ],
)
async def test_a_wrong_bill_fails_its_bundle(
    target: Target, one: Json, path: str, message: str
) -> None:
    report = await target.take(billed(patient("other"), one))
    assert report.problems[0].path == path
    assert message in report.problems[0].message
    assert set(filled(target).values()) == {0}


async def test_two_claims_of_one_payer_order(target: Target) -> None:
    report = await target.take(billed(claim(item(1, 5)), claim(item(1, 6), called="second")))
    assert report.failed == 0, report.problems
    reason = ("Claim", "the encounter has another claim of this payer order")
    assert dict(report.tally.skipped) == {reason: 1}
    assert report.money()["charged"]["source"] == "5.00"


async def test_a_closed_day_takes_nothing_more(target: Target) -> None:
    clinic = target.tree.clinics[0].id
    rule = await target.rule(otherwise=clinic)
    sums = dict.fromkeys(("charged_minor", "paid_minor", "adjusted_minor", "transferred_minor"), 0)
    day = {"clinic_id": clinic, "unit_id": clinic, "day": dt.date(2024, 3, 5)}
    closed: dict[str, Any] = {"tenant_id": target.tenant_id, "closed_at": dt.datetime.now(dt.UTC)}
    with target.database.owner_engine.begin() as owner:
        owner.execute(insert(DailyClose).values(**closed, **day, **sums))
    report = await target.take(billed(*BOOK), rule=rule)
    assert report.failed == 0, report.problems
    assert report.tally.skipped["Claim", "the clinic has closed that day"] == 1
    assert report.tally.skipped["ExplanationOfBenefit", "its Claim was left out"] == 1
    assert filled(target)["posting"] == filled(target)["invoice"] == 0


async def test_numbers_of_invoices_go_on(target: Target) -> None:
    await target.take(billed(claim(item(1, 5))))
    later = [
        claim(item(1, n), called=f"c{n}", type=us.status("pharmacy"), insurance=None)
        for n in (6, 7)
    ]
    await target.take(billed(*later))
    numbers = target.rows("select number from invoice where tenant_id = :t order by 1")
    assert [row.number for row in numbers] == [1, 2, 3]


@pytest.mark.parametrize(
    ("total", "parts", "shares"),
    [
        (10, ["3.3", "3.3", "3.4"], [3, 3, 4]),
        (10, ["3.35", "3.35", "3.3"], [4, 3, 3]),
        (0, [], []),
        (5, ["5"], [5]),
        (6, ["5"], None),
        (4, ["5"], None),
    ],
)
def test_fractions_are_shared_out(total: int, parts: list[str], shares: list[int] | None) -> None:
    assert shared_out(total, [Decimal(part) for part in parts]) == shares


@pytest.mark.parametrize(
    ("given", "amounts", "whole"),
    [
        (Answer(None, {1: Said(Decimal(80))}), {1: 100}, Parts(80, 0, 20)),
        (Answer(None, {1: Said(Decimal(80), Decimal(90))}), {1: 100}, Parts(80, 10, 10)),
        (Answer(None, {1: Said(Decimal(90), Decimal(90))}), {1: 100, 2: 5}, Parts(90, 10, 5)),
        (Answer(Decimal(120), {}), {1: 100}, Parts(120, -20, 0)),
        (Answer(Decimal(30), {1: Said(Decimal(80))}), {1: 100}, Parts(30, 0, 70)),
        (Answer(None, {}), {1: 100}, Parts(0, 0, 100)),
    ],
)
def test_an_answer_adds_up(given: Answer, amounts: dict[int, int], whole: Parts) -> None:
    found = explained(given, amounts)
    assert found.whole == whole
    for number, parts in found.items.items():
        assert parts.paid + parts.adjusted + parts.patient == amounts[number]


async def test_a_coverage_of_an_earlier_bundle_pays_for_a_later_claim(target: Target) -> None:
    insured = [{"sequence": 1, "focal": True, "coverage": ref("coverage")}]
    later = claim(item(1, 50), insurance=insured)
    assert (await target.take(billed(coverage()))).failed == 0
    with target.database.owner_engine.begin() as owner:  # changed here: no claim puts it back
        owner.exec_driver_sql(
            "update coverage set group_number = 'ours' where tenant_id = %(t)s",
            {"t": target.tenant_id},
        )
    report = await target.take(bundle(later))
    assert (report.failed, dict(report.tally.left_out)) == (0, {}), report.problems
    card = target.one("select * from coverage where tenant_id = :t")
    assert (card.member_id, card.group_number) == ("M-1", "ours")
    assert target.one("select coverage_id from claim where tenant_id = :t")[0] == card.id
    again = await target.take(bundle(later))
    assert dict(again.tally.unchanged) == {"Claim": 1}


async def test_another_patients_coverage_pays_for_nobody_else(target: Target) -> None:
    theirs = coverage(beneficiary=ref("somebody"))
    somebody = patient("somebody", managingOrganization=ref("organization"))
    assert (await target.take(bundle(somebody, organization(), theirs))).failed == 0
    insured = [{"sequence": 1, "focal": True, "coverage": ref("coverage")}]
    report = await target.take(billed(claim(item(1, 50), insurance=insured)))
    (problem,) = report.problems
    assert (problem.path, problem.message) == (
        "Claim.insurance[0].coverage.reference",
        "The coverage is another patient's.",
    )
    assert filled(target)["claim"] == 0
