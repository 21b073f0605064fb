"""Filters, orders, periods, cursors and refused input answer each of the cast as the oracle says."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests import who
from tests.oracle.charts import BEGUN, DAY
from tests.oracle.stage import Stage

pytestmark = pytest.mark.anyio
of_the_cast = pytest.mark.parametrize("one", who.CAST, ids=lambda one: one.name)
NODES: tuple[str | None, ...] = (None, "north", "n1", "n1a")
PAGE = "{totalCount nodes{id} pageInfo{hasNextPage endCursor}}"

PATIENTS = (
    f"query($n:ID $f:PatientFilter $o:PatientOrder! = FAMILY_NAME_ASC)"
    f"{{patients(node:$n filter:$f orderBy:$o first:5){PAGE}}}"
)
ENCOUNTERS = f"query($n:ID $f:EncounterFilter){{encounters(node:$n filter:$f){PAGE}}}"
APPOINTMENTS = (
    f"query($n:ID $d:ID $p:ID $c:CalendarInput)"
    f"{{appointments(node:$n practitioner:$d patient:$p calendar:$c){PAGE}}}"
)
INVOICES = f"query($n:ID $p:ID $s:InvoiceState){{invoices(node:$n patient:$p state:$s){PAGE}}}"
PRICES = f"query($s:String $on:Date){{chargeMaster(search:$s on:$on first:20){PAGE}}}"


def unit(stage: Stage, place: str | None) -> str | None:
    return None if place is None else stage.unit(place)


def some(stage: Stage, table: str, prefix: str, system: int = 0) -> list[str]:
    return [f"{prefix}:{row.id}" for row in stage.rows[system].all(table)[:9]]


@of_the_cast
async def test_patients(stage: Stage, one: who.Who) -> None:
    filters: list[dict[str, Any]] = [
        {"name": name}
        for name in ("a", "abel", "ABELARD", "bak", "Čer", ", an", "g,c", "zzz", "- a")
    ]
    filters += [{"mrn": f"MRN-{i}"} for i in (0, 3, 4, 29, 77)]
    filters += [
        {"birthDate": "1960-01-06"},
        {"birthDate": "1960-01-06", "name": "b"},
        {"name": None},
    ]
    filters += [{"name": "a", "mrn": "MRN-0"}, {"name": ""}, {"name": "??"}]
    for place in NODES:
        for asked in filters:
            await stage.check(one, PATIENTS, {"n": unit(stage, place), "f": asked})
    await stage.check(one, PATIENTS, {"f": {"name": "a"}, "o": "FAMILY_NAME_DESC"})


@of_the_cast
async def test_encounters(stage: Stage, one: who.Who) -> None:
    filters: list[dict[str, Any]] = [{"patient": id_} for id_ in some(stage, "patient", "Patient")]
    filters += [{"practitioner": i} for i in some(stage, "practitioner", "Practitioner")]
    filters += [
        {"state": "FINISHED"},
        {"state": "IN_PROGRESS", "since": "2025-09-03T10:00:00+02:00"},
    ]
    filters += [{"until": (BEGUN + 2 * DAY).isoformat()}]
    filters += [{"patient": f"Patient:{uuid.UUID(int=1)}"}, {"patient": "Practitioner:1"}]
    for place in NODES:
        for asked in filters:
            await stage.check(one, ENCOUNTERS, {"n": unit(stage, place), "f": asked})


def calendars() -> Iterator[dict[str, Any]]:
    for day in ("2025-10-31", "2025-11-02", "2025-11-03", "2099-01-06"):
        yield {"date": day}
        yield {"date": day, "span": "WEEK"}
    yield {"date": "2025-11-02", "zone": "Pacific/Kiritimati"}
    yield {"date": "2025-11-02", "zone": "../../etc/passwd"}


@of_the_cast
async def test_appointments(stage: Stage, one: who.Who) -> None:
    for place in (*NODES, "s1", "s2", "s2b"):
        for calendar in calendars():
            await stage.check(one, APPOINTMENTS, {"n": unit(stage, place), "c": calendar})
    for doctor in some(stage, "practitioner", "Practitioner"):
        week = {"date": "2025-11-01", "span": "WEEK"}
        await stage.check(one, APPOINTMENTS, {"d": doctor, "c": week})
    for patient in some(stage, "patient", "Patient"):
        await stage.check(one, APPOINTMENTS, {"p": patient})


@of_the_cast
async def test_bills_and_prices(stage: Stage, one: who.Who) -> None:
    for patient in (None, *some(stage, "patient", "Patient")):
        for state in (None, "ISSUED", "DRAFT", "CANCELLED"):
            await stage.check(one, INVOICES, {"p": patient, "s": state})
    for search in (None, "A", "b00", " c01 ", "abel", "Łuk", "", "--"):
        for on in (None, "2023-12-31", "2024-01-01", "2019-01-01", "2095-05-05"):
            await stage.check(one, PRICES, {"s": search, "on": on})


@of_the_cast
async def test_what_is_of_the_other_system_is_not_there(stage: Stage, one: who.Who) -> None:
    """Ids of the twin that are not also ours: the same answers as for ids that nobody has."""
    ours = {row.id for rows in stage.rows[0].tables.values() for row in rows if hasattr(row, "id")}
    for unit_ in stage.rows[1].all("org_unit"):
        if unit_.id not in ours:
            for text in (PATIENTS, ENCOUNTERS, APPOINTMENTS, INVOICES):
                said = await stage.check(one, text, {"n": f"OrgUnit:{unit_.id}"})
                assert not said.masked
                assert set(said.data.values()) == {None}
    theirs = [row.id for row in stage.rows[1].all("patient") if row.id not in ours]
    for patient in (*theirs, uuid.uuid4()):
        await stage.check(one, ENCOUNTERS, {"f": {"patient": f"Patient:{patient}"}})
        await stage.check(one, INVOICES, {"p": f"Patient:{patient}"})


CURSORS = {
    "patients": "patient",
    "encounters": "encounter",
    "appointments": "appointment",
    "invoices": "invoice",
    "people": "person",
}


@of_the_cast
async def test_a_cursor_that_is_not_ones_own_starts_again(stage: Stage, one: who.Who) -> None:
    """Of the same bytes whether the row is hidden, another system's, or nowhere."""
    said = set()
    for root, table in CURSORS.items():
        text = f"query($a:String){{{root}(after:$a first:3){PAGE}}}"
        ids = [row.id for rows in stage.rows for row in rows.all(table)][::3]
        for after in (*ids, uuid.UUID(int=7), "", "é", "'; --", f"{uuid.uuid4()}x"):
            await stage.check(one, text, {"a": str(after)})
            result = await stage.run(stage.context(stage.actor(one)), text, {"a": str(after)})
            said |= {error.message for error in result.errors or ()}
    assert len(said) <= 1


