"""Open slots: windows of the rules, less what is taken, cut into visits; and why a visit does not lie in one.

The windows come from the database (`open_windows`), which booking asks too, so that there is one reading of a rule.
"""

import datetime as dt
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Date, DateTime, Integer, Uuid, cast, column, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, TSTZRANGE
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.errors import DomainError, Invalid
from domain.schedules.record import HealthcareService

INSTANT = DateTime(timezone=True)
ASKED: dict[str, Any] = {
    "tenant": Uuid(),
    "clinic": Uuid(),
    "unit": Uuid(),
    "resources": ARRAY(Uuid()),
    "service": Uuid(),
    "first_on": Date(),
    "last_on": Date(),
}
"""The arguments of `open_windows` and their types."""
FORMS = ("resource_id", "opens_at", "closes_at", "aligned_at")
TERMS = ("minutes", "step", "buffer_before", "buffer_after")


class OutsideHours(DomainError):
    """The rules do not open this resource then, or a closure lies on the time."""

    code = "OUTSIDE_HOURS"

    def __init__(self, field: str = "startsAt") -> None:
        super().__init__("This is outside of the opening hours.", path=(field,))


class DoesNotFit(DomainError):
    """The window is open at the beginning, but not for so long, or the rule asks for another length."""

    code = "DURATION_DOES_NOT_FIT"

    def __init__(self) -> None:
        super().__init__("A visit of this length does not fit here.", path=("minutes",))


class StartNotOffered(DomainError):
    """Visits of this practitioner begin at other minutes."""

    code = "START_NOT_OFFERED"

    def __init__(self) -> None:
        super().__init__("No visit begins at this minute.", path=("startsAt",))


class Window(NamedTuple):
    """An open time of a resource, in seconds since 1970; visits begin each `step` minutes counted from `aligned`."""

    opens: int
    closes: int
    aligned: int
    minutes: int
    step: int
    before: int
    after: int


class Slot(NamedTuple):
    """Beginning and end of a visit that could be booked, in seconds since 1970."""

    begins: int
    ends: int


Busy = Sequence[tuple[int, int]]
"""Taken times, in seconds since 1970, in any order."""


def open_slots(
    windows: Iterable[Window],
    busy: Busy,
    *,
    minutes: int | None,
    since: int,
    together: Sequence[tuple[Sequence[Window] | None, Busy]] = (),
) -> list[Slot]:
    """The slots that begin at `since` or later. `minutes`: how long the visit is, by default what the rule says.

    `together`: other resources that must be free too, each with its windows (None: no rule says when) and what is
    taken of it. Buffers of the windows count against what is taken.
    """
    taken = _merged(busy)
    others = [(known, _merged(theirs)) for known, theirs in together]
    found: set[Slot] = set()
    for window in windows:
        for slot in _starts(window, minutes, since):
            free = _free(taken, slot.begins - window.before * 60, slot.ends + window.after * 60)
            if free and all(_joins(slot, *other) for other in others):
                found.add(slot)
    return sorted(found)


