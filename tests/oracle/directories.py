"""How the directories of a health system are doing, to whoever may read the tenant."""

import datetime as dt

from tests.oracle.roots import NOTHING, Picked, Values
from tests.oracle.rules import Sight
from tests.oracle.shapes import Arguments, plain

DAY = dt.timedelta(days=1)


def scim_sync(sight: Sight, _: Arguments) -> Picked:
    """The root field."""
    rows, now = sight.rows, sight.rows.now
    (tenant,) = rows.all("tenant")
    if not sight.may("tenant:read", tenant):
        return NOTHING
    asked = rows.all("scim_request")
    lately = [row.status for row in asked if row.created_at > now - DAY]
    held = [
        row
        for row in rows.all("scim_departure")
        if row.refused_at and row.refused_at > now - 3 * DAY
    ]
    until = [row.until for row in rows.all("scim_release") if row.until > now]
    users = [row for row in rows.all("scim_user") if row.deleted_at is None]
    told = {
        "lastRequestAt": plain(max(row.created_at for row in asked)),
        "requests": len(lately),
        "failures": sum(status >= 400 for status in lately),
        "users": len(users),
        "groups": len([row for row in rows.all("scim_group") if row.deleted_at is None]),
        "heldDepartures": len(held),
        "departuresADay": max(
            tenant.departures_few,
            min(tenant.departures_most, len(users) * tenant.departures_percent // 100),
        ),
        "departuresFew": tenant.departures_few,
        "departuresMost": tenant.departures_most,
        "departuresPercent": tenant.departures_percent,
        "version": tenant.version,
        "releasedUntil": plain(max(until)) if until else None,
    }
    return Picked(Values("ScimSync", told))
