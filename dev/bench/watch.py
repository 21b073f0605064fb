"""What the database itself says of an operation: statements a request, and the time of the page's own statement."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg

Row = tuple[int, float]
"""Calls, and milliseconds in all."""


@dataclass(frozen=True)
class Seen:
    """Of one operation: statements a request, milliseconds of all of them, and of the one that takes longest."""

    statements: float
    all_ms: float
    own_ms: float


class Watch:
    """Reads pg_stat_statements, by name of the database. `there` is false on a server without it."""

    def __init__(self, admin_url: str, database_url: str) -> None:
        self.admin_url, self.name = admin_url, urlsplit(database_url).path[1:]
        try:
            with psycopg.connect(admin_url, autocommit=True) as admin:
                admin.execute("create extension if not exists pg_stat_statements")
                admin.execute("select from pg_stat_statements limit 1")
            self.there = True
        except psycopg.Error:
            self.there = False

    def totals(self) -> dict[Any, Row]:
        """By statement and by whether it was sent from outside."""
        with psycopg.connect(self.admin_url) as admin:
            rows = admin.execute(
                "select s.userid, s.queryid, s.calls, s.total_exec_time from pg_stat_statements s"
                " join pg_database d on d.oid = s.dbid where d.datname = %s and s.toplevel",
                [self.name],
            ).fetchall()
        return {(row[0], row[1]): (row[2], row[3]) for row in rows}

    def seen(self, requests: int, ask: Callable[[], None]) -> Seen | None:
        """Carry out so many requests, one after the other, and tell what the server counted; None without it."""
        if not self.there:
            return None
        before = self.totals()
        for _ in range(requests):
            ask()
        grown = []
        for key, (calls, ms) in self.totals().items():
            earlier = before.get(key, (0, 0.0))
            if calls > earlier[0]:
                grown.append((calls - earlier[0], ms - earlier[1]))
        own = max((ms / calls for calls, ms in grown if calls >= requests), default=0.0)
        every = sum(ms for _, ms in grown)
        return Seen(
            round(sum(calls for calls, _ in grown) / requests, 2),
            round(every / requests, 3),
            round(own, 3),
        )
