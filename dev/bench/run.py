"""The whole benchmark: contestants in turn on the same data, medians of the rounds' ratios, `.caretree/bench.json`."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from dev.bench.contest import (
    CLINICS,
    Contestant,
    Ground,
    Run,
    clear_bookings,
    load,
    same,
    served,
)
from dev.bench.data import PEOPLE, Say, build
from dev.bench.issuer import issuing
from dev.bench.operations import MEASURED
from dev.databases import prepare

CONTESTANTS = ("bare", "fair", "product")
BARS = {"Point": 0.14, "List": 0.35, "Dash": 0.70, "One": 0.20, "Book": 0.40}
"""Reach of the bare limit that is asked of the product with everything on."""
SCOPES = ("one", "some", "all")
SCOPE_BAR = 1.5


def bench(
    admin_url: str,
    folder: Path,
    patients: int,
    say: Say,
    *,
    rounds: int = 3,
    seconds: float = 3.0,
    clinics: int = CLINICS,
) -> dict[str, Any]:
    """Measure; answers what is written to `bench.json`. Raises AssertionError where contestants differ."""
    urls = prepare(admin_url, f"caretree_bench_{patients}")
    build(urls.owner, admin_url, clinics, patients, say)
    with issuing() as issuer, ExitStack() as stack:
        issuer.enter(urls.owner)
        ground = Ground(urls, clinics, patients, issuer, folder)
        say("starting bare, fair and product")
        running = [stack.enter_context(served(ground, name)) for name in CONTESTANTS]
        same(running, ground, say)
        for number in range(rounds):
            one_round(running, ground, number, seconds, say)
        scopes = by_scope(running[-1], ground, seconds, say)
    return result(running, scopes, patients, clinics, statement_ms(urls.owner))


def one_round(
    running: list[Contestant], ground: Ground, number: int, seconds: float, say: Say
) -> None:
    """Each operation at each contestant; the order turns round with the rounds."""
    for operation in MEASURED:
        for contestant in running if number % 2 == 0 else reversed(running):
            seed = 1 + number * 10 + CONTESTANTS.index(contestant.name)
            load(contestant, ground, operation, 0.7, seed + 100)
            run = load(contestant, ground, operation, seconds, seed)
            if operation == "Book":
                clear_bookings(ground)
            contestant.runs.setdefault(operation, []).append(run)
            say(
                f"round {number + 1} {operation:5} {contestant.name:8} {run.rate:7.0f}/s"
                f" p50 {run.p50:6.2f} p99 {run.p99:6.2f} ms, CPU {run.server_us:5.0f} +"
                f" {run.database_us:5.0f} us, bad {run.bad}"
            )


def by_scope(product: Contestant, ground: Ground, seconds: float, say: Say) -> dict[str, float]:
    """p50 of List (one clinic's page) and of the page over all that one may see, by clinics granted."""
    out: dict[str, float] = {}
    for operation in ("List", "Everywhere"):
        for who in SCOPES:
            load(product, ground, operation, 0.7, 5, who, 4)
            run = load(product, ground, operation, seconds, 6, who, 4)
            out[f"{operation} {min(PEOPLE[who], ground.clinics)}"] = run.p50
            say(
                f"{operation} with {min(PEOPLE[who], ground.clinics)} clinics: p50 {run.p50:.2f} ms"
            )
    return out


def statement_ms(owner_url: str) -> dict[str, float]:
    """The page's own statement in the database: what the server says it took, in the median of runs."""
    text = (
        "explain (analyze, format json) select p.* from (select s.family_key, s.patient_id from patient_site s"
        " where s.tenant_id = (select tenant_id from tenant) and s.unit_id = (select id from org_unit where"
        " level = 'clinic' order by id limit 1) and s.sensitivity = 0 order by s.family_key, s.patient_id limit 51)"
        " k join patient p on p.tenant_id = (select tenant_id from tenant) and p.id = k.patient_id"
    )
    took = []
    with psycopg.connect(owner_url) as owner:
        for _ in range(15):
            row = owner.execute(text).fetchone()
            assert row is not None
            took.append(row[0][0]["Execution Time"])
    return {"List": statistics.median(took)}


def middle(runs: list[Run], of: Callable[[Run], float]) -> float:
    """The median of a figure."""
    return statistics.median(of(run) for run in runs)


def ratios(one: Contestant, limit: Contestant) -> dict[str, float]:
    """Requests a second against a limit: the median of the rounds' own ratios."""
    return {
        name.lower(): round(
            statistics.median(
                a.rate / b.rate for a, b in zip(one.runs[name], limit.runs[name], strict=True)
            ),
            3,
        )
        for name in MEASURED
    }


def result(
    running: list[Contestant],
    scopes: dict[str, float],
    patients: int,
    clinics: int,
    statements: dict[str, float],
) -> dict[str, Any]:
    """Everything that was measured."""
    bare, fair, product = running
    return {
        "ratios": ratios(product, bare),
        "fair": ratios(product, fair),
        "fair_of_bare": ratios(fair, bare),
        "bars": {name.lower(): bar for name, bar in BARS.items()},
        "p50_ms_by_scope": scopes,
        "scope_growth": {
            operation: round(
                max(v for k, v in scopes.items() if k.startswith(operation))
                / scopes[f"{operation} 1"],
                2,
            )
            for operation in ("List", "Everywhere")
        },
        "statement_ms": statements,
        "contestants": {
            c.name: {
                name: {
                    "rate": round(middle(runs, lambda r: r.rate)),
                    "p50_ms": round(middle(runs, lambda r: r.p50), 2),
                    "p99_ms": round(middle(runs, lambda r: r.p99), 2),
                    "server_us": round(middle(runs, lambda r: r.server_us)),
                    "database_us": round(middle(runs, lambda r: r.database_us)),
                    "bad": sum(r.bad for r in runs),
                }
                for name, runs in c.runs.items()
            }
            for c in running
        },
        "data": {"patients": patients, "clinics": clinics},
        "statements_per_request": {"reads": 3, "book": 3},
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in (
                    "strawberry-graphql",
                    "graphql-core",
                    "sqlalchemy",
                    "psycopg",
                    "uvicorn",
                )
            },
        },
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write(measured: dict[str, Any], folder: Path) -> Path:
    """Keep the figures where the next reader finds them."""
    path = folder / "bench.json"
    path.write_text(json.dumps(measured, indent=1))
    return path
