"""Builds any row with sensible defaults. Nothing touches a database until `save`.

    tree = make.tree(clinics=2)
    nurse = make.person(tree.tenant)
    patient, *sites = make.patient_at(tree.clinics[0])
    make.save(database, *tree.rows, nurse, make.grant(nurse, "nurse", tree.clinics[0]), patient, *sites)

Every health system has ids of its own, so tests that commit do not meet.
"""

import datetime as dt
import itertools
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, insert, inspect
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from domain.allergies import AllergyIntolerance
from domain.appointments import (
    Appointment,
    AppointmentBlock,
    AppointmentSeries,
    WaitlistEntry,
)
from domain.approvals import GrantRequest
from domain.billing import (
    Allocation,
    ChargeItem,
    ChargeMaster,
    Claim,
    ClaimItem,
    ClaimReceipt,
    ClaimStep,
    Coverage,
    DailyClose,
    Invoice,
    InvoiceLine,
    Payer,
    Posting,
)
from domain.conditions import Condition
from domain.encounters import Encounter
from domain.immunizations import Immunization
from domain.medications import MedicationRequest, MedicationStatement
from domain.model import Base, new_id
from domain.notes import Note
from domain.observations import Observation
from domain.organization import OrgUnit, Tenant
from domain.patients import Patient, PatientSite, fold
from domain.people import Person, RoleGrant
from domain.practitioners import BookableResource, Practitioner, ResourceAssignment
from domain.procedures import Procedure
from domain.schedules import HealthcareService, ScheduleClosure, ScheduleRule
from tests.database import Database

NOW = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
RXNORM: dict[str, Any] = {
    "code_system": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "code": "6809",
    "effective_at": NOW,
}
DONE: dict[str, Any] = {"state": "completed", "effective_at": NOW}
_numbers = itertools.count(1)


def number() -> int:
    """The next of a series, for what must be unique."""
    return next(_numbers)


@dataclass
class Tree:
    """A health system with its units. `departments[i]` belong to `clinics[i]`."""

    tenant: Tenant
    root: OrgUnit
    regions: list[OrgUnit] = field(default_factory=list)
    clinics: list[OrgUnit] = field(default_factory=list)
    departments: list[list[OrgUnit]] = field(default_factory=list)

    @property
    def rows(self) -> list[Base]:
        """In the order in which they can be inserted."""
        lower = [unit for units in self.departments for unit in units]
        return [self.tenant, self.root, *self.regions, *self.clinics, *lower]


def tenant(**values: Any) -> Tenant:
    """A health system of its own, active, without any unit."""
    key = new_id()
    return Tenant(**{"tenant_id": key, "slug": f"t{key.hex}", "name": "Mercy Health", **values})


def tree(*, regions: int = 1, clinics: int = 2, departments: int = 1, **values: Any) -> Tree:
    """A health system with `clinics` spread over its regions (none: right under it), each with departments."""
    system = tenant(**values)
    made = Tree(system, unit(system, None, "system", name=system.name))
    made.regions = [unit(system, made.root, "region", name=f"Region {i}") for i in range(regions)]
    above = made.regions or [made.root]
    for i in range(clinics):
        clinic = unit(system, above[i % len(above)], "clinic", name=f"Clinic {i}")
        made.clinics.append(clinic)
        made.departments.append(
            [unit(system, clinic, "department", name=f"Ward {i}.{d}") for d in range(departments)]
        )
    return made


def unit(system: Tenant, parent: OrgUnit | None, level: str, **values: Any) -> OrgUnit:
    """A node of the tree."""
    key = values.pop("id", None) or new_id()
    clinic = {"clinic": key, "department": parent.id if parent else None}.get(level)
    defaults: dict[str, Any] = {
        "name": level.title(),
        "zone": "America/Chicago" if level == "clinic" else None,
        "parent_id": parent.id if parent else None,
    }
    return OrgUnit(
        **{"tenant_id": system.tenant_id, "id": key, "level": level, "clinic_id": clinic}
        | defaults
        | values
    )


