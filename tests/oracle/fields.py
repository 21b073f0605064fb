"""The types of the graph and their fields, as the schema describes them, over plain rows."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

from tests.oracle.calendars import CALENDAR
from tests.oracle.findings import before, parts, whole
from tests.oracle.following_types import FOLLOWING
from tests.oracle.hours import rooms
from tests.oracle.money import BILLS, CHARGE_MORE, less_applied
from tests.oracle.provider_types import ABOUT
from tests.oracle.rules import Sight
from tests.oracle.shapes import (
    Leaf,
    Many,
    One,
    Struct,
    Type,
    as_money,
    columns,
    enums,
    money,
    one,
    plain,
    texts,
)


def _of(table: str, column: str) -> Any:
    return lambda sight, row: sight.rows.where(table, column, row.id)


def _own(permission: str) -> Any:
    return lambda sight, row: sight.may(permission, row)


def _problems(sight: Sight, patient: Any) -> list[Any]:
    return [
        c
        for c in sight.rows.where("condition", "patient_id", patient.id)
        if c.category == "problem-list-item"
        and c.clinical_status in ("active", "recurrence", "relapse")
        and c.verification_status not in ("refuted", "entered-in-error")
    ]


def _care_team(sight: Sight, patient: Any) -> list[Any]:
    """Who saw the patient or will, of what may be read."""
    rows, team = sight.rows, defaultdict[Any, list[tuple[Any, Any]]](list)
    for visit in rows.where("encounter", "patient_id", patient.id):
        seen = visit.state in ("arrived", "triaged", "in-progress", "onleave", "finished")
        if seen and visit.practitioner_id and sight.may("encounter:read", visit):
            team[visit.practitioner_id].append((visit.started_at, None))
    for booked in rows.where("appointment", "patient_id", patient.id):
        kept = booked.state in ("pending", "booked", "arrived", "checked-in")
        if kept and booked.starts_at >= rows.now and sight.may("appointment:read", booked):
            team[booked.practitioner_id].append((None, booked.starts_at))
    return [
        SimpleNamespace(
            practitioner_id=who,
            visits=sum(1 for seen, _ in times if seen),
            last_seen_at=max((seen for seen, _ in times if seen), default=None),
            next_at=min((next_ for _, next_ in times if next_), default=None),
        )
        for who, times in team.items()
    ]


LATEST = ("-effective_at", "-id")


def _chart(column: str, observations: int) -> dict[str, Many]:
    """What is written in a chart, of a patient or of a visit."""
    states = {"struck": "state", "group": "CLINICAL"}
    verified = {"struck": "verification_status", "group": "CLINICAL"}
    return {
        "observations": Many("Observation", whole(column), LATEST, observations, **states),
        "conditions": Many("Condition", _of("condition", column), ("-id",), 50, **verified),
        "allergies": Many(
            "AllergyIntolerance", _of("allergy_intolerance", column), LATEST, 50, **verified
        ),
        **{
            name: Many(type_, _of(table, column), LATEST, 50, **states)
            for name, type_, table in (
                ("medicationRequests", "MedicationRequest", "medication_request"),
                ("medicationStatements", "MedicationStatement", "medication_statement"),
                ("procedures", "Procedure", "procedure"),
                ("immunizations", "Immunization", "immunization"),
            )
        },
    }


def _renamed(name: str, column: str) -> dict[str, Leaf]:
    return {name: Leaf(lambda _, row: plain(getattr(row, column)))}


def _said(part: str) -> Leaf:
    """A part of a note's text."""
    return Leaf(lambda sight, row: sight.rows.texts[row.id].get(part))


PATIENT = one("Patient", "patient", "patient_id")
ENCOUNTER = one("Encounter", "encounter", "encounter_id")
RECORDER = one("Person", "person", "recorded_by")
CLINIC = one("OrgUnit", "org_unit", "clinic_id")
UNIT = one("OrgUnit", "org_unit", "unit_id")
PRACTITIONER = one("Practitioner", "practitioner", "practitioner_id")
SERVICE = one("HealthcareService", "healthcare_service", "service_id")


