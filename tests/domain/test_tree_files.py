"""Tables of units, as spreadsheets and people write them."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from domain.organization import Level
from domain.tree_files import MOST_LINES, planned, read

HEAD = "region,clinic,department,zone\n"


def tree(*below: tuple[Level, str, str | None]) -> list[Any]:
    """A health system with these units right below it."""
    root = SimpleNamespace(id=uuid4(), parent_id=None, level="system", name="x", zone=None)
    units = [
        SimpleNamespace(id=uuid4(), parent_id=root.id, level=level.value, name=name, zone=zone)
        for level, name, zone in below
    ]
    for unit in (root, *units):
        unit.active = True
    return [root, *units]


def wrong(text: str, *below: tuple[Level, str, str | None]) -> list[tuple[int, str]]:
    """What is wrong: lines and codes."""
    wanted, problems = read(text)
    problems = [*problems, *planned(uuid4(), tree(*below), wanted).problems]
    return [(p.line, p.code) for p in problems]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("before", ["", "\ufeff", "sep=@\r\n"])
def test_what_spreadsheets_write_is_taken(separator: str, before: str) -> None:
    lines = [
        ("Zone", "Region", "Department", "Clinic"),
        ("", "Nord/Öst", "", ""),
        ("Europe/Stockholm", "Nord/Öst", "", '"Björk, klinik"'),
        ("", "Nord/Öst", "Barn", '"Björk, klinik"'),
        ("", "", "", ""),
        ("UTC", "", "", "Alone"),
    ]
    text = "\r\n".join(separator.join(cells) for cells in lines)
    wanted, problems = read(before.replace("@", separator) + text)
    assert problems == []
    plan = planned(uuid4(), tree(), wanted)
    assert plan.problems == []
    assert [(u.level, u.name, u.zone) for u in plan.new] == [
        ("region", "Nord/Öst", None),
        ("clinic", "Björk, klinik", "Europe/Stockholm"),
        ("clinic", "Alone", "UTC"),
        ("department", "Barn", None),
    ]
    region, clinic, _, ward = plan.new
    assert (clinic.parent_id, ward.parent_id, ward.clinic_id) == (region.id, clinic.id, clinic.id)


def test_what_lies_above_is_made_and_what_is_there_stays() -> None:
    below = (Level.CLINIC, "Oak", "UTC")
    wanted, _ = read(HEAD + ",OAK,Ward,\nNorth,Elm,Ward,UTC\n")
    plan = planned(uuid4(), tree(below), wanted)
    assert [u.name for u in plan.new] == ["North", "Elm", "Ward", "Ward"]
    wanted, _ = read(HEAD + ",Oak,,\n")
    again = planned(uuid4(), tree(below), wanted)
    assert (again.new, again.known, again.problems) == ([], 1, [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(0, "EMPTY")]),
        ("\n\n", [(0, "EMPTY")]),
        ("name,level\nx,y\n", [(1, "COLUMN_UNKNOWN")]),
        ("region,region\nx,y\n", [(1, "COLUMN_TWICE")]),
        (HEAD + "N\ufffdrd,,,\n", [(0, "NOT_UTF8")]),
        (HEAD + "North,Elm,,\n", [(2, "ZONE_MISSING")]),
        (HEAD + "North,Elm,,EST\n", [(2, "ZONE_UNKNOWN")]),
        (HEAD + "North,Elm,,UTC\nNorth,Elm,,Europe/Rome\n", [(3, "ZONE_DIFFERS")]),
        (HEAD + "North,,Ward,\n", [(2, "CLINIC_MISSING")]),
        (HEAD + "North,,,UTC\n", [(2, "ZONE_OF_REGION")]),
        (HEAD + ",,,UTC\n", [(2, "NO_UNIT")]),
        (HEAD + "42,,,\n", [(2, "NAME_INVALID")]),
        (HEAD + f"{'x' * 201},,,\n", [(2, "NAME_INVALID")]),
        (HEAD + "North,,,\n\nnorth,,,\n", [(4, "REPEATED")]),
        (HEAD + "North,,,,more\n", [(2, "TOO_MANY_CELLS")]),
        (HEAD + "Oak,,,\n", [(2, "NAME_TAKEN")]),
        (HEAD + 'a,b,c,"' + "x" * 140_000, [(2, "NO_TABLE")]),
        (HEAD + "x" * 200_001, [(0, "TOO_LARGE")]),
    ],
)
def test_each_line_says_what_is_wrong(text: str, found: list[tuple[int, str]]) -> None:
    assert wrong(text, (Level.CLINIC, "Oak", "UTC")) == found


def test_a_table_has_an_end() -> None:
    text = HEAD + "".join(f"Region {n},,,\n" for n in range(MOST_LINES + 5))
    assert wrong(text) == [(MOST_LINES + 2, "TOO_MANY_LINES")]
    closed = tree((Level.REGION, "Old", None))
    closed[1].active = False
    wanted, _ = read(HEAD + "Old,,,\n")
    assert [p.code for p in planned(uuid4(), closed, wanted).problems] == ["UNIT_CLOSED"]