def person(system: Tenant, **values: Any) -> Person:
    """Somebody who can log in."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "subject": str(uuid.uuid4()),
        "user_name": f"person{number()}",
        "given_name": "Pat",
        "family_name": "Doe",
    }
    return Person(**{"tenant_id": system.tenant_id} | defaults | values)


def grant(holder: Person, role: str, node: OrgUnit, **values: Any) -> RoleGrant:
    """A role at a node, from a day ago and without end."""
    defaults: dict[str, Any] = {"id": new_id(), "valid_from": now() - dt.timedelta(days=1)}
    place = {"tenant_id": holder.tenant_id, "person_id": holder.id, "unit_id": node.id}
    return RoleGrant(**place | {"role": role} | defaults | values)


def grant_request(
    holder: Person, role: str, node: OrgUnit, asker: Person, **values: Any
) -> GrantRequest:
    """A role that waits for a second person's approval for another week."""
    defaults: dict[str, Any] = {"id": new_id(), "lapses_at": now() + dt.timedelta(days=7)}
    place = {"tenant_id": holder.tenant_id, "person_id": holder.id, "unit_id": node.id}
    return GrantRequest(
        **place | {"role": role, "requested_by": asker.id, "state": "pending"} | defaults | values
    )


def now() -> dt.datetime:
    """The present, for what is judged by the clock; else use NOW."""
    return dt.datetime.now(dt.UTC)


def practitioner(system: Tenant, who: Person | None = None, **values: Any) -> Practitioner:
    """Somebody who treats patients."""
    defaults: dict[str, Any] = {"id": new_id(), "given_name": "Ana", "family_name": "Silva"}
    link = {"tenant_id": system.tenant_id, "person_id": who.id if who else None}
    return Practitioner(**link | defaults | values)


def bookable(of: Tenant | Practitioner, kind: str = "room", **values: Any) -> BookableResource:
    """What an appointment can block: a practitioner (who has its id), or a room or device of a health system."""
    if isinstance(of, Practitioner):
        own: dict[str, Any] = {"id": of.id, "practitioner_id": of.id, "kind": "practitioner"}
    else:
        own = {"id": new_id(), "kind": kind}
    return BookableResource(**{"tenant_id": of.tenant_id, "name": "Room 1"} | own | values)


def assignment(resource: BookableResource, node: OrgUnit, **values: Any) -> ResourceAssignment:
    """The resource may be booked at the clinic or department, at any time."""
    return ResourceAssignment(
        tenant_id=resource.tenant_id,
        resource_id=resource.id,
        unit_id=node.id,
        clinic_id=node.clinic_id,
        **values,
    )


def at_unit(node: OrgUnit) -> dict[str, Any]:
    """The columns that put a row at a unit."""
    return {
        "tenant_id": node.tenant_id,
        "id": new_id(),
        "clinic_id": node.clinic_id,
        "unit_id": node.id,
    }


def service(node: OrgUnit, **values: Any) -> HealthcareService:
    """Visits of half an hour."""
    return HealthcareService(**at_unit(node) | {"name": "Check-up", "minutes": 30} | values)


def rule(
    node: OrgUnit, resource: BookableResource | Practitioner | None = None, **values: Any
) -> ScheduleRule:
    """Open from nine to five on working days, every half hour, from 2020 on."""
    defaults: dict[str, Any] = {
        "resource_id": resource.id if resource else None,
        "weekdays": ["mon", "tue", "wed", "thu", "fri"],
        "opens": dt.time(9),
        "closes": dt.time(17),
        "minutes": 30,
        "step": 30,
        "valid_from": dt.date(2020, 1, 1),
    }
    return ScheduleRule(**at_unit(node) | defaults | values)


def closure(node: OrgUnit, on: dt.date, **values: Any) -> ScheduleClosure:
    """Closed for a day."""
    return ScheduleClosure(**at_unit(node) | {"first_on": on, "last_on": on} | values)


def patient(system: Tenant, **values: Any) -> Patient:
    """A patient without any site; the keys follow the names."""
    named: dict[str, Any] = {"family_name": "Garcia", "given_name": "Lena"} | values
    keys = {"family_key": fold(named["family_name"]), "given_key": fold(named["given_name"])}
    defaults: dict[str, Any] = {
        "id": new_id(),
        "mrn": f"M{number()}",
        "birth_date": dt.date(1980, 5, 17),
        "sex": "female",
        "sensitivity": 0,
        "active": True,
    }
    return Patient(**{"tenant_id": system.tenant_id} | defaults | keys | named)


def site(who: Patient, node: OrgUnit) -> PatientSite:
    """The patient is seen at the unit. A department needs a site of its clinic beside it."""
    return PatientSite(
        tenant_id=who.tenant_id,
        unit_id=node.id,
        clinic_id=node.clinic_id,
        patient_id=who.id,
        family_key=who.family_key,
        given_key=who.given_key,
        birth_date=who.birth_date,
        sensitivity=who.sensitivity,
        active=who.active,
    )


