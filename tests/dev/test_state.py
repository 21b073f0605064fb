"""The state survives crowds and crashes, and is for its owner's eyes only."""

import threading
from pathlib import Path

import pytest

from dev.faults import Fault
from dev.state import State, secret


def test_is_empty_before_the_first_change(state: State) -> None:
    assert state.read() == {}
    assert state.get("people", "nurse.oak") is None


def test_only_the_owner_may_read_it(state: State) -> None:
    state.put("word", "postgres", "password")
    assert state.path.stat().st_mode & 0o777 == 0o600
    assert state.get("postgres", "password") == "word"


def test_what_was_drawn_stays(state: State) -> None:
    first = state.drawn("keycloak", "secret", draw=secret)
    assert state.drawn("keycloak", "secret", draw=secret) == first
    assert State(state.path).get("keycloak", "secret") == first


def test_a_failed_change_changes_nothing(state: State) -> None:
    state.put(1, "kept")
    with pytest.raises(ZeroDivisionError), state.changing() as kept:
        kept["kept"] = 1 / 0
    assert state.read() == {"kept": 1}


def test_nothing_is_written_where_nothing_changed(state: State) -> None:
    state.put(1, "kept")
    before = state.path.stat()
    state.put(1, "kept")
    assert state.path.stat().st_ino == before.st_ino


def test_what_a_killed_run_left_half_written_is_no_harm(state: State) -> None:
    state.put(1, "kept")
    state.path.with_suffix(".new").write_text('{"kept": ')
    state.put(2, "more")
    assert state.read() == {"kept": 1, "more": 2}


def test_many_threads_lose_no_change(state: State) -> None:
    def add(number: int) -> None:
        with state.changing() as kept:
            kept[str(number)] = number

    threads = [threading.Thread(target=add, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(state.read()) == 20


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_broken_file_is_a_sentence(place: Path, text: str) -> None:
    (place / "state.json").write_text(text)
    with pytest.raises(Fault, match="make clean"):
        State(place / "state.json").read()
