"""Sessions with which people have come: one's own, or those of somebody whom one manages."""

import datetime as dt
from typing import Any

from tests.oracle.roots import NOTHING, Picked, Values, parse
from tests.oracle.rules import Sight
from tests.oracle.shapes import Arguments, ordered, plain

ADMINS = {
    "system_admin",
    "system_viewer",
    "regional_director",
    "clinic_admin",
    "privacy_officer",
    "auditor",
}
"""Whom the rule `admins` means, by the specification."""
HIGHEST = 3
RANKS = {
    "regional_director": 2,
    "clinic_admin": 1,
    "provider": 0,
    "nurse": 0,
    "front_desk": 0,
    "biller": 0,
}
"""By "May grant" of the specification: who gives a role stands above it; whom only the highest give, stands highest."""


def _outranked(sight: Sight, person: Any) -> bool:
    """Whether the person holds a role that stands above those by which the asker administers its node."""
    now = sight.rows.now
    for grant in sight.rows.where("role_grant", "person_id", person.id):
        if grant.valid_until is None or grant.valid_until > now:
            line = sight.line(grant.unit_id)
            over = [
                HIGHEST if role == "system_admin" else RANKS[role]
                for role, node in sight.held
                if role in ("system_admin", "regional_director", "clinic_admin") and node in line
            ]
            if RANKS.get(grant.role, HIGHEST) > max(over, default=-1):
                return True
    return False


def login_rules(sight: Sight, args: Arguments) -> Picked:
    """The rules of the health system, for who may change them."""
    del args
    (system,) = sight.rows.all("tenant")
    if not sight.anywhere("tenant:configure"):
        return NOTHING
    return Picked(
        Values(
            "LoginRules",
            {
                "idleMinutes": system.session_idle // 60,
                "longestMinutes": system.session_max // 60,
                "jitMode": system.jit_mode.upper(),
                "version": system.version,
            },
        )
    )


def mfa_settings(sight: Sight, args: Arguments) -> Picked:
    """What the health system says of second factors, for who may read it."""
    del args
    (system,) = sight.rows.all("tenant")
    if not sight.anywhere("tenant:read"):
        return NOTHING
    return Picked(
        Values(
            "MfaSettings",
            {
                "policy": system.mfa_policy.upper(),
                "methods": [method.upper() for method in system.mfa_methods],
                "graceDays": system.mfa_grace_days,
                "version": system.version,
            },
        )
    )


def mfa_preview(sight: Sight, args: Arguments) -> Picked:
    """Whom another rule would ask, for who may change it. Without days of grace: `enrolBy` is told of nobody."""
    assert not args.get("graceDays"), (
        "until when somebody has time depends on the moment of the request"
    )
    if not sight.anywhere("tenant:configure"):
        return NOTHING
    (system,) = sight.rows.all("tenant")
    required = _asked(sight, args["policy"])
    by_now = {person.id for person in _asked(sight, system.mfa_policy.upper())}
    newly = [person for person in required if person.id not in by_now]
    return Picked(
        Values(
            "MfaPreview",
            {
                "required": len(required),
                "newlyRequired": len(newly),
                "neverShown": sum(person.second_factor_at is None for person in required),
                "concerned": [
                    Values(
                        "MfaConcerned",
                        {
                            "person": f"Person:{person.id}",
                            "userName": person.user_name,
                            "givenName": person.given_name,
                            "familyName": person.family_name,
                            "hasShownOne": person.second_factor_at is not None,
                            "enrolBy": None,
                        },
                    )
                    for person in newly
                ],
            },
        )
    )


def _asked(sight: Sight, policy: str) -> list[Any]:
    """The active people whom a rule asks for a second factor, by name."""
    now = sight.rows.now
    admins = {
        grant.person_id
        for grant in sight.rows.all("role_grant")
        if grant.role in ADMINS
        and grant.valid_from <= now
        and (grant.valid_until is None or now < grant.valid_until)
    }
    people = ordered(sight.rows.all("person"), ("family_name", "id"))
    meant = {"NONE": set(), "ADMINS": admins, "ALL": {person.id for person in people}}[policy]
    return [person for person in people if person.active and person.id in meant]


def sessions(sight: Sight, args: Arguments) -> Picked:
    """The root field: those that stand, the latest first."""
    said = args.get("person")
    whose = sight.person_id if said is None else parse(said, "Person")
    person = sight.rows.get("person", whose) if whose else None
    if person is None:
        return NOTHING
    managed = sight.may("person:manage", person) and not _outranked(sight, person)
    if person.id != sight.person_id and not managed:
        return NOTHING
    ended = {row.sid for row in sight.rows.all("revoked_session")}
    since = sight.rows.now - dt.timedelta(days=1)
    standing = [
        row
        for row in sight.rows.where("login_session", "person_id", person.id)
        if row.started_at > since and row.sid not in ended
    ]
    return Picked(
        [
            Values(
                "LoginSession",
                {
                    "id": f"LoginSession:{row.id}",
                    "client": row.client,
                    "startedAt": plain(row.started_at),
                    "current": False,
                },
            )
            for row in sorted(standing, key=lambda row: row.started_at, reverse=True)
        ]
    )