def patient_at(system: Tenant, *nodes: OrgUnit, **values: Any) -> list[Base]:
    """A patient with sites at the nodes, and at the clinics of those that are departments."""
    who = patient(system, **values)
    units = {node.id: node for node in nodes}
    clinics = [
        OrgUnit(id=node.clinic_id, clinic_id=node.clinic_id)
        for node in nodes
        if node.clinic_id not in units
    ]
    units |= {clinic.id: clinic for clinic in clinics}
    return [who, *(site(who, node) for node in units.values())]


def placed(who: Patient, node: OrgUnit) -> dict[str, Any]:
    """The columns that put a row about the patient at a unit."""
    return {
        "tenant_id": who.tenant_id,
        "id": new_id(),
        "clinic_id": node.clinic_id,
        "unit_id": node.id,
        "patient_id": who.id,
        "sensitivity": who.sensitivity,
    }


def encounter(who: Patient, node: OrgUnit, **values: Any) -> Encounter:
    """A visit that is going on."""
    return Encounter(**placed(who, node) | {"state": "in-progress", "started_at": NOW} | values)


def of_encounter(visit: Encounter) -> dict[str, Any]:
    """The columns that a row of an encounter shares with it, and an id of its own."""
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    shared = {name: getattr(visit, name) for name in names}
    return shared | {"id": new_id(), "encounter_id": visit.id}


def note(visit: Encounter, author: Person, **values: Any) -> Note:
    """A signed progress note; its body is not really sealed."""
    defaults: dict[str, Any] = {
        "author_id": author.id,
        "kind": "progress",
        "state": "signed",
        "body_sealed": b"sealed",
    }
    asked = defaults | values
    asked.setdefault("signed_at", None if asked["state"] == "draft" else NOW)
    return Note(**of_encounter(visit) | asked)


def observation(visit: Encounter, **values: Any) -> Observation:
    """A heart rate."""
    defaults = {"code": "8867-4", "value_quantity": 72, "unit": "/min", "effective_at": NOW}
    return Observation(**of_encounter(visit) | defaults | values)


def condition(visit: Encounter, **values: Any) -> Condition:
    """A diagnosis by ICD-10-CM."""
    defaults = {"code_system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E11.9"}
    return Condition(**of_encounter(visit) | defaults | {"recorded_at": NOW} | values)


def allergy(visit: Encounter, **values: Any) -> AllergyIntolerance:
    """A confirmed allergy to penicillin."""
    said = {"code": "7980", "clinical_status": "active", "verification_status": "confirmed"}
    return AllergyIntolerance(**of_encounter(visit) | RXNORM | said | values)


def request(visit: Encounter, **values: Any) -> MedicationRequest:
    """An order of metformin."""
    return MedicationRequest(**of_encounter(visit) | RXNORM | {"state": "active"} | values)


def statement(visit: Encounter, **values: Any) -> MedicationStatement:
    """Metformin as the patient takes it."""
    return MedicationStatement(**of_encounter(visit) | RXNORM | {"state": "active"} | values)


def procedure(visit: Encounter, **values: Any) -> Procedure:
    """An electrocardiogram that was taken."""
    said = {"code_system": "http://snomed.info/sct", "code": "29303009"}
    return Procedure(**of_encounter(visit) | DONE | said | values)


def immunization(visit: Encounter, **values: Any) -> Immunization:
    """A vaccination against influenza."""
    said = {"code_system": "http://hl7.org/fhir/sid/cvx", "code": "140"}
    return Immunization(**of_encounter(visit) | DONE | said | values)


def appointment(who: Patient, node: OrgUnit, with_: Practitioner, **values: Any) -> Appointment:
    """A booked visit of half an hour."""
    starts = values.get("starts_at", NOW)
    defaults: dict[str, Any] = {
        "practitioner_id": with_.id,
        "state": "booked",
        "starts_at": starts,
        "ends_at": starts + dt.timedelta(minutes=30),
    }
    return Appointment(**placed(who, node) | defaults | values)


def series(who: Patient, node: OrgUnit, with_: Practitioner, **values: Any) -> AppointmentSeries:
    """Three visits, one a week."""
    defaults = {"frequency": "weekly", "every": 1, "visits": 3, "minutes": 30, "starts_at": NOW}
    return AppointmentSeries(
        **placed(who, node) | {"practitioner_id": with_.id} | defaults | values
    )


