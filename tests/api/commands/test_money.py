"""Billing through the API: a visit from the charge to the zero balance, and what cannot be taken."""

import datetime as dt
from typing import Any

import pytest

from domain.people import Person
from tests import make
from tests.api.commands.cases import Scene
from tests.api.commands.money import billed, card, claim_in, corrected, invoiced
from tests.api.commands.office import Answer, Office, local

pytestmark = pytest.mark.anyio
MONEY = "{amount currency}"


def at(office: Office, role: str = "biller@a") -> Scene:
    return Scene(office, office.here, "a", office.here.person(role))


async def done(office: Office, who: Person, mutation: str, select: str = "", **given: Any) -> Any:
    """Carry it out; the object that is answered."""
    answer = await office.do(who, mutation, select, **given)
    assert answer.outcome == "DONE", answer.body
    return next(value for name, value in answer.data.items() if name != "userErrors")


async def priced(office: Office, code: str) -> Any:
    """A price of 90.00 at the clinic and of 100.00 elsewhere, and a payer."""
    system = office.here
    admin = system.person("system_admin@system")
    price = {"codeSystem": "INTERNAL", "code": code, "description": "Visit", "currency": "USD"}
    told = "price{amount} unit{id} version"
    since = {"price": "100.00", "effectiveFrom": "2020-01-01"}
    await done(office, admin, "setPrice", told, **price, **since)
    here = {"price": "90.00", "effectiveFrom": "2021-01-01", "unit": system.unit("a")}
    entry = await done(office, admin, "setPrice", told, **price, **here)
    assert (entry["unit"]["id"], entry["price"]["amount"]) == (system.unit("a"), "90.00")
    return await done(office, admin, "addPayer", "name", name="Northern Mutual")


async def coded(office: Office, doctor: Person, visit: Any, finding: Any, code: str) -> Any:
    """One and a half of the code, with a diagnosis; whoever treats sees no amount."""
    charge = await done(
        office,
        doctor,
        "recordCharge",
        "units amount{amount} maskedGroups version",
        encounter=f"Encounter:{visit.id}",
        codeSystem="INTERNAL",
        code=code.lower(),
        units="1.5",
        modifiers=["25"],
    )
    assert (charge["amount"], charge["maskedGroups"]) == (None, ["BILLING"])
    pointers = [f"Condition:{finding.id}"]
    asked = {"id": charge["id"], "version": 1, "diagnoses": pointers}
    charge = await done(office, doctor, "codeCharge", "diagnoses{id} version", **asked)
    assert [row["id"] for row in charge["diagnoses"]] == pointers
    return charge


async def test_a_visit_from_the_charge_to_the_zero_balance(office: Office) -> None:
    scene, system = at(office), office.here
    biller, doctor = scene.asker, system.person("provider@a")
    code = f"V-{make.number()}"
    payer = await priced(office, code)
    patient = scene.patient()
    visit = make.encounter(patient, scene.unit)
    finding = make.condition(visit)
    system.save(visit, finding)
    encounter, who = f"Encounter:{visit.id}", f"Patient:{patient.id}"
    charge = await coded(office, doctor, visit, finding, code)
    terms = card(scene) | {"payer": payer["id"]}
    unit = system.unit("a")
    cover = await done(office, biller, "recordCoverage", unit=unit, patient=who, terms=terms)
    invoice = await done(
        office,
        biller,
        "issueInvoice",
        f"number total{MONEY} lines{{id open{MONEY}}}",
        unit=unit,
        patient=who,
        charges=[charge["id"]],
    )
    assert invoice["total"]["amount"] == "135.00"
    claim = await done(
        office, biller, "createClaim", "version", encounter=encounter, coverage=cover["id"]
    )

    async def step(mutation: str, **more: Any) -> Any:
        nonlocal claim
        asked = {"id": claim["id"], "version": claim["version"], **more}
        claim = await done(office, biller, mutation, "version queue state", **asked)
        return claim["queue"]

    assert await step("queueClaim") == "QUEUED"
    assert await step("recodeClaim", reason="modifier") == "NEEDS_CODING"
    assert await step("queueClaim") == "QUEUED"
    assert await step("fileClaim") == "FILED"
    assert await step("rejectClaim", reason="A7") == "REJECTED"
    assert await step("queueClaim") == "QUEUED"
    assert await step("fileClaim") == "FILED"
    less = {"group": "CONTRACTUAL", "reasonCode": "45", "amount": "15.00"}
    own = {"group": "PATIENT", "reasonCode": "3", "amount": "20.00"}
    item = {"sequence": 1, "paid": "100.00", "adjustments": [less, own]}
    assert await step("adjudicateClaim", currency="USD", items=[item]) == "ADJUDICATED"
    assert await step("settleClaim") == "PATIENT_BALANCE"
    line = invoice["lines"][0]["id"]
    desk = system.person("front_desk@a")
    pay = {"unit": unit, "patient": who, "amount": "20.00", "currency": "USD", "method": "CARD"}
    part = [{"line": line, "amount": "20.00"}]
    assert (await office.do(desk, "recordPayment", **pay, allocations=part)).outcome == "NOT_FOUND"
    receipt = await done(office, desk, "recordPayment", **pay)
    posting = f"Posting:{local(receipt['id'])}"
    applied = {"id": posting, "currency": "USD", "allocations": part}
    rest = await done(office, biller, "allocatePosting", f"unapplied{MONEY}", **applied)
    assert rest["unapplied"]["amount"] == "0.00"
    assert await step("settleClaim") == "ZERO_BALANCE"
    asked = "query($p:ID!){account(patient:$p){balance{amount} transfers{amount}}}"
    answer = await office.ask(biller, asked, {"p": who})
    assert answer.data == {"balance": {"amount": "0.00"}, "transfers": {"amount": "0.00"}}


