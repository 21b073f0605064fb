"""What comes due: found by looking through a stretch of the calendar, once for each rule's time before a visit.

Nothing is kept of a reminder before it is due, so nothing has to follow when a visit is moved or cancelled, or a rule
is changed. When one goes out is said by `reminder_at` in the database alone (migration 0022):

- the rule's time before the visit; nothing where the visit was booked, or the rule made, after that;
- in quiet hours of the patient's zone half an hour before they begin; where that has passed when the visit was
  booked, as soon as they end, if that is before the visit.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Text,
    Time,
    Uuid,
    cast,
    exists,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy import column as named
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from domain.appointments import Appointment, AppointmentState
from domain.audit import Agent
from domain.model import new_id
from domain.patients import Patient
from domain.reminders.nearest import RuleAtPlace, rules_everywhere
from domain.reminders.record import Cause, Reminder, ReminderState, ReminderWatch

PERIOD = dt.timedelta(minutes=5)
"""How often a calendar is looked through, each time for what is due until the next."""
OVERLAP = dt.timedelta(minutes=15)
"""How far back: a visit may be booked, at the last moment, by a transaction that was not committed when one looked."""
STRETCH = dt.timedelta(hours=1)
"""What is looked through at once, after an outage."""
CHUNK = 1_000
"""Rows of one statement."""
TOGETHER = dt.timedelta(minutes=10)
"""Of two reminders of one visit by one channel within this time only the one nearer to the visit goes out."""


@dataclass(frozen=True)
class Looked:
    """What one look found: reminders to be sent (id and when), and when to look again; None: no rule is in force."""

    due: Sequence[tuple[uuid.UUID, dt.datetime]]
    again_at: dt.datetime | None


async def watch(session: AsyncSession, agent: Agent) -> bool:
    """Have the calendar looked through from now on; whether somebody has to be told to. Writes reminder_watch.

    Waits for a look that is under way, which may just have found no rule and gone to sleep.
    """
    asleep = insert(ReminderWatch).values(
        tenant_id=agent.tenant_id, checked_until=agent.now, looks_at=None
    )
    await session.execute(asleep.on_conflict_do_nothing())
    watched = await _watched(session, agent)
    assert watched is not None  # one of the two made it
    if watched.looks_at is not None and watched.looks_at > agent.now - STRETCH:
        return False
    if watched.looks_at is None:
        watched.checked_until = agent.now
    watched.looks_at = agent.now
    await session.flush()
    return True


async def look(session: AsyncSession, agent: Agent) -> Looked | None:
    """Write down what comes due until the next look; None where it is not yet time, so that of two one ends here.

    The session sees the whole health system. Writes reminder, reminder_watch.
    """
    watched = await _watched(session, agent)
    if watched is None or watched.looks_at is None or watched.looks_at > agent.now:
        return None
    until = min(agent.now + PERIOD, watched.checked_until + STRETCH)
    places = await rules_everywhere(session, agent)
    due = await _planned(session, agent, places, watched.checked_until - OVERLAP, until)
    behind = until < agent.now
    watched.looks_at = (agent.now if behind else until) if places else None
    watched.checked_until = until
    await session.flush()
    return Looked(due, watched.looks_at)


async def _watched(session: AsyncSession, agent: Agent) -> ReminderWatch | None:
    """The health system's row, kept for oneself until the end."""
    return await session.scalar(
        select(ReminderWatch).where(ReminderWatch.tenant_id == agent.tenant_id).with_for_update(),
        execution_options={"populate_existing": True},
    )


async def _planned(
    session: AsyncSession,
    agent: Agent,
    places: Sequence[RuleAtPlace],
    since: dt.datetime,
    until: dt.datetime,
) -> list[tuple[uuid.UUID, dt.datetime]]:
    """Write the reminders whose time lies after `since`, until `until`; answers those that are to be sent."""
    by_minutes = defaultdict[int, list[RuleAtPlace]](list)
    for place in places:
        by_minutes[place.minutes].append(place)
    sent: dict[tuple[uuid.UUID, str], list[dt.datetime]] = {}
    due = []
    for minutes in sorted(by_minutes):  # the one nearer to the visit first
        found = await session.execute(
            _coming_due(agent, by_minutes[minutes], minutes, since, until)
        )
        rows = [_row(agent, row, sent) for row in found]
        for n in range(0, len(rows), CHUNK):
            await session.execute(insert(Reminder).values(rows[n : n + CHUNK]))
        due += [(r["id"], r["due_at"]) for r in rows if r["state"] == ReminderState.DUE]
    return due


