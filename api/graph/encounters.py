"""Encounters: when a patient was seen, and, for those who treat, what was found."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, Optional

import strawberry
from sqlalchemy import ColumnElement, DateTime, Uuid

from api.graph.entries import IncludeErrors, latest, shown, unstruck, whole
from api.graph.organization import OrgUnit, clinic_of, node_argument, unit_of
from api.graph.patients import Patient, patient_of
from api.graph.practitioners import Practitioner, practitioner_of
from api.graph.relay import After, Connection, First, Info, Node, Wanted, Within, root
from api.plan.compile import Compiler
from api.plan.fetch import get, page
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
    parse_id,
    table,
)
from api.plan.page import Listing
from domain.encounters import Encounter as Encounters
from domain.encounters import EncounterState

if TYPE_CHECKING:
    from api.graph.allergies import AllergyIntolerance
    from api.graph.conditions import Condition
    from api.graph.immunizations import Immunization
    from api.graph.medications import MedicationRequest, MedicationStatement
    from api.graph.notes import Note
    from api.graph.observations import Observation
    from api.graph.procedures import Procedure

strawberry.enum(EncounterState, name="EncounterState", description="FHIR encounter status.")
LISTING = Listing(Encounters, "encounter", "started_at", Encounters, descending=True)


of_encounter = joined("encounter_id", "id")
encounter_of = joined("id", "encounter_id")
recorder_of = joined("id", "recorded_by")


@table(Encounters, description="A visit of a patient at a clinic or one of its departments.")
class Encounter(Node):
    state: EncounterState | None = computed(
        "read", "Where the visit stands.", lambda e, *_: enum_name(e.state)
    )
    kind: str | None = column("read", "FHIR class: AMB, EMER, IMP, VR, HH …")
    started_at: dt.datetime | None = column("read", "When it began.")
    ended_at: dt.datetime | None = column("read", "When it ended; null while it goes on.")
    reason: str | None = column("read_clinical", "Why the patient came.")
    error_reason: str | None = column("read_clinical", "Why it was struck out, if it was.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @one("read", patient_of)
    def patient(self) -> Optional["Patient"]:
        """Whose visit it is."""

    @one("read", clinic_of)
    def clinic(self) -> OrgUnit | None:
        """The clinic."""

    @one("read", unit_of)
    def unit(self) -> OrgUnit | None:
        """The department, or the clinic itself."""

    @one("read", practitioner_of)
    def practitioner(self) -> Practitioner | None:
        """Who sees the patient."""

    @many("read", shown(of_encounter), group=FieldGroup.CLINICAL, order=lambda n: [n.id.desc()])
    def notes(
        self, first: First = 20, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Note", strawberry.lazy("api.graph.notes")]] | None:
        """Notes of the visit, latest first: signed ones and your own drafts."""

    @many("read", shown(whole(of_encounter)), group=FieldGroup.CLINICAL, order=latest)
    def observations(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Observation", strawberry.lazy("api.graph.observations")]] | None:
        """Measurements and findings of the visit, latest first; components stand in theirs."""

    @many("read", shown(of_encounter), group=FieldGroup.CLINICAL, order=lambda c: [c.id.desc()])
    def conditions(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Condition", strawberry.lazy("api.graph.conditions")]] | None:
        """Diagnoses of the visit."""

    @many("read", shown(of_encounter), group=FieldGroup.CLINICAL, order=latest)
    def allergies(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["AllergyIntolerance", strawberry.lazy("api.graph.allergies")]] | None:
        """Allergies recorded at the visit, latest first."""

    @many("read", shown(of_encounter), group=FieldGroup.CLINICAL, order=latest)
    def medication_requests(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["MedicationRequest", strawberry.lazy("api.graph.medications")]] | None:
        """Medicines ordered at the visit, latest first."""

    @many("read", shown(of_encounter), group=FieldGroup.CLINICAL, order=latest)
    def medication_statements(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["MedicationStatement", strawberry.lazy("api.graph.medications")]] | None:
        """What the patient takes, as told at the visit, latest first."""

    @many("read", shown(of_encounter), group=FieldGroup.CLINICAL, order=latest)
    def procedures(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Procedure", strawberry.lazy("api.graph.procedures")]] | None:
        """What was done at the visit, latest first."""

    @many("read", shown(of_encounter), group=FieldGroup.CLINICAL, order=latest)
    def immunizations(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Immunization", strawberry.lazy("api.graph.immunizations")]] | None:
        """Vaccines given at the visit, latest first."""


@strawberry.input(description="Which encounters; all conditions must hold.")
class EncounterFilter:
    patient: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    practitioner: strawberry.ID | None = strawberry.field(
        default=None, description="Of this practitioner."
    )
    state: EncounterState | None = strawberry.field(default=None, description="In this state.")
    since: dt.datetime | None = strawberry.field(default=None, description="Begun at or after.")
    until: dt.datetime | None = strawberry.field(default=None, description="Begun before.")
    include_entered_in_error: bool = strawberry.field(
        default=False, description="Also what was entered in error and is struck out."
    )


def _conditions(values: dict[str, Any], errors: bool) -> Any:
    present = {name for name, value in values.items() if value is not None}

    def build(row: Row, c: Compiler, _walks: bool) -> list[ColumnElement[bool]]:
        out: list[ColumnElement[bool]] = [] if errors else [unstruck(row)]
        if "patient" in present:
            out.append(attribute(row, "patient_id") == c.binds.value("patient", Uuid()))
        if "practitioner" in present:
            out.append(attribute(row, "practitioner_id") == c.binds.value("practitioner", Uuid()))
        if "state" in present:
            out.append(attribute(row, "state") == c.binds.value("state"))
        if "since" in present:
            out.append(attribute(row, "started_at") >= c.binds.value("since", DateTime(True)))
        if "until" in present:
            out.append(attribute(row, "started_at") < c.binds.value("until", DateTime(True)))
        return out

    return build


def local_id(value: strawberry.ID | None, prefix: str) -> tuple[bool, Any]:
    """Read an id argument: (it can be there, the id inside)."""
    if value is None:
        return True, None
    parsed = parse_id(value, prefix)
    return parsed is not None, parsed and parsed[1]


@strawberry.type
class Query:
    @root("encounter:read", "An encounter; null where there is none that you may see.")
    async def encounter(self, info: Info, id: Wanted) -> Encounter | None:
        return await get(info._raw_info, Encounter, id)

    @root("encounter:read", "Encounters that you may see, latest first.")
    async def encounters(
        self,
        info: Info,
        node: Within = None,
        filter: Annotated[
            EncounterFilter | None, strawberry.argument(description="Only these.")
        ] = None,
        first: First = 50,
        after: After = None,
    ) -> Connection[Encounter] | None:
        wanted = filter or EncounterFilter()
        known, unit = node_argument(info, node)
        good_patient, patient = local_id(wanted.patient, "Patient")
        good_practitioner, practitioner = local_id(wanted.practitioner, "Practitioner")
        if not (known and good_patient and good_practitioner):
            return None
        values = {
            "patient": patient,
            "practitioner": practitioner,
            "state": None if wanted.state is None else wanted.state.value,
            "since": wanted.since,
            "until": wanted.until,
        }
        # Whoever asks for this state asks for what is struck out.
        errors = wanted.include_entered_in_error or wanted.state is EncounterState.ENTERED_IN_ERROR
        return await page(
            info._raw_info,
            LISTING,
            node=unit,
            first=first,
            after=after,
            filters=_conditions(values, errors),
            variant=errors,
            values=values,
        )
