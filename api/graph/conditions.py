"""Conditions: problems and diagnoses."""

import datetime as dt

import strawberry

from api.graph.encounters import Encounter, encounter_of, recorder_of
from api.graph.people import Person
from api.graph.relay import Node
from api.plan.mapping import FieldGroup, column, computed, enum_name, one, table
from domain.conditions import Category, ClinicalStatus, VerificationStatus
from domain.conditions import Condition as Conditions

strawberry.enum(
    ClinicalStatus, name="ConditionClinicalStatus", description="FHIR condition clinical status."
)
strawberry.enum(
    VerificationStatus,
    name="ConditionVerificationStatus",
    description="FHIR condition verification status.",
)
strawberry.enum(
    Category,
    name="ConditionCategory",
    description="A problem of the patient's, or what one visit came to.",
)


@table(Conditions, description="A coded problem or diagnosis (ICD-10-CM, SNOMED CT).")
class Condition(Node):
    clinical_status: ClinicalStatus | None = computed(
        "read", "Whether it is present.", lambda c, *_: enum_name(c.clinical_status)
    )
    verification_status: VerificationStatus | None = computed(
        "read", "How sure it is.", lambda c, *_: enum_name(c.verification_status)
    )
    category: Category | None = computed(
        "read",
        "Whether it stands on the problem list or is of one visit.",
        lambda c, *_: enum_name(c.category),
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "Which problem.")
    display: str | None = column("read", "The code in words.")
    onset_on: dt.date | None = column("read", "When it began.")
    abated_on: dt.date | None = column("read", "When it was over.")
    recorded_at: dt.datetime | None = column("read", "When it was recorded.")
    error_reason: str | None = column("read", "Why it was struck out, if it was.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", encounter_of, group=FieldGroup.CLINICAL)
    def encounter(self) -> Encounter | None:
        """The visit it was recorded at."""

    @one("read", recorder_of)
    def recorded_by(self) -> Person | None:
        """Who recorded it."""
