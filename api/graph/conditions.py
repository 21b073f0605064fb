"""Conditions: problems and diagnoses."""

import datetime as dt

import strawberry

from api.graph.relay import Node
from api.plan.mapping import column, computed, enum_name, table
from domain.conditions import ClinicalStatus, VerificationStatus
from domain.conditions import Condition as Conditions

strawberry.enum(
    ClinicalStatus, name="ConditionClinicalStatus", description="FHIR condition clinical status."
)
strawberry.enum(
    VerificationStatus,
    name="ConditionVerificationStatus",
    description="FHIR condition verification status.",
)


@table(Conditions, description="A coded problem or diagnosis (ICD-10-CM, SNOMED CT).")
class Condition(Node):
    clinical_status: ClinicalStatus | None = computed(
        "read", "Whether it is present.", lambda c, *_: enum_name(c.clinical_status)
    )
    verification_status: VerificationStatus | None = computed(
        "read", "How sure it is.", lambda c, *_: enum_name(c.verification_status)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "Which problem.")
    display: str | None = column("read", "The code in words.")
    onset_on: dt.date | None = column("read", "When it began.")
    recorded_at: dt.datetime | None = column("read", "When it was recorded.")
