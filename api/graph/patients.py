"""Patients, read through the sites at which they are seen."""

import datetime as dt
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    Select,
    Text,
    Uuid,
    any_,
    cast,
    func,
    literal_column,
    select,
)

from api.graph.care_team import CareTeamMember, care_team, soonest
from api.graph.entries import IncludeErrors, latest, shown, whole
from api.graph.ledger import outstanding
from api.graph.organization import OrgUnit, node_argument
from api.graph.relay import After, Connection, First, Info, Money, Node, Wanted, Within, money, root
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
    struct,
    table,
)
from api.plan.page import Listing
from domain.conditions import PRESENT, Category
from domain.errors import Invalid
from domain.patients import Channel as ReminderChannel
from domain.patients import Patient as Patients
from domain.patients import PatientSite, Sex, fold
from domain.state_tables import ERROR

if TYPE_CHECKING:
    from api.graph.allergies import AllergyIntolerance
    from api.graph.appointments import Appointment
    from api.graph.billing import Invoice
    from api.graph.conditions import Condition
    from api.graph.encounters import Encounter
    from api.graph.immunizations import Immunization
    from api.graph.medications import MedicationRequest, MedicationStatement
    from api.graph.observations import Observation
    from api.graph.procedures import Procedure

KEY = Text(collation="C")
UUIDS = ARRAY(Uuid())
strawberry.enum(
    ReminderChannel,
    name="ReminderChannel",
    description="How patients are reminded; WEBHOOK: by a system of the health system's own.",
)
strawberry.enum(Sex, name="AdministrativeSex", description="FHIR administrative gender.")


of_patient = joined("patient_id", "id")
patient_of = joined("id", "patient_id")


def _sites(up: Any, unit: Any, get_: Any) -> Select[Any]:
    """Only the sites within one's own scope: that a patient is seen elsewhere is not for everyone."""
    site = get_.compiler.alias(PatientSite)
    return (
        select(unit)
        .join(site, (site.tenant_id == unit.tenant_id) & (site.unit_id == unit.id))
        .where(
            unit.tenant_id == up.tenant_id,
            site.patient_id == up.id,
            get_.compiler.placed(site, "patient"),
        )
    )


def _upcoming(up: Any, child: Any, get_: Any) -> Select[Any]:
    return of_patient(up, child, get_).where(child.starts_at >= func.now())


def _problems(up: Any, child: Any, get_: Any) -> Select[Any]:
    present: list[ColumnElement[str]] = [
        literal_column(f"'{status.value}'") for status in sorted(PRESENT)
    ]
    return of_patient(up, child, get_).where(
        child.category == literal_column(f"'{Category.PROBLEM_LIST_ITEM.value}'"),
        child.clinical_status.in_(present),
        child.verification_status.not_in(
            [literal_column("'refuted'"), literal_column(f"'{ERROR}'")]
        ),
    )


def _channels(patient: Row, *_: Any) -> Any:
    return cast(func.upper(cast(attribute(patient, "reminder_opt_outs"), Text)), ARRAY(Text))


