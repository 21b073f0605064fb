"""Observations: measurements and findings."""

import datetime as dt
from typing import Annotated, Any, Optional

import strawberry
from sqlalchemy import ColumnElement, DateTime, Select, Text, Uuid, cast, literal_column

from api.graph.encounters import Encounter, encounter_of, local_id, recorder_of
from api.graph.entries import IncludeErrors, shown, unstruck
from api.graph.people import Person
from api.graph.relay import After, Connection, First, Info, Node, root
from api.plan.compile import Compiler
from api.plan.fetch import page
from api.plan.mapping import (
    FieldGroup,
    Row,
    attribute,
    column,
    computed,
    enum_name,
    joined,
    many,
    one,
    table,
)
from api.plan.page import Listing
from domain.observations import Interpretation, ObservationState, Part
from domain.observations import Observation as Observations

strawberry.enum(ObservationState, name="ObservationState", description="FHIR observation status.")
strawberry.enum(
    Interpretation,
    name="ObservationInterpretation",
    description="HL7 observation interpretation: N normal, L and H low and high, doubled critical …",
)
strawberry.enum(Part, name="ObservationPart", description="How a finding belongs to another.")
LISTING = Listing(Observations, "observation", "effective_at", Observations, descending=True)


def _parts(kind: Part) -> Any:
    of = joined("part_of_id", "id")

    def build(up: Row, child: Row, get: Any) -> Select[Any]:
        return of(up, child, get).where(child.part == literal_column(f"'{kind.value}'"))

    return build


def _holding(link: Any) -> Any:
    """Without versions that were put right."""

    def build(up: Row, child: Row, get: Any) -> Select[Any]:
        found: Select[Any] = link(up, child, get)
        return found.where(child.replaced_by_id.is_(None))

    return build


def _before(up: Row, child: Row, get: Any) -> Select[Any]:
    """A finding has one version before it, beside whose components the column stands too."""
    component: ColumnElement[str] = literal_column(f"'{Part.COMPONENT.value}'")
    of = joined("replaced_by_id", "id")(up, child, get)
    return of.where(child.part.is_distinct_from(component))


def _exact(name: str) -> Any:
    return lambda row, *_: cast(attribute(row, name), Text)


@table(Observations, description="A coded measurement or finding (LOINC).")
class Observation(Node):
    state: ObservationState | None = computed(
        "read", "Where it stands.", lambda o, *_: enum_name(o.state)
    )
    code_system: str | None = column("read", "URI of the code system.")
    code: str | None = column("read", "What was measured.")
    display: str | None = column("read", "The code in words.")
    value_quantity: str | None = computed(
        "read", "A decimal number, as text so that it stays exact.", _exact("value_quantity")
    )
    unit: str | None = column("read", "UCUM unit of the quantity.")
    value_text: str | None = column("read", "A value in words.")
    value_code_system: str | None = column("read", "URI of the code system of a coded value.")
    value_code: str | None = column("read", "A coded value.")
    value_display: str | None = column("read", "The coded value in words.")
    value_boolean: bool | None = column("read", "Yes or no.")
    range_low: str | None = computed(
        "read", "From where it is normal, in the same unit.", _exact("range_low")
    )
    range_high: str | None = computed(
        "read", "Until where it is normal, in the same unit.", _exact("range_high")
    )
    range_text: str | None = column("read", "What is normal, in words.")
    interpretation: Interpretation | None = computed(
        "read", "What it means.", lambda o, *_: enum_name(o.interpretation)
    )
    part: Part | None = computed(
        "read", "How it belongs to another finding, if it does.", lambda o, *_: enum_name(o.part)
    )
    effective_at: dt.datetime | None = column("read", "When it was true of the patient.")
    error_reason: str | None = column("read", "Why it was struck out, if it was.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", encounter_of, group=FieldGroup.CLINICAL)
    def encounter(self) -> Encounter | None:
        """The visit it was recorded at."""

    @one("read", recorder_of)
    def recorded_by(self) -> Person | None:
        """Who recorded it."""

    @many("read", _parts(Part.COMPONENT), group=None, order=lambda o: [o.id])
    def components(self, first: First = 50) -> list["Observation"] | None:
        """What it is made of, as systolic and diastolic pressure."""

    @many("read", shown(_holding(_parts(Part.MEMBER))), group=None, order=lambda o: [o.id])
    def members(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list["Observation"] | None:
        """The findings of a panel."""

    @one("read", _before)
    def replaces(self) -> Optional["Observation"]:
        """The version before, which this one put right."""

    @one("read", joined("id", "replaced_by_id"))
    def replaced_by(self) -> Optional["Observation"]:
        """The version that holds, where this one was put right."""

    @one("read", joined("id", "part_of_id"))
    def part_of(self) -> Optional["Observation"]:
        """The finding or panel that it belongs to."""


def _conditions(values: dict[str, Any], errors: bool) -> Any:
    def build(row: Row, c: Compiler, _walks: bool) -> list[ColumnElement[bool]]:
        out: list[ColumnElement[bool]] = [
            attribute(row, "patient_id") == c.binds.value("patient", Uuid()),
            attribute(row, "code") == c.binds.value("code", Text()),
            attribute(row, "replaced_by_id").is_(None),
        ]
        if values["since"] is not None:
            out.append(attribute(row, "effective_at") >= c.binds.value("since", DateTime(True)))
        if values["until"] is not None:
            out.append(attribute(row, "effective_at") < c.binds.value("until", DateTime(True)))
        return out if errors else [*out, unstruck(row)]

    return build


@strawberry.type
class Query:
    @root(
        "observation:read",
        "One measurement of a patient over time, latest first; also of components.",
    )
    async def observations(
        self,
        info: Info,
        patient: Annotated[strawberry.ID, strawberry.argument(description="Of this patient.")],
        code: Annotated[str, strawberry.argument(description="LOINC code of what is followed.")],
        since: Annotated[
            dt.datetime | None, strawberry.argument(description="True at or after.")
        ] = None,
        until: Annotated[
            dt.datetime | None, strawberry.argument(description="True before.")
        ] = None,
        include_entered_in_error: IncludeErrors = False,
        first: First = 50,
        after: After = None,
    ) -> Connection[Observation] | None:
        known, found = local_id(patient, "Patient")
        if not known:
            return None
        values = {"patient": found, "code": code, "since": since, "until": until}
        errors = include_entered_in_error
        return await page(
            info._raw_info,
            LISTING,
            node=None,
            first=first,
            after=after,
            filters=_conditions(values, errors),
            variant=errors,
            values=values,
        )
