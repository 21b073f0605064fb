"""Roles that were asked for: waiting, lapsed, declined and approved, for people of all kinds; and their sessions."""

import datetime as dt
from typing import TYPE_CHECKING

from domain.logins import LoginSession
from domain.people import RevokedSession
from tests import make, who

if TYPE_CHECKING:
    from tests.oracle.world import System

RECEIVERS = ("nurse", "clinic_admin", "nobody", "system_viewer", "biller", "auditor")
BEGUN = dt.datetime(2025, 9, 3, 8, 0, tzinfo=dt.UTC)
HOURS = (1, 3, 5, 30)
"""Since a session began; it lasts a day."""
ENDED = 5
FAR = dt.datetime(2099, 1, 5, 9, 0, tzinfo=dt.UTC)


def requests(system: "System", now: dt.datetime) -> None:
    """Add them to the rows of a health system."""
    asker, other = system.people["system_admin"], system.people["privacy_officer"]
    for i, receiver in enumerate(RECEIVERS):
        whom = system.people[receiver]
        state = ("pending", "declined", "approved")[i % 3]
        role = ("auditor", "system_admin", "privacy_officer")[i % 3]
        decided = {} if state == "pending" else {"decided_by": other.id, "decided_at": now}
        if state == "approved":
            # Over by now: the cast holds what it says.
            held = who.Held(role, "system", -who.DAY, -who.DAY / 2)
            given = system.add(system.grant(whom, held, now, f"approved {i}", granted_by=asker.id))
            decided["grant_id"] = given.id
        request = make.grant_request(
            whom,
            role,
            system.units["system"],
            asker,
            id=system.key(f"request {i}"),
            state=state,
            reason=system.text("needed"),
            valid_until=system.maybe(FAR),
            lapses_at=now + (i - 2) * who.DAY,
            version=i,
            created_at=BEGUN + i // 2 * who.DAY,
            **decided,
        )
        system.add(request)


def sessions(system: "System", now: dt.datetime) -> None:
    """Add sessions to the rows of a health system: of everybody two that stand, one that was ended, one too old."""
    for name, person in system.people.items():
        for ago in HOURS:
            sid = f"{name} {ago} {system.key('session')}"
            session = LoginSession(
                tenant_id=person.tenant_id,
                id=system.key(f"session {name} {ago}"),
                person_id=person.id,
                sid=sid,
                client="portal",
                started_at=now - dt.timedelta(hours=ago),
            )
            system.add(session)
            if ago == ENDED:
                until = now + dt.timedelta(hours=1)
                system.add(RevokedSession(tenant_id=person.tenant_id, sid=sid, until=until))