def _moved_to(sight: Sight, row: Any) -> Any:
    return next(iter(sight.rows.where("appointment", "rescheduled_from_id", row.id)), None)


def _sites(sight: Sight, patient: Any) -> list[Any]:
    """Only those within one's own reach: that the patient is seen elsewhere is not for everyone."""
    sites = sight.rows.where("patient_site", "patient_id", patient.id)
    return [
        sight.rows.get("org_unit", site.unit_id)
        for site in sites
        if sight.at("patient:read", site.unit_id)
    ]


def _bookable_at(sight: Sight, resource: Any) -> list[Any]:
    """Where it is assigned and the assignment has not ended."""
    places = sight.rows.where("resource_assignment", "resource_id", resource.id)
    return [
        sight.rows.get("org_unit", place.unit_id)
        for place in places
        if place.valid_until is None or place.valid_until > sight.rows.now
    ]


def _upcoming(sight: Sight, patient: Any) -> list[Any]:
    rows = sight.rows.where("appointment", "patient_id", patient.id)
    return [row for row in rows if row.starts_at >= sight.rows.now]


def _ledger(sight: Sight, patient: Any) -> dict[Any, SimpleNamespace]:
    """By clinic, in minor units: what was charged, paid and adjusted of what may be read."""
    rows = sight.rows
    sums: dict[Any, Any] = defaultdict(
        lambda: SimpleNamespace(charges=0, payments=0, adjustments=0, transfers=0)
    )
    for invoice in rows.where("invoice", "patient_id", patient.id):
        if invoice.state in ("issued", "balanced") and sight.may("invoice:read", invoice):
            sums[invoice.clinic_id].charges += invoice.total_minor
    for posting in rows.where("posting", "patient_id", patient.id):
        if sight.may("posting:read", posting):
            undone = rows.get("posting", posting.reverses_id) or posting
            name = {"payment": "payments", "transfer": "transfers"}.get(undone.kind, "adjustments")
            column = sums[posting.clinic_id]
            setattr(column, name, getattr(column, name) + posting.amount_minor)
    for clinic_id, column in sums.items():
        column.clinic_id = clinic_id
        lowered = column.payments + column.adjustments + column.transfers
        column.balance = column.charges - lowered
    return dict(sums)


def _total(name: str, **more: Any) -> Struct:
    def value(sight: Sight, patient: Any) -> Any:
        parts = _ledger(sight, patient).values()
        return as_money(sight, sum(getattr(part, name) for part in parts))

    return Struct(value, **more)


def _unbilled(sight: Sight, patient: Any) -> Any:
    charges = sight.rows.where("charge_item", "patient_id", patient.id)
    open_ = [c for c in charges if c.state == "billable"]
    seen = [c.amount_minor for c in open_ if sight.may("charge:read_billing", c)]
    return as_money(sight, sum(seen))


def _by_clinic(sight: Sight, patient: Any) -> list[Any]:
    return list(_ledger(sight, patient).values())


SECTIONS = ("subjective", "objective", "assessment", "plan")
SUMS = ("charges", "payments", "adjustments", "transfers", "balance")
BILLING: dict[str, Any] = {"opens": "charge:read_billing", "group": "BILLING"}
SCHEDULING: dict[str, Any] = {"opens": "appointment:read_scheduling", "group": "SCHEDULING"}

