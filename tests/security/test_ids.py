"""Ids and cursors of what is not the asker's: the answer is that of what is not there, byte for byte."""

import uuid
from dataclasses import dataclass

import pytest

from domain.model import Base
from domain.organization import OrgUnit, Tenant
from domain.patients import Patient
from domain.people import Person
from tests import make
from tests.api.http.test_end_to_end import Desk, desk

__all__ = ["desk"]  # a fixture
pytestmark = pytest.mark.anyio

KINDS = {
    "patients": "Patient",
    "encounters": "Encounter",
    "appointments": "Appointment",
    "notes": "Note",
    "observations": "Observation",
    "conditions": "Condition",
    "invoices": "Invoice",
    "lines": "InvoiceLine",
    "charges": "ChargeItem",
}
PAGED = ("patients", "encounters", "appointments")
BY_PATIENT = (
    "query($id: ID!) { encounters(filter: { patient: $id }) { totalCount nodes { id } } }",
    "query($id: ID!) { appointments(patient: $id) { totalCount nodes { id } } }",
    "query($id: ID!) { invoices(patient: $id) { totalCount nodes { id } } }",
    "query($id: ID!) { account(patient: $id) { id balance { amount } } }",
    "query($id: ID!) { patient(id: $id) { id mrn maskedGroups } }",
)


@dataclass
class Record:
    """A patient with one row of each kind; ids by the names of KINDS."""

    ids: dict[str, uuid.UUID]


def record(
    desk: Desk, system: Tenant, unit: OrgUnit, author: Person, sensitivity: int = 0
) -> Record:
    database = desk.house.database
    rows = make.patient_at(system, unit, sensitivity=sensitivity)
    patient = rows[0]
    assert isinstance(patient, Patient)
    doctor = make.practitioner(system)
    visit = make.encounter(patient, unit)
    bill = make.invoice(patient, unit)
    made: dict[str, Base] = {
        "patients": patient,
        "encounters": visit,
        "appointments": make.appointment(patient, unit, doctor),
        "notes": make.note(visit, author),
        "observations": make.observation(visit),
        "conditions": make.condition(visit),
        "invoices": bill,
        "lines": make.invoice_line(bill),
        "charges": make.charge(patient, unit),
    }
    make.save(database, *rows, doctor, *list(made.values())[1:])
    return Record({name: row.id for name, row in made.items()})  # type: ignore[attr-defined]  # all have one


def strangers(desk: Desk) -> list[Record]:
    """Records that the nurse does not see: of the other clinic, restricted, of another health system, of nobody."""
    house = desk.house
    system, (here, there) = house.tree.tenant, house.tree.clinics
    other = make.tree()
    somebody = make.person(other.tenant)
    make.save(house.database, *other.rows, somebody)
    return [
        record(desk, system, there, house.nurse),
        record(desk, system, here, house.nurse, sensitivity=1),
        record(desk, other.tenant, other.clinics[0], somebody),
        Record({name: uuid.uuid4() for name in KINDS}),
    ]


async def answers(desk: Desk, query: str, ids: list[str]) -> set[bytes]:
    """The distinct bodies of answers to a query about one id after another."""
    return {(await desk.ask(query, id=i)).content for i in ids}


async def test_an_id_that_is_not_the_askers_is_not_there(desk: Desk) -> None:
    records = strangers(desk)
    for name, prefix in KINDS.items():
        ids = [f"{prefix}:{r.ids[name]}" for r in records]
        for query in (
            "query($id: ID!) { node(id: $id) { __typename id } }",
            "query($id: ID!) { nodes(ids: [$id, $id]) { __typename id } }",
        ):
            [body] = await answers(desk, query, ids)
            assert b'"errors"' not in body, name
            assert b"null" in body, name


async def test_a_patient_who_is_not_the_askers_has_nothing(desk: Desk) -> None:
    ids = [f"Patient:{r.ids['patients']}" for r in strangers(desk)]
    for query in BY_PATIENT:
        [body] = await answers(desk, query, ids)
        assert b'"errors"' not in body, query


async def test_a_cursor_that_is_not_the_askers_is_none(desk: Desk) -> None:
    records = strangers(desk)
    own = record(desk, desk.house.tree.tenant, desk.house.tree.clinics[0], desk.house.nurse)
    for name in PAGED:
        query = f"query($id: String!) {{ {name}(after: $id) {{ totalCount nodes {{ id }} }} }}"
        cursors = [str(r.ids[name]) for r in records]
        others = [str(own.ids[other]) for other in KINDS if other != name]
        [body] = await answers(desk, query, [*cursors, *others, "nothing", "", "*", "{}"])
        assert b"start again" in body, name
        [mine] = await answers(desk, query, [str(own.ids[name])])
        assert b'"errors"' not in mine, name


async def test_somebody_elses_draft_is_not_there(desk: Desk) -> None:
    house = desk.house
    system, here = house.tree.tenant, house.tree.clinics[0]
    colleague = make.person(system)
    visit = make.encounter(desk.here, here)
    state = {"state": "draft", "signed_at": None}
    theirs, mine = (make.note(visit, who, **state) for who in (colleague, house.nurse))
    make.save(house.database, colleague, visit, theirs, mine)
    query = "query($id: ID!) { node(id: $id) { __typename id } }"
    [body] = await answers(desk, query, [f"Note:{theirs.id}", f"Note:{uuid.uuid4()}"])
    assert b"null" in body
    assert str(mine.id).encode() in (await desk.ask(query, id=f"Note:{mine.id}")).content
    found = await desk.ask("{ encounters { nodes { notes { id } } } }")
    assert [n["id"] for n in found.json()["data"]["encounters"]["nodes"][0]["notes"]] == [
        f"Note:{mine.id}"
    ]
