"""Whatever the shape, pages put together are exactly the rows of the places, each once, in order."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from authz.actor import Actor
from tests.api.plan.asking import actor_of, ask
from tests.api.plan.conftest import Filled
from tests.volume import Volume

pytestmark = pytest.mark.slow

PAGES = 3
PLACES = {"FEW": 3, "MANY": 13}


@pytest.fixture(params=PLACES)
def clinics(request: pytest.FixtureRequest, filled: Filled) -> list[uuid.UUID]:
    return list(filled.skewed.clinics[-PLACES[request.param] :])


@pytest.fixture
def actor(filled: Filled, clinics: list[uuid.UUID]) -> Actor:
    grants = [("clinic_admin", clinic) for clinic in clinics]
    return actor_of(filled.database, filled.skewed.tenant_id, grants)


def pages(
    filled: Filled, keys: Path, actor: Actor, root: str, more: str, first: int
) -> Iterator[Any]:
    """The first pages of a root field."""
    after = None
    for _ in range(PAGES):
        asked = ask(
            filled.database,
            keys,
            actor,
            f"query Q($at: String) {{ {root}(first: {first}, after: $at{more})"
            " { nodes { id } pageInfo { hasNextPage endCursor } totalCount totalCountIsExact } }",
            {"at": after},
        )
        page = asked.data[root]
        yield page
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break


def rows(filled: Filled, sql: str, volume: Volume, clinics: list[uuid.UUID]) -> list[str]:
    """What the owner finds by the plainest statement."""
    with filled.database.owner_engine.connect() as owner:
        values = {"t": volume.tenant_id, "clinics": clinics}
        return [str(row[0]) for row in owner.execute(text(sql), values)]


def check(found: Iterator[Any], kind: str, expected: list[str], first: int) -> None:
    got: list[str] = []
    for page in found:
        got += [node["id"].removeprefix(f"{kind}:") for node in page["nodes"]]
        assert page["totalCount"] == min(len(expected), 1000)
        assert page["totalCountIsExact"] == (len(expected) <= 1000)
        assert page["pageInfo"]["hasNextPage"] == (len(got) < len(expected))
    assert got == expected[: first * PAGES]


@pytest.mark.parametrize("first", [7, 100])
@pytest.mark.parametrize("down", [False, True])
def test_patients(
    filled: Filled,
    actor: Actor,
    clinics: list[uuid.UUID],
    first: int,
    down: bool,
    tmp_path: Path,
) -> None:
    order = "desc" if down else "asc"
    expected = rows(
        filled,
        "select patient_id from patient_site where tenant_id = :t and unit_id = any(:clinics)"
        f" group by family_key, patient_id order by family_key {order}, patient_id {order}",
        filled.skewed,
        clinics,
    )
    more = f", orderBy: FAMILY_NAME_{order.upper()}"
    check(pages(filled, tmp_path, actor, "patients", more, first), "Patient", expected, first)


@pytest.mark.parametrize("first", [7, 100])
@pytest.mark.parametrize(
    ("root", "kind", "order"),
    [
        ("encounters", "Encounter", "started_at desc, id desc"),
        ("appointments", "Appointment", "starts_at, id"),
        ("invoices", "Invoice", "issued_at desc, id desc"),
    ],
)
def test_placed_rows(
    filled: Filled,
    actor: Actor,
    clinics: list[uuid.UUID],
    root: str,
    kind: str,
    order: str,
    first: int,
    tmp_path: Path,
) -> None:
    expected = rows(
        filled,
        f"select id from {kind.lower()} where tenant_id = :t and clinic_id = any(:clinics)"
        f" order by {order}",
        filled.skewed,
        clinics,
    )
    check(pages(filled, tmp_path, actor, root, "", first), kind, expected, first)


@pytest.mark.parametrize("name", ["a", "al0", "zz"])
def test_patients_by_the_start_of_their_name(
    filled: Filled, actor: Actor, clinics: list[uuid.UUID], name: str, tmp_path: Path
) -> None:
    expected = rows(
        filled,
        "select patient_id from patient_site where tenant_id = :t and unit_id = any(:clinics)"
        f" and starts_with(family_key, '{name}')"
        " group by family_key, patient_id order by family_key, patient_id",
        filled.skewed,
        clinics,
    )
    more = f', filter: {{name: "{name}"}}'
    check(pages(filled, tmp_path, actor, "patients", more, 9), "Patient", expected, 9)
