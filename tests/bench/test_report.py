"""The benchmark says what it measured, and fails where a bar was missed."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import orjson
import pytest

from dev.bench.contest import CONTESTANTS, Contestant, Run
from dev.bench.data import statements
from dev.bench.load import Connection, timed
from dev.bench.main import LEAST, command
from dev.bench.operations import DOCUMENTS, FIRST, MEASURED, SLOTS, requests
from dev.bench.report import BARS, missed, result, table, write
from dev.bench.run import Measured, smaller
from dev.bench.watch import Seen
from dev.faults import Fault
from domain.appointments.states import AHEAD

RATES = {"bare": 1000.0, "fair": 500.0, "product": 800.0}


def contestant(name: str, bad: int = 0) -> Contestant:
    """Somebody who was loaded three times, and once by chance in a bad moment."""
    rates = (RATES[name], RATES[name], RATES[name] / 10)
    runs = [Run(rate, 5.0, 9.0, 100.0, 50.0, bad) for rate in rates]
    return Contestant(name, 0, None, {operation: list(runs) for operation in MEASURED})  # type: ignore[arg-type] # it does not run


@pytest.fixture
def measured() -> Measured:
    return Measured(
        patients=500_000,
        clinics=500,
        small=50_000,
        contestants=[contestant(name) for name in CONTESTANTS],
        scopes={"List": {1: 4.0, 200: 5.0, 500: 4.0}, "Everywhere": {1: 4.0, 200: 12.0, 500: 4.0}},
        growth={"Point": (2.0, 2.2), "List": (4.0, 5.0)},
        seen={name: Seen(3.0, 0.4, 0.3) for name in MEASURED},
    )


def test_the_file_holds_ratios_by_operation(measured: Measured, tmp_path: Path) -> None:
    written = orjson.loads(write(result(measured), tmp_path).read_bytes())
    assert written["ratios"] == {"point": 0.8, "list": 0.8, "dash": 0.8, "one": 0.8, "book": 0.8}
    assert written["fair"]["book"] == 1.6
    assert written["growth"] == {"point": 1.1, "list": 1.25}
    assert written["growth_p50_ms"]["list"] == [4.0, 5.0]
    assert written["growth_from"] == 50_000
    assert written["scope_growth"]["list"] == 1.25
    assert written["statements_per_request"]["Dash"] == 3.0
    assert written["cpu_us_per_request"]["product"]["one"] == 150


def test_a_missed_bar_is_named(measured: Measured) -> None:
    figures: dict[str, Any] = result(measured)
    assert missed(figures) == []
    figures["ratios"] = {**figures["ratios"], "dash": 0.69}
    figures["scope_growth"] = {"list": 1.6, "everywhere": 9.0}
    figures["contestants"]["fair"]["Book"]["bad"] = 2
    figures["own_statement_ms"] = {"Availability": 21.0}
    dash, scope, week, bad = missed(figures)
    assert "21.0 ms" in week
    assert "dash" in dash
    assert "0.7 is asked" in dash
    assert "1.6 times" in scope
    assert "2 requests failed" in bad


def test_the_table_shows_each_operation(measured: Measured) -> None:
    shown = table(result(measured))
    assert all(name in shown for name in MEASURED)
    assert "growth from 50,000 patients" in shown


@pytest.mark.parametrize(("patients", "small"), [(500_000, 50_000), (50_000, 26_000)])
def test_growth_begins_where_each_clinic_fills_a_page(patients: int, small: int) -> None:
    assert smaller(patients, 500) == small


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(Fault, match="PATIENTS"):
        command(LEAST - 1)


def test_the_operations_are_drawn_the_same_each_time() -> None:
    for operation in DOCUMENTS:
        first, again = (requests(operation, 500, 50_000, 7, 20) for _ in range(2))
        assert [next(first) for _ in range(20)] == [next(again) for _ in range(20)]


@pytest.mark.parametrize(("warming", "run"), [(8, 9), (101, 1), (123, 23)])
def test_no_run_books_what_its_warming_up_has_booked(warming: int, run: int) -> None:
    round_ = SLOTS * dt.timedelta(minutes=10)
    assert dt.timedelta() < FIRST < FIRST + round_ < AHEAD

    def begin(seed: int) -> dt.datetime:
        body = next(requests("Book", 500, 50_000, seed, 20))
        return dt.datetime.fromisoformat(body["variables"]["input"]["startsAt"])

    assert (begin(run) - begin(warming)) % round_ >= dt.timedelta(minutes=10 * 15_000)
    assert (begin(warming) - begin(run)) % round_ >= dt.timedelta(minutes=10 * 40_000)


def test_a_refused_command_counts_as_bad() -> None:
    answers = [b'{"data":{"a":{"userErrors":[{"code":"INVALID"}]}}}', b'{"errors":[]}', b"{}"]
    saw = iter(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1):
            body = next(saw)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async def seen_by_one() -> dict[str, Any]:
        bodies = iter([b"."] * len(answers))
        async with await asyncio.start_server(answer, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            return await timed(lambda: Connection(bodies), port, 1)

    seen = asyncio.run(seen_by_one())
    assert (seen["requests"], seen["bad"]) == (3, 2)


def test_the_data_are_the_same_each_time() -> None:
    assert statements(500, 50_000) == statements(500, 50_000)
    assert set(BARS) == {name.lower() for name in MEASURED}
