"""What is done to opening hours. Visits that are booked already stay as they are."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import Invalid
from domain.locks import hold
from domain.model import new_id
from domain.organization import OrgUnit, Place, clinic_of
from domain.plain_text import name as a_name
from domain.plain_text import optional_line
from domain.practitioners import ResourceAssignment
from domain.schedules.openings import require_service
from domain.schedules.record import HealthcareService, ScheduleClosure, ScheduleRule, Weekday
from domain.versions import change

SHORTEST, LONGEST = 5, 480
BUFFER = 240
AHEAD = dt.timedelta(days=5 * 366)
MOST = 2_000
"""Active rules or closures of a clinic: what expanding them costs stays bounded."""
LOCK = "schedule"


@dataclass(frozen=True)
class Hours:
    """The terms of a rule, see `ScheduleRule`. Times are of the clinic's clocks, minutes whole."""

    weekdays: tuple[Weekday, ...]
    opens: dt.time
    closes: dt.time
    minutes: int
    step: int
    valid_from: dt.date
    valid_until: dt.date | None = None
    buffer_before: int = 0
    buffer_after: int = 0
    service_id: uuid.UUID | None = None

    @property
    def length(self) -> int:
        """Minutes from opening to closing by the clock on the wall."""
        begin, end = (t.hour * 60 + t.minute for t in (self.opens, self.closes))
        return end - begin if end > begin else end - begin + 24 * 60


async def add_service(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    name: str,
    minutes: int,
    service_id: uuid.UUID | None = None,
) -> HealthcareService:
    """Offer a service at a clinic or department. Raises Invalid. Writes healthcare_service."""
    made = HealthcareService(
        tenant_id=agent.tenant_id,
        id=service_id or new_id(),
        clinic_id=clinic_of(place),
        unit_id=place.id,
        name=a_name(name, "name"),
        minutes=_minutes(minutes, "minutes"),
        active=True,
    )
    session.add(made)
    await session.flush()
    record(session, agent, "schedule:add_service", made.id, clinic_id=made.clinic_id)
    return made


async def change_service(
    session: AsyncSession,
    agent: Agent,
    service: HealthcareService,
    version: int,
    *,
    name: str | None = None,
    minutes: int | None = None,
    active: bool | None = None,
) -> HealthcareService:
    """Rename, set the usual length, withdraw or offer again. Raises Invalid, StaleVersion."""
    values: dict[str, Any] = {}
    if name is not None:
        values["name"] = a_name(name, "name")
    if minutes is not None:
        values["minutes"] = _minutes(minutes, "minutes")
    if active is not None:
        values["active"] = active
    changed = await change(session, agent, service, version, **values)
    record(session, agent, "schedule:change_service", changed.id, clinic_id=changed.clinic_id)
    return changed


async def add_rule(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    hours: Hours,
    *,
    resource_id: uuid.UUID | None = None,
    rule_id: uuid.UUID | None = None,
) -> ScheduleRule:
    """Open a resource, or every practitioner without own rules, at `place`. Raises Invalid. Writes schedule_rule."""
    clinic_id = clinic_of(place)
    await _counted(session, agent, ScheduleRule, clinic_id)
    await _of_place(session, agent, clinic_id, resource_id)
    made = ScheduleRule(
        tenant_id=agent.tenant_id,
        id=rule_id or new_id(),
        clinic_id=clinic_id,
        unit_id=place.id,
        resource_id=resource_id,
        active=True,
        **await _terms(session, agent, clinic_id, hours),
    )
    session.add(made)
    await session.flush()
    record(session, agent, "schedule:add_rule", made.id, clinic_id=clinic_id)
    return made


async def change_rule(
    session: AsyncSession,
    agent: Agent,
    rule: ScheduleRule,
    version: int,
    hours: Hours | None = None,
    *,
    active: bool | None = None,
) -> ScheduleRule:
    """Give a rule other terms, withdraw it or put it in force again. Raises Invalid, StaleVersion."""
    values: dict[str, Any] = {}
    if hours is not None:
        values = await _terms(session, agent, rule.clinic_id, hours)
    if active is not None:
        values["active"] = active
    changed = await change(session, agent, rule, version, **values)
    record(session, agent, "schedule:change_rule", changed.id, clinic_id=changed.clinic_id)
    return changed


async def close(
    session: AsyncSession,
    agent: Agent,
    place: Place,
    first_on: dt.date,
    last_on: dt.date,
    *,
    resource_id: uuid.UUID | None = None,
    from_time: dt.time | None = None,
    until_time: dt.time | None = None,
    reason: str | None = None,
    closure_id: uuid.UUID | None = None,
) -> ScheduleClosure:
    """Close a place, or say that a resource is away. Raises Invalid. Writes schedule_closure."""
    clinic_id = clinic_of(place)
    await _counted(session, agent, ScheduleClosure, clinic_id)
    await _of_place(session, agent, clinic_id, resource_id)
    today = await _today(session, agent, clinic_id)
    _days(first_on, last_on, today, "firstOn", "lastOn")
    times = [_time(t, path) for t, path in ((from_time, "fromTime"), (until_time, "untilTime"))]
    if times[0] and times[1] and times[1] <= times[0]:
        raise Invalid("A closure ends after it begins.", path=("untilTime",))
    made = ScheduleClosure(
        tenant_id=agent.tenant_id,
        id=closure_id or new_id(),
        clinic_id=clinic_id,
        unit_id=place.id,
        resource_id=resource_id,
        first_on=first_on,
        last_on=last_on,
        from_time=times[0],
        until_time=times[1],
        reason=optional_line(reason, "reason"),
        active=True,
    )
    session.add(made)
    await session.flush()
    record(session, agent, "schedule:close", made.id, clinic_id=clinic_id)
    return made


