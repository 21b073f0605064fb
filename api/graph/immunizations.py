"""Immunizations: vaccines given."""

import datetime as dt

import strawberry
from sqlalchemy import Text, cast

from api.graph.encounters import Encounter, encounter_of, recorder_of
from api.graph.people import Person
from api.graph.practitioners import Practitioner, practitioner_of
from api.graph.relay import Node
from api.plan.mapping import FieldGroup, column, computed, enum_name, one, table
from domain.immunizations import Immunization as Immunizations
from domain.immunizations import ImmunizationState

strawberry.enum(
    ImmunizationState, name="ImmunizationState", description="FHIR immunization status."
)


@table(Immunizations, description="A vaccine that was given, or was not (CVX).")
class Immunization(Node):
    state: ImmunizationState | None = computed(
        "read", "Given, not given, or an error.", lambda i, *_: enum_name(i.state)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "Which vaccine.")
    display: str | None = column("read", "The code in words.")
    occurred_at: dt.datetime | None = column("read", "When it was given.", attribute="effective_at")
    lot_number: str | None = column("read", "The vaccine's lot.")
    expires_on: dt.date | None = column("read", "Until when the vaccine could be given.")
    dose_quantity: str | None = computed(
        "read",
        "A decimal number, as text so that it stays exact.",
        lambda i, *_: cast(i.dose_quantity, Text),
    )
    dose_unit: str | None = column("read", "UCUM unit of the dose.")
    site: str | None = column("read", "Where on the body.")
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
        """Who gave it, where it was here."""
