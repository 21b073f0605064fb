"""What an identity provider asserts of a person, in our words, however it calls it.

The names are those of SCIM (RFC 7643, sections 4.1 and 4.3), so that one table of rules serves logins and SCIM. Each
provider's own names are mapped to them by Keycloak, as a mapper for each (`identity/brokers.py`); the realm's
template keeps them in attributes `asserted_…` and tells them at its userinfo endpoint, never in a token.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from domain.errors import Invalid
from identity.provisioning import PersonDraft

IDENTIFYING = ("userName", "givenName", "familyName", "email", "externalId")
"""Who they are; one value each."""
ENTITLING = (
    *("groups", "roles", "entitlements", "department", "title", "userType"),
    *("division", "organization", "costCenter", "employeeNumber"),
)
"""What rules look at (`role_mapping.attribute`); any number of values."""
PROVING = ("amr", "acr", "authTime")
"""How and when they proved who they are there: RFC 8176, OpenID Connect Core (section 2), for SAML what a provider tells
of it as attributes. Rules do not look at it."""
NAMES = (*IDENTIFYING, *ENTITLING)
VALUES = 2_000
"""As many values of one attribute are looked at: more groups than anybody is in."""

Asserted = Mapping[str, frozenset[str]]
"""Our name -> its values; a name that is missing was not said."""


@dataclass(frozen=True)
class Assertion:
    """What a provider said at a login: about whom, and what. `subject` is its own immutable id of the person.

    `contexts`: values of `acr`, `amr`, or of SAML's authentication context; `proven_at`: when they proved who they are.
    """

    subject: str
    values: Asserted
    contexts: frozenset[str] = frozenset()
    proven_at: dt.datetime | None = None

    def one(self, name: str) -> str | None:
        """The only value of an attribute; None where there is none, or more than one."""
        found = self.values.get(name, frozenset())
        return next(iter(found)) if len(found) == 1 else None


def read(claims: Mapping[str, Any]) -> Assertion | None:
    """The assertion in a userinfo answer of one of our realms; None where it has none."""
    subject, told = claims.get("idp_subject"), claims.get("asserted", {})
    if not isinstance(subject, str) or not subject or not isinstance(told, dict):
        return None
    proven = _moment(told.get("authTime"))
    return Assertion(subject, asserted(told), contexts_of(told), proven)


def contexts_of(told: Mapping[str, Any]) -> frozenset[str]:
    """How they proved who they are, in the provider's words."""
    return _texts(told.get("amr")) | _texts(told.get("acr"))


def _moment(value: Any) -> dt.datetime | None:
    """Seconds since 1970, told once."""
    listed = value if isinstance(value, list) else [value]
    told = str(listed[0]) if len(listed) == 1 else ""
    if not told.isascii() or not told.isdigit() or len(told) > 10:
        return None
    return dt.datetime.fromtimestamp(int(told), dt.UTC)


def asserted(told: Mapping[str, Any]) -> Asserted:
    """Value lists by our names; what is no text, empty or of an unknown name is left out."""
    return MappingProxyType(
        {name: values for name in NAMES if (values := _texts(told.get(name)))},
    )


def _texts(value: Any) -> frozenset[str]:
    listed = value if isinstance(value, list) else [value]
    return frozenset(v.strip() for v in listed[:VALUES] if isinstance(v, str) and v.strip())


def draft_of(assertion: Assertion) -> PersonDraft | None:
    """The person that an assertion describes; None where it lacks a name."""
    email = assertion.one("email")
    user_name = assertion.one("userName") or email
    given, family = assertion.one("givenName"), assertion.one("familyName")
    if not user_name or not given or not family:
        return None
    return PersonDraft(user_name, given, family, email)


def plain(values: Asserted) -> dict[str, list[str]]:
    """As it is stored: sorted lists."""
    return {name: sorted(found) for name, found in sorted(values.items())}


def check_map(attributes: Mapping[str, str], *path: str) -> dict[str, str]:
    """A provider's map of attributes: our names to its own. Raises Invalid for a name that is none of ours."""
    for ours, theirs in attributes.items():
        if ours not in (*NAMES, *PROVING):
            known = ", ".join((*NAMES, *PROVING))
            raise Invalid(f"There is no attribute {ours[:40]!r}: one of {known}.", path=path)
        if not theirs.strip() or len(theirs) > 300 or not theirs.isprintable():
            raise Invalid("The name of an attribute is a line of 1 to 300 characters.", path=path)
    return {ours: theirs.strip() for ours, theirs in attributes.items()}