async def reopen(
    session: AsyncSession, agent: Agent, closure: ScheduleClosure, version: int
) -> ScheduleClosure:
    """Withdraw a closure. Raises StaleVersion."""
    changed = await change(session, agent, closure, version, active=False)
    record(session, agent, "schedule:reopen", changed.id, clinic_id=changed.clinic_id)
    return changed


async def _terms(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, hours: Hours
) -> dict[str, Any]:
    """The columns of a rule's terms. Raises Invalid."""
    if not hours.weekdays:
        raise Invalid("A rule holds on one weekday at least.", path=("weekdays",))
    opens, closes = _time(hours.opens, "opens"), _time(hours.closes, "closes")
    minutes, step = _minutes(hours.minutes, "minutes"), _minutes(hours.step, "step")
    if minutes > hours.length:
        raise Invalid(
            "The window is shorter than one visit.",
            path=("minutes",),
            code="DURATION_DOES_NOT_FIT",
        )
    for buffer, path in (
        (hours.buffer_before, "bufferBefore"),
        (hours.buffer_after, "bufferAfter"),
    ):
        if not 0 <= buffer <= BUFFER:
            raise Invalid(f"A buffer takes 0 to {BUFFER} minutes.", path=(path,))
    today = await _today(session, agent, clinic_id)
    if hours.valid_until is not None:
        _days(hours.valid_from, hours.valid_until, today, "validFrom", "validUntil")
    elif hours.valid_from > today + AHEAD:
        raise Invalid("This is more than five years ahead.", path=("validFrom",))
    await require_service(session, agent, clinic_id, hours.service_id)
    return {
        "weekdays": [day.value for day in Weekday if day in hours.weekdays],
        "opens": opens,
        "closes": closes,
        "minutes": minutes,
        "step": step,
        "buffer_before": hours.buffer_before,
        "buffer_after": hours.buffer_after,
        "valid_from": hours.valid_from,
        "valid_until": hours.valid_until,
        "service_id": hours.service_id,
    }


def _minutes(value: int, path: str) -> int:
    if not SHORTEST <= value <= LONGEST:
        raise Invalid(f"{SHORTEST} to {LONGEST} minutes.", path=(path,))
    return value


def _time(value: dt.time | None, path: str) -> Any:
    if value is not None and (value.tzinfo is not None or value.second or value.microsecond):
        raise Invalid("A time of the day has hours and minutes only.", path=(path,))
    return value


def _days(first: dt.date, last: dt.date, today: dt.date, *paths: str) -> None:
    if last < first:
        raise Invalid("The last day is before the first.", path=(paths[1],), code="REVERSED_PERIOD")
    if last < today:
        raise Invalid("This is in the past.", path=(paths[1],), code="IN_THE_PAST")
    if last > today + AHEAD:
        raise Invalid("This is more than five years ahead.", path=(paths[1],))


async def _today(session: AsyncSession, agent: Agent, clinic_id: uuid.UUID) -> dt.date:
    """The clinic's own day."""
    zone = await session.scalar(
        select(OrgUnit.zone).where(OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id == clinic_id)
    )
    return agent.now.astimezone(ZoneInfo(zone or "UTC")).date()


async def _counted(
    session: AsyncSession,
    agent: Agent,
    model: type[ScheduleRule] | type[ScheduleClosure],
    clinic_id: uuid.UUID,
) -> None:
    await hold(session, LOCK, agent.tenant_id, clinic_id)
    held = select(model.id).where(
        model.tenant_id == agent.tenant_id, model.clinic_id == clinic_id, model.active
    )
    if len((await session.scalars(held.limit(MOST))).all()) >= MOST:
        raise Invalid(f"A clinic has at most {MOST} of these.", path=("unit",), code="TOO_MANY")


async def places_bound(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, resource_id: uuid.UUID
) -> Sequence[uuid.UUID]:
    """The units of a clinic in which a resource's own rules and closures bind: where it can be booked, now or later.

    Whoever sets or withdraws one must be allowed to at each of them.
    """
    place = ResourceAssignment
    found = await session.scalars(
        select(place.unit_id).where(
            place.tenant_id == agent.tenant_id,
            place.resource_id == resource_id,
            place.clinic_id == clinic_id,
            or_(place.valid_until.is_(None), place.valid_until > agent.now),
        )
    )
    return found.all()


async def _of_place(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, resource_id: uuid.UUID | None
) -> None:
    """Raises Invalid unless the resource is booked at the clinic at all."""
    if resource_id is None or await places_bound(session, agent, clinic_id, resource_id):
        return
    raise Invalid(
        "This cannot be booked at this clinic.", path=("resourceId",), code="NOT_BOOKABLE_HERE"
    )
