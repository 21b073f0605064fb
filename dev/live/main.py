"""`caretree dev live`: how soon changes are told and cuts are felt, with two servers over one database."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from dev.databases import DatabaseUrls, kept_passwords, prepare
from dev.live import inside
from dev.live.client import Follower, cut_off, timed
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
    def missed(self) -> list[str]:
        """The ways of which a trial took longer than it may."""
        return [way for way, times in self.felt.items() if max(times) > bar_of(way)]

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
                f"{way:<26} {len(times):4} trials   p50 {middle:6.1f} ms   max {most:6.1f} ms"
                f"   bar {bar_of(way) * 1000:6.1f} ms   {'MISSED' if way in self.missed else 'held'}"
            )
        return out


def bar_of(way: str) -> float:
    """Seconds in which this way has to be felt."""
    return inside.BAR if way in inside.NAMES else BAR


def command(
    trials: int = TRIALS,
    followers: int = FOLLOWERS,
    changes: int = CHANGES,
    within: int = TRIALS,
) -> int:
    """Measure on the stack's own servers, `within` trials of each way inside Keycloak; 1 where a bar was missed."""
    from dev.servers import root

    stack = Stack(root())
    before = stack.running()
    stack.start_postgres()
    try:
        passwords = kept_passwords(stack.state)
        urls = prepare(stack.database_url, "caretree_live", passwords)
        found = measure(urls, stack.folder.root, trials, followers, changes)
        print("\n".join(found.lines()), flush=True)
        if within:
            stack.start_keycloak()
            urls = prepare(stack.database_url, "caretree_live_inside", passwords)
            work = inside.felt_inside(urls, stack.servers(), stack.folder.root, within, say)
            felt_there = Found(felt=asyncio.run(work))
            print("\n".join(felt_there.lines()), flush=True)
            found.felt |= felt_there.felt
    finally:
        stack.stop(stack.running().keys() - before.keys())
    return int(bool(found.missed))


def say(words: str) -> None:
    """How it goes."""
    print(f"  {words}", flush=True)


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
    found = await cut_off(stage.ports, token, lambda: timed(WAYS[way](target)))
    if way == "tenant suspended":
        await mend(cell)
    return found
