"""Observations: measurements and findings."""

import datetime as dt

import strawberry
from sqlalchemy import Text, cast

from api.graph.relay import Node
from api.plan.mapping import column, computed, enum_name, table
from domain.observations import Observation as Observations
from domain.observations import ObservationState

strawberry.enum(ObservationState, name="ObservationState", description="FHIR observation status.")


@table(Observations, description="A coded measurement or finding (LOINC).")
class Observation(Node):
    state: ObservationState | None = computed(
        "read", "Where it stands.", lambda o, *_: enum_name(o.state)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "What was measured.")
    display: str | None = column("read", "The code in words.")
    value_quantity: str | None = computed(
        "read",
        "A decimal number, as text so that it stays exact.",
        lambda o, *_: cast(o.value_quantity, Text),
    )
    value_text: str | None = column("read", "A value in words.")
    unit: str | None = column("read", "UCUM unit of the quantity.")
    effective_at: dt.datetime | None = column("read", "When it was true of the patient.")
