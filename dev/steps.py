"""What has to be done before anything is served: steps that wait for each other, shown as they go."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from rich.live import Live
from rich.table import Table

from dev.faults import Fault, Stopped
from dev.screen import ReaderGone, Screen


class Progress(StrEnum):
    """How far a step is."""

    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"
    SKIPPED = "skipped"


MARKS = {
    Progress.WAITING: "[dim]·[/]",
    Progress.RUNNING: "[yellow]…[/]",
    Progress.READY: "[green]✓[/]",
    Progress.FAILED: "[red]✗[/]",
    Progress.SKIPPED: "[dim]-[/]",
}
Say = Callable[[str], None]


@dataclass
class Step:
    """One thing to do, in a thread: `work` gets a function to say how it goes and answers a few words at the end."""

    name: str
    work: Callable[[Say], str]
    after: Sequence[str] = ()
    progress: Progress = Progress.WAITING
    note: str = ""
    seconds: float = 0
    fault: Fault | None = None
    on_news: Callable[[str], None] = lambda _: None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, words: str) -> None:
        """Show how it goes; `on_news` hears of it when the first word is another one than before."""
        if self.progress is not Progress.RUNNING:
            return
        if words.split()[:1] != self.note.split()[:1]:
            self.on_news(words)
        self.note = words


async def run(steps: Sequence[Step], screen: Screen) -> bool:
    """Do all of them, each as soon as those it comes after are ready; whether all became ready. Raises Stopped."""
    named = {step.name: step for step in steps}
    tasks = [asyncio.create_task(_do(step, named)) for step in steps]
    try:
        if screen.moves:
            with Live(
                get_renderable=lambda: table(steps), console=screen.console, refresh_per_second=8
            ):
                await asyncio.gather(*tasks)
        else:
            for step in steps:
                step.on_news = partial(_tell, step, screen)
            await asyncio.gather(*tasks, *(_report(step, screen) for step in steps))
    finally:
        await asyncio.gather(*tasks, return_exceptions=True)
    for step in steps:
        if step.fault:
            explain(step.name, step.fault, screen)
    return all(step.progress is Progress.READY for step in steps)


async def _do(step: Step, named: dict[str, Step]) -> None:
    try:
        for name in step.after:
            await named[name].done.wait()
        if any(named[name].progress is not Progress.READY for name in step.after):
            step.progress = Progress.SKIPPED
            return
        await _work(step)
    finally:
        step.done.set()


async def _work(step: Step) -> None:
    step.progress, began = Progress.RUNNING, time.monotonic()
    clock = asyncio.create_task(_tick(step, began))
    try:
        step.note = await asyncio.to_thread(step.work, step.say)
        step.progress = Progress.READY
    except Fault as fault:
        step.progress, step.fault, step.note = Progress.FAILED, fault, "see below"
    except Stopped:
        step.progress, step.note = Progress.SKIPPED, "stopped"
        raise
    except BaseException:
        step.progress = Progress.FAILED
        raise
    finally:
        clock.cancel()
        step.seconds = time.monotonic() - began


async def _tick(step: Step, began: float) -> None:
    while True:
        step.seconds = time.monotonic() - began
        await asyncio.sleep(0.1)


def _tell(step: Step, screen: Screen, words: str) -> None:
    """A line about a step that goes on, from its thread; that nobody reads any more is noticed elsewhere."""
    with contextlib.suppress(ReaderGone):
        screen.line(f"{'…':<8} {step.name:<14}{'':8}  {words}")


async def _report(step: Step, screen: Screen) -> None:
    await step.done.wait()
    screen.line(f"{step.progress:<8} {step.name:<14}{step.seconds:6.1f} s  {step.note}".rstrip())


def table(steps: Sequence[Step]) -> Table:
    """All steps, a line each."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    for step in steps:
        seconds = f"[dim]{step.seconds:5.1f} s[/]" if step.progress is not Progress.WAITING else ""
        shown.add_row(MARKS[step.progress], step.name, seconds, step.note)
    return shown


def explain(name: str, fault: Fault, screen: Screen) -> None:
    """One sentence, then the end of the log."""
    screen.line("")
    screen.line(f"{name}: {fault.sentence}", style="red")
    for line in fault.tail():
        screen.line(f"  {line}", style="dim")
    if fault.log is not None:
        screen.line(f"  (all of it: {fault.log})", style="dim")
