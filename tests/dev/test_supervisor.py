"""Whatever ends a run, nothing that it started is left, and what it found running stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev import processes
from dev.folder import CHECKOUT
from dev.runs import Run
from dev.servers import Stack
from tests.dev.conftest import naming
from tests.dev.small_run import READY

SLEEP = "import time; time.sleep(600)"
FAIL = "print('no luck'); raise SystemExit(3)"
Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Begin a run in the folder of this test."""
    for name in ("DATABASE_URL", "REDIS_URL", "KEYCLOAK_URL"):
        monkeypatch.delenv(name, raising=False)
    begun = []

    def start(child: str = SLEEP) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.dev.small_run", str(place), child]
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def until_line(process: subprocess.Popen[str], words: str) -> str:
    """Read on until a line has these words; all that was read."""
    read = ""
    assert process.stdout is not None
    for line in process.stdout:
        read += line
        if words in line:
            return read
    raise AssertionError(f"ended without {words!r}: {read}")


def rest(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()


def nothing_is_left(place: Path, seconds: float = 30) -> bool:
    return processes.until(lambda: not naming(place), seconds)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_stops_all_that_the_run_started(
    begin: Begin, stack: Stack, number: signal.Signals
) -> None:
    run = begin()
    until_line(run, READY)
    assert set(stack.running()) == {"PostgreSQL", "Valkey"}
    os.kill(run.pid, number)
    assert "Stopped what this run had started: Valkey, PostgreSQL." in rest(run)
    assert run.wait(30) == 0
    assert nothing_is_left(stack.folder.root)


def test_ctrl_c_while_a_step_is_at_work(begin: Begin, stack: Stack) -> None:
    run = begin()
    assert processes.until(lambda: (stack.folder.data / "making").exists(), 20)
    os.kill(run.pid, signal.SIGINT)
    rest(run)
    assert run.wait(30) == 0
    assert nothing_is_left(stack.folder.root)
    assert stack.postgres.start() is True


def test_a_child_that_dies_stops_the_rest(begin: Begin, stack: Stack) -> None:
    run = begin(FAIL)
    said = rest(run)
    assert "other ended with status 3" in said
    assert "no luck" in said
    assert run.wait(30) == 1
    assert nothing_is_left(stack.folder.root)


def test_a_reader_that_goes_away_ends_the_run(begin: Begin, stack: Stack) -> None:
    run = begin()
    until_line(run, READY)
    assert run.stdout is not None
    run.stdout.close()
    assert run.wait(30) == 0
    assert nothing_is_left(stack.folder.root)


def test_kill_9_of_the_supervisor_leaves_nothing(begin: Begin, stack: Stack) -> None:
    run = begin()
    until_line(run, READY)
    assert len(naming(stack.folder.root)) > 4
    run.kill()
    run.wait()
    assert nothing_is_left(stack.folder.root)
    again = begin()
    until_line(again, READY)
    os.kill(again.pid, signal.SIGINT)
    rest(again)
    assert again.wait(30) == 0
    assert nothing_is_left(stack.folder.root)


def test_a_run_right_after_a_kill_waits_for_what_is_still_stopping(
    begin: Begin, stack: Stack
) -> None:
    run = begin()
    until_line(run, READY)
    run.kill()
    again = begin()
    run.wait()
    until_line(again, READY)
    assert set(stack.running()) == {"PostgreSQL", "Valkey"}
    os.kill(again.pid, signal.SIGINT)
    assert "Valkey, PostgreSQL" in rest(again)
    assert nothing_is_left(stack.folder.root)


def test_kill_9_of_supervisor_and_guardian_is_made_good_by_the_next_run(
    begin: Begin, stack: Stack
) -> None:
    run = begin()
    until_line(run, READY)
    guardian = next(p for p in naming(stack.folder.root) if "dev.guardian" in processes.command(p))
    os.kill(guardian, signal.SIGKILL)
    run.kill()
    run.wait()
    assert processes.until(lambda: set(stack.running()) == {"PostgreSQL", "Valkey"}, 5)
    again = begin()
    until_line(again, READY)
    os.kill(again.pid, signal.SIGINT)
    assert "Stopped what this run had started: Valkey, PostgreSQL." in rest(again)
    assert nothing_is_left(stack.folder.root)


def test_servers_that_ran_before_stay(begin: Begin, stack: Stack) -> None:
    stack.start_postgres()
    pid = stack.postgres.pid()
    run = begin()
    assert "was running" in until_line(run, READY)
    os.kill(run.pid, signal.SIGINT)
    said = rest(run)
    assert "Stopped what this run had started: Valkey." in said
    assert "Ran before and stays: PostgreSQL" in said
    assert run.wait(30) == 0
    assert stack.running() == {"PostgreSQL": pid}


def test_a_second_run_beside_the_first_changes_nothing(begin: Begin, stack: Stack) -> None:
    run = begin()
    until_line(run, READY)
    before = stack.running()
    second = begin()
    assert f"runs here already (process {run.pid})" in rest(second)
    assert second.wait(30) == 0
    assert stack.running() == before
    assert run.poll() is None


def test_a_step_that_fails_is_a_sentence_with_the_end_of_its_log(
    begin: Begin, stack: Stack
) -> None:
    stack.start_postgres()
    stack.stop()
    (stack.postgres.data / "PG_VERSION").write_text("17\n")
    run = begin()
    said = rest(run)
    assert "PostgreSQL: PostgreSQL did not start" in said
    assert "incompatible with server" in said
    assert "skipped  Valkey" in said
    assert run.wait(30) == 1
    assert nothing_is_left(stack.folder.root)
    assert Run(stack.folder.root).servers() == set()