def waiting(who: Patient, node: OrgUnit, **values: Any) -> WaitlistEntry:
    """Somebody who waits for half an hour in this month."""
    days = {"earliest_on": dt.date(2026, 3, 2), "latest_on": dt.date(2026, 3, 31)}
    return WaitlistEntry(**placed(who, node) | {"minutes": 30, **days} | values)


def block(
    visit: Appointment, resource_id: uuid.UUID | None = None, **values: Any
) -> AppointmentBlock:
    """The time that the appointment keeps its practitioner, or another resource."""
    names = ("tenant_id", "clinic_id", "unit_id", "state")
    return AppointmentBlock(
        **{name: getattr(visit, name) for name in names}
        | {
            "id": new_id(),
            "appointment_id": visit.id,
            "resource_id": resource_id or visit.practitioner_id,
            "block": Range(visit.starts_at, visit.ends_at),
        }
        | values
    )


def price(system: Tenant, **values: Any) -> ChargeMaster:
    """An entry of the charge master of 120.00."""
    code = values.get("code", f"INT-{number()}")
    defaults: dict[str, Any] = {
        "id": new_id(),
        "code_system": "INTERNAL",
        "code": code,
        "description": "Office visit",
        "description_key": "office visit",
        "price_minor": 12_000,
        "effective_from": dt.date(2020, 1, 1),
    }
    return ChargeMaster(**{"tenant_id": system.tenant_id} | defaults | values)


def charge(who: Patient, node: OrgUnit, **values: Any) -> ChargeItem:
    """Something billable of 120.00."""
    defaults = {
        "state": "billable",
        "code_system": "INTERNAL",
        "code": "INT-1",
        "description": "Office visit",
        "units": 1,
        "unit_price_minor": 12_000,
        "amount_minor": 12_000,
        "occurred_at": NOW,
    }
    return ChargeItem(**placed(who, node) | defaults | values)


def invoice(who: Patient, node: OrgUnit, **values: Any) -> Invoice:
    """An issued invoice of 120.00."""
    defaults = {"state": "issued", "number": number(), "issued_at": NOW, "total_minor": 12_000}
    if values.get("state") == "cancelled":
        defaults |= {"cancelled_at": NOW, "cancel_reason": "Wrong patient."}
    return Invoice(**placed(who, node) | defaults | values)


def invoice_line(bill: Invoice, **values: Any) -> InvoiceLine:
    """A line of 120.00."""
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    defaults = {
        "id": new_id(),
        "invoice_id": bill.id,
        "code": "INT-1",
        "description": "Office visit",
        "units": 1,
        "unit_price_minor": 12_000,
        "amount_minor": 12_000,
    }
    defaults["live"] = bill.state not in ("cancelled", "entered-in-error")
    return InvoiceLine(**{name: getattr(bill, name) for name in names} | defaults | values)


def posting(who: Patient, node: OrgUnit, **values: Any) -> Posting:
    """A payment of 50.00."""
    defaults = {"kind": "payment", "amount_minor": 5_000, "method": "card", "posted_at": NOW}
    return Posting(**placed(who, node) | defaults | values)


def transfer(who: Patient, node: OrgUnit, to: OrgUnit, **values: Any) -> list[Posting]:
    """20.00 taken from the account at one place to that at another: two postings."""
    amount = values.pop("amount_minor", 2_000)
    taken = posting(who, node, kind="transfer", method=None, amount_minor=-amount, **values)
    given = posting(who, to, kind="transfer", method=None, amount_minor=amount, **values)
    taken.counterpart_id, given.counterpart_id = given.id, taken.id
    return [taken, given]


def allocation(paid: Posting, line: InvoiceLine, **values: Any) -> Allocation:
    """The whole posting, applied to a line."""
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    defaults = {
        "id": new_id(),
        "posting_id": paid.id,
        "posting_minor": paid.amount_minor,
        "invoice_line_id": line.id,
        "line_minor": line.amount_minor,
        "amount_minor": paid.amount_minor,
        "allocated_at": NOW,
    }
    return Allocation(**{name: getattr(paid, name) for name in names} | defaults | values)


def payer(system: Tenant, **values: Any) -> Payer:
    """An insurance company."""
    named = {"name": "Northern Mutual", "name_key": "northern mutual"}
    defaults: dict[str, Any] = {"id": new_id(), "active": True} | named
    return Payer(**{"tenant_id": system.tenant_id} | defaults | values)


