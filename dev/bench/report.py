"""From what was measured to what is said: `bench.json`, the table, and the bars that were missed."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dev.bench.contest import CONNECTIONS, Contestant, Run
from dev.bench.operations import MEASURED
from dev.bench.run import Measured

BARS = {"point": 0.14, "list": 0.35, "dash": 0.70, "one": 0.20, "book": 0.40}
"""Reach of the bare limit that is asked of the product with everything on."""
SCOPE_BAR = 1.5
"""The p50 of List for people of many clinics, to that for people of one. The page over all of one's clinics has no
bar: it is stated."""
AVAILABILITY_BAR = 20.0
"""Milliseconds that the database may take for a week of a clinic with 30 resources."""
PACKAGES = ("strawberry-graphql", "graphql-core", "sqlalchemy", "psycopg", "uvicorn", "orjson")


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


def result(found: Measured) -> dict[str, Any]:
    """What is written to `bench.json`."""
    bare, fair, product = found.contestants
    return {
        "ratios": ratios(product, bare),
        "fair": ratios(product, fair),
        "fair_of_bare": ratios(fair, bare),
        "bars": BARS,
        "p50_ms_by_scope": found.scopes,
        "scope_growth": {
            operation.lower(): round(max(p50.values()) / p50[1], 2)
            for operation, p50 in found.scopes.items()
        },
        "growth": {
            name.lower(): round(more / less, 2) for name, (less, more) in found.growth.items()
        },
        "growth_p50_ms": {
            name.lower(): [round(less, 2), round(more, 2)]
            for name, (less, more) in found.growth.items()
        },
        "growth_from": found.small if found.growth else None,
        "cpu_us_per_request": {
            c.name: {
                name.lower(): round(middle(runs, lambda r: r.server_us + r.database_us))
                for name, runs in c.runs.items()
            }
            for c in found.contestants
        },
        "statements_per_request": {k: seen.statements for k, seen in found.seen.items()},
        "own_statement_ms": {k: seen.own_ms for k, seen in found.seen.items()},
        "database_ms": {k: seen.all_ms for k, seen in found.seen.items()},
        "contestants": {c.name: figures(c) for c in found.contestants},
        "data": {
            "patients": found.patients,
            "encounters": found.patients * 4,
            "clinics": found.clinics,
            "connections": CONNECTIONS,
        },
        "durability": found.durability,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def figures(contestant: Contestant) -> dict[str, dict[str, float]]:
    """The medians of a contestant's rounds."""
    return {
        name: {
            "rate": round(middle(runs, lambda r: r.rate)),
            "p50_ms": round(middle(runs, lambda r: r.p50), 2),
            "p99_ms": round(middle(runs, lambda r: r.p99), 2),
            "server_us": round(middle(runs, lambda r: r.server_us)),
            "database_us": round(middle(runs, lambda r: r.database_us)),
            "bad": sum(r.bad for r in runs),
        }
        for name, runs in contestant.runs.items()
    }


def missed(measured: dict[str, Any]) -> list[str]:
    """A sentence for each bar that was not reached; none is what it should say."""
    out = [
        f"{name} reaches {measured['ratios'][name]} of the bare limit; {bar} is asked"
        for name, bar in BARS.items()
        if measured["ratios"][name] < bar
    ]
    grown = measured["scope_growth"]["list"]
    if grown > SCOPE_BAR:
        out.append(
            f"list takes {grown} times as long for people of many clinics; {SCOPE_BAR} may be"
        )
    week = measured["own_statement_ms"].get("Availability", 0)
    if week > AVAILABILITY_BAR:
        out.append(f"availability takes {week} ms; {AVAILABILITY_BAR} may be")
    out += [
        f"{name} of {who}: {shown['bad']} requests failed"
        for who, each in measured["contestants"].items()
        for name, shown in each.items()
        if shown["bad"]
    ]
    return out


def table(measured: dict[str, Any]) -> str:
    """The figures for the terminal."""
    size = measured["data"]
    lines = [
        f"{size['patients']:,} patients, {size['encounters']:,} encounters, {size['clinics']} clinics,"
        f" {size['connections']} connections; ratios of requests a second; "
        + ", ".join(f"{name} {value}" for name, value in measured["durability"].items()),
        "",
        "          to bare    bar   to fair   requests/s   p50 ms   CPU us   statements   own ms",
    ]
    for name in MEASURED:
        key, shown = name.lower(), measured["contestants"]["product"][name]
        lines.append(
            f"{name:8}{measured['ratios'][key]:9.2f}{BARS[key]:7.2f}{measured['fair'][key]:10.2f}"
            f"{shown['rate']:13.0f}{shown['p50_ms']:9.2f}"
            f"{measured['cpu_us_per_request']['product'][key]:9.0f}"
            f"{measured['statements_per_request'].get(name, 0):13.1f}"
            f"{measured['own_statement_ms'].get(name, 0):9.2f}"
        )
    lines.append("")
    for operation, p50 in measured["p50_ms_by_scope"].items():
        each = ", ".join(
            f"{clinics} clinics {ms:.2f} ms"
            f" (statement {measured['own_statement_ms'].get(f'{operation} {clinics}', 0):.2f})"
            for clinics, ms in p50.items()
        )
        lines.append(
            f"{operation}: p50 {each}; grows {measured['scope_growth'][operation.lower()]}"
        )
    if measured["growth"]:
        lines += [
            "",
            f"growth from {measured['growth_from']:,} patients    p50 ms       by   own ms",
        ]
    for name, by in measured["growth"].items():
        less, more = measured["growth_p50_ms"][name]
        own = measured["own_statement_ms"].get(name.capitalize(), 0)
        lines.append(f"{name.capitalize():20}{less:10.2f} {more:8.2f}{by:9.2f}{own:9.2f}")
    return "\n".join(lines)


def write(measured: dict[str, Any], folder: Path) -> Path:
    """Keep the figures where the next reader finds them."""
    path = folder / "bench.json"
    path.write_text(json.dumps(measured, indent=1) + "\n")
    return path
