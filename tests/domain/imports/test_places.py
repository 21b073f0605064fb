"""Where organizations go."""

import uuid
from pathlib import Path

import pytest

from domain.errors import Invalid
from domain.imports import PlaceRule, clinic_named, read_map
from domain.imports.places import Clinic

CLINICS = tuple(
    Clinic(uuid.UUID(int=n), name, "UTC") for n, name in enumerate(("Oak", "Élm", "Ash", "Ash"))
)


def test_spreading_is_stable_and_even() -> None:
    rule = PlaceRule(CLINICS)
    placed = [rule.spread(f"organization {n}") for n in range(400)]
    assert placed == [rule.spread(f"organization {n}") for n in range(400)]
    assert all(60 < placed.count(clinic.id) < 140 for clinic in CLINICS)


def test_the_list_comes_first_then_the_clinic_for_the_rest() -> None:
    listed = {"a": CLINICS[0].id}
    assert PlaceRule(CLINICS, listed).explicit(["x", "a"]) == CLINICS[0].id
    assert PlaceRule(CLINICS, listed).default("x") is None
    assert PlaceRule(CLINICS, listed, CLINICS[1].id).default("x") == CLINICS[1].id
    assert PlaceRule(CLINICS).default("x") in {c.id for c in CLINICS}


def test_clinics_are_named_by_name_or_id() -> None:
    assert clinic_named(CLINICS, " oak ") == CLINICS[0].id
    assert clinic_named(CLINICS, "elm") == CLINICS[1].id
    assert clinic_named(CLINICS, str(CLINICS[2].id)) == CLINICS[2].id
    with pytest.raises(Invalid, match="Several"):
        clinic_named(CLINICS, "Ash")
    with pytest.raises(Invalid, match="no such open clinic"):
        clinic_named(CLINICS, "Pine")


def test_a_map_is_json_or_csv(tmp_path: Path) -> None:
    wanted = {"org-1": CLINICS[0].id, "Saint, Mary": CLINICS[1].id}
    (tmp_path / "m.json").write_text('{"org-1": "Oak", "Saint, Mary": "Élm"}')
    (tmp_path / "m.csv").write_text('\ufefforg-1,Oak\n\n"Saint, Mary",elm\n')
    assert read_map(tmp_path / "m.json", CLINICS) == wanted
    assert read_map(tmp_path / "m.csv", CLINICS) == wanted


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.json", b"{", "no JSON"),
        ("m.json", b"[1]", "must be an object"),
        ("m.json", b'{"a": 1}', "must be an object"),
        ("m.json", b"{}", "empty"),
        ("m.json", b'{"a": "Oak", "b": "Pine"}', "item 2: There is no such"),
        ("m.csv", b"a,Oak,x", "line 1 must have two columns"),
        ("m.csv", b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_map_that_is_wrong_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Invalid, match=message):
        read_map(tmp_path / name, CLINICS)


def test_a_map_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        read_map(tmp_path / "none.csv", CLINICS)
