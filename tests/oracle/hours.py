"""Open slots by the words of the specification: every beginning of every window is tried, minute by minute of a rule.

Local times go through Python's own time zones; the product asks PostgreSQL's.
"""

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from tests.oracle.rules import Sight

BLOCKING = ("pending", "booked", "arrived", "checked-in", "fulfilled")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = dt.timedelta(days=1)
Period = tuple[dt.datetime, dt.datetime]


def local(zone: ZoneInfo, day: dt.date, time: dt.time) -> dt.datetime:
    """An instant of the clocks on the wall; one that is skipped or comes twice is the later."""
    both = (dt.datetime.combine(day, time, zone).replace(fold=fold) for fold in (0, 1))
    return max(value.astimezone(dt.UTC) for value in both)


def rooms(sight: Sight, visit: Any) -> list[Any]:
    """The rooms and devices whose time a visit keeps."""
    kept = sight.rows.where("appointment_block", "appointment_id", visit.id)
    resources = (sight.rows.get("bookable_resource", block.resource_id) for block in kept)
    return [resource for resource in resources if resource.kind != "practitioner"]


def days_between(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    for n in range((last - first).days + 1):
        yield first + n * DAY


class Hours:
    """The opening hours of a unit as rows."""

    def __init__(self, sight: Sight, unit: Any, service: uuid.UUID | None) -> None:
        self.rows, self.unit, self.service = sight.rows, unit, service
        self.zone = ZoneInfo(self.rows.get("org_unit", unit.clinic_id).zone)
        self.rules = self._here("schedule_rule")
        self.closures = self._here("schedule_closure")

    def _here(self, table: str) -> list[Any]:
        return [r for r in self.rows.where(table, "clinic_id", self.unit.clinic_id) if r.active]

    def applies(self, row: Any) -> bool:
        """Whether a row of this clinic speaks of the unit."""
        return self.unit.id == self.unit.clinic_id or row.unit_id in (
            self.unit.id,
            self.unit.clinic_id,
        )

    def resources(self, first: dt.date, last: dt.date) -> list[Any]:
        """What can be booked at the unit in these days, anywhere on Earth."""
        since, until = (
            dt.datetime.combine(day, dt.time(), dt.UTC) for day in (first - DAY, last + 2 * DAY)
        )
        ids = {
            place.resource_id
            for place in self.rows.where("resource_assignment", "clinic_id", self.unit.clinic_id)
            if self.applies(place)
            and (place.valid_from is None or place.valid_from < until)
            and (place.valid_until is None or place.valid_until > since)
        }
        found = [self.rows.get("bookable_resource", id_) for id_ in ids]
        return sorted(
            (r for r in found if r.active and self._practises(r)),
            key=lambda r: (r.kind, r.name.encode(), r.id),
        )

    def _practises(self, resource: Any) -> bool:
        practitioner = self.rows.get("practitioner", resource.practitioner_id)
        return practitioner is None or practitioner.active

    def rules_of(self, resource: Any) -> list[Any] | None:
        """The rules that open a resource; None where none says when."""
        own = [rule for rule in self.rules if rule.resource_id == resource.id]
        if own:
            return [rule for rule in own if self.applies(rule)]
        general = [r for r in self.rules if r.resource_id is None and self.applies(r)]
        if not general or resource.kind != "practitioner":
            return None
        return general

    def windows(self, resource: Any, first: dt.date, last: dt.date) -> Iterator[tuple[Period, Any]]:
        for rule in self.rules_of(resource) or ():
            if rule.service_id not in (None, self.service):
                continue
            for day in days_between(first, last):
                within = rule.valid_from <= day and (
                    rule.valid_until is None or day <= rule.valid_until
                )
                if within and DAYS[day.weekday()] in rule.weekdays:
                    over = DAY if rule.closes <= rule.opens else 0 * DAY
                    begin, end = (
                        local(self.zone, day, rule.opens),
                        local(self.zone, day + over, rule.closes),
                    )
                    yield (begin, end), rule

    def closed(self, resource: Any, period: Period) -> bool:
        """Whether a closure lies on some of the time."""
        for closure in self.closures:
            general = closure.resource_id is None and closure.unit_id in (
                self.unit.id,
                self.unit.clinic_id,
            )
            if closure.resource_id != resource.id and not general:
                continue
            for day in days_between(closure.first_on, closure.last_on):
                begin = local(self.zone, day, closure.from_time or dt.time())
                until = closure.until_time
                end = (
                    local(self.zone, day + DAY, dt.time())
                    if until is None
                    else local(self.zone, day, until)
                )
                if begin < period[1] and period[0] < end:
                    return True
        return False

    def taken(self, resource: Any, period: Period) -> bool:
        """Whether somebody has some of the time, at whatever clinic; an expired hold has nothing."""
        for block in self.rows.where("appointment_block", "resource_id", resource.id):
            visit = self.rows.get("appointment", block.appointment_id)
            over = visit.state == "pending" and visit.expires_at <= self.rows.now
            if block.state not in BLOCKING or over:
                continue
            if block.block.lower < period[1] and period[0] < block.block.upper:
                return True
        return False

    def there(self, resource: Any, visit: Period) -> bool:
        """Whether the resource is assigned to the unit, or what it belongs to, for all of the visit."""
        return any(
            (place.valid_from is None or place.valid_from <= visit[0])
            and (place.valid_until is None or visit[1] <= place.valid_until)
            for place in self.rows.where("resource_assignment", "resource_id", resource.id)
            if place.clinic_id == self.unit.clinic_id and self.applies(place)
        )

    def takes(self, resource: Any, visit: Period, first: dt.date, last: dt.date) -> bool:
        """Whether a further resource of a visit is open and free."""
        if not self.there(resource, visit):
            return False
        if self.rules_of(resource) is None:
            return not self.taken(resource, visit) and not self.closed(resource, visit)
        return any(
            begin <= visit[0]
            and visit[1] <= end
            and not self.closed(resource, visit)
            and not self.taken(resource, around(visit, rule))
            for (begin, end), rule in self.windows(resource, first, last)
        )

    def slots(
        self,
        resource: Any,
        first: dt.date,
        last: dt.date,
        minutes: int | None,
        together: list[Any],
    ) -> list[Period]:
        found = set()
        for (begin, end), rule in self.windows(resource, first, last):
            length = dt.timedelta(minutes=minutes or rule.minutes)
            if length % dt.timedelta(minutes=rule.minutes):
                continue
            start = begin
            while start + length <= end:
                visit = (start, start + length)
                start += dt.timedelta(minutes=rule.step)
                if (
                    visit[0] >= self.rows.now
                    and self.there(resource, around(visit, rule))
                    and not self.closed(resource, visit)
                    and not self.taken(resource, around(visit, rule))
                    and all(
                        self.takes(o, visit, first, last) for o in together if o is not resource
                    )
                ):
                    found.add(visit)
        return sorted(found)


def around(visit: Period, rule: Any) -> Period:
    """The visit with its buffers."""
    before, after = (dt.timedelta(minutes=m) for m in (rule.buffer_before, rule.buffer_after))
    return visit[0] - before, visit[1] + after
