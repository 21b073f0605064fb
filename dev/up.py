"""`make up`: servers, migrations, the demo world, then the API, the operators' API and the worker in the foreground until Ctrl-C."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dev import ports, steps
from dev.children import Children
from dev.faults import Fault, Stopped, told
from dev.folder import CHECKOUT
from dev.guardian import Guardian
from dev.product import Product, api_port, platform_port
from dev.runs import Run
from dev.screen import ReaderGone, Screen
from dev.servers import Stack
from dev.steps import Step
from dev.welcome import welcome

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 60

Command = tuple[list[str], Mapping[str, str]]


@dataclass(frozen=True)
class Plan:
    """What a run does: steps, then children (command and environment by name), then a word when they are ready."""

    steps: list[Step]
    children: Callable[[], Mapping[str, Command]]
    ready: Callable[[], Awaitable[bool]]
    welcome: Callable[[Screen], None]
    details: Mapping[str, object]


def product_plan(stack: Stack) -> Plan:
    """The whole of Caretree. Raises Fault when its port is taken."""
    port, operators, product = api_port(stack), platform_port(stack), Product(stack)

    async def ready() -> bool:
        served = (port, operators)
        asked = (asyncio.to_thread(ports.answers, each, "/readyz") for each in served)
        return all(await asyncio.gather(*asked))

    return Plan(
        steps=[
            Step("PostgreSQL", lambda _: stack.start_postgres()),
            Step("Valkey", lambda _: stack.start_valkey()),
            Step("Keycloak", stack.start_keycloak, ("PostgreSQL",)),
            Step("migrations", lambda _: product.migrate(), ("PostgreSQL",)),
            Step("demo world", product.seed, ("Keycloak", "migrations", "Valkey")),
        ],
        children=lambda: product.children(port, operators),
        ready=ready,
        welcome=lambda screen: welcome(product, screen),
        details={"port": port},
    )


@dataclass
class Supervisor:
    """One run. Whatever ends it, nothing that it started is left: the guardian sees to that even after a kill -9."""

    root: Path
    screen: Screen
    plan: Callable[[Stack], Plan] = product_plan

    async def up(self) -> int:
        """The exit code: 0 after Ctrl-C or where a run is there already, 1 after a failure. Raises Fault, ReaderGone."""
        run = Run(self.root)
        with told(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = run.begin()
        stack = Stack(self.root)
        if lock is None:
            self.screen.line(
                f"make up runs here already (process {run.pid()}); nothing was changed."
            )
            welcome(Product(stack), self.screen)
            return 0
        # What runs now stays at the end, unless a run that was killed had started it.
        ours = {s.name for s in stack.all} - (stack.running().keys() - run.servers())
        run.note(ours)
        guardian = Guardian(self.root, lock)
        try:
            return await self._run(stack, run, ours)
        finally:
            await self._stop(stack, ours)
            run.forget()
            guardian.dismiss()

    async def _run(self, stack: Stack, run: Run, ours: set[str]) -> int:
        children = Children(self.screen, CHECKOUT)
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(
                number, self._ask_to_stop, stack, children
            )
        plan = self.plan(stack)
        try:
            if not await steps.run(plan.steps, self.screen):
                return 1
            for name, (command, env) in plan.children().items():
                await children.start(name, command, env)
            run.note(ours, children=children.pids(), **plan.details)
            return await self._serve(children, plan)
        except (Stopped, ReaderGone):
            return 0
        finally:
            await children.stop()

    def _ask_to_stop(self, stack: Stack, children: Children) -> None:
        stack.commands.stop()
        children.stopping.set()

    async def _serve(self, children: Children, plan: Plan) -> int:
        if await children.until_ready(plan.ready, PATIENCE):
            plan.welcome(self.screen)
        elif not children.stopping.is_set():
            self.screen.line(
                f"The API was not ready after {PATIENCE} s: correct what it says above, then run"
                " `make up` again.",
                style="red",
            )
            return 1
        await children.until_stopped()
        if children.ended is None:
            return 0
        self.screen.line(
            f"{children.ended.name} ended with status {children.ended.status}, so the rest was stopped:"
            " correct what it says above, then run `make up` again.",
            style="red",
        )
        return 1

    async def _stop(self, stack: Stack, ours: set[str]) -> None:
        for number in SIGNALS:  # a second Ctrl-C must not leave servers behind
            asyncio.get_running_loop().add_signal_handler(number, lambda: None)
        stopped = await asyncio.to_thread(stack.stop, ours)
        left = stack.running()
        with contextlib.suppress(ReaderGone, OSError):
            self.screen.line("")
            self.screen.line(
                f"Stopped what this run had started: {', '.join(stopped) or 'no server'}."
            )
            if left:
                self.screen.line(
                    f"Ran before and stays: {', '.join(left)} (`make down` stops them)."
                )


def main(root: Path) -> int:
    """Run until the end; the exit code."""
    screen = Screen()
    try:
        return asyncio.run(Supervisor(root, screen).up())
    except Fault as fault:
        with contextlib.suppress(ReaderGone):
            steps.explain("make up", fault, screen)
        return 1
    except ReaderGone:
        return 0