def lowered(scene: Scene) -> dict[str, Any]:
    """An invoice of which something is written off."""
    patient, line = invoiced(scene)
    codes = {"kind": "adjustment", "method": None, "group_code": "CO", "reason_code": "45"}
    less = make.posting(patient, scene.unit, **codes)
    scene.system.save(less, make.allocation(less, line))
    return {"id": f"Invoice:{line.invoice_id}", "version": 1, "reason": "why"}


async def test_a_payer_is_corrected_and_closed(office: Office) -> None:
    """Nobody new is covered by a closed one; what it covers can still be ended."""
    scene, admin = at(office), office.here.person("system_admin@system")
    named = {"name": "Southern Mutual", "identifierSystem": "urn:p", "identifier": "4711"}
    made = await done(office, admin, "addPayer", "version", name="Nothern Mutual")
    patient = f"Patient:{scene.patient().id}"
    terms = card(scene) | {"payer": made["id"]}
    where = {"unit": office.here.unit("a"), "patient": patient}
    cover = await done(office, scene.asker, "recordCoverage", "version", **where, terms=terms)
    right = {"id": made["id"], "version": 1, **named}
    told = await done(office, admin, "changePayer", "name identifier active version", **right)
    assert (told["name"], told["identifier"], told["active"], told["version"]) == (
        *("Southern Mutual", "4711"),
        True,
        2,
    )
    taken = {"name": "Another", "identifierSystem": "urn:p", "identifier": "4711"}
    assert (await office.do(admin, "addPayer", **taken)).user_error["code"] == "PAYER_TAKEN"
    gone = right | {"version": 2, "active": False}
    assert (await done(office, admin, "changePayer", "active", **gone))["active"] is False
    fresh = await office.do(scene.asker, "recordCoverage", **where, terms=terms | {"priority": 2})
    assert fresh.user_error["path"] == ["terms", "payer"]
    ended = {"id": cover["id"], "version": 1, "terms": terms | {"endsOn": "2026-02-01"}}
    over = await done(office, scene.asker, "changeCoverage", "endsOn payer{active}", **ended)
    assert over == {"id": cover["id"], "endsOn": "2026-02-01", "payer": {"active": False}}


async def test_a_visit_that_a_nurse_strikes_out_takes_its_charges_along(office: Office) -> None:
    """She does not see them. What is billed is taken back first."""
    nurse, scene = office.here.person("nurse@a"), at(office)
    for state, outcome, after in (
        ("billable", "DONE", "entered-in-error"),
        ("billed", "STILL_BILLED", "billed"),
    ):
        patient = scene.patient()
        visit = make.encounter(patient, scene.unit, recorded_by=nurse.id)
        charge = make.charge(patient, scene.unit, encounter_id=visit.id, state=state)
        office.here.save(visit, charge)
        wrong: dict[str, Any] = {"id": f"Encounter:{visit.id}", "version": 1, "reason": "why"}
        answer = await office.do(nurse, "markEnteredInError", **wrong)
        assert answer.outcome == outcome, answer.body
        (row,) = office.query("select state from charge_item where id = %s", charge.id)
        assert row["state"] == after


