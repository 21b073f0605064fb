"""Procedures: what was done."""

import datetime as dt

import strawberry

from api.graph.encounters import Encounter, encounter_of, recorder_of
from api.graph.people import Person
from api.graph.practitioners import Practitioner, practitioner_of
from api.graph.relay import Node
from api.plan.mapping import FieldGroup, column, computed, enum_name, one, table
from domain.procedures import Procedure as Procedures
from domain.procedures import ProcedureState

strawberry.enum(ProcedureState, name="ProcedureState", description="FHIR procedure status.")


@table(Procedures, description="Something done to a patient (SNOMED CT, ICD-10-PCS, CPT).")
class Procedure(Node):
    state: ProcedureState | None = computed(
        "read", "Where it stands.", lambda p, *_: enum_name(p.state)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "What was done.")
    display: str | None = column("read", "The code in words.")
    performed_at: dt.datetime | None = column(
        "read", "When it was done, or begun.", attribute="effective_at"
    )
    ended_at: dt.datetime | None = column("read", "When it was over.")
    outcome: str | None = column("read", "What came of it.")
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
        """Who did it."""
