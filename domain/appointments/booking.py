"""Booking: one statement that claims the key, checks, writes and records, and from which the answer is selected.

    site     the patient's row at the place, of those that the asker's policy admits
    kept     the time to be blocked of each resource, buffers included, as far as opening hours allow it
    claimed  the idempotency key, if the place is the patient's and every resource may be booked there and then
    locked   one booking of a resource at a time, so that two that collide do not wait for each other
    booked   the appointment
    blocks   the time of practitioner and rooms: the exclusion constraint refuses a taken slot
    event    the audit event

Each stands on the one before it, so nothing is written unless all is. No row comes back when the patient is not
visible, a resource is not bookable there or then, or the key was used: `settle` then tells which.
"""

import datetime as dt
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    Insert,
    Integer,
    Select,
    Table,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSTZRANGE, array
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeEngine

from domain.appointments.record import Appointment, AppointmentBlock, AppointmentState
from domain.appointments.states import period
from domain.audit import Agent, AuditEvent, Outcome
from domain.changes import telling
from domain.errors import Invalid
from domain.keys import IdempotencyKey, check_key
from domain.locks import holding
from domain.model import Base, new_id
from domain.organization import Place, clinic_of
from domain.plain_text import optional_passage
from domain.practitioners import BookableResource, Practitioner, ResourceAssignment

OPERATION = "bookAppointment"
ACTION = "appointment:book"
LOCK = "book"
PREFIX = "booking_"
ROOMS = 8

BINDS: dict[str, TypeEngine[Any]] = {
    "tenant": Uuid(),
    "patient": Uuid(),
    "unit": Uuid(),
    "practitioner": Uuid(),
    "resources": ARRAY(Uuid()),
    "blocks": ARRAY(Uuid()),
    "appointment": Uuid(),
    "starts_at": DateTime(timezone=True),
    "ends_at": DateTime(timezone=True),
    "service": Uuid(),
    "reason": Text(),
    "comment": Text(),
    "now": DateTime(timezone=True),
    "person": Uuid(),
    "key": Text(),
    "hash": Text(),
    "event": Uuid(),
    "role": Text(),
    "grant": Uuid(),
    "purpose": Text(),
    "policy_version": Text(),
    "tree_version": Integer(),
    "request": Uuid(),
}
"""The statement's parameters (their names begin with PREFIX) and types; `booking_values` gives their values."""


@dataclass(frozen=True)
class Booking:
    """What is to be booked. `room_ids` are further resources (rooms, devices) that the visit needs.

    `key` is the idempotency key; without one every request books.
    """

    patient_id: uuid.UUID
    practitioner_id: uuid.UUID
    starts_at: dt.datetime
    minutes: int
    reason: str | None = None
    comment: str | None = None
    room_ids: tuple[uuid.UUID, ...] = ()
    key: str | None = None
    service_id: uuid.UUID | None = None

    @property
    def resources(self) -> list[uuid.UUID]:
        """All that is blocked, in the order in which bookings wait for them."""
        return sorted({self.practitioner_id, *self.room_ids})

    def digest(self, unit_id: uuid.UUID) -> bytes:
        """A hash of the input at a place: a repeat of the request has the same."""
        told = (unit_id, self.patient_id, self.starts_at.astimezone(dt.UTC), self.minutes)
        service = () if self.service_id is None else (self.service_id,)
        whole = (*told, self.practitioner_id, self.resources, self.reason, self.comment, *service)
        return hashlib.sha256(repr(whole).encode()).digest()


@dataclass(frozen=True)
class BookingStatement:
    """The parts of the statement: select `aliased(Appointment, booked)`, `told` of it, and `add_cte` of the effects.

    What a statement writes it does not find in the tables yet: the time that is kept is in `blocks`.
    """

    site: CTE
    booked: CTE
    blocks: CTE
    unread: CTE
    event: CTE

    def effects(self, *, read: bool = False) -> tuple[CTE, CTE]:
        """What is written beside the appointment. `read`: whether the statement looks at `blocks`.

        What is handed back has to pass the policy of reading too, and that is work for nothing where nobody looks.
        """
        return (self.blocks if read else self.unread), self.event


