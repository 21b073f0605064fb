"""The operations that are measured: documents, variables, and what each answers."""

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

from dev.bench.data import KIND, uid

PATIENT = (
    "id mrn givenName familyName birthDate sex phone email addressLine city postalCode version"
)
ENCOUNTER = "id startedAt endedAt kind state reason"
APPOINTMENT = "id startsAt endsAt state reason"
NESTED = (
    "encounters(first: %d) { "
    + ENCOUNTER
    + " } upcomingAppointments(first: 1) { "
    + APPOINTMENT
    + " }"
    " balance { amount currency }"
)
PAGE = "query %s($clinic: ID!) { patients(node: $clinic, first: 50) { nodes { %s } pageInfo { hasNextPage endCursor } } }"
DOCUMENTS = {
    "Point": f"query Point($id: ID!) {{ patient(id: $id) {{ {PATIENT} }} }}",
    "List": PAGE % ("List", PATIENT),
    "Dash": PAGE % ("Dash", PATIENT + " " + NESTED % 5),
    "One": f"query One($id: ID!) {{ patient(id: $id) {{ {PATIENT} {NESTED % 20}"
    " observations(first: 20) { id code valueQuantity unit effectiveAt }"
    " invoices(first: 20) { id number state issuedAt total { amount currency } } } }",
    "Book": "mutation Book($input: BookAppointmentInput!) { bookAppointment(input: $input) {"
    f" appointment {{ {APPOINTMENT} patient {{ id givenName familyName }} }} userErrors {{ code }} }} }}",
    "Everywhere": "query Everywhere { patients(first: 50) { nodes { "
    + PATIENT
    + " } pageInfo { hasNextPage endCursor } } }",
}
MEASURED = ("Point", "List", "Dash", "One", "Book")


def requests(
    operation: str, clinics: int, patients: int, seed: int, within: int
) -> Iterator[dict[str, Any]]:
    """Endless bodies of an operation at the first `within` clinics, in an order that the seed decides."""
    draw = random.Random(seed)
    slot = seed * 1_000_000
    while True:
        clinic = draw.randrange(1, min(within, clinics) + 1)
        number = clinic - 1 + clinics * draw.randrange(1, patients // clinics)
        variables: dict[str, Any] = {}
        if operation in ("Point", "One"):
            variables = {"id": f"Patient:{uid(KIND['patient'], number)}"}
        elif operation in ("List", "Dash"):
            variables = {"clinic": f"OrgUnit:{uid(KIND['clinic'], clinic)}"}
        elif operation == "Book":
            slot += 1
            variables = {"input": booking(number, clinic, clinics, slot)}
        yield {
            "operationName": operation,
            "query": DOCUMENTS[operation],
            "variables": variables,
        }


def booking(patient: int, clinic: int, clinics: int, slot: int) -> dict[str, Any]:
    """An appointment of ten minutes that no other of the run overlaps: slots go round the practitioners."""
    practitioner = clinic - 1 + clinics * (slot % 4)
    practitioner = practitioner if practitioner else clinics
    start = dt.datetime(2027, 1, 4, tzinfo=dt.UTC) + dt.timedelta(minutes=10 * (slot % 90_000))
    return {
        "unit": f"OrgUnit:{uid(KIND['clinic'], clinic)}",
        "patient": f"Patient:{uid(KIND['patient'], patient)}",
        "practitioner": f"Practitioner:{uid(KIND['practitioner'], practitioner)}",
        "startsAt": start.isoformat(),
        "minutes": 10,
        "reason": "Check-up",
        "idempotencyKey": f"{slot}",
    }
