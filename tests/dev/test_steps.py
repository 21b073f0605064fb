"""Steps wait for those they come after; a failed one keeps its followers from starting and says why."""

import time
from pathlib import Path

import pytest

from dev import steps
from dev.faults import Fault, Stopped
from dev.screen import Screen
from dev.steps import Progress, Say, Step

pytestmark = pytest.mark.anyio


async def test_each_begins_when_those_before_it_are_ready(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[str] = []

    def work(name: str, seconds: float) -> Step:
        def it(_: Say) -> str:
            time.sleep(seconds)
            done.append(name)
            return f"{name} is there"

        return Step(name, it)

    last = work("last", 0)
    last.after = ("slow", "quick")
    assert await steps.run([last, work("slow", 0.3), work("quick", 0)], Screen())
    assert done == ["quick", "slow", "last"]
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown] == [["ready", name] for name in done]


async def test_after_a_failure_followers_are_left_out_and_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "it.log"
    log.write_text("\n".join(f"line {n}" for n in range(100)))

    def breaks(_: Say) -> str:
        raise Fault("It is broken: mend it.", log)

    every = [
        Step("broken", breaks),
        Step("follower", lambda _: "", ("broken",)),
        Step("second", lambda _: "", ("follower",)),
        Step("other", lambda _: "fine"),
    ]
    assert not await steps.run(every, Screen())
    assert [step.progress for step in every] == [
        Progress.FAILED,
        Progress.SKIPPED,
        Progress.SKIPPED,
        Progress.READY,
    ]
    shown = capsys.readouterr().out
    assert "broken: It is broken: mend it.\n" in shown
    assert "line 99" in shown
    assert "line 50" not in shown
    assert str(log) in shown


async def test_being_stopped_is_not_a_failure() -> None:
    def stopped(_: Say) -> str:
        raise Stopped

    step = Step("stopped", stopped)
    with pytest.raises(Stopped):
        await steps.run([step], Screen())
    assert step.progress is Progress.SKIPPED


async def test_in_a_pipe_news_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    def work(say: Say) -> str:
        for words in ("fetching 1 of 3", "fetching 2 of 3", "unpacking", "unpacking"):
            say(words)
        return "there"

    assert await steps.run([Step("Keycloak", work)], Screen())
    shown = [line.split()[2:] for line in capsys.readouterr().out.splitlines()]
    assert shown[:2] == [["fetching", "1", "of", "3"], ["unpacking"]]
    assert len(shown) == 3
