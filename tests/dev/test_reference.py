"""The pages that the code writes say what the code says now."""

from pathlib import Path

import pytest

from dev import reference
from domain.encounters import Encounter
from domain.model import Base
from domain.tables import load


def test_the_pages_are_up_to_date() -> None:
    assert [path.name for path in reference.stale()] == [], "run `caretree dev reference`"


def test_every_table_is_told_once() -> None:
    told = reference.data_model()
    for name in load().metadata.tables:
        assert told.count(f"| `{name}` |") == 1


def test_every_table_says_what_it_is() -> None:
    load()
    silent = [m.class_.__tablename__ for m in Base.registry.mappers if not m.class_.__doc__]
    assert silent == []


def test_states_are_told_with_what_follows() -> None:
    told = reference.states(tuple(reference._modules()))
    for state, following in Encounter.__states__.moves.items():
        row = f"| {state.value} | {', '.join(t.value for t in type(state) if t in following) or '–'} |"
        assert row in told
    for heading in ("## Appointment", "## Claim queue", "## Encounter", "## Condition"):
        assert heading in told


def test_a_page_without_its_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data-model.md").write_text("# nothing\n")
    monkeypatch.setattr(reference, "DOCS", tmp_path)
    with pytest.raises(LookupError, match=r"data-model\.md"):
        reference.pages()