def _starts(window: Window, minutes: int | None, since: int) -> Iterator[Slot]:
    """Every visit that lies in the window, free or not."""
    length = (minutes or window.minutes) * 60
    if length % (window.minutes * 60):
        return
    step = window.step * 60
    behind = max(window.opens, since) - window.aligned
    first = window.aligned + -(-behind // step) * step
    for begins in range(first, window.closes - length + 1, step):
        yield Slot(begins, begins + length)


def _joins(
    slot: Slot, windows: Sequence[Window] | None, taken: tuple[list[int], list[int]]
) -> bool:
    """Whether another resource takes the visit as well."""
    if windows is None:
        return _free(taken, *slot)
    return any(
        w.opens <= slot.begins
        and slot.ends <= w.closes
        and _free(taken, slot.begins - w.before * 60, slot.ends + w.after * 60)
        for w in windows
    )


def _merged(busy: Busy) -> tuple[list[int], list[int]]:
    """Beginnings and ends of taken times that neither touch nor overlap."""
    begins: list[int] = []
    ends: list[int] = []
    for begin, end in sorted(busy):
        if ends and begin <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            begins.append(begin)
            ends.append(end)
    return begins, ends


def _free(taken: tuple[list[int], list[int]], begin: int, end: int) -> bool:
    begins, ends = taken
    before = bisect_left(begins, end) - 1  # the last that begins before this one ends
    return before < 0 or ends[before] <= begin


def windows_of(row: Sequence[Any]) -> Window:
    """A window from its row: opens, closes, aligned in seconds, then the terms of the rule."""
    opens, closes, aligned, *terms = (int(value) for value in row)
    return Window(opens, closes, aligned, *terms)


async def require_open(
    session: AsyncSession,
    agent: Agent,
    place: Any,
    practitioner_id: uuid.UUID,
    resources: Sequence[uuid.UUID],
    service_id: uuid.UUID | None,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
) -> dict[uuid.UUID, Any]:
    """What the visit keeps of each resource, buffers included. Raises OutsideHours, DoesNotFit, StartNotOffered.

    A resource that an overbooked visit keeps is left out.
    """
    kept = await kept_blocks(
        session, agent, place, practitioner_id, resources, service_id, starts_at, ends_at
    )
    missing = set(resources) - kept.keys()
    if missing:
        doubled = await _overbooked(session, agent, resources, starts_at, ends_at)
        missing -= doubled
    if practitioner_id in missing:
        raise await _reason(session, agent, place, practitioner_id, service_id, starts_at, ends_at)
    if missing:
        raise OutsideHours("roomIds")
    return kept


async def kept_blocks(
    session: AsyncSession,
    agent: Agent,
    place: Any,
    practitioner_id: uuid.UUID,
    resources: Sequence[uuid.UUID],
    service_id: uuid.UUID | None,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
) -> dict[uuid.UUID, Any]:
    """The rows of the database's `kept_blocks` by resource."""
    asked = func.kept_blocks(
        *(literal(id_, Uuid()) for id_ in (agent.tenant_id, place.clinic_id, place.id)),
        literal(practitioner_id, Uuid()),
        cast(literal(list(resources), ARRAY(Uuid())), ARRAY(Uuid())),
        cast(literal(service_id, Uuid()), Uuid()),
        *(cast(literal(at, INSTANT), INSTANT) for at in (starts_at, ends_at)),
    ).table_valued(column("resource_id", Uuid()), column("block", TSTZRANGE()))
    rows = await session.execute(select(asked.c.resource_id, asked.c.block))
    return {row.resource_id: row.block for row in rows}


async def _overbooked(
    session: AsyncSession,
    agent: Agent,
    resources: Sequence[uuid.UUID],
    starts_at: dt.datetime,
    ends_at: dt.datetime,
) -> set[uuid.UUID]:
    asked = func.overbooked(
        literal(agent.tenant_id, Uuid()),
        cast(literal(list(resources), ARRAY(Uuid())), ARRAY(Uuid())),
        func.tstzrange(*(cast(literal(at, INSTANT), INSTANT) for at in (starts_at, ends_at))),
        type_=ARRAY(Uuid()),
    )
    return set(await session.scalar(select(asked)) or ())


async def _reason(
    session: AsyncSession,
    agent: Agent,
    place: Any,
    practitioner_id: uuid.UUID,
    service_id: uuid.UUID | None,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
) -> DomainError:
    """Why the practitioner's rules do not take the visit."""
    day = starts_at.astimezone(dt.UTC).date()  # of the clinic's clocks at most a day beside
    values = (
        agent.tenant_id,
        place.clinic_id,
        place.id,
        [practitioner_id],
        service_id,
        day - dt.timedelta(days=2),
        day + dt.timedelta(days=1),
    )
    given = (cast(literal(v, t), t) for v, t in zip(values, ASKED.values(), strict=True))
    asked = func.open_windows(*given).table_valued(
        *(column(name, INSTANT) for name in FORMS[1:]),
        *(column(name, Integer()) for name in TERMS),
    )
    at = [row for row in await session.execute(select(*asked.c)) if row.opens_at <= starts_at]
    open_then = [row for row in at if starts_at < row.closes_at]
    if not open_then:
        return OutsideHours()
    if any(ends_at <= r.closes_at and _fits(r, starts_at, ends_at) for r in open_then):
        return StartNotOffered()
    return DoesNotFit()


def _fits(row: Any, starts_at: dt.datetime, ends_at: dt.datetime) -> bool:
    return not (ends_at - starts_at) % dt.timedelta(minutes=row.minutes)


async def is_ruled(session: AsyncSession, agent: Agent, place: Any, resource_id: uuid.UUID) -> bool:
    """Whether rules say when the resource may be booked at the place."""
    ids = (agent.tenant_id, place.clinic_id, place.id, resource_id)
    asked = func.is_ruled(*(literal(id_, Uuid()) for id_ in ids), type_=Boolean())
    return bool(await session.scalar(select(asked)))


async def require_service(
    session: AsyncSession, agent: Agent, clinic_id: uuid.UUID, service_id: uuid.UUID | None
) -> None:
    """Raises Invalid (SERVICE_UNKNOWN) unless the clinic offers the service, if one is named."""
    if service_id is None:
        return
    found = await session.scalar(
        select(HealthcareService.id).where(
            HealthcareService.tenant_id == agent.tenant_id,
            HealthcareService.id == service_id,
            HealthcareService.clinic_id == clinic_id,
            HealthcareService.active,
        )
    )
    if found is None:
        raise Invalid(
            "This clinic does not offer this service.", path=("serviceId",), code="SERVICE_UNKNOWN"
        )
