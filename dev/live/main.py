"""`caretree dev live`: how soon changes are told and cuts are felt, with two servers over one database."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from dev.databases import DatabaseUrls, kept_passwords, prepare
from dev.live.client import Follower, refused
from dev.live.cuts import WAYS, Target, mend
from dev.live.stage import CLINIC, TENANT, VISIT, Stage, staged
from dev.servers import Stack
from domain.database import engine

FOLLOWERS, CHANGES, TRIALS = 200, 50, 200
BAR = 1.0
"""Seconds in which a cut has to be felt."""


@dataclass
class Found:
    """Seconds: from before a commit to each follower's event, and from before a cut to its last effect."""

    told: list[float] = field(default_factory=list)
    felt: dict[str, list[float]] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The slowest of all cuts."""
        return max(max(times) for times in self.felt.values())

    def lines(self) -> list[str]:
        """What was found, for people."""
        out = []
        if self.told:
            p50, p99 = (statistics.quantiles(self.told, n=100)[n] * 1000 for n in (49, 98))
            most = max(self.told) * 1000
            out.append(
                f"told       {len(self.told):6} events   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   max {most:6.1f} ms"
            )
        for way, times in self.felt.items():
            middle, most = statistics.median(times) * 1000, max(times) * 1000
            out.append(
                f"{way:<22} {len(times):6} trials   p50 {middle:6.1f} ms   max {most:6.1f} ms"
            )
        return out


def command(trials: int = TRIALS, followers: int = FOLLOWERS, changes: int = CHANGES) -> int:
    """Measure on the stack's own PostgreSQL; 1 where a cut took longer than a second."""
    from dev.servers import root

    stack = Stack(root())
    was_running = stack.postgres.pid() is not None
    stack.start_postgres()
    try:
        passwords = kept_passwords(stack.state)
        urls = prepare(stack.database_url, "caretree_live", passwords)
        found = measure(urls, stack.folder.root, trials, followers, changes)
    finally:
        if not was_running:
            stack.stop([stack.postgres.name])
    print("\n".join(found.lines()), flush=True)
    return int(found.worst > BAR)


def measure(urls: DatabaseUrls, folder: Path, trials: int, followers: int, changes: int) -> Found:
    """Both measurements, on a health system that is made for them in a database of its own."""
    found = Found()
    with staged(urls, folder, max(followers, trials * len(WAYS))) as stage:
        found.told = asyncio.run(told(stage, followers, changes))
        found.felt = asyncio.run(felt(stage, trials))
    return found


async def told(stage: Stage, number: int, changes: int) -> list[float]:
    """The times of so many changes to so many followers, half of them at each server."""
    heard: list[float] = []
    done = asyncio.Event()

    def hear(moment: float) -> None:
        heard.append(moment)
        if len(heard) % number == 0:
            done.set()

    followers = [
        Follower(stage.ports[n % len(stage.ports)], stage.login(stage.people[n])[1], hear)
        for n in range(number)
    ]
    tasks = [asyncio.ensure_future(follower.follow()) for follower in followers]
    async with asyncio.timeout(60):
        await asyncio.gather(*(follower.listening.wait() for follower in followers))
    out: list[float] = []
    app = await psycopg.AsyncConnection.connect(stage.urls.owner)
    async with app:
        for _ in range(changes):
            done.clear()
            begun = time.perf_counter()
            await app.execute("select set_config('app.tenant', %s, true)", [str(TENANT)])
            await app.execute(
                "update appointment set version = version + 1 where tenant_id = %s and id = %s",
                [TENANT, VISIT],
            )
            await app.execute("select tell(%s, 'appointment', %s, %s)", [TENANT, CLINIC, VISIT])
            begun = time.perf_counter()
            await app.commit()
            async with asyncio.timeout(30):
                await done.wait()
            out += [moment - begun for moment in heard[-number:]]
            await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return out


async def felt(stage: Stage, trials: int) -> dict[str, list[float]]:
    """The times of each way of cutting somebody off, the last effect of each trial."""
    cell = engine(stage.urls.platform, application="caretree-live", size=2)
    people = iter(stage.people)
    out: dict[str, list[float]] = {}
    for way in WAYS:
        out[way] = [
            await trial(stage, cell, way, Target(stage, cell, next(people), ""))
            for _ in range(trials)
        ]
    await cell.dispose()
    return out


async def trial(stage: Stage, cell: AsyncEngine, way: str, target: Target) -> float:
    """Cut somebody off who follows and asks at both servers; seconds until neither tells or shows them anything."""
    sid, token = stage.login(target.person)
    target = Target(stage, cell, target.person, sid)
    followers = [Follower(port, token, lambda _: None) for port in stage.ports]
    streams = [asyncio.ensure_future(follower.follow()) for follower in followers]
    shown = [asyncio.Event() for _ in stage.ports]
    asked = [
        asyncio.ensure_future(refused(port, token, event))
        for port, event in zip(stage.ports, shown, strict=True)
    ]
    effects: list[asyncio.Future[Any]] = [*streams, *asked]
    begins: asyncio.Future[Any] = asyncio.gather(
        *(f.listening.wait() for f in followers), *(e.wait() for e in shown)
    )
    async with asyncio.timeout(30):
        # What ends before it has begun says why.
        await asyncio.wait([begins, *effects], return_when=asyncio.FIRST_COMPLETED)
        for effect in effects:
            if effect.done():
                effect.result()
        await begins
        begun = time.perf_counter()
        await WAYS[way](target)
        ended = await asyncio.gather(*effects)
    if way == "tenant suspended":
        await mend(cell)
    return float(max(ended) - begun)
