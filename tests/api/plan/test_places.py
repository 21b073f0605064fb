"""A page within a node opens that node alone, and what hangs on its rows is still shown from everywhere else."""

import dataclasses
import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from authz.actor import Actor
from tests import make
from tests.api.plan.asking import Asked, actor_of, ask
from tests.database import Database

BOOK = (
    "mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) { appointment {"
    " startsAt %s } userErrors { code } } }"
)


@dataclass(frozen=True)
class Town:
    """Two clinics and a third; a patient seen at the first two and a ward of the first, with a visit at each clinic, and
    who may be booked there."""

    tenant_id: uuid.UUID
    here: uuid.UUID
    there: uuid.UUID
    third: uuid.UUID
    patient: uuid.UUID
    visits: dict[uuid.UUID, uuid.UUID]
    doctor: uuid.UUID
    ward: uuid.UUID


@pytest.fixture
def town(database: Database) -> Town:
    tree = make.tree(regions=1, clinics=3)
    here, there, third = tree.clinics
    ward = tree.departments[0][0]
    patient, *sites = make.patient_at(tree.tenant, here, there, ward)
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
        ward.id,
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
    assert ids(patient["sites"], "OrgUnit") == {both.town.here, both.town.there, both.town.ward}


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


def booking(town: Town, unit: uuid.UUID) -> dict[str, Any]:
    """What is given to book the patient in three days."""
    start = dt.datetime.now(dt.UTC) + dt.timedelta(days=3)
    return {
        "unit": f"OrgUnit:{unit}",
        "patient": f"Patient:{town.patient}",
        "practitioner": f"Practitioner:{town.doctor}",
        "startsAt": start.replace(microsecond=0).isoformat(),
        "minutes": 30,
    }


def booked(at: Asker, actor: Actor, further: str, unit: uuid.UUID | None = None) -> Asked:
    """A booking, which succeeds, and what was sent for it."""
    given = {"input": booking(at.town, unit or at.town.here)}
    asked = ask(at.database, at.keys, actor, BOOK % further, given)
    assert asked.data["bookAppointment"]["userErrors"] == []
    return asked


def administrator(at: Asker) -> Actor:
    grants = [("clinic_admin", clinic) for clinic in at.clinics]
    return actor_of(at.database, at.town.tenant_id, grants)


@pytest.mark.parametrize("further", ["", "patient { appointments { id } }"])
def test_a_booking_opens_its_unit_alone(both: Asker, further: str) -> None:
    """Unless the answer selects visits that may lie elsewhere."""
    town = both.town
    asked = booked(both, administrator(both), further)
    opened = {str(town.here), str(town.there)} if further else {str(town.here)}
    assert asked.scope("appointment") == opened
    written = dict(asked.settings)["app.write_appointment"]
    assert set(written.strip("{}").split(",")) == opened


@pytest.mark.parametrize("further", ["", "patient { id }", "patient { id familyName phone }"])
def test_the_booked_patient_is_shown_by_the_clinics_own_sites(both: Asker, further: str) -> None:
    asked = booked(both, administrator(both), further)
    assert asked.scope("patient") == {str(both.town.here)}
    shown = asked.data["bookAppointment"]["appointment"]
    assert not further or shown["patient"]["id"] == f"Patient:{both.town.patient}"


def test_a_patient_booked_at_a_department_is_shown(both: Asker) -> None:
    """Clinics are asked for by the clinic's own site, which is not the department's."""
    town = both.town
    asked = booked(both, administrator(both), "patient { id }", town.ward)
    assert asked.scope("patient") == {str(town.here)}
    assert asked.scope("appointment") == {str(town.ward)}
    shown = asked.data["bookAppointment"]["appointment"]
    assert shown["patient"]["id"] == f"Patient:{town.patient}"


def test_a_bookings_patient_is_shown_with_sites_elsewhere(both: Asker) -> None:
    asked = booked(both, administrator(both), "patient { sites { id } }")
    patient = asked.data["bookAppointment"]["appointment"]["patient"]
    assert ids(patient["sites"], "OrgUnit") == {both.town.here, both.town.there, both.town.ward}


def test_patients_of_others_visits_are_shown(both: Asker) -> None:
    """The visit from which this one was moved hangs on the booked one, and so on; they may lie elsewhere."""
    asked = booked(both, administrator(both), "rescheduledFrom { patient { id } }")
    assert asked.scope("patient") == {str(both.town.here), str(both.town.there)}


def test_another_role_elsewhere_opens_fields_of_the_booked_patient(both: Asker) -> None:
    town = both.town
    actor = actor_of(
        both.database, town.tenant_id, [("front_desk", town.here), ("biller", town.there)]
    )
    asked = booked(both, actor, "patient { balance { amount } }")
    assert asked.data["bookAppointment"]["appointment"]["patient"]["balance"] is not None
    assert asked.scope("patient") == {str(town.here), str(town.there)}


def test_rules_that_differ_by_place_open_all_of_them(both: Asker) -> None:
    """One role shows a restricted patient, at the other clinic; by the rule of this one they stay hidden."""
    town = both.town
    actor = actor_of(
        both.database, town.tenant_id, [("front_desk", town.here), ("biller", town.there)]
    )
    template = actor.policy.permissions["patient:read"]
    roles = {**template.roles, "biller": (frozenset[Any](),)}
    permissions = {
        **actor.policy.permissions,
        "patient:read": dataclasses.replace(template, roles=roles),
    }
    policy = dataclasses.replace(actor.policy, permissions=permissions, version="by place")
    asked = booked(both, dataclasses.replace(actor, policy=policy), "patient { id }")
    assert asked.scope("patient") == {str(town.here), str(town.there)}


def test_a_booking_sends_no_places_but_its_own(both: Asker) -> None:
    sent = booked(both, administrator(both), "").statement.params
    lists = [value for value in sent if value and str(both.town.there).encode() in value]
    assert lists == []
