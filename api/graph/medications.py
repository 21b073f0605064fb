"""Medications: what was ordered, and what a patient takes."""

import datetime as dt

import strawberry

from api.graph.encounters import Encounter, encounter_of, recorder_of
from api.graph.people import Person
from api.graph.practitioners import Practitioner, practitioner_of
from api.graph.relay import Node
from api.plan.mapping import FieldGroup, column, computed, enum_name, joined, one, table
from domain.medications import MedicationRequest as Requests
from domain.medications import MedicationStatement as Statements
from domain.medications import RequestIntent, RequestState, StatementState

strawberry.enum(
    RequestState, name="MedicationRequestState", description="FHIR medication request status."
)
strawberry.enum(
    RequestIntent, name="MedicationRequestIntent", description="FHIR medication request intent."
)
strawberry.enum(
    StatementState, name="MedicationStatementState", description="FHIR medication statement status."
)


@table(Requests, description="An order of a medicine (RxNorm, SNOMED CT).")
class MedicationRequest(Node):
    state: RequestState | None = computed(
        "read", "Where it stands.", lambda m, *_: enum_name(m.state)
    )
    intent: RequestIntent | None = computed(
        "read", "Proposal, plan or order.", lambda m, *_: enum_name(m.intent)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "Which medicine.")
    display: str | None = column("read", "The code in words.")
    dosage: str | None = column("read", "How it is to be taken.")
    authored_at: dt.datetime | None = column(
        "read", "When it was ordered.", attribute="effective_at"
    )
    starts_on: dt.date | None = column("read", "From when it is to be taken.")
    ends_on: dt.date | None = column("read", "Until when.")
    error_reason: str | None = column("read", "Why it was struck out, if it was.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", encounter_of, group=FieldGroup.CLINICAL)
    def encounter(self) -> Encounter | None:
        """The visit it was recorded at, if at one."""

    @one("read", recorder_of)
    def recorded_by(self) -> Person | None:
        """Who recorded it."""

    @one("read", practitioner_of)
    def practitioner(self) -> Practitioner | None:
        """Who ordered it."""


@table(Statements, description="What a patient takes, took or will take (RxNorm, SNOMED CT).")
class MedicationStatement(Node):
    state: StatementState | None = computed(
        "read", "Where it stands.", lambda m, *_: enum_name(m.state)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "Which medicine.")
    display: str | None = column("read", "The code in words.")
    dosage: str | None = column("read", "How it is taken.")
    asserted_at: dt.datetime | None = column("read", "When it was told.", attribute="effective_at")
    starts_on: dt.date | None = column("read", "Since when.")
    ends_on: dt.date | None = column("read", "Until when.")
    error_reason: str | None = column("read", "Why it was struck out, if it was.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", encounter_of, group=FieldGroup.CLINICAL)
    def encounter(self) -> Encounter | None:
        """The visit it was recorded at, if at one."""

    @one("read", recorder_of)
    def recorded_by(self) -> Person | None:
        """Who recorded it."""

    @one("read", joined("id", "request_id"), group=FieldGroup.CLINICAL)
    def request(self) -> MedicationRequest | None:
        """The order that it follows."""
