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
from dev.live.client import cut_off
from dev.live.stage import SERVERS, furnish, running, served, wait_for
from dev.servers import Servers
from domain.tables import load as load_tables
from identity.keycloak import Account, Realm
from identity.keycloak_failures import NotFound, Unavailable
from identity.platform import open_platform
from identity.provisioning import PersonDraft
from identity.realms import SVC_IDENTITY
from identity.tenants import MadeTenant, Platform, Portals, TenantOrder, create_tenant
from identity.tenants import register_cluster as register
from identity.watching import EACH as LOOK
from migrations import run

BAR = 5.0
"""Seconds in which a cut inside Keycloak has to be felt."""
AT_ONCE = 3
"""Trials at the same moment: most of their time is waiting."""
EACH = 0.1
PASSWORD = "correct horse battery staple"  # noqa: S105  # of people who are gone afterwards
CALLBACK = "http://127.0.0.1:9/callback"


@dataclass(frozen=True)
class Inside:
    """The realm as an administrator's console has it, and the servers."""

    console: Realm
    made: MadeTenant
    ports: list[int]


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
    _empty(urls)
    with serving(urls, servers, folder) as ports:
        async with at(urls, servers, folder, ports) as (inside, ours):
            users = await _people(urls, inside, ours, trials * len(WAYS))
            out: dict[str, list[float]] = {}
            for way, cut in WAYS.items():
                mine = [users.pop() for _ in range(trials)]
                out[way] = []
                for first in range(0, trials, AT_ONCE):
                    batch = mine[first : first + AT_ONCE]
                    out[way] += await asyncio.gather(*(trial(inside, u, cut) for u in batch))
                say(f"{way}: {trials} trials, max {max(out[way]):.2f} s")
            return out


async def trial(
    inside: Inside, user: User, cut: Callable[[Inside, User], Awaitable[None]]
) -> float:
    """Log somebody in and cut them off, at any moment between two looks of the worker."""
    token = await asyncio.to_thread(log_in, inside.made.issuer, user.name)
    await asyncio.sleep(random.uniform(0, LOOK))  # no secret
    return await cut_off(inside.ports, token, lambda: cut(inside, user), EACH)


def log_in(issuer: str, name: str) -> str:
    """An access token of a login on the realm's pages."""
    browser = Browser(issuer, CALLBACK)
    try:
        return browser.login(name, PASSWORD)
    finally:
        browser.close()


@contextmanager
def serving(urls: DatabaseUrls, servers: Servers, folder: Path) -> Iterator[list[int]]:
    """Two servers and a worker; the servers' ports."""
    with ExitStack() as processes:
        ports = [processes.enter_context(served(urls, folder, n)) for n in range(SERVERS)]
        for port in ports:
            wait_for(port)
        settings = {
            "CARETREE_DATABASE_URL": urls.app,
            "CARETREE_WORKER_DATABASE_URL": urls.worker,
            "CARETREE_KEY_FILE": str(folder / "live-keys"),
            "CARETREE_KEYCLOAK_URL": servers.keycloak_url,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_ID": servers.keycloak_admin_client_id,
            "CARETREE_KEYCLOAK_ADMIN_CLIENT_SECRET": servers.keycloak_admin_client_secret,
        }
        processes.enter_context(running(folder / "live-worker.log", settings, "worker"))
        yield ports


@asynccontextmanager
async def at(
    urls: DatabaseUrls, servers: Servers, folder: Path, ports: list[int]
) -> AsyncIterator[tuple[Inside, Realm]]:
    """A health system with a realm, which is gone afterwards; the console's view of it, and that of our account."""
    account = Account(servers.keycloak_admin_client_id, servers.keycloak_admin_client_secret)
    announced = f"http://127.0.0.1:{ports[0]}/backchannel-logout"
    async with open_platform(
        control_url=urls.platform,
        cell_url=urls.platform,
        master=account,
        key_file=folder / "live-keys",
        portals=Portals((CALLBACK,), ("http://127.0.0.1:9/admin/callback",), announced),
    ) as platform:
        made = await _made(platform, servers)
        console = await platform.accounts.as_master(servers.keycloak_url, made.realm)
        try:
            ours = await platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
            yield Inside(console, made, ports), ours
        finally:
            await _drop(console)
            _empty(urls)


async def _drop(console: Realm) -> None:
    """Keycloak answers 500 while somebody logs in or is changed there; then again."""
    async for attempt in stamina.retry_context(on=Unavailable, attempts=5, timeout=60):
        with attempt, suppress(NotFound):
            await console.delete()


async def _made(platform: Platform, servers: Servers) -> MadeTenant:
    await register(platform.control, "live", region="live", url=servers.keycloak_url)
    order = TenantOrder(
        slug=f"live-{secrets.token_hex(4)}",
        name="Live",
        admin=PersonDraft("admin", "Ada", "Admin"),
        privacy_officer=PersonDraft("officer", "Otto", "Officer"),
        region="live",
    )
    return await create_tenant(platform, order)


async def _people(urls: DatabaseUrls, inside: Inside, ours: Realm, number: int) -> list[User]:
    """So many people of the clinic's desk, who have been there for a while."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> User:
        async with turns:
            name, who = f"robin{n}", uuid.uuid4()
            user = {"username": name, "enabled": True, "firstName": "Robin", "lastName": "Load"}
            attributes = {"attributes": {"person_id": [str(who)]}}
            made = User(name, await ours.create_user(user | attributes))
            await ours.set_password(made.id, PASSWORD, temporary=False)
            return made

    users = await asyncio.gather(*(one(n) for n in range(number)))
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        system, root = inside.made.tenant_id, inside.made.root_unit_id
        furnish(owner, system, root, {uuid.uuid4(): user.id for user in users})
    return list(users)


def _empty(urls: DatabaseUrls) -> None:
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        owner.execute("truncate tenant cascade")
        owner.execute("delete from procrastinate_jobs")
        owner.execute("delete from control.service_account")
        owner.execute("delete from control.tenant")
