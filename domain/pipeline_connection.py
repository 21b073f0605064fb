"""One connection in libpq's pipeline mode, and the units that are under way on it.

Source of the protocol's rules: PostgreSQL's manual, "Pipeline Mode" and "Extended Query".
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psycopg
from psycopg import pq

from domain.pipeline_errors import DatabaseError, DeadlineExceeded, OutcomeUnknown, Unavailable

Row = tuple[bytes | None, ...]
Rows = list[Row]

_COMMAND, _TUPLES = int(pq.ExecStatus.COMMAND_OK), int(pq.ExecStatus.TUPLES_OK)
_SYNC, _EMPTY = int(pq.ExecStatus.PIPELINE_SYNC), int(pq.ExecStatus.EMPTY_QUERY)
_CANCELLED = "57014"
# The server forgot the statement, or a migration changed the columns of its answer: prepare anew.
_PREPARE_AGAIN = frozenset({"26000", "0A000"})


class Statement(NamedTuple):
    """SQL with `$1` parameters, and their values in PostgreSQL's text form (None: NULL).

    `binary` asks for the rows in PostgreSQL's binary form. The text of `sql` is the key of the
    prepared statement: it must be one of a bounded number, never hold a value.
    """

    sql: str
    params: Sequence[bytes | None] = ()
    binary: bool = False


@dataclass(frozen=True)
class Limits:
    """Bounds of a pipeline. Times in seconds, counts for each lane or connection."""

    deadline: float = 5.0  # of a unit that names none; also the connections' statement_timeout
    grace: float = 2.0  # after a cancel request without effect the connection is given up
    window: int = 32  # units sent and not answered, on one connection
    queue: int = 2000  # units waiting for a place, in one lane
    statements: int = 500  # prepared, on one connection
    connect_timeout: int = 5


class Unit:
    """Statements of one transaction and the future that waits for their rows."""

    __slots__ = ("deadline", "error", "future", "rows", "settings", "skip", "statements", "tried")

    def __init__(
        self,
        future: asyncio.Future[list[Rows]],
        settings: bool,
        statements: Sequence[Statement],
        deadline: float,
    ) -> None:
        self.future = future
        self.settings = self.skip = settings  # the first statement makes the settings: no answer
        self.statements = statements
        self.deadline = deadline  # on the loop's clock
        self.rows: list[Rows] = []
        self.error: DatabaseError | None = None
        self.tried = False

    def fail(self, error: DatabaseError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def again(self) -> None:
        self.tried, self.rows, self.error, self.skip = True, [], None, self.settings


class Connection:
    """A connection and what was sent on it. The texts in `waiting` are statements being prepared.

    `refill` is called after each answer, `submit` with a unit to be sent once more, `left` when the
    connection is gone; `closed` ends then.
    """

    def __init__(
        self,
        session: psycopg.AsyncConnection[tuple[object, ...]],
        limits: Limits,
        refill: Callable[["Connection"], None],
        submit: Callable[[Unit], None],
        left: Callable[["Connection"], None],
    ) -> None:
        self.session, self.limits = session, limits
        self.refill, self.submit, self.left = refill, submit, left
        self.pg = session.pgconn
        self.loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.waiting: deque[Unit | str] = deque()
        self.prepared: OrderedDict[str, bytes] = OrderedDict()
        self.names = 0
        self.dirty = self.writing = False
        self.unprepared: DatabaseError | None = None  # why the statement ahead was not prepared
        self.target: Unit | None = None  # the unit that a cancel request was sent for
        self.patience = 0.0  # until when the request may take effect
        self.cancelling: asyncio.Task[None] | None = None
        self.fd = self.pg.socket
        self.pg.nonblocking = 1
        self.pg.enter_pipeline_mode()
        self.loop.add_reader(self.fd, self.read)

    def send(self, unit: Unit) -> None:
        pg = self.pg
        try:
            names = [self.name(statement.sql) for statement in unit.statements]
            for name, (_, params, binary) in zip(names, unit.statements, strict=True):
                pg.send_query_prepared(name, params, result_format=binary)
            pg.pipeline_sync()
        except psycopg.Error:
            # Half a unit must not be closed by a Sync: it would be committed. Without one nothing
            # ever is, so the unit may be sent elsewhere.
            self.lose()
            if unit.tried:
                unit.fail(Unavailable())
            else:
                unit.again()
                self.submit(unit)
        else:
            self.waiting.append(unit)
            self.soon()

    def soon(self) -> None:
        if not self.dirty:  # one flush for all units of this turn of the loop
            self.dirty = True
            self.loop.call_soon(self.flush)

    def name(self, sql: str) -> bytes:
        """The prepared statement's name; prepared now, before the unit and with a Sync of its own.

        A failing Parse inside the unit would leave a name behind that does not exist.
        """
        prepared = self.prepared
        name = prepared.get(sql)
        if name is not None:
            prepared.move_to_end(sql)
            return name
        text = sql.encode()
        self.names += 1
        name = prepared[sql] = b"u%d" % self.names
        if len(prepared) > self.limits.statements:
            self.pg.send_close_prepared(prepared.popitem(last=False)[1])
        self.pg.send_prepare(name, text)
        self.pg.pipeline_sync()
        self.waiting.append(sql)
        return name

    def flush(self) -> None:
        self.dirty = False
        if self.closed.done():
            return
        try:
            more = bool(self.pg.flush())
        except psycopg.Error:
            self.lose()
            return
        if more and not self.writing:
            self.loop.add_writer(self.fd, self.flush)
        elif self.writing and not more:
            self.loop.remove_writer(self.fd)
        self.writing = more

    def read(self) -> None:
        """Take in what the server sent. Units are answered at their Sync, in order."""
        pg = self.pg
        try:
            pg.consume_input()
            while self.waiting and not pg.is_busy():
                result = pg.get_result()
                if result is None:
                    continue
                status = result.status
                if status == _SYNC:
                    self.answer(self.waiting.popleft())
                elif status == _TUPLES:
                    self.keep(result)
                elif status in (_COMMAND, _EMPTY):
                    self.done()
                else:
                    self.refused(result)
        except psycopg.Error:
            self.lose()

    def keep(self, result: "pq.abc.PGresult") -> None:
        unit = self.waiting[0]
        if isinstance(unit, str):
            return
        if unit.skip:
            unit.skip = False
            return
        count, width, value = result.ntuples, range(result.nfields), result.get_value
        if count == 1:
            unit.rows.append([tuple([value(0, column) for column in width])])
        else:
            rows = range(count)
            unit.rows.append([tuple([value(row, column) for column in width]) for row in rows])

    def done(self) -> None:
        """A statement without rows, or the end of a preparation or of a forgotten name."""
        unit = self.waiting[0]
        if isinstance(unit, Unit):
            unit.rows.append([])

    def refused(self, result: "pq.abc.PGresult") -> None:
        head = self.waiting[0]
        if isinstance(head, str):
            self.prepared.pop(head, None)
            self.unprepared = self.unprepared or DatabaseError.of(result)
        elif head.error is None:  # what follows the first error is only "aborted"
            head.error = self.unprepared or DatabaseError.of(result)

    def answer(self, head: Unit | str) -> None:
        if isinstance(head, str):
            return
        self.unprepared = None
        error = head.error
        if error is None:
            if not head.future.done():
                head.future.set_result(head.rows)
        elif not head.future.done() and not self.retried(head, error):
            head.fail(error)
        self.refill(self)

    def retried(self, unit: Unit, error: DatabaseError) -> bool:
        """A unit that failed through no fault of its own is sent once more; nothing of it stood."""
        stray = False
        if error.sqlstate == _CANCELLED and self.target is not None:
            stray, self.target = self.target is not unit, None
        if unit.tried or not (stray or error.sqlstate in _PREPARE_AGAIN):
            return False
        if not stray:
            self.forget(unit.statements)
        unit.again()
        self.submit(unit)
        return True

    def forget(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            name = self.prepared.pop(statement.sql, None)
            if name is not None:
                self.pg.send_close_prepared(name)
                self.pg.pipeline_sync()
                self.waiting.append("")
        self.soon()

    def check(self, now: float) -> None:
        """Units past their deadline fail; the one that the server is at is cancelled there too."""
        units = [unit for unit in self.waiting if isinstance(unit, Unit)]
        for unit in units:
            if unit.deadline <= now:
                unit.fail(DeadlineExceeded())
        if not units or units[0].deadline > now:
            return
        first = units[0]
        if first is self.target:
            if self.patience <= now:
                self.lose()
        elif self.cancelling is None or self.cancelling.done():
            self.target, self.patience = first, now + self.limits.grace
            self.cancelling = self.loop.create_task(self.cancel())

    async def cancel(self) -> None:
        try:
            await self.session.cancel_safe(timeout=self.limits.grace)
        except (psycopg.Error, OSError):
            return  # `check` gives the connection up after the grace

    def lose(self) -> None:
        """The connection is gone: whatever was sent has an unknown outcome."""
        if self.closed.done():
            return
        self.closed.set_result(None)
        self.loop.remove_reader(self.fd)
        if self.writing:
            self.loop.remove_writer(self.fd)
        waiting, self.waiting = self.waiting, deque()
        self.left(self)
        self.pg.finish()
        for unit in waiting:
            if isinstance(unit, Unit):
                unit.fail(OutcomeUnknown())
