"""`caretree billing verify`: the books of a health system, in the words of the command."""

from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from api.commands.billing import app
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


def test_a_health_system_that_is_not_there(tree: make.Tree) -> None:
    done = CliRunner().invoke(app, ["verify", "--tenant", "nobody"])
    assert done.exit_code == 1
    assert "no active health system" in done.output
