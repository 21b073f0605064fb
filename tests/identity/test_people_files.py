"""Tables of people, as spreadsheets and people write them."""

from types import SimpleNamespace
from uuid import uuid4

import pytest

from domain.table_files import Problem
from identity.people_files import MOST_LINES, Units, read

HEAD = "login,given_name,family_name,email,role,region,clinic,department\n"


def wrong(text: str) -> list[tuple[int, str, str | None]]:
    return [(p.line, p.code, p.column) for p in read(text)[1]]


def test_the_lines_of_one_login_are_one_person() -> None:
    text = "Role;Login;Given_Name;Family_Name;Email;Region;Clinic\n" + (
        "Nurse; M.Santos ;Maria;Santos;m@x.example;North;Oak\nbiller;m.santos;;;;North;Elm\n"
        ";;Olaf;Ohne;O@X.example;;\n"
    )
    people, problems = read(text)
    assert problems == []
    maria, olaf = people
    assert (maria.login, maria.given_name, maria.email, maria.named) == (
        "m.santos",
        "Maria",
        "m@x.example",
        True,
    )
    assert [(r.line, r.role, [told for _, told in r.path]) for r in maria.roles] == [
        (2, "nurse", ["North", "Oak"]),
        (3, "biller", ["North", "Elm"]),
    ]
    assert (olaf.login, olaf.roles) == ("o@x.example", [])


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        (",Maria,Santos,,nurse,North,,", "LOGIN_MISSING", "login"),
        ("!,Maria,Santos,,nurse,North,,", "LOGIN_INVALID", "login"),
        ("service-account-x,Maria,Santos,,nurse,North,,", "LOGIN_INVALID", "login"),
        ("first,Other,,,nurse,North,,", "NAME_DIFFERS", "given_name"),
        (f"m,{'x' * 300},Santos,,nurse,North,,", "LOGIN_INVALID", "login"),
        (f"ma,{'x' * 300},Santos,,nurse,North,,", "NAME_INVALID", "given_name"),
        ("ma,Maria,Santos,nowhere,nurse,North,,", "EMAIL_INVALID", "email"),
        ("ma,Maria,Santos,,wizard,North,,", "UNKNOWN_ROLE", "role"),
        ("ma,Maria,Santos,,setup_people,,,", "UNKNOWN_ROLE", "role"),
        ("ma,Maria,Santos,,,North,,", "ROLE_MISSING", "role"),
        ("ma,Maria,Santos,,nurse,North,,Ward", "CLINIC_MISSING", "clinic"),
        ("first,,,,NURSE,north,,", "REPEATED", None),
        ("ma,Maria,Santos,,nurse,North,,,x", "TOO_MANY_CELLS", None),
    ],
)
def test_what_is_wrong_with_a_line_is_told(line: str, code: str, column: str | None) -> None:
    assert wrong(f"{HEAD}first,Fiona,First,,nurse,North,,\n{line}\n") == [(3, code, column)]


def test_what_is_wrong_with_the_table_is_told() -> None:
    assert wrong("") == [(0, "EMPTY", None)]
    assert wrong("given_name,family_name\nA,B\n") == [(1, "COLUMN_UNKNOWN", None)]
    assert wrong("login,password\nab,x\n") == [(1, "COLUMN_UNKNOWN", None)]
    many = "".join(f"p{n},P,P,,,,,\n" for n in range(MOST_LINES + 1))
    assert wrong(HEAD + many) == [(MOST_LINES + 2, "TOO_MANY_LINES", None)]


def test_units_are_named_by_their_whole_path_and_are_open() -> None:
    root = SimpleNamespace(id=uuid4(), parent_id=None, level="system", name="x", active=True)
    north = SimpleNamespace(
        id=uuid4(), parent_id=root.id, level="region", name="North", active=True
    )
    oak = SimpleNamespace(id=uuid4(), parent_id=north.id, level="clinic", name="Oak", active=True)
    shut = SimpleNamespace(id=uuid4(), parent_id=north.id, level="clinic", name="Elm", active=False)
    units = Units([oak, shut, north, root])
    text = (
        HEAD
        + "ab,A,B,,nurse,NORTH,oak,\nab,,,,nurse,,,\nab,,,,nurse,,oak,\nab,,,,nurse,North,Elm,\n"
    )
    (one,), problems = read(text)
    assert problems == []
    found = [units.at(role) for role in one.roles]
    assert found[:2] == [oak, root]
    codes = [found.code for found in found[2:] if isinstance(found, Problem)]
    assert codes == ["UNIT_UNKNOWN", "UNIT_CLOSED"]
