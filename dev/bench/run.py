"""The whole benchmark: contestants in turn on the same data, then scopes and growth of the product alone."""

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from dev.bench.contest import (
    CLINICS,
    CONTESTANTS,
    WITHIN,
    Contestant,
    Ground,
    ask,
    clear_bookings,
    load,
    same,
    served,
)
from dev.bench.data import PEOPLE, Say, build, inside
from dev.bench.durable import durable
from dev.bench.issuer import Issuer, issuing
from dev.bench.operations import MEASURED, requests
from dev.bench.watch import Seen, Watch
from dev.databases import prepare

SCOPES = ("one", "some", "all")
GROWN = ("Point", "List", "Chart", "Availability", "Book", "Ledger")
ASKED_BY = {"Availability": "some"}
"""Who asks where "twenty", the person of the measured operations, may not."""
SMALL = 50_000
WATCHED = 60  # requests whose statements are counted


@dataclass(frozen=True)
class Effort:
    """How long it may take. `rounds` of `seconds` for each operation and contestant."""

    rounds: int = 3
    seconds: float = 3.0
    clinics: int = CLINICS


@dataclass
class Measured:
    """Everything that a run found out. Times in milliseconds."""

    patients: int
    clinics: int
    small: int
    contestants: list[Contestant] = field(default_factory=list)
    scopes: dict[str, dict[int, float]] = field(default_factory=dict)  # p50 by clinics granted
    growth: dict[str, tuple[float, float]] = field(default_factory=dict)  # p50 small, p50 large
    seen: dict[str, Seen] = field(default_factory=dict)
    durability: dict[str, str] = field(default_factory=dict)  # the server's settings by name


def smaller(patients: int, clinics: int) -> int:
    """The size from which growth is stated: 50,000, or a tenth; each clinic still fills a page."""
    return max(SMALL if patients > SMALL else patients // 10, clinics * 52)


def measure(
    admin_url: str,
    folder: Path,
    patients: int,
    say: Say,
    *,
    passwords: Mapping[str, str] | None = None,
    effort: Effort | None = None,
) -> Measured:
    """Build what is missing and measure. Raises AssertionError where contestants answer differently."""
    how = effort or Effort()
    small = smaller(patients, how.clinics)
    found = Measured(patients, how.clinics, small)
    with issuing() as issuer:
        ground = grounded(admin_url, folder, patients, issuer, how, say, passwords)
        with ExitStack() as stack:
            found.durability = stack.enter_context(durable(admin_url))
            say("starting bare, fair and product")
            running = [stack.enter_context(served(ground, name)) for name in CONTESTANTS]
            found.contestants = running
            same(running, ground, say)
            for number in range(how.rounds):
                one_round(running, ground, number, how, say)
            found.seen = watched(running[-1], ground, admin_url)
            found.scopes = by_scope(running[-1], ground, how, say)
        if small < patients:
            less = grounded(admin_url, folder, small, issuer, how, say, passwords)
            found.growth = growth(less, ground, how, say)
    return found


def grounded(
    admin_url: str,
    folder: Path,
    patients: int,
    issuer: Issuer,
    how: Effort,
    say: Say,
    passwords: Mapping[str, str] | None,
) -> Ground:
    """A filled database that knows the issuer."""
    urls = prepare(admin_url, f"caretree_bench_{patients}", passwords)
    build(urls.owner, admin_url, how.clinics, patients, say)
    issuer.enter(urls.owner)
    return Ground(urls, inside(admin_url, urls.owner), how.clinics, patients, issuer, folder)


def one_round(
    running: list[Contestant], ground: Ground, number: int, how: Effort, say: Say
) -> None:
    """Each operation at each contestant; the order turns round with the rounds."""
    for operation in MEASURED:
        for contestant in running if number % 2 == 0 else reversed(running):
            seed = 1 + number * 10 + CONTESTANTS.index(contestant.name)
            load(contestant, ground, operation, 0.7, seed + 100)
            run = load(contestant, ground, operation, how.seconds, seed)
            if operation == "Book":
                clear_bookings(ground)
            contestant.runs.setdefault(operation, []).append(run)
            say(
                f"round {number + 1} of {how.rounds}, {operation:5} {contestant.name:8}"
                f"{run.rate:7.0f}/s, p50 {run.p50:6.2f} ms"
            )


def watched(product: Contestant, ground: Ground, admin_url: str) -> dict[str, Seen]:
    """What the database counts for each operation, and for the wide pages of people with few and many clinics."""
    watch = Watch(admin_url, ground.urls.app)
    asked = [(name, name, "twenty") for name in MEASURED]
    asked += [(name, name, ASKED_BY.get(name, "twenty")) for name in GROWN if name not in MEASURED]
    asked += [(f"{name} {_granted(who, ground)}", name, who) for name in WIDE for who in SCOPES]
    out: dict[str, Seen] = {}
    for label, operation, who in asked:
        within = WITHIN if who == "twenty" else 1
        drawn = requests(operation, ground.clinics, ground.patients, 3, within)
        for _ in range(10):
            ask(product, ground, next(drawn), who)
        seen = watch.seen(WATCHED, lambda d=drawn, w=who: ask(product, ground, next(d), w))  # type: ignore[misc] # bound at once
        if seen is not None:
            out[label] = seen
    clear_bookings(ground)
    return out


WIDE = ("List", "Everywhere")


def _granted(who: str, ground: Ground) -> int:
    return min(PEOPLE[who], ground.clinics)


def by_scope(
    product: Contestant, ground: Ground, how: Effort, say: Say
) -> dict[str, dict[int, float]]:
    """p50 of List (one clinic's page) and of the page over all that one may see, by clinics granted."""
    out: dict[str, dict[int, float]] = {}
    for operation in WIDE:
        times: dict[str, list[float]] = {who: [] for who in SCOPES}
        for number in range(how.rounds):
            for who in SCOPES if number % 2 == 0 else reversed(SCOPES):
                # The same clinic for all, so that nothing but the number of grants differs.
                load(product, ground, operation, 0.4, 5, who, within=1)
                seconds = how.seconds / 2
                times[who].append(load(product, ground, operation, seconds, 6, who, within=1).p50)
        out[operation] = {_granted(who, ground): statistics.median(times[who]) for who in SCOPES}
        for clinics, p50 in out[operation].items():
            say(f"{operation} with {clinics} clinics: p50 {p50:.2f} ms")
    return out


def growth(less: Ground, more: Ground, how: Effort, say: Say) -> dict[str, tuple[float, float]]:
    """p50 on the small and on the large data set, in turns."""
    out: dict[str, tuple[float, float]] = {}
    with served(less, "product") as small, served(more, "product") as large:
        for operation in GROWN:
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(how.rounds):
                for kept, contestant, ground in (
                    (times[0], small, less),
                    (times[1], large, more),
                ):
                    who = ASKED_BY.get(operation, "twenty")
                    load(contestant, ground, operation, 0.7, 8, who)
                    run = load(contestant, ground, operation, how.seconds / 2, 9, who)
                    assert run.bad == 0, f"{operation}: {run.bad} requests failed"
                    kept.append(run.p50)
                    if operation == "Book":
                        clear_bookings(ground)
            out[operation] = (statistics.median(times[0]), statistics.median(times[1]))
            say(
                f"{operation} with {less.patients:,} and {more.patients:,} patients:"
                f" p50 {out[operation][0]:.2f} and {out[operation][1]:.2f} ms"
            )
    return out