@of_the_cast
async def test_page_sizes(stage: Stage, one: who.Who) -> None:
    for root in ("patients", "encounters", "people", "chargeMaster"):
        for first in (-1, 0, 1, 100, 101):
            text = f"query($f:Int!){{{root}(first:$f){{totalCount nodes{{id}} pageInfo{{hasNextPage startCursor endCursor}}}}}}"
            await stage.check(one, text, {"f": first})


@of_the_cast
async def test_pages_inside_rows(stage: Stage, one: who.Who) -> None:
    text = """query($a:Int! $b:Int! = 1){patients(first:100){nodes{id encounters(first:$a){id notes(first:$b){id}
        observations(first:0){id}} some:encounters(first:1){id} appointments(first:$b){id}
        upcomingAppointments(first:$a){id startsAt} conditions(first:$b){id} invoices(first:$a){id lines(first:1){id}}
        sites(first:$b){id} observations(first:$b){id}}}}"""
    for first in (0, 1, 3):
        await stage.check(one, text, {"a": first})


async def test_one_document_answers_by_the_variables_of_each_request(stage: Stage) -> None:
    """Its plans are kept: one that was made under other conditions may not serve."""
    text = (
        "query($x:Boolean!){patients(first:3){nodes{id mrn @include(if:$x)"
        " encounters{id @skip(if:$x) state}}}}"
    )
    for x in (True, False, True):
        await stage.check(who.BY_NAME["system_admin"], text, {"x": x})
