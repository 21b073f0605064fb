"""`caretree billing verify`: the books of a health system, in the words of the command."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from api.commands.billing import app
from domain.patients import Patient
from tests import make
from tests.api.commands.test_import import tree
from tests.database import Database

__all__ = ["tree"]


def verified(tree: make.Tree) -> Any:
    return CliRunner().invoke(app, ["verify", "--tenant", tree.tenant.slug[:39]])


@pytest.fixture
def bill(database: Database, tree: make.Tree) -> Any:
    who, *sites = make.patient_at(tree.tenant, tree.clinics[0])
    made = make.invoice(who, tree.clinics[0], number=1)  # type: ignore[arg-type] # the first is the patient
    paid = make.posting(who, tree.clinics[0])  # type: ignore[arg-type] # likewise
    make.save(database, who, *sites, made, make.invoice_line(made), paid)
    return made


def test_books_that_add_up(tree: make.Tree, bill: Any) -> None:
    done = verified(tree)
    assert done.exit_code == 0, done.output
    assert "1 accounts of 1 patients add up" in done.output
    assert "charges 12000 - payments 5000 - adjustments 0 - transfers 0 = 7000" in done.output


def test_the_first_account_that_differs_is_named_and_nobody(
    database: Database, tree: make.Tree, bill: Any
) -> None:
    with database.owner_engine.begin() as owner:
        owner.execute(
            text("update invoice set total_minor = 11999 where tenant_id = :t"),
            {"t": tree.tenant.tenant_id},
        )
    done = verified(tree)
    assert done.exit_code == 1
    assert str(bill.patient_id) in done.output
    assert str(bill.clinic_id) in done.output
    assert "not the sum of its lines" in done.output
    assert "Garcia" not in done.output


def test_a_claim_goes_out_and_its_answer_comes_in_once(
    database: Database, tree: make.Tree, tmp_path: Path
) -> None:
    who, *sites = make.patient_at(tree.tenant, tree.clinics[0])
    assert isinstance(who, Patient)
    visit, payer = make.encounter(who, tree.clinics[0]), make.payer(tree.tenant)
    cover = make.coverage(who, tree.clinics[0], payer)
    charge = make.charge(who, tree.clinics[0], encounter_id=visit.id)
    claim = make.claim(visit, cover, queue="filed")
    rows = [who, *sites, visit, payer, cover, charge, claim]
    make.save(database, *rows, make.claim_item(claim, charge), make.claim_step(claim))
    slug = tree.tenant.slug[:39]
    told = CliRunner().invoke(app, ["export-claim", str(claim.id), "--tenant", slug])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["item"][0]["net"] == {"value": 120.0, "currency": "USD"}
    benefit = {"category": {"coding": [{"code": "benefit"}]}}
    benefit["amount"] = {"value": 100, "currency": "USD"}  # type: ignore[dict-item] # JSON
    answer = {
        "resourceType": "ClaimResponse",
        "identifier": [{"system": "urn:payer", "value": "R1"}],
        "request": {"reference": f"Claim/{claim.id}"},
        "outcome": "complete",
        "item": [{"itemSequence": 1, "adjudication": [benefit]}],
    }
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(answer))
    bad.write_text("{}")
    came = {"value": 99.99, "currency": "USD"}
    payment = {
        "resourceType": "PaymentReconciliation",
        "status": "active",
        "identifier": [{"system": "urn:payer", "value": "P1"}],
        "paymentDate": "2026-03-02",
        "paymentAmount": came,
        "detail": [{"request": {"reference": f"Claim/{claim.id}"}, "amount": came}],
    }
    sent, wrong = tmp_path / "sent.json", tmp_path / "wrong.json"
    sent.write_text(json.dumps(payment))
    entries = [*payment["detail"], {"request": {"reference": "Claim/x"}, "amount": came}]
    wrong.write_text(json.dumps(payment | {"detail": entries}))
    for code, files, words in (
        (0, [good], "adjudicated"),
        (0, [good], "taken before"),
        (1, [wrong], "detail.1.request: It names no claim."),
        (0, [sent], "of 99.99 USD for 1 claims"),
        (0, [sent], "taken before"),
        (1, [bad, good], "no FHIR ClaimResponse"),
    ):
        done = CliRunner().invoke(app, ["remit", *map(str, files), "--tenant", slug])
        assert (done.exit_code, words in done.output) == (code, True), done.output
    assert verified(tree).exit_code == 0


def test_a_health_system_that_is_not_there(tree: make.Tree) -> None:
    done = CliRunner().invoke(app, ["verify", "--tenant", "nobody"])
    assert done.exit_code == 1
    assert "no active health system" in done.output