def _row(
    agent: Agent, found: Any, sent: dict[tuple[uuid.UUID, str], list[dt.datetime]]
) -> dict[str, Any]:
    """A reminder as it is written, due or merged with another one of this look or an earlier one."""
    others = sent.setdefault((found.appointment_id, found.channel), [])
    merged = found.merged or any(abs(found.due_at - other) <= TOGETHER for other in others)
    if not merged:
        others.append(found.due_at)
    return {
        "tenant_id": agent.tenant_id,
        "id": new_id(),
        "clinic_id": found.clinic_id,
        "unit_id": found.unit_id,
        "patient_id": found.patient_id,
        "sensitivity": found.sensitivity,
        "appointment_id": found.appointment_id,
        "rule_id": found.rule_id,
        "channel": found.channel,
        "state": (ReminderState.SKIPPED if merged else ReminderState.DUE).value,
        "cause": Cause.MERGED.value if merged else None,
        "due_at": found.due_at,
        "created_at": agent.now,
    }


def _coming_due(
    agent: Agent,
    places: Sequence[RuleAtPlace],
    minutes: int,
    since: dt.datetime,
    until: dt.datetime,
) -> Select[Any]:
    """Booked visits at these places whose reminder is due in the stretch and was not written down yet."""
    a, p = aliased(Appointment), aliased(Patient)
    w = _at(places)
    asked = func.reminder_at(
        a.starts_at,
        cast(minutes, Integer),
        func.coalesce(p.zone, w.c.zone),
        w.c.quiet_from,
        w.c.quiet_until,
        func.greatest(a.created_at, w.c.since),
        type_=DateTime(timezone=True),
    )
    # `offset 0`: computed once for each visit, not at each mention.
    told = select(asked.label("due_at")).correlate(a, p, w).offset(literal_column("0"))
    at = told.lateral("at")
    due_at = at.c.due_at
    before, shift = dt.timedelta(minutes=minutes), max(place.shift for place in places)
    near = _reminded(
        agent,
        a,
        lambda r: r.channel == w.c.channel,
        lambda r: r.state != ReminderState.SKIPPED,
        lambda r: r.due_at.between(due_at - TOGETHER, due_at + TOGETHER),
    )
    written = _reminded(agent, a, lambda r: r.rule_id == w.c.rule_id)
    return (
        select(
            a.id.label("appointment_id"),
            a.clinic_id,
            a.unit_id,
            a.patient_id,
            a.sensitivity,
            w.c.rule_id,
            w.c.channel,
            due_at.label("due_at"),
            near.label("merged"),
        )
        .select_from(a)
        .join(w, w.c.unit_id == a.unit_id)
        .join(p, (p.tenant_id == agent.tenant_id) & (p.id == a.patient_id))
        .join(at, literal_column("true"))
        .where(
            a.tenant_id == agent.tenant_id,
            a.starts_at > max(since + before - shift, agent.now),
            a.starts_at <= until + before + shift,
            a.state == AppointmentState.BOOKED,
            due_at > since,
            due_at <= until,
            ~written,
        )
        .order_by(due_at, a.id)
    )


def _reminded(
    agent: Agent, visit: Any, *conditions: Callable[[Any], ColumnElement[bool]]
) -> ColumnElement[bool]:
    """Whether the visit has a reminder of which all of this holds."""
    r = aliased(Reminder)
    here = (r.tenant_id == agent.tenant_id, r.appointment_id == visit.id)
    return exists().where(*here, *(condition(r) for condition in conditions))


def _at(places: Sequence[RuleAtPlace]) -> Any:
    """The rules as rows of a statement."""

    def column(type_: TypeEngine[Any], values: Iterable[Any]) -> ColumnElement[Any]:
        return cast(literal(list(values), ARRAY(type_)), ARRAY(type_))

    instant = DateTime(timezone=True)
    return (
        func.unnest(
            column(Uuid(), (p.unit_id for p in places)),
            column(Uuid(), (p.rule.id for p in places)),
            column(Text(), (p.rule.channel for p in places)),
            column(instant, (p.rule.since for p in places)),
            column(Text(), (p.zone for p in places)),
            column(Time(), (p.quiet_from for p in places)),
            column(Time(), (p.quiet_until for p in places)),
        )
        .table_valued(
            named("unit_id", Uuid()),
            named("rule_id", Uuid()),
            named("channel", Text()),
            named("since", instant),
            named("zone", Text()),
            named("quiet_from", Time()),
            named("quiet_until", Time()),
            name="rules",
        )
        .render_derived()
    )
