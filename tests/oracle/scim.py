"""Rows about the directories of a health system in the oracle's world."""

import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Any

from domain.scim import ScimToken
from domain.scim_departures import ScimDeparture, ScimRelease
from tests import directories

if TYPE_CHECKING:
    from tests.oracle.world import System

DAY = dt.timedelta(days=1)
BEGUN = dt.datetime(2026, 2, 4, 8, 15, tzinfo=dt.UTC)


def rows(system: "System", now: dt.datetime) -> None:
    """Two tokens, what came by them, and who left."""
    admin, nurse = system.people["system_admin"], system.people["nurse"]
    of: dict[str, Any] = {"tenant_id": system.tenant.tenant_id}
    for i, name in enumerate(("HR", "Entra")):
        token = ScimToken(
            **of,
            id=system.key(f"token {name}"),
            token_hash=hashlib.sha256(f"{system.slug} {name}".encode()).digest(),
            name=system.text(name),
            scopes=(["read"], ["groups", "users"])[i],
            expires_at=now + (20 * DAY, 200 * DAY)[i],
            revoked_at=(None, now + 5 * DAY)[i],
            last_used_at=(None, BEGUN)[i],
            created_at=BEGUN + i * DAY,
        )
        system.add(token)
        for n in range(3):
            system.add(
                directories.request(
                    token,
                    id=system.key(f"request {name} {n}"),
                    method=("POST", "PATCH", "GET")[n],
                    asked=("user", "group", "other")[n],
                    status=(201, 400, 404)[n],
                    resource_id=(nurse.id, None, None)[n],
                    subject=(None, system.text("subject"), None)[n],
                    cause=(None, "A value is missing.", "Not found.")[n],
                    outside_request_id=(None, f"r-{n}", None)[n],
                    created_at=(BEGUN, now - DAY / 2)[i] + n * dt.timedelta(minutes=1),
                )
            )
    for i, person in enumerate((admin, nurse)):
        refused = (None, now - DAY)[i]
        system.add(ScimDeparture(**of, id=person.id, asked_at=BEGUN + i * DAY, refused_at=refused))
    system.add(
        ScimRelease(
            **of, id=system.key("release"), until=now + DAY, released_by=admin.id, created_at=BEGUN
        )
    )
