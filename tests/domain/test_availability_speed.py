"""How long a week of a clinic with thirty resources takes to ask and to cut into slots.

Measured is processor time, of this process and of the server's: the median of a round, in the quickest of the rounds.
Others at work on the machine take caches and cycles away, which lengthens processor time too, but not in every round.
"""

import datetime as dt
import statistics
import time
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from domain.patients import Patient
from domain.schedules.free_times import SQL, instants, parameters, read
from tests import make
from tests.database import Database
from tests.domain.acting import everything

RESOURCES, DAYS, ROUNDS, TRIES = 30, 7, 6, 15
FIRST = dt.date(2027, 3, 8)
"""A Monday; on its Sunday Chicago's clocks change."""
NOON = dt.datetime(2027, 3, 8, 18, tzinfo=dt.UTC)
OTHERS = 40
BAR = 0.020


@pytest.fixture(scope="module")
def clinic(database: Database) -> Any:
    """Thirty practitioners with rules of their own and half of the week booked; closures now and then.

    Other health systems are beside it, so that a plan for any of them expects few rows.
    """
    for _ in range(OTHERS):
        other = make.tree(clinics=1, departments=0)
        at, doctor = other.clinics[0], make.practitioner(other.tenant)
        resource = make.bookable(doctor)
        one, *theirs = make.patient_at(other.tenant, at)
        assert isinstance(one, Patient)
        visit = make.appointment(one, at, doctor, starts_at=NOON)
        make.save(database, *other.rows, one, *theirs, doctor, resource)
        make.save(database, make.assignment(resource, at), visit, make.block(visit))
    tree = make.tree(clinics=1, departments=0)
    node = tree.clinics[0]
    node.active = True
    patient, *sites = make.patient_at(tree.tenant, node)
    assert isinstance(patient, Patient)
    rows: list[Any] = [*tree.rows, patient, *sites, make.closure(node, dt.date(2027, 3, 10))]
    for n in range(RESOURCES):
        doctor = make.practitioner(tree.tenant)
        resource = make.bookable(doctor, name=f"{n:02}")
        rows += [doctor, resource, make.assignment(resource, node)]
        rows += [
            make.rule(node, resource, closes=dt.time(12), minutes=15, step=15),
            make.rule(node, resource, opens=dt.time(13), minutes=15, step=15, buffer_after=5),
        ]
        for day in range(5):
            for slot in range(0, 32, 2):
                starts = dt.datetime.combine(FIRST, dt.time(15), dt.UTC)
                starts += dt.timedelta(days=day, minutes=15 * slot)
                ends = starts + dt.timedelta(minutes=15)
                visit = make.appointment(patient, node, doctor, starts_at=starts, ends_at=ends)
                rows += [visit, make.block(visit)]
    make.save(database, *rows)
    with database.owner_engine.begin() as owner:
        owner.exec_driver_sql("analyze")
    return node


def busy(backend: Path) -> float:
    """Seconds that this process and the server's have worked: the machine of the tests is not alone.

    https://www.kernel.org/doc/html/latest/scheduler/sched-stats.html: the first number is nanoseconds on a processor.
    """
    return time.process_time() + int(backend.read_text().split()[0]) / 1e9


def test_a_week_of_thirty_resources(database: Database, clinic: Any) -> None:
    since = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    days = FIRST, FIRST + dt.timedelta(days=DAYS - 1)
    values = parameters(clinic.tenant_id, clinic.id, None, None, days, since)
    took, counted = [], 0
    with psycopg.connect(database.app_url, cursor_factory=psycopg.RawCursor) as connection:
        for name, value in everything(clinic.tenant_id).items():
            connection.execute("select set_config($1, $2, true)", (name, value))
        backend = Path(f"/proc/{connection.info.backend_pid}/schedstat")
        for _ in range(ROUNDS * TRIES):
            begun = busy(backend)
            row = connection.execute(SQL.encode(), values, prepare=True).fetchone()
            assert row is not None
            found = read(orjson.loads(row[0]))
            slots = [found.slots(r, since=since) for r in found.resources.values()]
            told = [{"s": s, "e": e} for each in slots for s, e in instants(each)]
            orjson.dumps(told)
            took.append(busy(backend) - begun)
            counted = len(told)
    rounds = [statistics.median(took[n : n + TRIES]) for n in range(0, len(took), TRIES)]
    print(
        f"{RESOURCES} resources, {DAYS} days, {counted} slots: medians of the rounds in ms:",
        *(f"{median * 1000:.1f}" for median in rounds),
    )
    assert counted > 500
    assert len(found.resources) == RESOURCES
    assert min(rounds) < BAR
