"""`caretree dev live --away 60`: Keycloak stopped, and killed, under load; what works meanwhile, what is left behind.

Two servers and a worker, a realm whose people work all the time, and for each outage another realm whose people have
just logged in when Keycloak goes away, so that no server has seen its keys. Nothing of ours is restarted.
"""

import asyncio
import datetime as dt
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from sqlalchemy import select

from dev.databases import DatabaseUrls, kept_passwords, prepare
from dev.faults import Fault
from dev.live.client import ASK, EACH, answer, asking
from dev.live.inside import Inside, Processes, User, at, empty, people, serving
from dev.live.outage import BACK, LEAVING, Answers, Load, Outage, code_of
from dev.servers import Servers, Stack
from domain.audit import Agent
from domain.database import engine
from domain.people import Person
from domain.tables import load as load_tables
from identity.provisioning import deactivate_person
from identity.sync import cell_session
from migrations import run

WORKING, STRANGERS = 10, 10
"""People at each server who are known, and who are not."""
ASKED_EACH = 0.1

Switch = Callable[[], Awaitable[None]]


async def ask_on(port: int, token: str, answers: Answers, each: float) -> None:
    """Ask again and again on one connection, until cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            begun = time.perf_counter()
            writer.write(asking(token, ASK, "application/json"))
            answers.add(await answer(reader), time.perf_counter() - begun)
            await asyncio.sleep(each)
    finally:
        writer.close()


async def once(port: int, token: str) -> str:
    """The code of one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(asking(token, ASK, "application/json"))
        return code_of(await answer(reader))
    finally:
        writer.close()


@asynccontextmanager
async def asking_on(
    ports: Sequence[int], tokens: Sequence[str], answers: Answers
) -> AsyncIterator[None]:
    """Everybody of them asks at every server, all the time."""
    tasks = [
        asyncio.ensure_future(ask_on(port, token, answers, ASKED_EACH))
        for port in ports
        for token in tokens
    ]
    try:
        yield
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()


async def until(holds: Callable[[], Awaitable[bool]], within: float = BACK) -> float:
    """Seconds until it holds; `within` where it does not."""
    begun = time.perf_counter()
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while not await holds():  # noqa: ASYNC110  # others do it
                await asyncio.sleep(EACH * 10)
    return time.perf_counter() - begun


