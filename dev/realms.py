"""`caretree dev realms`: whether making realms, and working on one, stays as quick when there are many on a server."""

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

from dev.servers import Stack, stack_of_tests
from domain.organization import MfaPolicy
from identity.keycloak import Account, Keycloak, Realm
from identity.keycloak_connection import TIMEOUT, Connection
from identity.realms import SERVICE_ACCOUNTS, SVC_IDENTITY, RealmPlan, provision

MARKS = (10, 50, 100)
AROUND = 10
"""So many realms, the last before a mark, say what making one takes there."""
CALLS = 30
BAR = 1.5
_LEAST = 1000 / os.sysconf("SC_CLK_TCK") / CALLS
"""Milliseconds: the system tells no less."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Taken:
    """Milliseconds, of the clock and of the server's processor, of each of several equal pieces of work."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def text(self) -> str:
        """The medians, for people."""
        return f"{statistics.median(self.wall):7.0f} ms ({statistics.median(self.cpu):5.0f} of the processor)"


@dataclass
class Mark:
    """What was measured with so many realms on the server."""

    realms: int
    kinds: dict[str, Taken] = field(default_factory=dict)


@dataclass
class Server:
    """The Keycloak that is measured. Without processes of ours to look at, the processor's part is 0."""

    keycloak: Keycloak
    account: Account
    pid: int | None

    async def timed(
        self, taken: Taken, work: Callable[[], Awaitable[object]], times: int = 1
    ) -> None:
        """Do it so often, and note what one of them took."""
        began, used = time.perf_counter(), self._used()
        for _ in range(times):
            await work()
        taken.wall.append((time.perf_counter() - began) * 1000 / times)
        taken.cpu.append((self._used() - used) * 1000 / times)

    def _used(self) -> float:
        """Seconds of the processor that the server's processes have had: its script has the JVM as its child."""
        used = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.pid:
                    used += int(fields[11]) + int(fields[12])
        return used / _TICKS


def command(most: int = MARKS[-1]) -> int:
    """Measure on the tests' own Keycloak; 1 where the last mark is not within 1.5 times the first."""
    stack = stack_of_tests()
    ran = stack.keycloak.pid() is not None
    stack.start_postgres()
    stack.start_keycloak()
    try:
        marks = asyncio.run(_measured(stack, [m for m in MARKS if m <= most] or [most]))
    finally:
        if not ran:
            stack.stop([stack.keycloak.name])
    return report(marks)


async def _measured(stack: Stack, marks: list[int]) -> list[Mark]:
    client, secret = stack.keycloak_client
    async with Keycloak(stack.keycloak_url) as keycloak:
        server = Server(keycloak, Account(client, secret, "master"), stack.keycloak.pid())
        return await measure(server, marks)


def report(marks: list[Mark]) -> int:
    """Print the medians and how they grow; 1 where one's part of the processor grows by more than half.

    The clock's is told beside it: it says the same on a machine that does nothing else, and nothing on another one.
    """
    grown = 0.0
    for mark in marks:
        for kind, taken in mark.kinds.items():
            first = marks[0].kinds[kind]
            by = statistics.median(taken.wall) / statistics.median(first.wall)
            if mark is marks[-1]:
                spent = [max(statistics.fmean(t.cpu), _LEAST) for t in (taken, first)]
                grown = max(grown, spent[0] / spent[1])
            print(f"{mark.realms:4} realms   {kind:<22}{taken.text()}   x {by:.2f}", flush=True)
    print(
        f"At the most {grown:.2f} times the processor with {marks[-1].realms} as with {marks[0].realms} (bar: {BAR})."
    )
    return int(grown > BAR)


async def measure(server: Server, marks: list[int]) -> list[Mark]:
    """Make realms up to the last mark, look at each mark what making and using one takes; remove them all."""
    plans: list[RealmPlan] = []
    found: list[Mark] = []
    created = Taken()
    try:
        await _make(
            server, plans, Taken()
        )  # the server's first realm is slow for reasons of its own
        while len(plans) < marks[-1]:
            await _make(server, plans, created)
            if len(plans) in marks:
                last = Taken(created.wall[-AROUND:], created.cpu[-AROUND:])
                found.append(Mark(len(plans), {"making one": last, **await _used(server, plans)}))
                print(f"{len(plans)} realms are there.", flush=True)
    finally:
        for done, plan in enumerate(reversed(plans), 1):
            await (await server.keycloak.realm(plan.name, server.account)).delete()
            if done % 25 == 0:
                print(f"{done} of {len(plans)} are removed again.", flush=True)
    return found


async def _make(server: Server, plans: list[RealmPlan], taken: Taken) -> None:
    name, here = f"obench{uuid4().hex[:12]}", "http://127.0.0.1:9"
    plan = RealmPlan(
        name=name,
        tenant_id=uuid4(),
        mfa=MfaPolicy.ADMINS,
        portal_redirects=(f"{here}/callback",),
        admin_redirects=(f"{here}/admin/callback",),
        backchannel_logout=f"{here}/backchannel-logout/{name}",
        secrets={client: uuid4().hex for client in SERVICE_ACCOUNTS},
    )
    plans.append(plan)
    realm = await server.keycloak.realm(name, server.account)
    await server.timed(taken, lambda: provision(realm, plan))


async def _used(server: Server, plans: list[RealmPlan]) -> dict[str, Taken]:
    """What the worker's calls take at the newest, the oldest and a realm in the middle."""
    token, write, read = Taken(), Taken(), Taken()
    for plan in (plans[0], plans[len(plans) // 2], plans[-1]):
        account = Account(SVC_IDENTITY, plan.secrets[SVC_IDENTITY])
        realm = Realm(server.keycloak.url, plan.name, account)
        try:
            await realm.find_user("nobody")  # the first call fills caches and gets a token
            for _ in range(CALLS // 3):
                user = f"u{uuid4().hex[:12]}"
                await server.timed(read, partial(realm.find_user, "nobody"), 3)
                await server.timed(write, partial(_person, realm, user))
                await server.timed(token, partial(_token, server, plan.name, account))
        finally:
            await realm.close()
    return {"a read": read, "a user, made and gone": write, "a token": token}


async def _person(realm: Realm, name: str) -> None:
    user_id = await realm.create_user({"username": name, "enabled": True})
    await realm.delete_user(user_id)


async def _token(server: Server, realm: str, account: Account) -> None:
    connection = Connection(server.keycloak.url, realm, account, TIMEOUT)
    await connection.a_get_token()
    await connection.aclose()
