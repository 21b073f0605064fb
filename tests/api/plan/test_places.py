"""A page within a node opens that node alone, and what hangs on its rows is still shown from everywhere else."""

import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import make
from tests.api.plan.asking import Asked, actor_of, ask
from tests.database import Database

BOOK = (
    "mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) { appointment {"
    " startsAt %s } userErrors { code } } }"
)


@dataclass(frozen=True)
class Town:
    """Two clinics and a third; a patient seen at the first two, with a visit at each, and who may be booked there."""

    tenant_id: uuid.UUID
    here: uuid.UUID
    there: uuid.UUID
    third: uuid.UUID
    patient: uuid.UUID
    visits: dict[uuid.UUID, uuid.UUID]
    doctor: uuid.UUID


@pytest.fixture
def town(database: Database) -> Town:
    tree = make.tree(regions=1, clinics=3)
    here, there, third = tree.clinics
    patient, *sites = make.patient_at(tree.tenant, here, there)
    visits = [make.encounter(patient, clinic) for clinic in (here, there)]  # type: ignore[arg-type] # the first row is the patient
    bills = [make.invoice(patient, clinic) for clinic in (here, there)]  # type: ignore[arg-type] # as above
    doctor = make.practitioner(tree.tenant)
    booked = make.bookable(doctor)
    assigned = [make.assignment(booked, clinic) for clinic in (here, there)]
    make.save(database, *tree.rows, patient, *sites, *visits, *bills, doctor, booked, *assigned)
    return Town(
        tree.tenant.tenant_id,
        here.id,
        there.id,
        third.id,
        patient.id,  # type: ignore[attr-defined] # as above
        {visit.clinic_id: visit.id for visit in visits},
        doctor.id,
    )


@dataclass(frozen=True)
class Asker:
    """Asks as an administrator of some clinics of the town."""

    database: Database
    keys: Path
    town: Town
    clinics: tuple[uuid.UUID, ...]

    def __call__(self, text: str) -> Asked:
        grants = [("clinic_admin", clinic) for clinic in self.clinics]
        actor = actor_of(self.database, self.town.tenant_id, grants)
        values = {"here": f"OrgUnit:{self.town.here}"}
        return ask(self.database, self.keys, actor, f"query Q($here: ID!) {{ {text} }}", values)


@pytest.fixture
def both(database: Database, town: Town, tmp_path: Path) -> Asker:
    """Of the two clinics where the patient is seen."""
    return Asker(database, tmp_path, town, (town.here, town.there))


def one(asked: Asked, root: str) -> Any:
    (node,) = asked.data[root]["nodes"]
    return node


def ids(rows: Any, kind: str) -> set[uuid.UUID]:
    return {uuid.UUID(row["id"].removeprefix(f"{kind}:")) for row in rows}


def test_the_page_opens_its_node_alone(both: Asker) -> None:
    asked = both("patients(node: $here) { nodes { id familyName } totalCount }")
    assert asked.scope("patient") == {str(both.town.here)}
    assert asked.data["patients"]["totalCount"] == 1
    everywhere = both("patients { nodes { id } }")
    assert everywhere.scope("patient") == {str(both.town.here), str(both.town.there)}


def test_visits_elsewhere_are_shown(both: Asker) -> None:
    asked = both("patients(node: $here) { nodes { id encounters { id } invoices { id } } }")
    patient = one(asked, "patients")
    assert ids(patient["encounters"], "Encounter") == set(both.town.visits.values())
    assert len(patient["invoices"]) == 2
    assert asked.scope("patient") == {str(both.town.here)}


def test_sites_elsewhere_are_shown(both: Asker) -> None:
    patient = one(both("patients(node: $here) { nodes { sites { id } } }"), "patients")
    assert ids(patient["sites"], "OrgUnit") == {both.town.here, both.town.there}


def test_a_visit_shows_the_patients_other_visits(both: Asker) -> None:
    asked = both("encounters(node: $here) { nodes { id patient { id encounters { id } } } }")
    visit = one(asked, "encounters")
    assert visit["id"] == f"Encounter:{both.town.visits[both.town.here]}"
    others = ids(visit["patient"]["encounters"], "Encounter")
    assert others == set(both.town.visits.values())


def test_a_page_of_visits_opens_its_node_alone(both: Asker) -> None:
    asked = both("encounters(node: $here) { nodes { id clinic { id } patient { id } } }")
    assert asked.scope("encounter") == {str(both.town.here)}
    assert one(asked, "encounters")["patient"]["id"] == f"Patient:{both.town.patient}"


def test_what_one_may_not_read_elsewhere_stays_hidden(
    database: Database, town: Town, tmp_path: Path
) -> None:
    asker = Asker(database, tmp_path, town, (town.here, town.third))
    patient = one(asker("patients(node: $here) { nodes { encounters { id } } }"), "patients")
    assert ids(patient["encounters"], "Encounter") == {town.visits[town.here]}


def test_another_role_elsewhere_still_opens_fields(
    database: Database, town: Town, tmp_path: Path
) -> None:
    """Billing is read at one clinic, the patient at the other: the mask asks all sites, so none is closed."""
    grants = [("front_desk", town.here), ("biller", town.there)]
    actor = actor_of(database, town.tenant_id, grants)
    text = "query Q($here: ID!) { patients(node: $here) { nodes { balance { amount } } } }"
    asked = ask(database, tmp_path, actor, text, {"here": f"OrgUnit:{town.here}"})
    assert one(asked, "patients")["balance"] is not None
    assert asked.scope("patient") == {str(town.here), str(town.there)}


@pytest.mark.parametrize("further", ["", "patient { appointments { id } }"])
def test_a_booking_opens_its_unit_alone(both: Asker, further: str) -> None:
    """Unless the answer selects visits that may lie elsewhere."""
    town, start = both.town, dt.datetime.now(dt.UTC) + dt.timedelta(days=3)
    actor = actor_of(
        both.database, town.tenant_id, [("clinic_admin", clinic) for clinic in both.clinics]
    )
    given = {
        "unit": f"OrgUnit:{town.here}",
        "patient": f"Patient:{town.patient}",
        "practitioner": f"Practitioner:{town.doctor}",
        "startsAt": start.replace(microsecond=0).isoformat(),
        "minutes": 30,
    }
    asked = ask(both.database, both.keys, actor, BOOK % further, {"input": given})
    assert asked.data["bookAppointment"]["userErrors"] == []
    opened = {str(town.here), str(town.there)} if further else {str(town.here)}
    assert asked.scope("appointment") == opened
    written = dict(asked.settings)["app.write_appointment"]
    assert set(written.strip("{}").split(",")) == opened
