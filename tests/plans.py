"""Asks PostgreSQL how it carries a statement out, as the application's role and with its settings.

    plan = explain(database, settings, "select … where tenant_id = $1", ["uuid"], [tenant])
    assert_plan(plan, uses="ix_encounter_clinic_started_at")

Plans are generic (`force_generic_plan`), as in production: chosen without a look at the values.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql as pgsql

from tests.database import Database

MANY = 1_000
"""More rows than a page may sort or throw away."""


@dataclass(frozen=True)
class Plan:
    """What EXPLAIN (ANALYZE) told. Times in milliseconds, of the fastest of three runs."""

    root: dict[str, Any]
    milliseconds: float

    def nodes(self) -> Iterator[dict[str, Any]]:
        """All nodes that were carried out, the top one first."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            if node["Actual Loops"]:
                yield node

    @property
    def indexes(self) -> set[str]:
        """The names of the indexes that were read."""
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node}

    @property
    def sorted_rows(self) -> int:
        """The most rows that one node sorted (an incremental sort sorts only groups)."""
        return max(
            (_rows_in(node) for node in self.nodes() if node["Node Type"] == "Sort"), default=0
        )

    @property
    def wasted_rows(self) -> int:
        """The most rows that one node read and threw away."""
        return max(
            (
                int(node.get("Rows Removed by Filter", 0) * node["Actual Loops"])
                for node in self.nodes()
            ),
            default=0,
        )

    @property
    def read_rows(self) -> int:
        """The most rows that one node handed on."""
        return max(_rows(node) for node in self.nodes())

    def __str__(self) -> str:
        return "\n".join(
            f"{node['Node Type']} {node.get('Index Name', '')} rows={_rows(node)}"
            f" removed={node.get('Rows Removed by Filter', 0)}"
            for node in self.nodes()
        )


def explain(
    database: Database,
    settings: Iterable[tuple[str, str]],
    statement: str,
    types: Sequence[str],
    values: Sequence[object],
) -> Plan:
    """Prepare the statement (`$1` parameters of these types) and carry it out three times, rolled back."""
    with psycopg.connect(database.app_url) as connection:
        for name, value in settings:
            connection.execute("select set_config(%s, %s, true)", [name, value])
        given = pgsql.SQL(f" ({', '.join(types)})" if types else "")
        connection.execute(pgsql.SQL("prepare asked{} as {}").format(given, pgsql.SQL(statement)))
        listed = pgsql.SQL("({})").format(
            pgsql.SQL(", ").join(pgsql.Literal(_text(v)) for v in values)
        )
        ask = pgsql.SQL("explain (analyze, format json, buffers off) execute asked{}").format(
            listed if values else pgsql.SQL("")
        )
        runs = []
        for _ in range(3):
            row = connection.execute(ask).fetchone()
            assert row is not None
            runs.append(row[0] if isinstance(row[0], list) else json.loads(row[0]))
        connection.rollback()
    fastest = min(runs, key=lambda run: float(run[0]["Execution Time"]))
    return Plan(fastest[0]["Plan"], float(fastest[0]["Execution Time"]))


def assert_plan(plan: Plan, *, uses: str | None = None, below: float | None = None) -> None:
    """No sort over 1,000 rows, none thrown away in such numbers; the index walked; faster than `below` ms."""
    assert plan.sorted_rows <= MANY, f"sorts {plan.sorted_rows} rows\n{plan}"
    assert plan.wasted_rows <= MANY, f"throws {plan.wasted_rows} rows away\n{plan}"
    assert uses is None or uses in plan.indexes, f"does not use {uses}\n{plan}"
    assert below is None or plan.milliseconds < below, f"{plan.milliseconds} ms\n{plan}"


def _rows(node: dict[str, Any]) -> int:
    return int(node["Actual Rows"] * node["Actual Loops"])


def _rows_in(node: dict[str, Any]) -> int:
    return max((_rows(child) for child in node.get("Plans", [])), default=0)


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "{" + ",".join(str(part) for part in value) + "}"
    return str(value)