async def test_credit_goes_to_another_clinic_and_back(office: Office) -> None:
    scene = at(office, "biller@r")
    patient = office.here.patient("a", "b")
    who, (a, b) = f"Patient:{patient.id}", (office.here.unit("a"), office.here.unit("b"))
    office.here.save(make.posting(patient, office.here.units["a"]))
    given = {"source": a, "target": b, "patient": who, "amount": "50.00", "currency": "USD"}
    beside = office.here.person("biller@a")
    assert (await office.do(beside, "transferCredit", **given)).outcome == "FORBIDDEN"
    moved = await done(office, scene.asker, "transferCredit", "kind clinic{id}", **given)
    assert (moved["kind"], moved["clinic"]["id"]) == ("TRANSFER", b)
    again = await office.do(scene.asker, "transferCredit", **given)
    assert again.user_error["code"] == "NO_CREDIT"
    own = await office.do(scene.asker, "correctPosting", id=moved["id"])
    assert own.error["reason"] == "OWN_ENTRY"
    other = office.here.person("biller@r", fresh=True)
    at_b = office.here.person("biller@b")
    assert (await office.do(at_b, "correctPosting", id=moved["id"])).outcome == "NOT_FOUND"
    undone = await done(office, other, "correctPosting", "amount{amount}", id=moved["id"])
    assert undone["amount"]["amount"] == "-50.00"


async def test_a_day_is_closed_and_what_is_owed_has_an_age(office: Office) -> None:
    scene = at(office)
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=3)
    given = {"clinic": office.here.unit("a"), "day": yesterday.isoformat()}
    close = await done(office, scene.asker, "closeDay", "day payments{amount}", **given)
    assert close["day"] == yesterday.isoformat()
    for wrong, code in ((given, "DAY_CLOSED"), (given | {"day": "2999-01-01"}, "DAY_NOT_OVER")):
        assert (await office.do(scene.asker, "closeDay", **wrong)).user_error["code"] == code
    invoiced(scene)
    text = "query($c:ID! $d:Date){receivables(clinic:$c on:$d){over90Days{amount} total{amount}}}"
    found = await office.ask(scene.asker, text, {"c": given["clinic"], "d": "2030-01-01"})
    assert found.data["over90Days"] is not None
    desk = office.here.person("front_desk@a")
    hidden = await office.ask(desk, text, {"c": given["clinic"]})
    assert hidden.data is None
    assert hidden.body["extensions"]["masked"][0]["group"] == "BILLING"


def refused(answer: Answer) -> tuple[str, list[str] | None]:
    return answer.user_error.get("code", answer.outcome), answer.user_error.get("path")


