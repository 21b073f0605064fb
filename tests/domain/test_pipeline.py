"""The unit driver against a real PostgreSQL: faults of every kind, and never another's row."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from domain.pipeline import (
    DatabaseError,
    DeadlineExceeded,
    Lane,
    Limits,
    OutcomeUnknown,
    Pipeline,
    Rows,
    Statement,
    Unavailable,
)
from tests.database import Database

pytestmark = pytest.mark.anyio

TENANT = Statement("select coalesce(current_setting('app.tenant', true), '')")
PID = Statement("select pg_backend_pid()")
FEW = Limits(deadline=5, grace=0.5)


def sleep(seconds: float) -> Statement:
    return Statement("select pg_sleep($1::text::float8)::text", [b"%f" % seconds])


def echo(value: str) -> Statement:
    return Statement("select $1::text", [value.encode()])


@pytest.fixture
def table(database_url: str) -> Iterator[str]:
    """A scratch table with rules of each kind."""
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute("drop table if exists ledger_of_test")
        session.execute(
            "create table ledger_of_test (id int primary key, note text not null,"
            " amount int constraint amount_is_positive check (amount > 0))"
        )
        yield "ledger_of_test"
        session.execute("drop table ledger_of_test")


@contextlib.asynccontextmanager
async def running(
    url: str, size: int = 1, limits: Limits = FEW, init: tuple[str, ...] = ()
) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(url, size, init, limits)
    await pipeline.start()
    try:
        yield pipeline
    finally:
        await pipeline.stop(patience=2)


async def one(pipeline: Pipeline, statement: Statement, lane: Lane = "point") -> str:
    [[(value,)]] = await pipeline.unit((), statement, lane=lane)
    assert value is not None
    return value.decode()


async def test_rows_of_each_statement_in_order(database_url: str) -> None:
    async with running(database_url) as pipeline:
        answer = await pipeline.unit(
            [("app.tenant", "mercy"), ("app.scope_patient", "*")],
            TENANT,
            Statement("select g, null from generate_series(1, $1::int) g", [b"3"]),
            Statement("select 1 where false"),
            Statement("select 258::int4", binary=True),
        )
    assert answer == [
        [(b"mercy",)],
        [(b"1", None), (b"2", None), (b"3", None)],
        [],
        [(b"\x00\x00\x01\x02",)],
    ]


async def test_settings_end_with_their_unit(database_url: str) -> None:
    async with running(database_url) as pipeline:
        mine = pipeline.unit([("app.tenant", "mercy")], TENANT)
        bare = pipeline.unit((), TENANT)
        failing = pipeline.unit([("app.tenant", "mercy")], Statement("select 1/0"))
        after = pipeline.unit((), TENANT)
        assert await mine == [[(b"mercy",)]]
        assert await bare == [[(b"",)]]
        with pytest.raises(DatabaseError):
            await failing
        assert await after == [[(b"",)]]


async def test_a_unit_is_one_transaction(database_url: str, table: str) -> None:
    insert = f"insert into {table} values ($1::int, $2, $3::int)"
    async with running(database_url) as pipeline:
        with pytest.raises(DatabaseError) as caught:
            await pipeline.unit(
                (),
                Statement(insert, [b"1", b"kept?", b"5"]),
                Statement(insert, [b"2", b"Jane Roe", b"-7"]),
            )
        assert await one(pipeline, Statement(f"select count(*) from {table}")) == "0"
        assert await pipeline.unit((), Statement(insert, [b"3", b"kept", b"1"])) == [[]]
        assert await one(pipeline, Statement(f"select count(*) from {table}")) == "1"
    error = caught.value
    assert (error.sqlstate, error.constraint, error.table) == ("23514", "amount_is_positive", table)
    assert "Roe" not in str(error)
    assert "-7" not in str(error)


async def test_a_statement_that_cannot_be_prepared_says_why_each_time(database_url: str) -> None:
    async with running(database_url) as pipeline:
        missing = Statement("select * from there_is_no_such_table")
        answers = await asyncio.gather(
            *(pipeline.unit((), missing) for _ in range(5)),
            pipeline.unit((), TENANT),
            pipeline.unit((), missing),
            return_exceptions=True,
        )
        assert answers.pop(5) == [[(b"",)]]
        assert [getattr(answer, "sqlstate", answer) for answer in answers] == ["42P01"] * 6


BAD = [
    Statement("select 1/($1::int)", [b"0"]),
    Statement("select $1::uuid", [b"nonsense"]),
    Statement("select 1 from pg_class where relname = $1 and 1/(length($2)-1) > 0", [b"x", b"y"]),
    Statement("select $1::int::text", [b"999999999999999"]),
    Statement("select pg_sleep($1::text::float8)::text", [b"0.06"]),
]


async def test_six_thousand_mixed_units_none_wrong(database_url: str) -> None:
    """Reads between errors, time-outs, forgotten settings and tasks that were cancelled."""
    chance = random.Random(5)
    wrong, errors, answered = 0, Counter[str](), 0
    init = ("set statement_timeout = '50ms'",)
    limits = Limits(deadline=30, queue=10_000)
    async with running(database_url, size=2, init=init, limits=limits) as pipeline:

        async def ask(number: int) -> tuple[str, Rows]:
            tenant = f"t{number}"
            settings = [("app.tenant", tenant), ("app.unit", str(number))]
            kind = chance.random()
            if kind < 0.5:
                rows = (await pipeline.unit(settings, TENANT, echo(tenant)))[1]
            elif kind < 0.7:
                tenant, rows = "", (await pipeline.unit((), TENANT))[0]
            else:
                bad = BAD[chance.randrange(4 if chance.random() < 0.97 else 5)]
                rows = (await pipeline.unit(settings, TENANT, bad, TENANT))[2]
            return tenant, rows

        tasks = []
        for number in range(6000):
            tasks.append(asyncio.create_task(ask(number)))
            if number % 40 == 0:
                await asyncio.sleep(0)
                if chance.random() < 0.5:
                    tasks[chance.randrange(len(tasks))].cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, DatabaseError):
                errors[outcome.sqlstate] += 1
            elif isinstance(outcome, asyncio.CancelledError):
                errors["cancelled"] += 1
            else:
                assert not isinstance(outcome, BaseException), outcome
                answered += 1
                wrong += outcome[1] != [(outcome[0].encode(),)]
        assert pipeline.waiting() == 0
    assert wrong == 0
    assert answered > 3500
    assert set(errors) == {"22012", "22P02", "22003", "57014", "cancelled"}


async def test_only_the_unit_past_its_deadline_fails(database_url: str) -> None:
    async with running(database_url) as pipeline:
        for _ in range(5):
            before = [pipeline.unit((), echo(str(n))) for n in range(20)]
            slow = pipeline.unit((), sleep(3), deadline=0.1)
            after = [pipeline.unit((), echo(str(n)), sleep(0.005)) for n in range(20, 30)]
            with pytest.raises(DeadlineExceeded):
                await slow
            answers = await asyncio.gather(*before, *after)
            assert [rows[0][0] for rows in answers] == [(b"%d" % n,) for n in range(30)]


async def test_deadlines_that_race_with_their_answers(database_url: str) -> None:
    """A cancel request that comes late hits a neighbour: it is asked again, nobody notices."""
    async with running(database_url) as pipeline:
        units = [
            pipeline.unit((), sleep(0.02), echo(str(n)), deadline=0.05 if n % 3 == 0 else 30)
            for n in range(60)
        ]
        answers = await asyncio.gather(*units, return_exceptions=True)
    for n, answer in enumerate(answers):
        if isinstance(answer, BaseException):
            assert isinstance(answer, DeadlineExceeded)
            assert n % 3 == 0
        else:
            assert answer[1] == [(b"%d" % n,)]


async def test_cancelled_tasks_do_not_shift_the_answers(database_url: str) -> None:
    async with running(database_url) as pipeline:
        units = [pipeline.unit((), echo(str(n))) for n in range(300)]
        for unit in units[::3]:
            unit.cancel()
        await asyncio.sleep(0)
        for n, unit in enumerate(units):
            if n % 3:
                assert await unit == [[(b"%d" % n,)]]


async def test_a_killed_connection_answers_nobody_with_anothers_row(
    database_url: str, database: Database
) -> None:
    async with running(database_url) as pipeline:
        for _ in range(3):
            pid = await one(pipeline, PID)
            units = [pipeline.unit((), sleep(0.002), echo(str(n))) for n in range(200)]
            await asyncio.sleep(0.02)
            with psycopg.connect(database.url(), autocommit=True) as session:
                session.execute("select pg_terminate_backend(%s)", [int(pid)])
            answers = await asyncio.gather(*units, return_exceptions=True)
            good = [n for n, answer in enumerate(answers) if not isinstance(answer, Exception)]
            lost = [answer for answer in answers if isinstance(answer, Exception)]
            for n in good:
                assert answers[n] == [[(b"",)], [(b"%d" % n,)]]
            assert {type(answer) for answer in lost} == {OutcomeUnknown}
            # Only what was sent is lost; the rest waited for the new connection.
            assert 0 < len(lost) <= FEW.window
        assert await one(pipeline, echo("again")) == "again"


async def test_a_full_queue_refuses_at_once(database_url: str) -> None:
    async with running(database_url, limits=Limits(window=4, queue=10)) as pipeline:
        await pipeline.unit((), sleep(0))
        units = [pipeline.unit((), sleep(0.01)) for _ in range(50)]
        answers = await asyncio.gather(*units, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(refused) == 36
    assert answers[:14] == [[[(b"",)]]] * 14


async def test_prepared_statements_are_bounded(database_url: str) -> None:
    async with running(database_url, limits=Limits(statements=5)) as pipeline:
        for _ in range(2):
            units = [
                pipeline.unit((), Statement(f"select {n}, $1::text", [b"x"])) for n in range(40)
            ]
            answers = await asyncio.gather(*units)
            assert answers == [[[(b"%d" % n, b"x")]] for n in range(40)]
        count = await one(pipeline, Statement("select count(*) from pg_prepared_statements"))
        assert int(count) <= 5


async def test_a_migration_under_way_is_not_noticed(database_url: str, table: str) -> None:
    statement = Statement(f"select * from {table}")
    async with running(database_url) as pipeline:
        assert await pipeline.unit((), statement) == [[]]
        with psycopg.connect(database_url, autocommit=True) as session:
            session.execute(f"alter table {table} add column later text")
            session.execute(f"insert into {table} values (1, 'x', 1, 'y')")
        assert await pipeline.unit((), statement) == [[(b"1", b"x", b"1", b"y")]]


async def test_large_parameters_and_answers(database_url: str) -> None:
    async with running(database_url) as pipeline:
        texts = [chr(65 + n) * (3_000_000 + n) for n in range(4)]
        units = [pipeline.unit((), echo(text), echo("small"), lane="page") for text in texts]
        for text, unit in zip(texts, units, strict=True):
            assert await unit == [[(text.encode(),)], [(b"small",)]]


@pytest.mark.parametrize(
    "statement",
    [
        Statement("begin"),
        Statement("commit"),
        Statement("set app.tenant = 'x'"),
        Statement(" ; commit"),
        Statement("/* a */ rollback"),
        Statement("select $1::text", [b"cut\x00short"]),
        Statement("select 1", [b"1"] * 65_536),
        Statement("select $1::text", ["text"]),  # type: ignore[list-item]  # what is refused
    ],
)
async def test_what_would_leave_the_unit_is_not_sent(
    database_url: str, statement: Statement
) -> None:
    async with running(database_url) as pipeline:
        with pytest.raises(ValueError, match=r"a unit takes|parameter"):
            pipeline.unit([("app.tenant", "x")], statement)
        assert await one(pipeline, TENANT) == ""


async def test_a_slow_page_does_not_delay_points(database_url: str) -> None:
    async with running(database_url) as pipeline:
        page = pipeline.unit((), sleep(0.5), lane="page")
        points = [pipeline.unit((), echo(str(n))) for n in range(50)]
        await asyncio.gather(*points)
        assert not page.done()
        await page


class Proxy:
    """A relay before the server that can stop, black-hole and come back."""

    def __init__(self, url: str) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(url)
        self.target = (str(parts["host"]), int(str(parts["port"])))
        self.mute = False
        self.writers: list[asyncio.StreamWriter] = []
        self.pumps: list[asyncio.Task[None]] = []

    async def open(self, port: int = 0) -> int:
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", port)
        return int(self.server.sockets[0].getsockname()[1])

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.target)
        self.writers += [writer, back]
        self.pumps += [
            asyncio.create_task(self.pump(reader, back)),
            asyncio.create_task(self.pump(there, writer)),
        ]

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.mute:
                    writer.write(data)
        writer.close()

    async def close(self) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*self.pumps, return_exceptions=True)
        self.writers.clear()
        self.pumps.clear()


async def until(condition: object, seconds: float = 8) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_outage_and_return(database_url: str) -> None:
    proxy = Proxy(database_url)
    port = await proxy.open()
    url = psycopg.conninfo.make_conninfo(database_url, host="127.0.0.1", port=port)
    async with running(url) as pipeline:
        assert await one(pipeline, echo("before")) == "before"
        slow = pipeline.unit((), sleep(3))
        await asyncio.sleep(0.02)
        await proxy.close()
        with pytest.raises(OutcomeUnknown):
            await slow
        await until(lambda: pipeline.lanes["point"].refusals > 0)
        assert not pipeline.ready()
        with pytest.raises(Unavailable):
            await pipeline.unit((), TENANT)
        await proxy.open(port)
        await until(pipeline.ready)
        assert await one(pipeline, echo("after")) == "after"
    await proxy.close()


async def test_a_silent_network_is_given_up(database_url: str) -> None:
    proxy = Proxy(database_url)
    url = psycopg.conninfo.make_conninfo(database_url, host="127.0.0.1", port=await proxy.open())
    async with running(url, limits=Limits(deadline=0.3, grace=0.3)) as pipeline:
        proxy.mute = True
        lost = pipeline.unit((), TENANT)
        neighbour = pipeline.unit((), TENANT, deadline=20)
        with pytest.raises(DeadlineExceeded):
            await lost
        with pytest.raises(OutcomeUnknown):
            await neighbour
        proxy.mute = False
        await until(pipeline.ready)
        assert await one(pipeline, echo("after")) == "after"
    await proxy.close()


async def test_a_server_that_is_not_there(database_url: str) -> None:
    url = psycopg.conninfo.make_conninfo(database_url, port=1)
    async with running(url) as pipeline:
        assert not pipeline.ready()
        with pytest.raises(Unavailable):
            await pipeline.unit((), TENANT)


async def test_stopping_answers_what_is_under_way(database_url: str) -> None:
    async with running(database_url) as pipeline:
        units = [pipeline.unit((), sleep(0.01), echo(str(n))) for n in range(20)]
    assert [(await unit)[1] for unit in units] == [[(b"%d" % n,)] for n in range(20)]
    with pytest.raises(Unavailable):
        await pipeline.unit((), TENANT)