@dataclass
class Scene:
    """All that an outage befalls. `inside` is the realm whose people work, `servers` how Keycloak is reached."""

    urls: DatabaseUrls
    servers: Servers
    folder: Path
    processes: Processes
    inside: Inside
    users: list[User]
    public: str | None

    async def outage(self, how: str, off: Switch, on: Switch, seconds: float) -> Outage:
        """Switch Keycloak off for so long, and see."""
        found, ports = Outage(how, seconds), self.processes.ports
        workers = [self.users.pop() for _ in range(WORKING)]
        leaving = [self.users.pop() for _ in range(LEAVING)]
        async with AsyncExitStack() as entered:
            strange = at(self.urls, self.servers, self.folder, ports, self.public)
            other = await entered.enter_async_context(strange)
            newcomers = await people(self.urls, other, STRANGERS)
            tokens = [await self.inside.log_in(user) for user in (*workers, *leaving)]
            arrivals = [await other.log_in(user) for user in newcomers]
            for port in ports:
                for token in tokens:
                    assert await once(port, token) == "OK"
            await until(self._idle, 30)
            found.before = found.most = await self._load()
            await off()
            try:
                async with (
                    asking_on(ports, tokens[:WORKING], found.working),
                    asking_on(ports, arrivals, found.strangers),
                ):
                    await self._meanwhile(found, leaving, tokens[WORKING:])
            finally:
                await on()
            await self._back(found, leaving, arrivals)
        return found

    async def _meanwhile(self, found: Outage, leaving: list[User], tokens: list[str]) -> None:
        over = time.perf_counter() + found.seconds
        found.shut_out = await self._shut_out(leaving, tokens)
        trying = asyncio.ensure_future(self._try_the_realm(found.realm))
        while time.perf_counter() < over:
            load = await self._load()
            found.most = load.most(found.most or load)
            await asyncio.sleep(min(1, found.seconds / 4))
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)

    async def _try_the_realm(self, answers: Answers) -> None:
        """Ask for the realm itself, which nobody of ours stands before."""
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            while True:
                begun = time.perf_counter()
                try:
                    outcome = str((await http.get(self.inside.made.issuer)).status_code)
                except httpx.TimeoutException:
                    outcome = "HANGS"
                except httpx.HTTPError:
                    outcome = "AWAY"
                answers.codes[outcome] += 1
                answers.slowest = max(answers.slowest, time.perf_counter() - begun)
                await asyncio.sleep(0.5)

    async def _shut_out(self, leaving: list[User], tokens: list[str]) -> float:
        """Deactivate people; how long after that the last of them was still shown something."""
        tenant_id, longest = self.inside.made.tenant_id, 0.0
        cell = engine(self.urls.platform, application="caretree-live", size=1)
        for user, token in zip(leaving, tokens, strict=True):
            agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
            async with cell_session(cell, tenant_id) as session:
                whose = select(Person.id).where(
                    Person.tenant_id == tenant_id, Person.subject == user.id
                )
                await deactivate_person(session, agent, (await session.scalars(whose)).one())
            for port in self.processes.ports:

                async def out(port: int = port, token: str = token) -> bool:
                    return await once(port, token) != "OK"

                longest = max(longest, await until(out, 10))
        await cell.dispose()
        return longest

    async def _back(self, found: Outage, leaving: list[User], arrivals: list[str]) -> None:
        """Measure what works again, and when."""
        ports, console = self.processes.ports, self.inside.console

        async def known() -> bool:
            told = [await once(port, token) for port in ports for token in arrivals]
            return set(told) == {"OK"}

        async def followed() -> bool:
            return not any([(await console.user(user.id))["enabled"] for user in leaving])

        found.back["strangers are known"] = await until(known)
        newcomer = self.users.pop()
        begun = time.perf_counter()
        token = await self.inside.log_in(newcomer)
        assert await once(ports[0], token) == "OK"
        found.back["a login"] = time.perf_counter() - begun
        await console.update_user({**await console.user(newcomer.id), "enabled": False})

        async def noticed() -> bool:
            return await once(ports[0], token) != "OK"

        found.back["a cut inside Keycloak"] = await until(noticed)
        found.back["Keycloak follows"] = await until(followed)
        found.back["no job waits"] = await until(self._idle)
        found.after = await self._load()

    async def _load(self) -> Load:
        return await asyncio.to_thread(Load.of, self.urls, self.processes)

    async def _idle(self) -> bool:
        return (await self._load()).jobs == 0


async def endured(
    urls: DatabaseUrls,
    servers: Servers,
    folder: Path,
    outages: dict[str, tuple[Switch, Switch]],
    seconds: float,
    public: str | None = None,
) -> list[Outage]:
    """What each outage came to. `urls`: a database of its own, which is emptied. `outages`: off and on, by their names."""
    load_tables()
    run.upgrade(urls.owner)
    empty(urls)
    with serving(urls, servers, folder) as processes:
        async with at(urls, servers, folder, processes.ports, public) as inside:
            users = await people(urls, inside, (WORKING + LEAVING + 1) * len(outages))
            scene = Scene(urls, servers, folder, processes, inside, users, public)
            found = [await scene.outage(how, *ways, seconds) for how, ways in outages.items()]
    empty(urls)
    return found


def command(seconds: int) -> int:
    """Let the stack's own Keycloak be away for so long, stopped and then killed; 1 where a bar was missed.

    Raises Fault where it runs already: others may be working with it.
    """
    from dev.servers import root

    stack = Stack(root())
    before = stack.running()
    if stack.keycloak.name in before or os.environ.get("KEYCLOAK_URL"):
        raise Fault("Keycloak is to be stopped and killed here: end what runs first, `make down`.")
    stack.start_postgres()
    try:
        stack.start_keycloak()
        urls = prepare(stack.database_url, "caretree_live_away", kept_passwords(stack.state))
        work = endured(urls, stack.servers(), stack.folder.root, _outages(stack), seconds)
        found = asyncio.run(work)
    finally:
        stack.stop(stack.running().keys() - before.keys())
    for outage in found:
        print("\n".join(outage.lines()), flush=True)
    return int(any(outage.missed for outage in found))


def _outages(stack: Stack) -> dict[str, tuple[Switch, Switch]]:
    async def send(signalled: signal.Signals) -> None:
        leader = stack.keycloak.pid()
        assert leader is not None, "Keycloak is gone"
        os.killpg(leader, signalled)

    async def start() -> None:
        await asyncio.to_thread(stack.start_keycloak)

    return {
        "stopped": (partial(send, signal.SIGSTOP), partial(send, signal.SIGCONT)),
        "killed": (partial(send, signal.SIGKILL), start),
    }
