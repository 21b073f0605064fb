"""What the graph shows of a health system's own identity providers, to whoever may read the tenant."""

import datetime as dt
from typing import Any

from tests.oracle import scim_types
from tests.oracle.rules import Sight
from tests.oracle.shapes import Leaf, Many, Type, columns, enums, one

PROVIDER = one("IdentityProvider", "identity_provider", "identity_provider_id")


def _said(name: str) -> Leaf:
    return Leaf(lambda _, row: (row.asserted.get(name) or [None])[0])


def _map(sight: Sight, row: Any, side: int) -> list[str]:
    # PostgreSQL keeps the keys of an object by length, then by bytes.
    pairs = sorted(row.attributes.items(), key=lambda pair: (len(pair[0]), pair[0]))
    return [pair[side] for pair in pairs]


def _warning(sight: Sight, row: Any) -> int | None:
    if row.expires_at is None:
        return None
    left = row.expires_at - sight.rows.now
    return next((days for days in (0, 7, 30, 60) if left <= dt.timedelta(days=days)), None)


ABOUT = (
    Type(
        "IdentityProvider",
        "identity_provider",
        "tenant:read",
        {
            **columns(
                "vendor name issuer clientId certificates creates direct ofDirectory version"
            ),
            **columns("mfaContexts metadataUrl metadataReadAt metadataProblem expiresAt"),
            "expiresWithin": Leaf(_warning),
            **enums("protocol state"),
            "attributeNames": Leaf(lambda sight, row: _map(sight, row, 0)),
            "attributeSources": Leaf(lambda sight, row: _map(sight, row, 1)),
            "tests": Many(
                "ProviderTest",
                lambda sight, row: sight.rows.where(
                    "provider_test", "identity_provider_id", row.id
                ),
                ("-created_at", "-id"),
                5,
            ),
        },
    ),
    Type(
        "ProviderTest",
        "provider_test",
        "tenant:read",
        columns("createdAt until finishedAt passed steps"),
    ),
    Type(
        "SignIn",
        "sign_in",
        "tenant:read",
        {
            **columns("cause subject authenticatedAt createdAt"),
            **enums("outcome"),
            "person": one("Person", "person", "person_id"),
            "identityProvider": PROVIDER,
        },
    ),
    Type(
        "RoleMapping",
        "role_mapping",
        "tenant:read",
        {
            **columns("source sourceRef attribute value role validUntil endedAt createdAt version"),
            **enums("match"),
            "unit": one("OrgUnit", "org_unit", "unit_id"),
            "createdBy": one("Person", "person", "created_by"),
        },
    ),
    Type(
        "HeldAccount",
        "held_account",
        "tenant:read",
        {
            **columns("subject createdAt decidedAt version"),
            **enums("reason state"),
            "userName": _said("userName"),
            "givenName": _said("givenName"),
            "familyName": _said("familyName"),
            "email": _said("email"),
            "person": one("Person", "person", "person_id"),
            "decidedBy": one("Person", "person", "decided_by"),
            "identityProvider": PROVIDER,
        },
    ),
    Type(
        "DeviceReset",
        "device_reset",
        "tenant:read",
        {
            **columns("reason createdAt lapsesAt decidedAt version"),
            **enums("state"),
            "person": one("Person", "person", "person_id"),
            "requestedBy": one("Person", "person", "requested_by"),
            "decidedBy": one("Person", "person", "decided_by"),
        },
    ),
    Type(
        "RealmCheck",
        "realm_check",
        "tenant:read",
        columns("startedAt finishedAt people users repaired findings"),
    ),
    Type(
        "EmailDomain",
        "email_domain",
        "tenant:read",
        {
            **columns("domain challenge provenAt checkedAt version"),
            **enums("state"),
            "recordName": Leaf(lambda _, row: f"_caretree.{row.domain}"),
            "identityProvider": PROVIDER,
        },
    ),
    *scim_types.ABOUT,
)
PAGES: dict[str, tuple[str, tuple[str, str]]] = {
    "identityProviders": ("IdentityProvider", ("name", "id")),
    "signIns": ("SignIn", ("-created_at", "-id")),
    "roleMappings": ("RoleMapping", ("-created_at", "-id")),
    "heldAccounts": ("HeldAccount", ("-created_at", "-id")),
    "deviceResets": ("DeviceReset", ("-created_at", "-id")),
    "realmChecks": ("RealmCheck", ("-started_at", "-id")),
    "emailDomains": ("EmailDomain", ("domain", "id")),
    **scim_types.PAGES,
}
"""Root field -> what it lists, in which order."""
TABLES = {
    "identityProviders": "identity_provider",
    "signIns": "sign_in",
    "roleMappings": "role_mapping",
    "heldAccounts": "held_account",
    "deviceResets": "device_reset",
    "realmChecks": "realm_check",
    "emailDomains": "email_domain",
    **scim_types.TABLES,
}