def booking_values(agent: Agent, place: Place, booking: Booking) -> dict[str, Any]:
    """The values of the statement's parameters, by name. Raises Invalid for what cannot be booked at all."""
    clinic_of(place)
    if agent.person_id is None:
        raise Invalid("Only people book appointments.")
    if booking.key is not None:
        check_key(booking.key)
    if len(booking.room_ids) > ROOMS:
        raise Invalid(f"At most {ROOMS} rooms and devices.", path=("roomIds",))
    starts_at, ends_at = period(booking.starts_at, booking.minutes, agent.now)
    values = {
        "tenant": agent.tenant_id,
        "patient": booking.patient_id,
        "unit": place.id,
        "practitioner": booking.practitioner_id,
        "resources": booking.resources,
        "blocks": [new_id() for _ in booking.resources],
        "appointment": new_id(),
        "starts_at": starts_at,
        "ends_at": ends_at,
        "service": booking.service_id,
        "reason": optional_passage(booking.reason, "reason"),
        "comment": optional_passage(booking.comment, "comment"),
        "now": agent.now,
        "person": agent.person_id,
        # The statement is the same without a key: one that nobody repeats.
        "key": str(new_id()) if booking.key is None else booking.key,
        "hash": booking.digest(place.id).hex(),
        "event": new_id(),
        "role": agent.role,
        "grant": agent.grant_id,
        "purpose": agent.purpose,
        "policy_version": agent.policy_version,
        "tree_version": agent.tree_version,
        "request": agent.request_id,
    }
    return {PREFIX + name: value for name, value in values.items()}


def booking_statement(admissible: Select[Any]) -> BookingStatement:
    """The statement's parts over the patient sites (rows of `patient_site`) where the asker may book.

    The rules of `admissible` are the caller's: the policy at the site's place. Its parameters are in `BINDS`.
    A taken slot violates `ex_appointment_block_slot` (SlotTaken).
    """
    site = site_of(admissible)
    kept = kept_of(site)
    claimed = claim_of(site, kept)
    locked = lock_of(claimed)
    booked = appointment_of(site, claimed, locked)
    made = blocks_of(booked, kept)
    name = PREFIX + "blocks"
    blocks = made.returning(*table(AppointmentBlock).c).cte(name)
    return BookingStatement(site, booked, blocks, made.cte(name), event_of(booked))


def told(row: Any) -> ColumnElement[Any]:
    """A column by which whoever listens hears of the booked row."""
    return telling("appointment", row.tenant_id, row.clinic_id, row.id)


def given(name: str) -> ColumnElement[Any]:
    """A parameter, with its type said in the statement: a bare one in a select list would be text."""
    kind = BINDS[name]
    return cast(bindparam(PREFIX + name, None, type_=kind, required=False), kind)


def table(model: type[Base]) -> Table:
    """The table itself: inserts inside a larger statement are not for the session to look after."""
    return Base.metadata.tables[model.__tablename__]


def site_of(admissible: Select[Any]) -> CTE:
    rows = admissible.subquery(PREFIX + "admissible")
    return (
        select(rows.c.tenant_id, rows.c.clinic_id, rows.c.unit_id, rows.c.patient_id)
        .add_columns(rows.c.sensitivity)
        .where(
            rows.c.tenant_id == given("tenant"),
            rows.c.patient_id == given("patient"),
            rows.c.unit_id == given("unit"),
            rows.c.active,
        )
        .cte(PREFIX + "site")
    )


def bookable(
    tenant_id: ColumnElement[uuid.UUID],
    clinic_id: ColumnElement[uuid.UUID],
    unit_id: ColumnElement[uuid.UUID],
    resources: ColumnElement[Any],
    starts_at: ColumnElement[dt.datetime],
    ends_at: ColumnElement[dt.datetime],
) -> Select[uuid.UUID]:
    """Those of the resources that are active and then assigned to the place: to the clinic or to the department.

    Somebody of one department can be booked for the clinic as such, but not for another department.
    """
    a, r, p = ResourceAssignment, BookableResource, Practitioner
    return (
        select(a.resource_id)
        .join(r, (r.tenant_id == tenant_id) & (r.id == a.resource_id))
        .outerjoin(p, (p.tenant_id == tenant_id) & (p.id == r.practitioner_id))
        .where(
            a.tenant_id == tenant_id,
            a.resource_id == func.any(resources),
            a.clinic_id == clinic_id,
            or_(unit_id == clinic_id, a.unit_id == unit_id, a.unit_id == clinic_id),
            or_(a.valid_from.is_(None), a.valid_from <= starts_at),
            or_(a.valid_until.is_(None), a.valid_until >= ends_at),
            r.active,
            or_(r.practitioner_id.is_(None), p.active),
        )
        .distinct()
    )


def kept_of(site: CTE) -> CTE:
    here = given("tenant"), site.c.clinic_id, site.c.unit_id, given("practitioner")
    then = given("resources"), given("service"), given("starts_at"), given("ends_at")
    kept = func.kept_blocks(*here, *then).table_valued(
        column("resource_id", Uuid()), column("block", TSTZRANGE())
    )
    joined = site.join(kept, literal_column("true"))
    return select(kept.c.resource_id, kept.c.block).select_from(joined).cte(PREFIX + "kept")


