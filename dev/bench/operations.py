"""The operations that are measured: documents, variables, and what each answers."""

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

from dev.bench.clinic_day import OPEN, WEEK
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
    "Chart": "query Chart($id: ID!, $since: DateTime!, $until: DateTime!) { patient(id: $id) {"
    " mrn givenName familyName birthDate sex maskedGroups"
    " allergies(first: 20) { display code verificationStatus }"
    " problems(first: 20) { display code clinicalStatus }"
    " medicationRequests(first: 20) { state display dosage practitioner { familyName } }"
    " careTeam { lastSeenAt visits practitioner { givenName familyName } } }"
    " day: encounters(filter: {patient: $id, since: $since, until: $until}, first: 5) { nodes {"
    " id state kind startedAt endedAt reason practitioner { givenName familyName }"
    " notes { id state } observations { code valueQuantity unit effectiveAt } conditions { code display } } }"
    ' trend: observations(patient: $id, code: "8867-4", first: 12) { nodes { effectiveAt valueQuantity unit } } }',
    "Availability": "query Availability($clinic: ID!, $date: Date!) {"
    " availability(clinic: $clinic, date: $date, days: 7) { resource slots { startsAt endsAt } } }",
    "Ledger": "query Ledger($id: ID!) {"
    " account(patient: $id) { charges { amount currency } payments { amount currency } balance { amount currency }"
    " unbilled { amount currency } clinics { clinic { id name } balance { amount currency } } }"
    " invoices(patient: $id, first: 20) { nodes { number state total { amount currency }"
    " lines { code amount { amount } open { amount } } } }"
    " postings(patient: $id, first: 20) { nodes { kind amount { amount } unapplied { amount } } } }",
}
SLOTS = 90_000
"""Of ten minutes each: 625 days, for nobody books more than two years ahead."""
APART = 30_450
"""Slots between the first of one seed and of the next: a run of seed n meets neither what warmed it up with n - 1 nor
with n + 100 (15,000 before it, so that this may take as many)."""
FIRST = dt.timedelta(days=2)
"""From today's midnight to the first slot."""
MEASURED = ("Point", "List", "Dash", "One", "Book")


def requests(
    operation: str, clinics: int, patients: int, seed: int, within: int
) -> Iterator[dict[str, Any]]:
    """Endless bodies of an operation at the first `within` clinics, in an order that the seed decides."""
    draw = random.Random(seed)
    slot = seed * APART
    midnight = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while True:
        clinic = draw.randrange(1, min(within, clinics) + 1)
        number = clinic - 1 + clinics * draw.randrange(1, patients // clinics)
        variables: dict[str, Any] = {}
        if operation in ("Point", "One", "Ledger"):
            variables = {"id": f"Patient:{uid(KIND['patient'], number)}"}
        elif operation == "Chart":
            variables = {"id": f"Patient:{uid(KIND['patient'], number)}", **day_of(number)}
        elif operation == "Availability":
            variables = {
                "clinic": f"OrgUnit:{uid(KIND['clinic'], draw.choice(OPEN))}",
                "date": WEEK,
            }
        elif operation in ("List", "Dash"):
            variables = {"clinic": f"OrgUnit:{uid(KIND['clinic'], clinic)}"}
        elif operation == "Book":
            slot += 1
            variables = {"input": booking(number, clinic, clinics, slot, midnight + FIRST)}
        yield {
            "operationName": operation,
            "query": DOCUMENTS[operation],
            "variables": variables,
        }


def day_of(patient: int) -> dict[str, str]:
    """The day of a patient's first visit, as the data set has it."""
    first = dt.datetime(2024, 1, 5, tzinfo=dt.UTC) + dt.timedelta(hours=8 + patient % 7993)
    since = first.replace(hour=0)
    return {"since": since.isoformat(), "until": (since + dt.timedelta(days=1)).isoformat()}


def booking(
    patient: int, clinic: int, clinics: int, slot: int, first: dt.datetime
) -> dict[str, Any]:
    """An appointment of ten minutes that no other of the run, or of what warms it up, overlaps: slots go round."""
    practitioner = clinic - 1 + clinics * (slot % 4)
    practitioner = practitioner if practitioner else clinics
    start = first + dt.timedelta(minutes=10 * (slot % SLOTS))
    return {
        "unit": f"OrgUnit:{uid(KIND['clinic'], clinic)}",
        "patient": f"Patient:{uid(KIND['patient'], patient)}",
        "practitioner": f"Practitioner:{uid(KIND['practitioner'], practitioner)}",
        "startsAt": start.isoformat(),
        "minutes": 10,
        "reason": "Check-up",
        "idempotencyKey": f"{slot}",
    }
