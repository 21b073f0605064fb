"""What a visit leaves in a chart beside notes, measurements and diagnoses, and who pays for the patient.

Substances and medicines are RxNorm concepts, procedures SNOMED CT, vaccines CVX, each with a short title of our own.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from dev.demo.ids import fixed
from dev.demo.patients import Made
from dev.demo.rows import Batch
from dev.demo.visits import Desk, Visit
from domain.codings import CVX, RXNORM, SNOMED
from domain.patients import fold


@dataclass(frozen=True)
class Coded:
    """A code and a title; `more` is what it usually comes with."""

    code: str
    display: str
    more: str


SUBSTANCES = (
    Coded("7980", "Penicillin G", "Rash"),
    Coded("1191", "Aspirin", "Shortness of breath"),
    Coded("2670", "Codeine", "Nausea"),
    Coded("10180", "Sulfamethoxazole", "Hives"),
)
MEDICINES = (
    Coded("6809", "Metformin", "500 mg twice a day with meals"),
    Coded("29046", "Lisinopril", "10 mg in the morning"),
    Coded("83367", "Atorvastatin", "20 mg in the evening"),
    Coded("435", "Albuterol", "Two puffs when needed"),
    Coded("7646", "Omeprazole", "20 mg before breakfast"),
    Coded("5640", "Ibuprofen", "400 mg up to three times a day"),
)
PROCEDURES = (
    Coded("29303009", "Electrocardiogram", "Normal"),
    Coded("127783003", "Spirometry", "Within the expected range"),
    Coded("225358003", "Wound care", "Clean and dry"),
)
VACCINES = (
    Coded("140", "Influenza, preservative free", "0.5"),
    Coded("115", "Tetanus, diphtheria, pertussis", "0.5"),
    Coded("33", "Pneumococcal polysaccharide", "0.5"),
)
PAYERS = ("Basin Health Plan", "Mutual of the Lakes", "State Employees Fund")
INSURED = 0.7
"""The share of patients whom somebody pays for; the others pay themselves."""


def payer_id(world: str, name: str) -> uuid.UUID:
    """The id of a payer in a world."""
    return fixed(f"payer {world} {name}")


def payers(batch: Batch, world: str, tenant_id: uuid.UUID) -> None:
    """Who pays claims."""
    for name in PAYERS:
        row = {"tenant_id": tenant_id, "id": payer_id(world, name)}
        batch.add("payer", {**row, "name": name, "name_key": fold(name)})


def insure(desk: Desk, world: str, patient: Made) -> None:
    """A coverage at each clinic where the patient is seen, of one payer and one number."""
    if desk.chance.random() >= INSURED:
        return
    payer, number = desk.chance.choice(PAYERS), desk.chance.randrange(10**8, 10**9)
    for clinic in {home.clinic.id: home.clinic for home in patient.homes}.values():
        desk.batch.add(
            "coverage",
            {
                "tenant_id": desk.tenant_id,
                "id": desk.ids.new(),
                "clinic_id": clinic.id,
                "unit_id": clinic.id,
                "patient_id": patient.id,
                "sensitivity": patient.sensitivity,
                "payer_id": payer_id(world, payer),
                "priority": 1,
                "member_id": f"M{number}",
                "starts_on": dt.date(desk.today.year, 1, 1),
            },
        )


def document(desk: Desk, visit: Visit) -> None:
    """What this visit leaves; most leave one entry or none."""
    draw = desk.chance.random()
    if draw < 0.05:
        _allergy(desk, visit)
    elif draw < 0.20:
        _medicine(desk, visit)
    elif draw < 0.27:
        _procedure(desk, visit)
    elif draw < 0.34:
        _vaccination(desk, visit)


def _entry(desk: Desk, visit: Visit, system: str, coded: Coded) -> dict[str, object]:
    """The columns that every entry has."""
    return {
        **visit.place,
        "id": desk.ids.new(),
        "encounter_id": visit.id,
        "code_system": system,
        "code": coded.code,
        "display": coded.display,
        "effective_at": visit.started_at + dt.timedelta(minutes=7),
    }


def _allergy(desk: Desk, visit: Visit) -> None:
    substance = desk.chance.choice(SUBSTANCES)
    desk.batch.add(
        "allergy_intolerance",
        {
            **_entry(desk, visit, RXNORM.uri, substance),
            "clinical_status": "active",
            "verification_status": desk.chance.choice(("confirmed", "confirmed", "unconfirmed")),
            "kind": "allergy",
            "category": "medication",
            "criticality": desk.chance.choice(("low", "high", None)),
            "reaction": substance.more,
        },
    )


def _medicine(desk: Desk, visit: Visit) -> None:
    """An order, and now and then that the patient takes it."""
    medicine, since = desk.chance.choice(MEDICINES), visit.started_at.date()
    told = {"dosage": medicine.more, "starts_on": since}
    order = {
        **_entry(desk, visit, RXNORM.uri, medicine),
        "state": desk.chance.choice(("active", "active", "completed")),
        **told,
        "practitioner_id": visit.practitioner_id,
    }
    desk.batch.add("medication_request", order)
    if desk.chance.random() < 0.4:
        taken = {**_entry(desk, visit, RXNORM.uri, medicine), "state": "active", **told}
        desk.batch.add("medication_statement", {**taken, "request_id": order["id"]})


def _procedure(desk: Desk, visit: Visit) -> None:
    done = desk.chance.choice(PROCEDURES)
    desk.batch.add(
        "procedure",
        {
            **_entry(desk, visit, SNOMED.uri, done),
            "state": "completed",
            "practitioner_id": visit.practitioner_id,
            "outcome": done.more,
        },
    )


def _vaccination(desk: Desk, visit: Visit) -> None:
    vaccine = desk.chance.choice(VACCINES)
    desk.batch.add(
        "immunization",
        {
            **_entry(desk, visit, CVX.uri, vaccine),
            "state": "completed",
            "lot_number": f"L{desk.chance.randrange(10_000):04}",
            "dose_quantity": vaccine.more,
            "dose_unit": "mL",
            "practitioner_id": visit.practitioner_id,
        },
    )
