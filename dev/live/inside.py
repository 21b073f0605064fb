"""Cuts made inside a real Keycloak: a health system of its own there, two servers, a worker that watches the realm.

Sessions that end are announced to the first server as in production; of the rest only the realm's events tell.
"""

import asyncio
import random
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import stamina

from dev.browser import Browser
from dev.databases import DatabaseUrls
from dev.live.client import cut_off, timed
from dev.live.stage import SERVERS, furnish, running, served, wait_for
from dev.servers import Servers
from domain.tables import load as load_tables
from identity.keycloak import Account, Realm
from identity.keycloak_failures import NotFound, Unavailable
from identity.platform import open_platform
from identity.provisioning import PersonDraft
from identity.realms import PORTAL
from identity.tenants import MadeTenant, Platform, Portals, TenantOrder, create_tenant
from identity.tenants import register_cluster as register
from identity.watching import EACH as LOOK
from migrations import run

BAR = 5.0
"""Seconds in which a cut inside Keycloak has to be felt."""
AT_ONCE = 12
"""Trials at the same moment: most of their time is waiting."""
EACH = 0.1
PASSWORD = "correct horse battery staple"  # noqa: S105  # of people who are gone afterwards
CHEAPLY = "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)"
"""How the realm keeps their passwords: as it does otherwise, a login takes 50 ms of the processor for the password alone."""
IMPORTED = 200
PROGRESS = 50
CALLBACK = "http://127.0.0.1:9/callback"


@dataclass(frozen=True)
class Inside:
    """The realm as an administrator's console has it, and the servers."""

    console: Realm
    made: MadeTenant
    ports: list[int]

    async def log_in(self, user: "User") -> str:
        """An access token of a login on the realm's pages."""
        return await asyncio.to_thread(log_in, self.made.issuer, user.name)


@dataclass(frozen=True)
class User:
    """Somebody of the realm."""

    name: str
    id: str


async def _disabled(inside: Inside, user: User) -> None:
    realm = inside.console
    await realm.update_user({**await realm.user(user.id), "enabled": False})


async def _deleted(inside: Inside, user: User) -> None:
    await inside.console.delete_user(user.id)


async def _session(inside: Inside, user: User) -> None:
    for session in await inside.console.sessions(user.id):
        await inside.console.end_session(session["id"])


async def _logged_out(inside: Inside, user: User) -> None:
    await inside.console.end_sessions(user.id)


async def _password(inside: Inside, user: User) -> None:
    await inside.console.set_password(user.id, secrets.token_urlsafe(24), temporary=True)


WAYS: dict[str, Callable[[Inside, User], Awaitable[None]]] = {
    "Keycloak: session deleted": _session,
    "Keycloak: logged out": _logged_out,
    "Keycloak: user disabled": _disabled,
    "Keycloak: user deleted": _deleted,
    "Keycloak: password reset": _password,
}


async def _portal(inside: Inside, enabled: bool) -> None:
    for client in await inside.console.clients():
        if client["clientId"] == PORTAL:
            await inside.console.update_client({**client, "enabled": enabled})


async def _realm(inside: Inside, enabled: bool) -> None:
    await inside.console.update({"enabled": enabled})


CLOSINGS: dict[str, Callable[[Inside, bool], Awaitable[None]]] = {
    "Keycloak: portal disabled": _portal,
    "Keycloak: realm disabled": _realm,
}
"""What cuts everybody off, until it is undone: as many trials at once as there are people in."""
NAMES = (*WAYS, *CLOSINGS)


async def felt_inside(
    urls: DatabaseUrls,
    servers: Servers,
    folder: Path,
    trials: int,
    say: Callable[[str], None],
) -> dict[str, list[float]]:
    """The times of each way, the last effect of each trial. `urls`: a database of its own, which is emptied."""
    load_tables()
    run.upgrade(urls.owner)
    empty(urls)
    out: dict[str, list[float]] = {way: [] for way in NAMES}
    with serving(urls, servers, folder) as processes:
        async with at(urls, servers, folder, processes.ports) as inside:
            users = await people(urls, inside, trials * len(WAYS) + AT_ONCE)
            say(f"{len(users)} people are there")
            for way, cut in WAYS.items():
                mine = [users.pop() for _ in range(trials)]
                out[way] = await _trials(inside, way, mine, cut, say)
            for way, close in CLOSINGS.items():
                while len(out[way]) < trials:
                    several = users[: trials - len(out[way])]
                    out[way] += await _closed(inside, several, close)
                say(f"{way}: {trials} trials, max {max(out[way]):.2f} s")
    empty(urls)
    return out


async def _trials(
    inside: Inside,
    way: str,
    users: list[User],
    cut: Callable[[Inside, User], Awaitable[None]],
    say: Callable[[str], None],
) -> list[float]:
    """Cut each of them off, several at once, at any moment between two looks of the worker."""
    turns, out = asyncio.Semaphore(AT_ONCE), list[float]()

    async def one(user: User) -> None:
        async with turns:
            token = await inside.log_in(user)
            await asyncio.sleep(random.uniform(0, LOOK))  # no secret
            out.append(await cut_off(inside.ports, token, lambda: timed(cut(inside, user)), EACH))
        if len(out) % PROGRESS == 0 or len(out) == len(users):
            say(f"{way}: {len(out)} of {len(users)} trials, max {max(out):.2f} s")

    async with asyncio.TaskGroup() as tasks:
        for user in users:
            tasks.create_task(one(user))
    return out


