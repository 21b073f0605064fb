"""The opening hours of a system of the world, and time that is taken, around a change of the clocks."""

import datetime as dt
import random
from typing import Any

from domain.model import Base
from domain.organization import OrgUnit
from domain.practitioners import BookableResource
from tests import make

DAY = dt.timedelta(days=1)
BEGUN, FAR = (
    dt.datetime(2025, 9, 1, 8, 0, tzinfo=dt.UTC),
    dt.datetime(2099, 1, 5, 9, 0, tzinfo=dt.UTC),
)
CHANGE = dt.date(2027, 3, 28)
"""A Sunday on which the clocks change in Berlin; two weeks after Chicago's."""


def hours(system: Any) -> None:
    """Services, rules and closures around the days on which the clocks change."""
    pick = random.Random(f"{system.slug} hours")
    resources = [r for r in system.rows if isinstance(r, BookableResource)]
    for i, place in enumerate(("n1", "n1a", "n2", "s1b", "lone")):
        node = system.units[place]
        offered = [
            make.service(node, id=system.key(f"service {place} {n}"), name=system.text("service"))
            for n in range(2)
        ]
        offered[1].active = bool(i % 2)
        system.add(*offered)
        for n in range(6):
            whose = pick.choice((None, *resources)) if n else None
            service = offered[n % 2].id if n % 3 == 2 else None
            system.add(_rule(system, pick, node, whose, f"{place} {n}", service_id=service))
        for n in range(3):
            away = pick.choice((None, *resources))
            system.add(
                make.closure(
                    node,
                    CHANGE + pick.randrange(-3, 4) * DAY,
                    id=system.key(f"closure {place} {n}"),
                    resource_id=away.id if away else None,
                    from_time=pick.choice((None, dt.time(2, 30), dt.time(11))),
                    reason=system.maybe(system.text("closed")),
                    active=n != 2,
                )
            )


def _rule(
    system: Any, pick: random.Random, node: OrgUnit, whose: Any, name: str, **values: Any
) -> Base:
    opens, closes = pick.choice(
        ((dt.time(8), dt.time(12, 30)), (dt.time(22), dt.time(4)), (dt.time(0), dt.time(0)))
    )
    return make.rule(
        node,
        whose,
        id=system.key(f"rule {name}"),
        weekdays=pick.choice((["mon", "wed", "sat", "sun"], ["sun"], ["tue", "sun"])),
        opens=opens,
        closes=closes,
        minutes=pick.choice((15, 30)),
        step=pick.choice((15, 20, 30)),
        buffer_before=pick.choice((0, 5)),
        buffer_after=pick.choice((0, 10)),
        valid_until=pick.choice((None, CHANGE + DAY)),
        active=pick.random() < 0.9,
        **values,
    )


def taken(system: Any) -> None:
    """Visits with the time that they keep, on those days: booked, cancelled, holds in force and expired."""
    pick, places = random.Random(f"{system.slug} taken"), ("n1", "n2", "s1b", "lone")
    nodes = [system.units[place] for place in places]
    rows = make.patient_at(system.tenant, *nodes, id=system.key("patient taken"))
    patient = system.add(*rows)
    midnight = dt.datetime.combine(CHANGE, dt.time(), dt.UTC)
    for i, resource in enumerate(r for r in system.rows if isinstance(r, BookableResource)):
        for n in range(6):
            state = pick.choice(("booked", "booked", "cancelled", "pending"))
            starts = midnight + dt.timedelta(hours=n * 4, minutes=pick.randrange(0, 150, 5))
            visit = make.appointment(
                patient,
                pick.choice(nodes),
                pick.choice(system.practitioners),
                id=system.key(f"appointment taken {i} {n}"),
                state=state,
                starts_at=starts,
                expires_at=pick.choice((BEGUN, FAR)) if state == "pending" else None,
            )
            kept = make.block(visit, resource.id, id=system.key(f"block taken {i} {n}"))
            system.add(visit, kept)