async def test_what_cannot_be_taken_changes_nothing(office: Office) -> None:
    scene = at(office, "clinic_admin@a")
    admin = office.here.person("system_admin@system")
    charge = {"encounter": f"Encounter:{scene.encounter().id}", "codeSystem": "INTERNAL"}
    charge |= {"code": "NONE", "units": "1"}
    bill = billed(scene)
    claim = {"id": f"Claim:{claim_in(scene, 'needs-coding').id}", "version": 1}
    patient, line = invoiced(scene)
    account = {"unit": scene.system.unit("a"), "patient": f"Patient:{patient.id}"}
    pay = account | {"amount": "1.00", "currency": "USD", "method": "CASH"}
    less = account | {"amount": "1", "currency": "USD", "group": "OTHER", "reasonCode": "45"}
    far = [{"line": f"InvoiceLine:{line.id}", "amount": "120.01"}]
    price = {"codeSystem": "INTERNAL", "code": "P", "description": "x", "currency": "USD"}
    price |= {"price": "1", "effectiveFrom": "2020-01-01"}
    foreign = office.there.patient("a")
    bad = {"id": f"Invoice:{line.invoice_id}", "version": 1, "reason": "why"}
    known = make.payer(office.here.tenant)
    office.here.save(known)
    payer = {"id": f"Payer:{known.id}", "version": 1, "name": "Northern Mutual"}
    cases: list[tuple[Person, str, dict[str, Any], str, str | None]] = [
        (scene.asker, "recordCharge", charge, "NO_PRICE", "code"),
        (scene.asker, "recordCharge", charge | {"units": "-1"}, "INVALID", "units"),
        (scene.asker, "recordCharge", charge | {"units": "0"}, "INVALID", "units"),
        (scene.asker, "recordCharge", charge | {"modifiers": ["x"]}, "INVALID", "modifiers"),
        (scene.asker, "recordCharge", charge | {"diagnoses": ["x"]}, "NOT_FOUND", None),
        (scene.asker, "issueInvoice", bill | {"charges": []}, "INVALID", "charges"),
        (scene.asker, "issueInvoice", bill | {"patient": f"Patient:{foreign.id}"}, "NOT_FOUND", None),
        (scene.asker, "fileClaim", claim, "ILLEGAL_STATE", None),
        (scene.asker, "queueClaim", claim, "NOT_CODED", "id"),
        (scene.asker, "queueClaim", claim | {"version": 9}, "NOT_CODED", "id"),
        (scene.asker, "cancelClaim", claim | {"version": 9}, "CONFLICT", None),
        (scene.asker, "recordPayment", pay | {"currency": "EUR"}, "WRONG_CURRENCY", "currency"),
        (scene.asker, "recordPayment", pay | {"amount": "120.01"}, "ABOVE_BALANCE", "amount"),
        (scene.asker, "recordPayment", pay | {"allocations": far}, "ABOVE_OPEN", "allocations"),
        (scene.asker, "adjustAccount", less | {"amount": "-1"}, "INVALID", "amount"),
        (scene.asker, "adjustAccount", less | {"amount": "121"}, "ABOVE_BALANCE", "amount"),
        (scene.asker, "adjustAccount", less | {"group": "PATIENT"}, "INVALID", "group"),
        (scene.asker, "setPrice", price, "FORBIDDEN", None),
        (admin, "setPrice", price | {"price": "x"}, "INVALID", "price"),
        (admin, "setPrice", price | {"code": "a b"}, "INVALID", "code"),
        (scene.asker, "cancelInvoice", bad | {"reason": " "}, "INVALID", "reason"),
        (scene.asker, "cancelInvoice", bad | {"version": 9}, "CONFLICT", None),
        (scene.asker, "cancelInvoice", lowered(scene), "STILL_ADJUSTED", "id"),
        (admin, "changePayer", payer | {"name": " "}, "INVALID", "name"),
        (admin, "changePayer", payer | {"identifier": "1"}, "INVALID", "identifier"),
        (admin, "changePayer", payer | {"version": 9}, "CONFLICT", None),
        (scene.asker, "changePayer", payer, "FORBIDDEN", None),
        (admin, "addPayer", {"name": "  "}, "INVALID", "name"),
        (admin, "addPayer", {"name": "A", "identifier": "1"}, "INVALID", "identifier"),
    ]  # fmt: skip
    before = office.snapshot()
    del before["audit_event"]
    for who, mutation, given, code, path in cases:
        answer = await office.do(who, mutation, **given)
        expected = (code, None if path is None else [path])
        assert refused(answer) == expected, (mutation, given, answer.body)
    after = office.snapshot()
    del after["audit_event"]
    assert after == before


async def test_a_posting_is_undone_once(office: Office) -> None:
    scene = at(office)
    given = corrected(scene)
    await done(office, scene.asker, "correctPosting", **given)
    again = await office.do(scene.asker, "correctPosting", **given)
    assert again.user_error["code"] == "ALREADY_REVERSED"


async def test_a_day_at_the_end_of_time_is_refused(office: Office) -> None:
    scene, given = at(office), {"clinic": office.here.unit("a"), "day": "9999-12-31"}
    assert refused(await office.do(scene.asker, "closeDay", **given)) == ("INVALID", ["day"])
    for field, inside in (("receivables", "total{amount}"), ("debtors", "edges{cursor}")):
        text = f"query($clinic:ID! $day:Date){{{field}(clinic:$clinic on:$day){{{inside}}}}}"
        found = await office.ask(scene.asker, text, given)
        assert found.error["code"] == "BAD_USER_INPUT", found.body