async def _closed(
    inside: Inside, users: list[User], close: Callable[[Inside, bool], Awaitable[None]]
) -> list[float]:
    """Close the door to all of them at one moment, and open it again."""
    tokens = await asyncio.gather(*(inside.log_in(user) for user in users))
    all_in = asyncio.Barrier(len(users))
    moment: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def cut() -> float:
        if await all_in.wait() == 0:
            moment.set_result(await timed(close(inside, False)))
        return await moment

    try:
        async with asyncio.TaskGroup() as tasks:
            trials = [tasks.create_task(cut_off(inside.ports, t, cut, EACH)) for t in tokens]
    finally:
        await close(inside, True)
    await asyncio.sleep(1)  # tokens carry whole seconds: the next ones are of after the cut
    return [trial.result() for trial in trials]


def log_in(issuer: str, name: str) -> str:
    """An access token of a login on the realm's pages."""
    browser = Browser(issuer, CALLBACK)
    try:
        return browser.login(name, PASSWORD)
    finally:
        browser.close()


@dataclass(frozen=True)
class Processes:
    """Two servers and a worker: where the servers listen, and each process's id by what it is."""

    ports: list[int]
    ids: dict[str, int]


@contextmanager
def serving(urls: DatabaseUrls, servers: Servers, folder: Path) -> Iterator[Processes]:
    """Two servers and a worker."""
    with ExitStack() as processes:
        begun = [processes.enter_context(served(urls, folder, n)) for n in range(SERVERS)]
        for port, _ in begun:
            wait_for(port)
        settings = {
            "CARETREE_DATABASE_URL": urls.app,
            "CARETREE_WORKER_DATABASE_URL": urls.worker,
            "CARETREE_KEY_FILE": str(folder / "live-keys"),
            "CARETREE_KEYCLOAK_URL": servers.keycloak_url,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_ID": servers.keycloak_admin_client_id,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_SECRET": servers.keycloak_admin_client_secret,
        }
        worker = processes.enter_context(running(folder / "live-worker.log", settings, "worker"))
        ids = {f"server {n + 1}": pid for n, (_, pid) in enumerate(begun)}
        yield Processes([port for port, _ in begun], ids | {"worker": worker})


@asynccontextmanager
async def at(
    urls: DatabaseUrls, servers: Servers, folder: Path, ports: list[int], public: str | None = None
) -> AsyncIterator[Inside]:
    """A health system with a realm, which is gone afterwards, as the console has it.

    `public`: what the realm calls itself, where that is not how it is reached.
    """
    account = Account(servers.keycloak_admin_client_id, servers.keycloak_admin_client_secret)
    announced = f"http://127.0.0.1:{ports[0]}/backchannel-logout"
    async with open_platform(
        control_url=urls.platform,
        cell_url=urls.platform,
        master=account,
        key_file=folder / "live-keys",
        portals=Portals((CALLBACK,), ("http://127.0.0.1:9/admin/callback",), announced),
    ) as platform:
        made = await _made(platform, servers, public or servers.keycloak_url)
        console = await platform.accounts.as_master(public or servers.keycloak_url, made.realm)
        await console.update({"passwordPolicy": CHEAPLY})
        try:
            yield Inside(console, made, ports)
        finally:
            await _drop(console)


async def _drop(console: Realm) -> None:
    """Keycloak answers 500 while somebody logs in or is changed there; then again."""
    async for attempt in stamina.retry_context(on=Unavailable, attempts=5, timeout=60):
        with attempt, suppress(NotFound):
            await console.delete()


async def _made(platform: Platform, servers: Servers, public: str) -> MadeTenant:
    url = servers.keycloak_url
    await register(platform.control, "live", region="live", url=url, public_url=public)
    order = TenantOrder(
        slug=f"live-{secrets.token_hex(4)}",
        name="Live",
        admin=PersonDraft("admin", "Ada", "Admin"),
        privacy_officer=PersonDraft("officer", "Otto", "Officer"),
        region="live",
    )
    return await create_tenant(platform, order)


async def people(urls: DatabaseUrls, inside: Inside, number: int) -> list[User]:
    """So many people of the clinic's desk, who have been there for a while."""
    wanted = [
        {
            "username": f"robin{n}",
            "enabled": True,
            "firstName": "Robin",
            "lastName": "Load",
            "attributes": {"person_id": [str(uuid.uuid4())]},
            "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
        }
        for n in range(number)
    ]
    users: list[User] = []
    for first in range(0, number, IMPORTED):
        some = {"ifResourceExists": "FAIL", "users": wanted[first : first + IMPORTED]}
        told = await inside.console.post("partialImport", some)
        users += [User(one["resourceName"], one["id"]) for one in told["results"]]
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        system, root = inside.made.tenant_id, inside.made.root_unit_id
        furnish(owner, system, root, {uuid.uuid4(): user.id for user in users})
    return users


def empty(urls: DatabaseUrls) -> None:
    """Take away every health system, and what was to be done."""
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        owner.execute("truncate tenant cascade")
        owner.execute("delete from procrastinate_jobs")
        owner.execute("delete from control.service_account")
        owner.execute("delete from control.tenant")