def claim_of(site: CTE, kept: CTE) -> CTE:
    place = given("tenant"), site.c.clinic_id, site.c.unit_id
    then = given("resources"), given("starts_at"), given("ends_at")
    there = bookable(*place, *then).correlate(site).subquery()
    wanted = func.cardinality(given("resources"))
    source = select(
        site.c.tenant_id,
        given("person"),
        cast(literal_column(f"'{OPERATION}'"), Text),
        given("key"),
        func.decode(given("hash"), literal_column("'hex'")),
        given("appointment"),
        given("now"),
    ).where(
        select(func.count()).select_from(there).scalar_subquery() == wanted,
        select(func.count()).select_from(kept).scalar_subquery() == wanted,
    )
    names = (
        "tenant_id",
        "person_id",
        "operation",
        "key",
        "input_hash",
        "result_id",
        "created_at",
    )
    return (
        upsert(table(IdempotencyKey))
        .from_select(names, source, include_defaults=False)
        .on_conflict_do_nothing(index_elements=names[:4])
        .returning(table(IdempotencyKey).c.tenant_id, table(IdempotencyKey).c.result_id)
        .cte(PREFIX + "claimed")
    )


def lock_of(claimed: CTE) -> CTE:
    resources = func.unnest(given("resources")).table_valued("resource_id").render_derived()
    waited = holding(LOCK, claimed.c.tenant_id, resources.c.resource_id)
    return (
        select(func.count(waited.is_(None)).label("held"))
        .select_from(claimed.join(resources, literal_column("true")))
        .cte(PREFIX + "locked")
    )


def appointment_of(site: CTE, claimed: CTE, locked: CTE) -> CTE:
    values: dict[str, Any] = {
        "tenant_id": site.c.tenant_id,
        "id": claimed.c.result_id,
        "clinic_id": site.c.clinic_id,
        "unit_id": site.c.unit_id,
        "patient_id": site.c.patient_id,
        "sensitivity": site.c.sensitivity,
        "practitioner_id": given("practitioner"),
        "service_id": given("service"),
        "state": literal_column(f"'{AppointmentState.BOOKED}'"),
        "starts_at": given("starts_at"),
        "ends_at": given("ends_at"),
        "reason": given("reason"),
        "comment": given("comment"),
        "booked_by": given("person"),
        "version": literal_column("1"),
        "created_at": given("now"),
        "updated_at": given("now"),
    }
    source = (
        select(*values.values())
        .select_from(site.join(claimed, claimed.c.tenant_id == site.c.tenant_id))
        .join(locked, locked.c.held == func.cardinality(given("resources")))
    )
    return (
        insert(table(Appointment))
        .from_select(list(values), source, include_defaults=False)
        .returning(*table(Appointment).c)
        .cte(PREFIX + "booked")
    )


def blocks_of(booked: CTE, kept: CTE) -> Insert:
    place = func.array_position(given("resources"), kept.c.resource_id)
    values: dict[str, Any] = {
        "tenant_id": booked.c.tenant_id,
        "id": Grouping(given("blocks"))[place],
        "clinic_id": booked.c.clinic_id,
        "unit_id": booked.c.unit_id,
        "appointment_id": booked.c.id,
        "resource_id": kept.c.resource_id,
        "state": booked.c.state,
        "lane": literal_column("0"),
        "block": kept.c.block,
    }
    source = select(*values.values()).select_from(booked.join(kept, literal_column("true")))
    return insert(table(AppointmentBlock)).from_select(list(values), source, include_defaults=False)


def event_of(booked: CTE) -> CTE:
    values: dict[str, Any] = {
        "tenant_id": booked.c.tenant_id,
        "id": given("event"),
        "recorded_at": given("now"),
        "person_id": given("person"),
        "role": given("role"),
        "grant_id": given("grant"),
        "action": literal_column(f"'{ACTION}'"),
        "outcome": literal_column(f"'{Outcome.DONE}'"),
        "clinic_id": booked.c.clinic_id,
        "subject_ids": array([booked.c.id, booked.c.patient_id]),
        "masked": literal_column("'{}'::text[]"),
        "purpose": given("purpose"),
        "policy_version": given("policy_version"),
        "tree_version": given("tree_version"),
        "request_id": given("request"),
    }
    return (
        insert(table(AuditEvent))
        .from_select(list(values), select(*values.values()), include_defaults=False)
        .cte(PREFIX + "event")
    )