def coverage(who: Patient, node: OrgUnit, by: Payer, **values: Any) -> Coverage:
    """The first that is asked to pay, without an end."""
    defaults = {
        "payer_id": by.id,
        "priority": 1,
        "member_id": f"W{number()}",
        "state": "active",
        "starts_on": dt.date(2020, 1, 1),
    }
    return Coverage(**placed(who, node) | defaults | values)


def claim(visit: Encounter, cover: Coverage | None, **values: Any) -> Claim:
    """A claim of 120.00 that needs coding. It needs its step."""
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    queue = values.get("queue", "needs-coding")
    defaults = {
        "id": new_id(),
        "encounter_id": visit.id,
        "coverage_id": cover.id if cover else None,
        "state": "draft" if queue == "needs-coding" else "active",
        "queue": queue,
        "step": 0,
        "total_minor": 12_000,
        "recorded_at": NOW,
    }
    return Claim(**{name: getattr(visit, name) for name in names} | defaults | values)


def of_claim(asked: Claim) -> dict[str, Any]:
    """The columns that a part of a claim shares with it, and an id of its own."""
    names = ("tenant_id", "clinic_id", "unit_id", "patient_id", "sensitivity")
    shared = {name: getattr(asked, name) for name in names}
    return shared | {"id": new_id(), "claim_id": asked.id}


def claim_item(asked: Claim, done: ChargeItem, **values: Any) -> ClaimItem:
    """The whole charge on the claim."""
    defaults = {"charge_item_id": done.id, "sequence": 1, "total_minor": done.amount_minor}
    return ClaimItem(**of_claim(asked) | defaults | values)


def claim_step(asked: Claim, **values: Any) -> ClaimStep:
    """How the claim came to where it stands, as its first step."""
    defaults = {"step": asked.step, "queue": asked.queue, "moved_at": NOW}
    return ClaimStep(**of_claim(asked) | defaults | values)


def claim_receipt(asked: Claim, **values: Any) -> ClaimReceipt:
    """100.00 that the payer sent for the claim."""
    defaults = {
        "remittance_id": new_id(),
        "sequence": 1,
        "amount_minor": 10_000,
        "paid_on": NOW.date(),
        "received_at": NOW,
    }
    return ClaimReceipt(**of_claim(asked) | defaults | values)


def daily_close(clinic: OrgUnit, **values: Any) -> DailyClose:
    """A day on which nothing was posted."""
    sums = ("charged_minor", "paid_minor", "adjusted_minor", "transferred_minor")
    defaults = {
        "id": new_id(),
        "clinic_id": clinic.clinic_id,
        "unit_id": clinic.clinic_id,
        "day": NOW.date(),
        "closed_at": NOW,
    }
    key = {"tenant_id": clinic.tenant_id}
    return DailyClose(**key | defaults | dict.fromkeys(sums, 0) | values)


def statements(rows: Iterable[Base]) -> Iterable[tuple[Any, list[dict[str, Any]]]]:
    """One insert for each run of rows of a table with the same columns, parents before children.

    Rows of one table keep their order; a site comes before or after its patient alike (its key is deferred).
    """
    order = parents_first()
    listed = sorted(rows, key=lambda row: order[type(row).__tablename__])
    for (model, columns), group in itertools.groupby(
        listed, lambda row: (type(row), frozenset(filled(row)))
    ):
        keys = sorted(columns)
        yield insert(model), [{key: getattr(row, key) for key in keys} for row in group]


@cache
def parents_first() -> dict[str, int]:
    """The place of each table among all."""
    return {table.name: i for i, table in enumerate(Base.metadata.sorted_tables)}


def filled(row: Base) -> list[str]:
    """The names of the attributes that were given a value."""
    given = inspect(row).dict
    return [c.key for c in inspect(type(row)).column_attrs if c.key in given]


def save(into: Database | Connection, *rows: Base) -> None:
    """Insert the rows: into a connection's transaction, or committed as the owner of the database."""
    if isinstance(into, Database):
        with into.owner_engine.begin() as connection:
            save(connection, *rows)
        return
    for statement, values in statements(rows):
        into.execute(statement, values)


async def save_async(into: AsyncConnection | AsyncSession, *rows: Base) -> None:
    """Insert the rows into a transaction of asyncio."""
    for statement, values in statements(rows):
        await into.execute(statement, values)
