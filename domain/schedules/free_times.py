"""The one statement that says when resources of a place are open and taken, and the slots in its answer."""

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from domain.schedules.openings import Busy, Slot, Window, open_slots

SQL = """\
with place as (
    select u.clinic_id, u.id, z.zone from org_unit u
    join org_unit z on z.tenant_id = u.tenant_id and z.id = u.clinic_id
    where u.tenant_id = $1 and z.tenant_id = $1 and u.id = $2
), assigned as (
    select r.id, r.name, r.kind, place.clinic_id, place.id as unit_id,
        range_agg(tstzrange(a.valid_from, a.valid_until)) as there
    from place
    join resource_assignment a on a.tenant_id = $1 and a.clinic_id = place.clinic_id
        and (place.id = place.clinic_id or a.unit_id in (place.id, place.clinic_id))
        and (a.valid_from is null or a.valid_from < ($6::date + 2)::timestamptz)
        and (a.valid_until is null or a.valid_until > ($5::date - 1)::timestamptz)
    join bookable_resource r on r.tenant_id = $1 and r.id = a.resource_id and r.active
    left join practitioner p on p.tenant_id = $1 and p.id = r.practitioner_id
    where (r.practitioner_id is null or p.active) and ($3::uuid[] is null or r.id = any ($3))
    group by r.id, r.name, r.kind, place.clinic_id, place.id
), span as (
    select tstzrange(($5::date - 2)::timestamptz, ($6::date + 3)::timestamptz) as days
), wanted as materialized (
    select a.*, is_ruled($1, a.clinic_id, a.unit_id, a.id) as ruled from assigned a
), ids as materialized (select array_agg(id) as ids from wanted)
select json_build_object(
    'resources', (select coalesce(json_agg(json_build_array(w.id, w.name, w.kind, w.ruled)
        order by w.kind, w.name, w.id), '[]') from wanted w),
    'minutes', (select h.minutes from healthcare_service h
        where h.tenant_id = $1 and h.id = $4::uuid and h.active
            and h.clinic_id = (select clinic_id from place)),
    'windows', (select coalesce(json_agg(json_build_array(o.resource_id,
        date_part('epoch', o.opens_at)::bigint, date_part('epoch', o.closes_at)::bigint,
        date_part('epoch', o.aligned_at)::bigint, o.minutes, o.step, o.buffer_before, o.buffer_after)), '[]')
        from place, ids, open_windows($1, place.clinic_id, place.id, ids.ids, $4::uuid, $5::date, $6::date) o),
    'busy', (select coalesce(json_agg(json_build_array(s.resource_id, s.begins, s.ends)), '[]') from (
        select t.resource_id, array_agg(floor(date_part('epoch', lower(t.block)))::bigint) as begins,
            array_agg(ceil(date_part('epoch', upper(t.block)))::bigint) as ends
        from (
            select b.resource_id, b.block
            from place, ids, span, busy_times($1, place.id, ids.ids, span.days, $7::timestamptz) b
            union all
            select w.id, away.block
            from wanted w, span, unnest(tstzmultirange(span.days) - w.there) away (block)
            union all
            select w.id, c.block
            from wanted w, unnest(closed_times($1, w.clinic_id, w.unit_id, w.id, $5::date - 1, $6::date + 2)) c (block)
            where not w.ruled
        ) t group by t.resource_id) s)
)::text
"""
"""Parameters: tenant, unit, resources (null: all of the unit), service, first and last day, the present moment.

What is taken are two arrays a resource, in seconds by `date_part`: a JSON row for each, with `extract`'s numeric, took
nearly half of the statement's time. A double holds microseconds until the year 2255.
"""


@dataclass(frozen=True)
class Resource:
    """A bookable resource: `ruled` says whether rules tell when it may be booked."""

    id: uuid.UUID
    name: str
    kind: str
    ruled: bool
    windows: tuple[Window, ...]
    busy: Busy


@dataclass(frozen=True)
class FreeTimes:
    """The resources of a place by id, in the order of kind and name; `minutes` is the service's usual length."""

    resources: Mapping[uuid.UUID, Resource]
    minutes: int | None

    def slots(
        self,
        resource: Resource,
        *,
        since: dt.datetime,
        minutes: int | None = None,
        together: Iterable[uuid.UUID] = (),
    ) -> list[Slot]:
        """When the resource can be booked, together with others."""
        others = [self.resources[id_] for id_ in together if id_ != resource.id]
        return open_slots(
            resource.windows,
            resource.busy,
            minutes=minutes or self.minutes,
            since=int(since.timestamp()),
            together=[(o.windows if o.ruled else None, o.busy) for o in others],
        )


def parameters(
    tenant_id: uuid.UUID,
    unit_id: uuid.UUID,
    resources: Iterable[uuid.UUID] | None,
    service_id: uuid.UUID | None,
    days: tuple[dt.date, dt.date],
    now: dt.datetime,
) -> list[Any]:
    """The values of SQL's parameters, in their order."""
    chosen = None if resources is None else list(resources)
    return [tenant_id, unit_id, chosen, service_id, *days, now]


def read(told: Mapping[str, Any]) -> FreeTimes:
    """What SQL's row says."""
    windows = _grouped(told["windows"])
    busy = {id_: list(zip(begins, ends, strict=True)) for id_, begins, ends in told["busy"]}
    resources = {
        uuid.UUID(id_): Resource(
            uuid.UUID(id_),
            name,
            kind,
            ruled,
            tuple(Window(*row) for row in windows.get(id_, ())),
            busy.get(id_, ()),
        )
        for id_, name, kind, ruled in told["resources"]
    }
    return FreeTimes(resources, told["minutes"])


def _grouped(rows: Iterable[list[Any]]) -> dict[str, list[list[Any]]]:
    out: dict[str, list[list[Any]]] = {}
    for id_, *values in rows:
        out.setdefault(id_, []).append(values)
    return out


def instants(slots: Iterable[Slot]) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Slots as instants of UTC."""
    for slot in slots:
        yield (
            dt.datetime.fromtimestamp(slot.begins, dt.UTC),
            dt.datetime.fromtimestamp(slot.ends, dt.UTC),
        )
