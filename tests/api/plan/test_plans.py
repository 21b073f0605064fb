"""Every shape of a page walks ordered indexes: as the application, under generic plans, at 20,000 patients a system."""

from pathlib import Path

import pytest

from api.plan.reach import FEW
from api.plan.walk import COUNTED, SAMPLED
from authz.actor import Actor
from tests.api.plan.asking import actor_of, ask
from tests.api.plan.conftest import Filled
from tests.plans import assert_plan

pytestmark = pytest.mark.slow

FIRST = 50
MOST = 600
"""Rows that one step of a page's plan may hand on or throw away: FEW places give 51 each."""
GENEROUS = 40.0  # ms: an order above what is measured, for machines that do other work as well
ROOTS = ("patients", "encounters", "appointments", "invoices")
PLACES = {"ALL": 20, "ONE": 1, "FEW": 5, "MANY": 14}


@pytest.fixture(params=["even", "skewed"])
def spread(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PLACES)
def actor(request: pytest.FixtureRequest, filled: Filled, spread: str) -> Actor:
    """An administrator of so many clinics; the emptiest ones, where they are not evenly filled."""
    volume = getattr(filled, spread)
    clinics = volume.clinics[-PLACES[request.param] :]
    return actor_of(
        filled.database, volume.tenant_id, [("clinic_admin", clinic) for clinic in clinics]
    )


def test_the_shapes_are_those_of_the_thresholds() -> None:
    assert 1 < PLACES["FEW"] <= FEW < PLACES["MANY"] < PLACES["ALL"]


@pytest.mark.parametrize("root", ROOTS)
def test_a_page(filled: Filled, actor: Actor, root: str, tmp_path: Path) -> None:
    text = f"{{ {root}(first: {FIRST}) {{ nodes {{ id }} pageInfo {{ hasNextPage }} }} }}"
    asked = ask(filled.database, tmp_path, actor, text)
    assert len(asked.data[root]["nodes"]) == FIRST
    plan = asked.plan(filled.database)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= MOST, str(plan)
    assert plan.wasted_rows <= MOST, str(plan)


@pytest.mark.parametrize("root", ROOTS)
def test_a_later_page(filled: Filled, actor: Actor, root: str, tmp_path: Path) -> None:
    first = f"{{ {root}(first: 20) {{ pageInfo {{ endCursor }} }} }}"
    cursor = ask(filled.database, tmp_path, actor, first).data[root]["pageInfo"]["endCursor"]
    text = f"query Q($at: String) {{ {root}(first: {FIRST}, after: $at) {{ nodes {{ id }} }} }}"
    asked = ask(filled.database, tmp_path, actor, text, {"at": cursor})
    plan = asked.plan(filled.database)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= MOST, str(plan)
    assert plan.wasted_rows <= MOST, str(plan)


@pytest.mark.parametrize("root", ROOTS)
def test_a_total(filled: Filled, actor: Actor, root: str, tmp_path: Path) -> None:
    """A total reads little more than it counts, wherever the rows lie."""
    text = f"{{ {root}(first: 0) {{ totalCount totalCountIsExact }} }}"
    asked = ask(filled.database, tmp_path, actor, text)
    assert 0 < asked.data[root]["totalCount"] <= COUNTED
    plan = asked.plan(filled.database)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= SAMPLED, str(plan)


def test_patients_by_the_start_of_their_name(filled: Filled, actor: Actor, tmp_path: Path) -> None:
    text = '{ patients(first: 50, filter: {name: "al"}) { nodes { id } } }'
    plan = ask(filled.database, tmp_path, actor, text).plan(filled.database)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= MOST, str(plan)


@pytest.mark.parametrize("key", ["birthDate", "mrn"])
def test_patients_by_what_few_share(filled: Filled, actor: Actor, key: str, tmp_path: Path) -> None:
    wanted = {"birthDate": "1950-02-03", "mrn": "V77"}[key]
    text = f'{{ patients(first: 50, filter: {{{key}: "{wanted}"}}) {{ nodes {{ id }} }} }}'
    plan = ask(filled.database, tmp_path, actor, text).plan(filled.database)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= MOST, str(plan)
    assert plan.wasted_rows <= MOST, str(plan)


@pytest.mark.parametrize("root", ["encounters", "appointments", "invoices"])
def test_rows_of_one_patient(
    filled: Filled, spread: str, actor: Actor, root: str, tmp_path: Path
) -> None:
    id_ = f"Patient:{getattr(filled, spread).a_patient}"
    wanted = "filter: {patient: $id}" if root == "encounters" else "patient: $id"
    text = f"query Q($id: ID!) {{ {root}(first: 50, {wanted}) {{ nodes {{ id }} }} }}"
    plan = ask(filled.database, tmp_path, actor, text, {"id": id_}).plan(filled.database)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= 50, str(plan)
    assert plan.wasted_rows <= 50, str(plan)


@pytest.mark.parametrize("root", ["patients", "encounters"])
def test_many_departments(filled: Filled, spread: str, root: str, tmp_path: Path) -> None:
    volume = getattr(filled, spread)
    # Every second clinic has seen somebody at its department.
    grants = [("nurse", ward) for ward in volume.departments[::2]]
    assert len(grants) > FEW
    nurse = actor_of(filled.database, volume.tenant_id, grants)
    asked = ask(filled.database, tmp_path, nurse, f"{{ {root}(first: 50) {{ nodes {{ id }} }} }}")
    assert len(asked.data[root]["nodes"]) == FIRST
    plan = asked.plan(filled.database)
    assert_plan(plan, below=GENEROUS)
    assert plan.read_rows <= MOST, str(plan)
