"""`make up`: servers, migrations, the demo world, then the API and the worker in the foreground until Ctrl-C."""

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from pathlib import Path

import httpx

from dev import steps
from dev.children import Children
from dev.faults import Fault, Stopped, told
from dev.folder import CHECKOUT
from dev.guardian import Guardian
from dev.product import API, Product, api_port
from dev.runs import Run
from dev.screen import ReaderGone, Screen
from dev.servers import Stack
from dev.steps import Step
from dev.welcome import welcome

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
API_PATIENCE = 60


@dataclass
class Supervisor:
    """One run of `make up`."""

    root: Path
    screen: Screen

    async def up(self) -> int:
        """The exit code: 0 after Ctrl-C or where a run is there already, 1 after a failure. Raises Fault."""
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
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._ask_to_stop, stack, children)
        try:
            port = api_port(stack)
            product = Product(stack)
            if not await steps.run(_steps(product), self.screen):
                return 1
            for name, (command, env) in product.children(port).items():
                await children.start(name, command, env)
            run.note(ours, port=port, children=children.pids())
            return await self._serve(children, product)
        except (Stopped, ReaderGone):
            return 0
        finally:
            await children.stop()

    def _ask_to_stop(self, stack: Stack, children: Children) -> None:
        stack.commands.stop()
        children.stopping.set()

    async def _serve(self, children: Children, product: Product) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:

            async def ready() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    address = product.url.replace("localhost", "127.0.0.1")
                    return (await http.get(f"{address}/readyz")).is_success
                return False

            if await children.until_ready(ready, API_PATIENCE):
                welcome(product, self.screen)
            elif not children.stopping.is_set():
                self.screen.line(f"The {API} was not ready after {API_PATIENCE} s.", style="red")
                return 1
        await children.until_stopped()
        if children.ended is None:
            return 0
        self.screen.line(
            f"{children.ended.name} ended with status {children.ended.status}; its last words are above."
            " Everything is stopped; `make up` starts it again.",
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


def _steps(product: Product) -> list[Step]:
    stack = product.stack
    return [
        Step("PostgreSQL", lambda _: stack.start_postgres()),
        Step("Valkey", lambda _: stack.start_valkey()),
        Step("Keycloak", stack.start_keycloak, ("PostgreSQL",)),
        Step("migrations", lambda _: product.migrate(), ("PostgreSQL",)),
        Step("demo world", product.seed, ("Keycloak", "migrations")),
    ]


def main(root: Path) -> int:
    """Run until the end; the exit code."""
    screen = Screen()
    try:
        return asyncio.run(Supervisor(root, screen).up())
    except Fault as fault:
        steps.explain(Step("make up", lambda _: ""), fault, screen)
        return 1
    except ReaderGone:
        return 0
