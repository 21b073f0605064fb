"""Hearing what `domain.changes` tells: one connection of a process, which waits for PostgreSQL's notifications.

A channel is listened to when `listen` returns; what is committed afterwards is heard, once and in order. A connection
that is lost, or does not answer within a beat, is made anew; nobody knows what was told meanwhile, so `missed` is
called then. Source: PostgreSQL's manual, NOTIFY and "Asynchronous Notification".
"""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import structlog
from psycopg import sql

from domain.pipeline_errors import Unavailable

log = structlog.get_logger("domain.listening")

BEAT = 5.0
"""Seconds of silence after which the connection is asked whether it still stands, and that it has to answer."""
PAUSES = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Seconds before each further try to connect; the last one again and again."""

Wish = tuple[sql.SQL | sql.Composed, "asyncio.Future[None] | None"]


class Listener:
    """Calls `heard(channel, payload)` for each notification, `missed()` after each gap. For one event loop."""

    def __init__(
        self,
        dsn: str,
        heard: Callable[[str, str], None],
        missed: Callable[[], None],
        *,
        beat: float = BEAT,
    ) -> None:
        self._dsn, self._heard, self._missed, self._beat = dsn, heard, missed, beat
        self._channels: set[str] = set()
        self._wishes: list[Wish] = []
        self._woken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.connected = False

    async def start(self) -> None:
        """Begin to connect; goes on in the background."""
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Close the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def listen(self, channel: str) -> None:
        """Hear this channel from now on. Raises Unavailable where there is no connection."""
        if not self.connected:
            raise Unavailable()
        self._channels.add(channel)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wish(sql.SQL("listen {}").format(sql.Identifier(channel)), done)
        await done

    def hear(self, channel: str) -> None:
        """Hear this channel as soon as there is a connection."""
        self._channels.add(channel)
        if self.connected:
            self._wish(sql.SQL("listen {}").format(sql.Identifier(channel)), None)

    def forget(self, channel: str) -> None:
        """Hear this channel no more."""
        self._channels.discard(channel)
        if self.connected:
            self._wish(sql.SQL("unlisten {}").format(sql.Identifier(channel)), None)

    def _wish(self, statement: sql.SQL | sql.Composed, done: "asyncio.Future[None] | None") -> None:
        self._wishes.append((statement, done))
        self._woken.set()

    async def _keep(self) -> None:
        """Connect, hear until the connection is lost, connect again."""
        tries = 0
        while True:
            try:
                async with asyncio.timeout(2 * self._beat):
                    connection = await self._connect()
            except (
                Exception
            ) as error:  # as of the unit driver: trying again is all that can be done
                if tries in (0, 10) or tries % 100 == 0:
                    log.warning("not_listening", kind=type(error).__qualname__)
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
                continue
            tries = 0
            self.connected = True
            self._missed()
            try:
                await self._hear(connection)
            except Exception as error:  # whatever it is, what is told meanwhile is not heard
                log.warning("listening_lost", kind=type(error).__qualname__)
            finally:
                self.connected = False
                self._fail()
                connection.pgconn.finish()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        connection.add_notify_handler(self._told)
        for channel in sorted(self._channels):
            await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        return connection

    def _told(self, notify: psycopg.Notify) -> None:
        self._heard(notify.channel, notify.payload)

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Wait for the socket or a wish; what arrives between wishes is read here, the rest by the driver."""
        loop, pg = asyncio.get_running_loop(), connection.pgconn
        while True:
            loop.add_reader(pg.socket, self._woken.set)
            try:
                async with asyncio.timeout(self._beat):
                    await self._woken.wait()
            except TimeoutError:
                self._wishes.append((sql.SQL("select 1"), None))
            finally:
                loop.remove_reader(pg.socket)
            self._woken.clear()
            pg.consume_input()
            while (found := pg.notifies()) is not None:
                self._heard(found.relname.decode(), found.extra.decode())
            while self._wishes:
                statement, done = self._wishes[0]
                async with asyncio.timeout(self._beat):
                    await connection.execute(statement)
                self._wishes.pop(0)
                if done is not None and not done.done():
                    done.set_result(None)

    def _fail(self) -> None:
        wishes, self._wishes = self._wishes, []
        for _, done in wishes:
            if done is not None and not done.done():
                done.set_exception(Unavailable())
