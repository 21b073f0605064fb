"""The unit driver: reads reach PostgreSQL through a few connections in libpq's pipeline mode.

A *unit* is settings (`set_config(…, true)`), 1..n prepared statements and ONE Sync. PostgreSQL runs
it as one implicit transaction: no BEGIN, no COMMIT, no further round trip, and the settings end
with it, whatever happened inside. The answer is given at PIPELINE_SYNC, which is after the commit.

Many units are in flight on one connection, first in first out. A unit fails alone: by an error, by
its deadline (the server is asked to cancel; a neighbour hit instead is sent again, for a cancelled
unit has changed nothing), by the cancellation of the task that waits. Where a connection dies, what
was sent fails with `OutcomeUnknown` and is never repeated; what was not sent goes elsewhere.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import Sequence
from typing import Literal

import psycopg
import structlog

from domain.pipeline_connection import Connection, Limits, Row, Rows, Statement, Unit
from domain.pipeline_errors import DatabaseError, DeadlineExceeded, OutcomeUnknown, Unavailable

__all__ = [
    "DatabaseError",
    "DeadlineExceeded",
    "Lane",
    "Limits",
    "OutcomeUnknown",
    "Pipeline",
    "Row",
    "Rows",
    "Settings",
    "Statement",
    "Unavailable",
    "settings_statement",
]

log = structlog.get_logger("domain.pipeline")

Lane = Literal["point", "page"]
Settings = Sequence[tuple[str, str]]

# BEGIN, COMMIT or SET would outlive the unit; only what stays inside its transaction is taken.
_ALLOWED = re.compile(r"[\s(]*(select|with|insert|update|delete|values)\b", re.IGNORECASE)
_TICK = 0.05  # seconds between two looks at the deadlines
_MOST_PARAMETERS = 65_535  # the protocol counts them in 16 bits
_settings: dict[int, str] = {}  # the statement for so many settings


def settings_statement(pairs: Settings) -> Statement:
    """The statement that makes settings local to its transaction. Worth keeping beside an actor."""
    sql = _settings.get(len(pairs))
    if sql is None:
        # `is null` keeps the server from sending the values back.
        calls = (f"set_config(${2 * i + 1},${2 * i + 2},true) is null" for i in range(len(pairs)))
        sql = _settings[len(pairs)] = f"select {', '.join(calls)}"
    return Statement(sql, [text.encode() for pair in pairs for text in pair])


class _Lane:
    """Some connections and the queue before them. One task each keeps a connection alive."""

    def __init__(self, dsn: str, size: int, init: Sequence[str], limits: Limits) -> None:
        self.dsn, self.size, self.init, self.limits = dsn, size, init, limits
        self.live: list[Connection] = []
        self.backlog: deque[Unit] = deque()
        self.refusals = 0  # attempts to connect that failed since the last that succeeded
        self.keepers: list[asyncio.Task[None]] = []

    def submit(self, unit: Unit) -> None:
        best, least = None, self.limits.window
        for connection in self.live:
            depth = len(connection.waiting)
            if depth < least:
                best, least = connection, depth
        if best is not None:
            best.send(unit)
        elif self.can_wait():
            self.backlog.append(unit)
        else:
            unit.fail(Unavailable())

    def can_wait(self) -> bool:
        """A blip of the connections is waited for, an outage is said at once."""
        hope = bool(self.live) or (bool(self.keepers) and not self.refusals)
        return hope and len(self.backlog) < self.limits.queue

    def refill(self, connection: Connection) -> None:
        while self.backlog and len(connection.waiting) < self.limits.window:
            if connection.closed.done():
                return
            unit = self.backlog.popleft()
            if not unit.future.done():
                connection.send(unit)

    def check(self, now: float) -> None:
        for connection in tuple(self.live):
            connection.check(now)
        for unit in self.backlog:
            if unit.deadline <= now:
                unit.fail(DeadlineExceeded())

    def refuse_all(self) -> None:
        while self.backlog:
            self.backlog.popleft().fail(Unavailable())

    async def connect(self) -> Connection:
        session = await psycopg.AsyncConnection.connect(
            self.dsn, autocommit=True, connect_timeout=self.limits.connect_timeout
        )
        try:
            await session.execute(b"set statement_timeout = %d" % (self.limits.deadline * 1000))
            for statement in self.init:
                await session.execute(statement.encode())
        except BaseException:
            await session.close()
            raise
        return Connection(session, self.limits, self.refill, self.submit, self.live.remove)

    async def keep_alive(self, tried: asyncio.Event) -> None:
        """Connect, wait until the connection is lost, connect again with growing pauses."""
        while True:
            try:
                connection = await self.connect()
            except Exception as error:  # whatever it is, trying again is all that can be done
                self.refusals += 1
                if self.refusals in (1, self.size) or self.refusals % 100 == 0:
                    state = getattr(error, "sqlstate", None)
                    log.warning("no_connection", kind=type(error).__qualname__, sqlstate=state)
                tried.set()
                if not self.live:
                    self.refuse_all()
                pause = min(2.0, 0.05 * 2 ** min(self.refusals // self.size, 6))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
                continue
            if self.refusals:
                log.warning("connected_again", after=self.refusals)
            self.refusals = 0
            self.live.append(connection)
            tried.set()
            self.refill(connection)
            await asyncio.shield(connection.closed)

    async def start(self) -> None:
        tried = [asyncio.Event() for _ in range(self.size)]
        self.keepers = [asyncio.create_task(self.keep_alive(event)) for event in tried]
        for event in tried:
            await event.wait()

    async def stop(self) -> None:
        keepers, self.keepers = self.keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for connection in tuple(self.live):
            connection.lose()
        self.refuse_all()


class Pipeline:
    """A pool of pipelined connections: `size` for points and as many for pages.

    A page of 50 rows does not stand before a point read in line. `init` statements run once on
    each new connection, in autocommit.
    """

    def __init__(
        self, dsn: str, size: int = 2, init: Sequence[str] = (), limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.lanes: dict[Lane, _Lane] = {
            "point": _Lane(dsn, size, init, self.limits),
            "page": _Lane(dsn, size, init, self.limits),
        }

    async def start(self) -> None:
        """Connect; goes on in the background where the server is not there yet (see `ready`)."""
        self.loop = asyncio.get_running_loop()
        await asyncio.gather(*(lane.start() for lane in self.lanes.values()))
        self.ticker = self.loop.call_later(_TICK, self.tick)

    async def stop(self, patience: float = 5.0) -> None:
        """Answer what is under way, `patience` seconds at most, then close."""
        until = self.loop.time() + patience
        while self.waiting() and self.loop.time() < until:  # noqa: ASYNC110 (once in a life)
            await asyncio.sleep(0.01)
        self.ticker.cancel()
        for lane in self.lanes.values():
            await lane.stop()

    def ready(self) -> bool:
        """Each lane has a connection."""
        return all(lane.live for lane in self.lanes.values())

    def waiting(self) -> int:
        """Units without an answer."""
        lanes = self.lanes.values()
        sent = sum(len(connection.waiting) for lane in lanes for connection in lane.live)
        return sent + sum(len(lane.backlog) for lane in lanes)

    def unit(
        self,
        settings: Settings | Statement,
        *statements: Statement,
        lane: Lane = "point",
        deadline: float | None = None,
    ) -> asyncio.Future[list[Rows]]:
        """Run the statements under the settings in one transaction; the rows of each, in order.

        `deadline`: seconds from now. Raises ValueError for what cannot be sent; the future raises
        the errors of `pipeline_errors`.
        """
        with_settings = bool(settings)
        if isinstance(settings, Statement):
            statements = (settings, *statements)
        elif settings:
            statements = (settings_statement(settings), *statements)
        for statement in statements:
            _check(statement)
        seconds = self.limits.deadline if deadline is None else deadline
        future: asyncio.Future[list[Rows]] = self.loop.create_future()
        unit = Unit(future, with_settings, statements, self.loop.time() + seconds)
        self.lanes[lane].submit(unit)
        return future

    def tick(self) -> None:
        now = self.loop.time()
        for lane in self.lanes.values():
            lane.check(now)
        self.ticker = self.loop.call_later(_TICK, self.tick)


def _check(statement: Statement) -> None:
    """Refuse before anything is sent what libpq would cut short, or refuse half-way."""
    sql, params, _ = statement
    if not _ALLOWED.match(sql):
        raise ValueError("a unit takes SELECT, INSERT, UPDATE and DELETE only")
    if len(params) > _MOST_PARAMETERS:
        raise ValueError("a statement has at most 65,535 parameters")
    for value in params:
        if value is not None and (type(value) is not bytes or 0 in value):
            raise ValueError("a parameter is bytes without NUL, or None")
