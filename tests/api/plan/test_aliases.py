"""The policy stands at every alias of a statement, also where the rows behind it could be reached no other way."""

import re
from pathlib import Path

import pytest

from domain.model import Base, Wall
from domain.tables import load
from tests import make
from tests.api.plan.asking import actor_of, ask
from tests.database import Database

NOBODYS = '"Patient:0190f3d0-0000-7000-8000-000000000001"'
MONEY = "charges { amount } payments { amount } adjustments { amount } balance { amount }"
DOCUMENTS = (
    f"{{ account(patient: {NOBODYS}) {{ {MONEY} unbilled {{ amount }} clinics {{ {MONEY} }} }} }}",
    f"{{ patient(id: {NOBODYS}) {{ balance {{ amount }} invoices {{ id }} appointments {{ id }} }} }}",
)


def placed() -> set[str]:
    """Tables whose rows lie at a place, and are judged by it."""
    mappers = load().registry.mappers
    classes: list[type[Base]] = [mapper.class_ for mapper in mappers]
    return {c.__tablename__ for c in classes if c.__wall__ is Wall.PLACED}


@pytest.mark.parametrize("text", DOCUMENTS, ids=["account", "patient"])
def test_each_alias_of_a_placed_table_names_its_place(
    database: Database, tmp_path: Path, text: str
) -> None:
    house = make.tree(clinics=3)
    make.save(database, *house.rows)
    held = [("biller", clinic.id) for clinic in house.clinics[:2]]
    asked = ask(database, tmp_path, actor_of(database, house.tenant.tenant_id, held), text)
    sql = asked.statement.sql
    aliases = re.findall(rf"\b(?:{'|'.join(sorted(placed()))}) AS ([\w$]+)", sql)
    assert aliases
    for alias in aliases:
        assert re.search(rf"(?<![\w$]){re.escape(alias)}\.(clinic|unit)_id = ", sql), (
            f"{alias} in {sql}"
        )
