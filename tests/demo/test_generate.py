"""The generator: the same world for the same arguments, of any size."""

import datetime as dt
import uuid
from itertools import pairwise

import pytest

from dev.demo import cast, charts, places
from dev.demo.calendar import SLOT, Calendar, monday
from dev.demo.generate import Generator, Numbers, Volume, generate, share
from dev.demo.ids import Ids, fixed
from dev.demo.names import CULTURES
from dev.demo.rows import TABLES, line
from dev.demo.world import planned
from domain.codings import (
    CVX,
    MEDICINES,
    RXNORM,
    SNOMED,
    SUBSTANCES,
    TREATMENTS,
    VACCINES,
    Coding,
    coded,
)
from domain.patients import fold
from domain.tables import load

TODAY = dt.date(2026, 3, 4)
TENANT = uuid.UUID(int=7)


def generator(seed: str = "test") -> Generator:
    people = {m.login: fixed(m.login) for m in cast.CAST}
    world = planned(places.MERCY, TENANT, people)
    return Generator(world, Volume(300, 450, 300, batch=100), TODAY, seed=seed)


def text_of(maker: Generator, index: int = 1) -> list[str]:
    made, _ = maker.batch(index, Numbers(100, 5))
    return [line(row) for rows in made.tables.values() for row in rows]


def test_it_is_deterministic() -> None:
    assert text_of(generator()) == text_of(generator())
    assert text_of(generator()) != text_of(generator("another"))


def test_a_batch_does_not_depend_on_those_before_it() -> None:
    maker = generator()
    maker.batch(0, Numbers())
    assert text_of(maker) == text_of(generator())


def test_batches_never_share_a_slot() -> None:
    maker, seen = generator(), set()
    for index in range(maker.volume.batches):
        made, _ = maker.batch(index, Numbers())
        for row in made.tables["appointment"]:
            slot = (row["practitioner_id"], row["starts_at"])
            assert slot not in seen
            seen.add(slot)
    assert len(seen) == 300


def test_rows_name_columns_of_their_tables() -> None:
    tables = load().metadata.tables
    maker = generator()
    made, _ = maker.batch(0, Numbers())
    for name in TABLES:
        for row in made.tables[name]:
            assert set(row) <= set(tables[name].columns.keys()), name
            assert list(row) == list(made.tables[name][0]), name


def test_what_charts_say_is_of_the_systems_that_are_taken() -> None:
    """The record's own commands would take each code."""
    for system, systems, listed in (
        (RXNORM, SUBSTANCES, charts.SUBSTANCES),
        (RXNORM, MEDICINES, charts.MEDICINES),
        (SNOMED, TREATMENTS, charts.PROCEDURES),
        (CVX, VACCINES, charts.VACCINES),
    ):
        for one in listed:
            assert coded(Coding(system.uri, one.code, one.display), systems, "code")


@pytest.mark.parametrize(("total", "of"), [(0, 10), (7, 10), (1000, 37), (2_000_000, 5_000)])
def test_shares_add_up(total: int, of: int) -> None:
    assert sum(share(total, position, of) for position in range(of)) == total


def test_any_size_can_be_made() -> None:
    made = list(
        generate(
            patients=1_000, clinics=50, encounters=4_000, tenant_id=TENANT, today=TODAY, batch=300
        )
    )
    assert len(made) == 4
    assert sum(len(b.tables["patient"]) for b in made) == 1_000
    assert sum(len(b.tables["encounter"]) for b in made) == 4_000
    numbers = [row["mrn"] for b in made for row in b.tables["patient"]]
    assert len(set(numbers)) == 1_000


def test_ids_are_version_7_and_ascend() -> None:
    ids = Ids("a stream")
    made = [ids.new() for _ in range(1_000)]
    assert made == sorted(made)
    assert {(i.version, i.variant) for i in made} == {(7, uuid.RFC_4122)}
    assert len({*made, *(Ids("another").new() for _ in range(10))}) > 1_000


def test_a_calendar_covers_the_week_of_today() -> None:
    calendar = Calendar("c", TODAY, 0, 1)
    slots = []
    while (slot := calendar.next(TENANT, "America/New_York")) is not None:
        slots.append(slot)
    assert len(slots) == len(set(slots)) == 7 * 7 * 16
    days = {slot.date() for slot in slots}
    assert {monday(TODAY) + dt.timedelta(days=n) for n in range(7)} <= days
    slots.sort()
    assert all(b - a >= SLOT for a, b in pairwise(slots))


def test_names_are_of_many_scripts_and_fold_to_keys() -> None:
    names = [n for c in CULTURES for n in (*c.women, *c.men, *c.families)]
    assert all(fold(name) for name in names)
    assert all(name == name.strip() and "\t" not in name for name in names)
    assert sum(not name[0].isascii() for name in names) > 150


def test_the_cast_holds_what_the_tree_has() -> None:
    for system in places.SYSTEMS:
        paths = {path for path, _, _ in places.walk(system)}
        for member in cast.of(system.slug):
            assert {grant.path for grant in member.grants} <= paths
    assert len({m.login for m in cast.CAST}) == len(cast.CAST)
    assert {g.role for m in cast.CAST for g in m.grants} == {
        "system_admin",
        "system_viewer",
        "privacy_officer",
        "auditor",
        "regional_director",
        "clinic_admin",
        "provider",
        "nurse",
        "front_desk",
        "biller",
    }
