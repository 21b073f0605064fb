"""Tools run apart from us and end with us; what they cannot do becomes a sentence."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dev import processes
from dev.commands import Commands, Failed
from dev.faults import DiskFull, Fault, Stopped, told
from dev.folder import CHECKOUT, Folder, reaches


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_says_what_the_tool_said(commands: Commands) -> None:
    assert commands.run(shell("echo out; echo err >&2")) == "out\nerr\n"


def test_a_failure_carries_the_words(commands: Commands) -> None:
    with pytest.raises(Failed) as failed:
        commands.run(shell("echo no; exit 3"))
    assert failed.value.output == "no"


def test_a_full_disk_is_a_sentence(commands: Commands) -> None:
    with pytest.raises(DiskFull, match="free some space"):
        commands.run(shell("echo 'initdb: No space left on device'; exit 1"))
    with pytest.raises(DiskFull), told(commands.folder.root):
        raise OSError(28, "No space left on device")


def test_a_tool_that_hangs_is_ended(commands: Commands) -> None:
    with pytest.raises(Fault, match="not done after 0 s"):
        commands.run(shell("sleep 60"), timeout=0.2)


def test_asking_to_stop_ends_a_tool_at_once(commands: Commands) -> None:
    threading.Timer(0.3, commands.stop).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        commands.run(shell("sleep 60"))
    assert time.monotonic() - began < 5
    commands.resume()
    assert commands.run(shell("echo again")) == "again\n"


def test_newest_lines_are_heard_while_it_runs(commands: Commands) -> None:
    heard: list[str] = []
    commands.run(
        shell("echo one; sleep 0.2; echo two; sleep 0.2; printf three"), heard=heard.append
    )
    assert heard == ["one", "two"]


def test_a_tool_runs_as_the_servers_account(commands: Commands) -> None:
    account = commands.folder.account
    expected = account.uid if account else int(subprocess.check_output(["id", "-u"]))
    assert int(commands.run(shell("id -u"))) == expected


def test_a_tool_sees_nothing_of_our_environment(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "word")
    assert "PGPASSWORD" not in commands.run(["env"])


def test_a_tool_ends_when_we_are_killed(place: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dev.commands import Commands;"
        "from dev.folder import Folder;"
        "Commands(Folder.open(Path(sys.argv[1]))).run(['/bin/sh', '-c', 'sleep 50; : ' + sys.argv[1]])"
    )
    us = subprocess.Popen([sys.executable, "-c", script, str(place)], cwd=CHECKOUT)

    def tools() -> list[int]:
        everybody = [pid for pid in processes.all_living() if pid != us.pid]
        return [pid for pid in everybody if str(place) in " ".join(processes.command(pid))]

    assert processes.until(lambda: bool(tools()), 20)
    us.kill()
    us.wait()
    assert processes.until(lambda: not tools(), 5)


def test_an_account_that_is_not_there_is_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("CARETREE_RUN_AS", "nobody-at-all")
    with pytest.raises(Fault, match="CARETREE_RUN_AS"):
        Folder.open(place)


def test_a_closed_folder_is_seen(commands: Commands, place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    assert reaches(None, closed / "x")
    if commands.folder.account:
        assert reaches(commands.folder.account, place / "x")
        assert not reaches(commands.folder.account, closed / "x")