@table(
    Patients,
    description="A patient of the health system: one record, seen at one or more sites.",
    gates={
        "read_clinical": FieldGroup.CLINICAL,
        "appointment:read": FieldGroup.SCHEDULING,
    },
)
class Patient(Node):
    mrn: str | None = column("read", "Medical record number, unique within its assigner.")
    given_name: str | None = column("read", "Given names.")
    family_name: str | None = column("read", "Family name.")
    preferred_name: str | None = column("read", "What the patient wants to be called.")
    birth_date: dt.date | None = column("read", "Date of birth.")
    sex: Sex | None = computed(
        "read", "Administrative sex.", lambda patient, *_: enum_name(patient.sex)
    )
    gender_identity: str | None = column("read", "Gender identity, as the patient says it.")
    phone: str | None = column("read", "Telephone number (E.164).")
    email: str | None = column("read", "E-mail address.")
    language: str | None = column("read", "Preferred language (BCP 47).")
    address_line: str | None = column("read", "Street and number.")
    city: str | None = column("read", "City.")
    postal_code: str | None = column("read", "Postal code.")
    country: str | None = column("read", "Country (ISO 3166-1 alpha-2).")
    zone: str | None = column("read", "IANA time zone; null: their clinic's.")
    reminder_opt_outs: list[ReminderChannel] | None = computed(
        "read", "By what the patient wants no reminders.", _channels
    )
    deceased_on: dt.date | None = column("read", "Date of death.")
    active: bool | None = column("read", "False once the record is no longer in use.")
    version: int | None = column("read", "Rises with every change; updates name it.")

    @many(
        "read",
        shown(of_patient),
        group=FieldGroup.SCHEDULING,
        order=lambda e: [e.started_at.desc(), e.id.desc()],
    )
    def encounters(
        self, first: First = 20, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Encounter", strawberry.lazy("api.graph.encounters")]] | None:
        """The patient's visits, latest first, at the places where you may read them."""

    @many(
        "read",
        of_patient,
        group=FieldGroup.SCHEDULING,
        order=lambda a: [a.starts_at.desc(), a.id.desc()],
    )
    def appointments(
        self, first: First = 20
    ) -> list[Annotated["Appointment", strawberry.lazy("api.graph.appointments")]] | None:
        """The patient's appointments, latest first, at the places where you may read them."""

    @many("read", _upcoming, group=FieldGroup.SCHEDULING, order=lambda a: [a.starts_at, a.id])
    def upcoming_appointments(
        self, first: First = 20
    ) -> list[Annotated["Appointment", strawberry.lazy("api.graph.appointments")]] | None:
        """Appointments from now on, earliest first."""

    @many("encounter:read", care_team, group=FieldGroup.SCHEDULING, order=soonest)
    def care_team(self) -> list[CareTeamMember] | None:
        """Who treats the patient, at the places where you may read visits: who comes next, then who was last."""

    @many("read", shown(whole(of_patient)), group=FieldGroup.CLINICAL, order=latest)
    def observations(
        self, first: First = 20, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Observation", strawberry.lazy("api.graph.observations")]] | None:
        """Measurements and findings, latest first; components stand in theirs."""

    @many("read", shown(of_patient), group=FieldGroup.CLINICAL, order=lambda c: [c.id.desc()])
    def conditions(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Condition", strawberry.lazy("api.graph.conditions")]] | None:
        """Problems and diagnoses, latest first."""

    @many("read", _problems, group=FieldGroup.CLINICAL, order=lambda c: [c.id.desc()])
    def problems(
        self, first: First = 50
    ) -> list[Annotated["Condition", strawberry.lazy("api.graph.conditions")]] | None:
        """The problem list: what is on it, present and not refuted, latest first."""

    @many("read", shown(of_patient), group=FieldGroup.CLINICAL, order=latest)
    def allergies(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["AllergyIntolerance", strawberry.lazy("api.graph.allergies")]] | None:
        """Allergies and intolerances, latest first."""

    @many("read", shown(of_patient), group=FieldGroup.CLINICAL, order=latest)
    def medication_requests(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["MedicationRequest", strawberry.lazy("api.graph.medications")]] | None:
        """Medicines ordered, latest first."""

    @many("read", shown(of_patient), group=FieldGroup.CLINICAL, order=latest)
    def medication_statements(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["MedicationStatement", strawberry.lazy("api.graph.medications")]] | None:
        """What the patient takes, as told, latest first."""

    @many("read", shown(of_patient), group=FieldGroup.CLINICAL, order=latest)
    def procedures(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Procedure", strawberry.lazy("api.graph.procedures")]] | None:
        """What was done, latest first."""

    @many("read", shown(of_patient), group=FieldGroup.CLINICAL, order=latest)
    def immunizations(
        self, first: First = 50, include_entered_in_error: IncludeErrors = False
    ) -> list[Annotated["Immunization", strawberry.lazy("api.graph.immunizations")]] | None:
        """Vaccines given, latest first."""

    @many(
        "read",
        of_patient,
        group=FieldGroup.BILLING,
        order=lambda i: [i.issued_at.desc(), i.id.desc()],
    )
    def invoices(
        self, first: First = 20
    ) -> list[Annotated["Invoice", strawberry.lazy("api.graph.billing")]] | None:
        """Invoices, latest first, of the places where you may read them."""

    balance: Money | None = struct(
        "read_billing",
        "What is still owed, of the places whose billing you may read.",
        money(outstanding, always=True),
    )

    @many("read", _sites, group=None, order=lambda unit: [unit.name, unit.id])
    def sites(self, first: First = 50) -> list[OrgUnit] | None:
        """Where the patient is seen."""


@strawberry.input(description="Which patients; all conditions must hold.")
class PatientFilter:
    name: str | None = strawberry.field(
        default=None,
        description="Start of the family name; behind a comma, the start of the given name.",
    )
    birth_date: dt.date | None = strawberry.field(default=None, description="Date of birth.")
    mrn: str | None = strawberry.field(default=None, description="Medical record number, exact.")


@strawberry.enum(description="Order of a page of patients.")
class PatientOrder(Enum):
    FAMILY_NAME_ASC = strawberry.enum_value("asc", description="By family name, A first.")
    FAMILY_NAME_DESC = strawberry.enum_value("desc", description="By family name, Z first.")


LISTINGS = {
    order: Listing(
        Patients,
        "patient",
        "family_key",
        PatientSite,
        key_id="patient_id",
        descending=order is PatientOrder.FAMILY_NAME_DESC,
        by_unit=True,
    )
    for order in PatientOrder
}


def prefix(key: ColumnElement[Any], start: ColumnElement[Any]) -> ColumnElement[bool]:
    """Starts with, as a range: LIKE gets no index under row-level security."""
    return (key >= start) & (key < start.concat(literal_column("chr(1114111)")))


def _conditions(wanted: PatientFilter) -> tuple[dict[str, Any], Any]:
    """The values of a filter and the builder of its conditions. Raises Invalid for one that is empty."""
    family, _, given = (wanted.name or "").partition(",")
    values: dict[str, Any] = {
        "family": fold(family) or None,
        "given": fold(given) or None,
        "birth_date": wanted.birth_date,
        "mrn": wanted.mrn,
    }
    if wanted.name is not None and not (values["family"] or values["given"]):
        raise Invalid("A name needs at least one letter.", path=("filter", "name"))
    present = {name for name, value in values.items() if value is not None}

    def build(row: Row, c: Compiler, walks_model: bool) -> list[ColumnElement[bool]]:
        out: list[ColumnElement[bool]] = []
        if "family" in present:
            out.append(prefix(attribute(row, "family_key"), c.binds.value("family", KEY)))
        if "given" in present:
            out.append(prefix(attribute(row, "given_key"), c.binds.value("given", KEY)))
        if "birth_date" in present:
            out.append(attribute(row, "birth_date") == c.binds.value("birth_date", Date()))
        if "mrn" in present:
            out.append(_with_mrn(row, c, walks_model))
        return out

    return values, build


UNFILTERED = _conditions(PatientFilter())


def _with_mrn(row: Row, c: Compiler, walks_model: bool) -> ColumnElement[bool]:
    mrn = c.binds.value("mrn", Text())
    if walks_model:
        return attribute(row, "mrn") == mrn
    patient = c.alias(Patients)
    found = select(patient.id).where(patient.tenant_id == c.tenant(), patient.mrn == mrn)
    return attribute(row, "patient_id") == any_(func.array(found.scalar_subquery(), type_=UUIDS))


@strawberry.type
class Query:
    @root("patient:read", "A patient; null where there is none that you may see.")
    async def patient(self, info: Info, id: Wanted) -> Patient | None:
        return await get(info._raw_info, Patient, id)

    @root(
        "patient:read",
        "Patients that you may see, each once: of a node of the tree, or without `node` of all your places.",
    )
    async def patients(
        self,
        info: Info,
        node: Within = None,
        filter: Annotated[
            PatientFilter | None, strawberry.argument(description="Only these.")
        ] = None,
        order_by: Annotated[
            PatientOrder, strawberry.argument(description="In which order.")
        ] = PatientOrder.FAMILY_NAME_ASC,
        first: First = 50,
        after: After = None,
    ) -> Connection[Patient] | None:
        known, unit = node_argument(info, node)
        if not known:
            return None
        values, conditions = UNFILTERED if filter is None else _conditions(filter)
        return await page(
            info._raw_info,
            LISTINGS[order_by],
            node=unit,
            first=first,
            after=after,
            filters=conditions,
            values=values,
        )
