"""A process is told from another one with its number, and a dead one from a living one, zombie or not."""

import os
import subprocess
import sys
import time
from pathlib import Path

from dev import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); time.sleep(60)",
]


def test_a_noted_process_is_recalled_while_it_lives(place: Path) -> None:
    with subprocess.Popen(SLEEP) as process:
        processes.note(place / "it.pid", process.pid)
        assert processes.recall(place / "it.pid") == process.pid
        process.kill()
    assert processes.recall(place / "it.pid") is None


def test_another_process_with_the_number_is_not_taken_for_it(place: Path) -> None:
    note = place / "it.pid"
    processes.note(note, os.getpid())
    note.write_text(note.read_text().replace('"born": 1', '"born": 0'))
    assert processes.recall(note) is None


def test_a_zombie_is_dead(place: Path) -> None:
    process = subprocess.Popen(SLEEP)
    processes.note(place / "it.pid", process.pid)
    process.kill()
    assert processes.until(lambda: processes.living(process.pid) is None, 5)
    os.kill(process.pid, 0)  # it has not been reaped: the number is still there
    assert processes.recall(place / "it.pid") is None
    process.wait()


def test_a_broken_note_is_no_process(place: Path) -> None:
    for text in ("", "{", "[]", '{"pid": "x"}', '{"pid": 99999999, "born": 1}'):
        (place / "it.pid").write_text(text)
        assert processes.recall(place / "it.pid") is None
    assert processes.recall(place / "none.pid") is None


def test_a_group_ends_as_a_whole_though_its_leader_is_gone() -> None:
    script = f"import subprocess; print(subprocess.Popen({SLEEP!r}).pid, flush=True)"
    leader = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    leader.wait()
    leader.stdout.close()
    assert processes.group(leader.pid) == [child]
    processes.end_group(leader.pid)
    assert processes.living(child) is None


def test_one_that_does_not_listen_is_killed() -> None:
    process = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    processes.end(process.pid, patience=0.3)
    assert processes.living(process.pid) is None
    assert time.monotonic() - began < 5
    process.stdout.close()
    process.wait()