_TYPES = (
    Type(
        "OrgUnit",
        "org_unit",
        "org_unit:read",
        {
            **columns("name zone active version"),
            **enums("level"),
            "parent": one("OrgUnit", "org_unit", "parent_id"),
        },
    ),
    Type(
        "Practitioner",
        "practitioner",
        "practitioner:read",
        columns("givenName familyName specialty active version"),
    ),
    Type(
        "BookableResource",
        "bookable_resource",
        "practitioner:read",
        {
            **columns("name active version"),
            **enums("kind"),
            "practitioner": PRACTITIONER,
            "units": Many("OrgUnit", _bookable_at, ("name", "id"), 50),
        },
    ),
    Type(
        "Person",
        "person",
        "person:read",
        {
            **columns("givenName familyName active"),
            **columns("userName email version shutOut", opens="person:manage", group="IDENTIFIERS"),
            **FOLLOWING,
        },
        {"IDENTIFIERS": _own("person:manage")},
    ),
    Type(
        "Grant",
        "role_grant",
        "grant:read",
        {
            **columns("role validFrom validUntil source reason createdAt version"),
            "person": one("Person", "person", "person_id"),
            "unit": UNIT,
            "grantedBy": one("Person", "person", "granted_by"),
        },
    ),
    Type(
        "GrantRequest",
        "grant_request",
        "grant:read",
        {
            **columns("role validFrom validUntil reason createdAt lapsesAt decidedAt version"),
            **enums("state"),
            "person": one("Person", "person", "person_id"),
            "unit": UNIT,
            "requestedBy": one("Person", "person", "requested_by"),
            "decidedBy": one("Person", "person", "decided_by"),
            "grant": one("Grant", "role_grant", "grant_id"),
        },
    ),
    Type(
        "Patient",
        "patient",
        "patient:read",
        {
            **columns(
                "mrn givenName familyName preferredName birthDate genderIdentity phone email language"
                " addressLine city postalCode country zone deceasedOn active version"
            ),
            "reminderOptOuts": Leaf(lambda _, row: [way.upper() for way in row.reminder_opt_outs]),
            **enums("sex"),
            "encounters": Many(
                "Encounter",
                _of("encounter", "patient_id"),
                ("-started_at", "-id"),
                20,
                "SCHEDULING",
                struck="state",
            ),
            "careTeam": Many(
                "CareTeamMember",
                _care_team,
                ("next_at", "-last_seen_at", "practitioner_id"),
                50,
                "SCHEDULING",
                "encounter:read",
            ),
            "appointments": Many(
                "Appointment",
                _of("appointment", "patient_id"),
                ("-starts_at", "-id"),
                20,
                "SCHEDULING",
            ),
            "upcomingAppointments": Many(
                "Appointment", _upcoming, ("starts_at", "id"), 20, "SCHEDULING"
            ),
            **_chart("patient_id", 20),
            "problems": Many("Condition", _problems, ("-id",), 50, "CLINICAL"),
            "invoices": Many(
                "Invoice", _of("invoice", "patient_id"), ("-issued_at", "-id"), 20, "BILLING"
            ),
            "sites": Many("OrgUnit", _sites, ("name", "id"), 50),
            "balance": _total("balance", opens="patient:read_billing", group="BILLING"),
        },
        {
            "CLINICAL": _own("patient:read_clinical"),
            "BILLING": _own("patient:read_billing"),
            "SCHEDULING": lambda sight, row: sight.place_of_patient("appointment:read", row.id),
        },
    ),
    Type(
        "Encounter",
        "encounter",
        "encounter:read",
        {
            **columns("kind startedAt endedAt version"),
            **columns("reason errorReason", opens="encounter:read_clinical", group="CLINICAL"),
            **enums("state"),
            "patient": PATIENT,
            "clinic": CLINIC,
            "unit": UNIT,
            "practitioner": PRACTITIONER,
            "notes": Many(
                "Note", _of("note", "encounter_id"), ("-id",), 20, "CLINICAL", struck="state"
            ),
            **_chart("encounter_id", 50),
        },
        {"CLINICAL": _own("encounter:read_clinical")},
    ),
    Type(
        "Note",
        "note",
        "note:read",
        {
            **columns("createdAt signedAt cosignedAt errorReason version"),
            **enums("kind state amendment"),
            **{part: _said(part) for part in ("body", *SECTIONS)},
            "author": one("Person", "person", "author_id"),
            "cosigner": one("Person", "person", "cosigned_by"),
            "amends": one("Note", "note", "amends_id"),
            "amendments": Many("Note", _of("note", "amends_id"), ("id",), 20),
            "encounter": ENCOUNTER,
        },
    ),
    Type(
        "Observation",
        "observation",
        "observation:read",
        {
            **columns("codeSystem code display valueText valueCodeSystem valueCode valueDisplay"),
            **columns("valueBoolean unit rangeText effectiveAt errorReason version"),
            **enums("state interpretation part"),
            **texts("valueQuantity rangeLow rangeHigh"),
            "components": Many("Observation", parts("component"), ("id",), 50),
            "members": Many("Observation", parts("member"), ("id",), 50, struck="state"),
            "partOf": one("Observation", "observation", "part_of_id"),
            "replacedBy": one("Observation", "observation", "replaced_by_id"),
            "replaces": One("Observation", before),
            "encounter": ENCOUNTER,
            "recordedBy": RECORDER,
        },
    ),
    Type(
        "Condition",
        "condition",
        "condition:read",
        {
            **columns("codeSystem code display onsetOn abatedOn recordedAt errorReason version"),
            **enums("clinicalStatus verificationStatus category"),
            "encounter": ENCOUNTER,
            "recordedBy": RECORDER,
        },
    ),
    Type(
        "AllergyIntolerance",
        "allergy_intolerance",
        "allergy:read",
        {
            **columns("codeSystem code display reaction onsetOn errorReason version"),
            **enums("clinicalStatus verificationStatus kind category criticality"),
            **_renamed("recordedAt", "effective_at"),
            "encounter": ENCOUNTER,
            "recordedBy": RECORDER,
        },
    ),
    Type(
        "MedicationRequest",
        "medication_request",
        "medication_request:read",
        {
            **columns("codeSystem code display dosage startsOn endsOn errorReason version"),
            **enums("state intent"),
            **_renamed("authoredAt", "effective_at"),
            "encounter": ENCOUNTER,
            "recordedBy": RECORDER,
            "practitioner": PRACTITIONER,
        },
    ),
    Type(
        "MedicationStatement",
        "medication_statement",
        "medication_statement:read",
        {
            **columns("codeSystem code display dosage startsOn endsOn errorReason version"),
            **enums("state"),
            **_renamed("assertedAt", "effective_at"),
            "encounter": ENCOUNTER,
            "recordedBy": RECORDER,
            "request": one("MedicationRequest", "medication_request", "request_id"),
        },
    ),
    Type(
        "Procedure",
        "procedure",
        "procedure:read",
        {
            **columns("codeSystem code display endedAt outcome errorReason version"),
            **enums("state"),
            **_renamed("performedAt", "effective_at"),
            "encounter": ENCOUNTER,
            "recordedBy": RECORDER,
            "practitioner": PRACTITIONER,
        },
    ),
    Type(
        "Immunization",
        "immunization",
        "immunization:read",
        {
            **columns(
                "codeSystem code display lotNumber expiresOn doseUnit site errorReason version"
            ),
            **enums("state"),
            **texts("doseQuantity"),
            **_renamed("occurredAt", "effective_at"),
            "encounter": ENCOUNTER,
            "recordedBy": RECORDER,
            "practitioner": PRACTITIONER,
        },
    ),
    Type(
        "Appointment",
        "appointment",
        "appointment:read",
        {
            **columns("startsAt endsAt expiresAt version"),
            **columns("reason comment", **SCHEDULING),
            **enums("state"),
            "patient": PATIENT,
            "practitioner": PRACTITIONER,
            "resources": Many("BookableResource", rooms, ("name", "id"), 10),
            "clinic": CLINIC,
            "unit": UNIT,
            "service": SERVICE,
            "series": one("AppointmentSeries", "appointment_series", "series_id"),
            "reminders": Many("Reminder", _of("reminder", "appointment_id"), ("due_at", "id"), 20),
            "rescheduledFrom": one("Appointment", "appointment", "rescheduled_from_id"),
            "rescheduledTo": One("Appointment", _moved_to),
        },
        {"SCHEDULING": _own("appointment:read_scheduling")},
    ),
    Type(
        "AppointmentSeries",
        "appointment_series",
        "appointment:read",
        {
            **columns("every visits minutes startsAt"),
            **enums("frequency"),
            "patient": PATIENT,
            "practitioner": PRACTITIONER,
            "unit": UNIT,
            "appointments": Many(
                "Appointment", _of("appointment", "series_id"), ("starts_at", "id"), 52
            ),
        },
    ),
    Type(
        "WaitlistEntry",
        "waitlist_entry",
        "appointment:read",
        {
            **columns("minutes priority earliestOn latestOn createdAt version"),
            **columns("reason", **SCHEDULING),
            **enums("state"),
            "patient": PATIENT,
            "practitioner": PRACTITIONER,
            "service": SERVICE,
            "unit": UNIT,
            "offered": one("Appointment", "appointment", "offered_id"),
        },
        {"SCHEDULING": _own("appointment:read_scheduling")},
    ),
    Type(
        "Invoice",
        "invoice",
        "invoice:read",
        {
            **texts("number"),
            **enums("state"),
            **columns("issuedAt cancelledAt cancelReason version"),
            "total": money("total_minor"),
            "patient": PATIENT,
            "clinic": CLINIC,
            "lines": Many("InvoiceLine", _of("invoice_line", "invoice_id"), ("id",), 100),
        },
    ),
    Type(
        "InvoiceLine",
        "invoice_line",
        "invoice:read",
        {
            **columns("code description"),
            **texts("units"),
            "unitPrice": money("unit_price_minor"),
            "amount": money("amount_minor"),
            "open": less_applied("invoice_line_id", lambda line: line.live),
        },
    ),
    Type(
        "ChargeItem",
        "charge_item",
        "charge:read",
        {
            **columns("codeSystem code description occurredAt"),
            **enums("state"),
            **texts("units"),
            "unitPrice": money("unit_price_minor", **BILLING),
            "amount": money("amount_minor", **BILLING),
            **CHARGE_MORE,
        },
        {
            "BILLING": _own("charge:read_billing"),
            "CLINICAL": lambda sight, row: sight.at("condition:read", row.unit_id),
        },
    ),
    Type(
        "ChargeMasterEntry",
        "charge_master",
        "charge_master:read",
        {
            **columns("codeSystem code description effectiveFrom effectiveUntil version"),
            "price": money("price_minor"),
            "unit": UNIT,
        },
    ),
    Type(
        "Account",
        "patient",
        "patient:read_billing",
        {
            **{name: _total(name) for name in SUMS},
            "unbilled": Struct(_unbilled),
            "patient": One("Patient", lambda _, row: row),
            "clinics": Many("AccountAtClinic", _by_clinic, ("clinic_id",)),
        },
    ),
    Type(
        "CareTeamMember",
        None,
        None,
        {**columns("lastSeenAt nextAt visits"), "practitioner": PRACTITIONER},
    ),
    Type("AccountAtClinic", None, None, {**{name: money(name) for name in SUMS}, "clinic": CLINIC}),
    *BILLS,
    *CALENDAR,
    *ABOUT,
)
TYPES = {type_.name: type_ for type_ in _TYPES}
NODE_TYPES = tuple(type_ for type_ in _TYPES if type_.table is not None)


def covers(sight: Sight, type_: Type, permission: str, row: Any) -> bool:
    """Whether some role reads the children at a place of the row: else an empty list would be a lie."""
    if type_.table == "patient":
        return sight.place_of_patient(permission, row.id)
    return sight.at(permission, row.unit_id)
