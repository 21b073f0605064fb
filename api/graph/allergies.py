"""Allergies and intolerances."""

import datetime as dt

import strawberry

from api.graph.encounters import Encounter, encounter_of, recorder_of
from api.graph.people import Person
from api.graph.relay import Node
from api.plan.mapping import FieldGroup, column, computed, enum_name, one, table
from domain.allergies import (
    AllergyCategory,
    AllergyKind,
    AllergyStatus,
    AllergyVerification,
    Criticality,
)
from domain.allergies import AllergyIntolerance as Allergies

strawberry.enum(AllergyStatus, name="AllergyClinicalStatus", description="FHIR clinical status.")
strawberry.enum(
    AllergyVerification, name="AllergyVerificationStatus", description="FHIR verification status."
)
strawberry.enum(AllergyKind, name="AllergyKind", description="Allergy or intolerance.")
strawberry.enum(AllergyCategory, name="AllergyCategory", description="What sort of substance.")
strawberry.enum(Criticality, name="AllergyCriticality", description="How bad it could become.")


@table(Allergies, description="A substance that the patient does not bear (RxNorm, SNOMED CT).")
class AllergyIntolerance(Node):
    clinical_status: AllergyStatus | None = computed(
        "read", "Whether it is present.", lambda a, *_: enum_name(a.clinical_status)
    )
    verification_status: AllergyVerification | None = computed(
        "read", "How sure it is.", lambda a, *_: enum_name(a.verification_status)
    )
    kind: AllergyKind | None = computed(
        "read", "Allergy or intolerance.", lambda a, *_: enum_name(a.kind)
    )
    category: AllergyCategory | None = computed(
        "read", "What sort of substance.", lambda a, *_: enum_name(a.category)
    )
    criticality: Criticality | None = computed(
        "read", "How bad it could become.", lambda a, *_: enum_name(a.criticality)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "Which substance.")
    display: str | None = column("read", "The code in words.")
    reaction: str | None = column("read", "What happens.")
    onset_on: dt.date | None = column("read", "Since when.")
    recorded_at: dt.datetime | None = column(
        "read", "When it was recorded.", attribute="effective_at"
    )
    error_reason: str | None = column("read", "Why it was struck out, if it was.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", encounter_of, group=FieldGroup.CLINICAL)
    def encounter(self) -> Encounter | None:
        """The visit it was recorded at, if at one."""

    @one("read", recorder_of)
    def recorded_by(self) -> Person | None:
        """Who recorded it."""
