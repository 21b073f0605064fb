"""Who treats a patient: worked out from visits and appointments, of the places where one may read them."""

import datetime as dt
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Select,
    Uuid,
    cast,
    func,
    literal_column,
    null,
    select,
    union_all,
)

from api.graph.practitioners import Practitioner, practitioner_of
from api.graph.relay import value_type
from api.plan.compile import Compiler
from api.plan.mapping import Row, attribute, column, one
from domain.appointments import Appointment as Appointments
from domain.encounters import Encounter as Encounters

SEEN = ("arrived", "triaged", "in-progress", "onleave", "finished")
COMING = ("pending", "booked", "arrived", "checked-in")
MOST: ColumnElement[Any] = literal_column("50")
NEVER = cast(null(), DateTime(True))


def _constants(values: tuple[str, ...]) -> list[ColumnElement[Any]]:
    return [literal_column(f"'{value}'") for value in values]


def care_team(patient: Row, c: Compiler, _get: Any) -> Select[Any]:
    """Practitioners with their visits and next appointment; of many those who come next, then who was seen last."""
    visit = c.alias(Encounters)
    booked = c.alias(Appointments)
    seen = select(
        visit.practitioner_id, visit.started_at.label("seen_at"), NEVER.label("next_at")
    ).where(
        visit.patient_id == attribute(patient, "id"),
        visit.practitioner_id.is_not(None),
        visit.state.in_(_constants(SEEN)),
        c.policy(visit, "encounter"),
    )
    coming = select(
        booked.practitioner_id, NEVER.label("seen_at"), booked.starts_at.label("next_at")
    ).where(
        booked.patient_id == attribute(patient, "id"),
        booked.starts_at >= func.now(),
        booked.state.in_(_constants(COMING)),
        c.policy(booked, "appointment"),
    )
    rows = union_all(seen.correlate(patient), coming.correlate(patient)).subquery(f"e{c.label()}")
    last, next_ = func.max(rows.c.seen_at), func.min(rows.c.next_at)
    return (
        select(
            cast(c.tenant(), Uuid()).label("tenant_id"),
            rows.c.practitioner_id,
            last.label("last_seen_at"),
            next_.label("next_at"),
            func.count(rows.c.seen_at).label("visits"),
        )
        .group_by(rows.c.practitioner_id)
        .order_by(next_, last.desc(), rows.c.practitioner_id)
        .limit(MOST)
    )


def soonest(member: Row) -> list[ColumnElement[Any]]:
    """Who comes next first, then who was seen last."""
    return [member.next_at, member.last_seen_at.desc(), member.practitioner_id]


@value_type("Somebody who treats a patient.")
class CareTeamMember:
    last_seen_at: dt.datetime | None = column("read", "When they last saw the patient.")
    next_at: dt.datetime | None = column("read", "When they see the patient next.")
    visits: int | None = column("read", "How many visits there were.")

    @one("read", practitioner_of)
    def practitioner(self) -> Practitioner | None:
        """Who it is."""
