"""Rules, settings and wordings of a system of the world, and reminders of its visits."""

import datetime as dt
import random
from typing import TYPE_CHECKING, Any

from domain.appointments import Appointment
from tests import reminders

if TYPE_CHECKING:
    from tests.oracle.world import System

SAID_AT = ("system", "north", "n1", "n1a", "s1", "lone")
SINCE = dt.datetime(2025, 9, 1, 8, 0, tzinfo=dt.UTC)


def said(system: "System") -> None:
    """Rules, settings and wordings at units of each level, and reminders of the visits that there are."""
    pick = random.Random(f"{system.slug} reminders")
    rules = []
    for i, place in enumerate(SAID_AT):
        node = system.units[place]
        for n, channel in enumerate(("email", "webhook")):
            rules.append(
                reminders.rule(
                    node,
                    id=system.key(f"reminder rule {place} {n}"),
                    channel=channel,
                    minutes_before=pick.choice((60, 1440, None)),
                    active=pick.random() < 0.8,
                    since=SINCE + i % 2 * dt.timedelta(days=1),
                )
            )
        hook = {
            "webhook_url": f"https://{system.slug}.example/{place}",
            "webhook_secret_sealed": b"s",
        }
        hours = {"quiet_from": dt.time(20 + i % 3), "quiet_until": dt.time(7, 30)}
        system.add(
            reminders.setting(
                node,
                id=system.key(f"reminder setting {place}"),
                display_name=system.maybe(system.text("called")),
                phone=system.maybe("+13125550100"),
                **(hook if i % 2 else {}),
                **(hours if i % 3 else {}),
            ),
            reminders.template(
                node,
                id=system.key(f"reminder template {place}"),
                language=pick.choice(("en", "de")),
                subject=system.text("subject"),
                active=i != 2,
            ),
        )
    system.add(*rules)
    visits = [row for row in system.rows if isinstance(row, Appointment)]
    for i, visit in enumerate(visits):
        if i % 2:
            continue
        state = pick.choice(("due", "sending", "sent", "failed", "skipped"))
        told: dict[str, Any] = {"state": state, "attempts": i % 4}
        if state in ("failed", "skipped"):
            told["cause"] = {"failed": "not-configured", "skipped": "opted-out"}[state]
        if state == "sent":
            told["sent_at"] = SINCE
        key = system.key(f"reminder {visit.id}")
        system.add(reminders.reminder(visit, pick.choice(rules), id=key, **told))
