"""The answer to a login request, and what may be believed of it (SAML profiles, 4.1.4; core, 2 and 5).

`python3-saml` checks schema, signature, issuer, status and times. "Strict" as it is, it lets pass what is missing, an
address that only begins or contains ours, certificates that have ended, and any length of validity: each of these is
refused here. Seven milliseconds of the processor a response: call it in a thread.
"""

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from onelogin.saml2.errors import OneLogin_Saml2_ValidationError
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings

from identity.saml.documents import ASSERTION, PROTOCOL, decoded, one_assertion, parsed
from identity.saml.encrypted import is_encrypted, opened
from identity.saml.parties import SKEW, Provider, ServiceProvider, current
from identity.saml.refusals import Flaw, SamlRefused

LONGEST = dt.timedelta(minutes=10)
"""So long ahead a bearer may have to bring an assertion."""
NAME_LENGTH = 255
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
_LIBRARY = {
    OneLogin_Saml2_ValidationError.WRONG_AUDIENCE: Flaw.AUDIENCE,
    OneLogin_Saml2_ValidationError.WRONG_DESTINATION: Flaw.DESTINATION,
    OneLogin_Saml2_ValidationError.EMPTY_DESTINATION: Flaw.DESTINATION,
    OneLogin_Saml2_ValidationError.WRONG_ISSUER: Flaw.ISSUER,
    OneLogin_Saml2_ValidationError.ISSUER_MULTIPLE_IN_RESPONSE: Flaw.ISSUER,
    OneLogin_Saml2_ValidationError.ISSUER_NOT_FOUND_IN_ASSERTION: Flaw.ISSUER,
    OneLogin_Saml2_ValidationError.WRONG_INRESPONSETO: Flaw.REQUEST,
    OneLogin_Saml2_ValidationError.ASSERTION_TOO_EARLY: Flaw.TIMES,
    OneLogin_Saml2_ValidationError.ASSERTION_EXPIRED: Flaw.TIMES,
    OneLogin_Saml2_ValidationError.SESSION_EXPIRED: Flaw.TIMES,
    OneLogin_Saml2_ValidationError.WRONG_SUBJECTCONFIRMATION: Flaw.RECIPIENT,
    OneLogin_Saml2_ValidationError.INVALID_SIGNATURE: Flaw.SIGNATURE,
    OneLogin_Saml2_ValidationError.NO_NAMEID: Flaw.SUBJECT,
    OneLogin_Saml2_ValidationError.EMPTY_NAMEID: Flaw.SUBJECT,
    OneLogin_Saml2_ValidationError.SP_NAME_QUALIFIER_NAME_MISMATCH: Flaw.SUBJECT,
}


@dataclass(frozen=True)
class SignedIn:
    """What a provider proves of somebody. Instants are UTC; `attributes` by its own names.

    `assertion_id` may be taken once, until `until`. `ends_at` is when the provider wants the session to end, `context`
    how the person showed who they are (SAML authentication context, a class).
    """

    assertion_id: str
    until: dt.datetime
    name_id: str
    name_format: str | None
    authenticated_at: dt.datetime
    context: str | None
    session_index: str | None
    ends_at: dt.datetime | None
    attributes: Mapping[str, list[str]]


def read_response(
    us: ServiceProvider,
    them: Provider,
    posted: str,
    request_id: str,
    now: dt.datetime,
    private: bytes | None = None,
) -> SignedIn:
    """What the response to our request proves. Raises SamlRefused.

    `posted` is the form's field, `private` our key (PEM), for what was encrypted for us; that `request_id` waits, and waits no more, is the caller's to see to, and that the
    assertion was not taken before.
    """
    raw = decoded(posted)
    root = parsed(raw, f"{PROTOCOL}Response")
    # The top one: below it the provider may say more.
    if root.find(f"{PROTOCOL}Status/{PROTOCOL}StatusCode[@Value='{SUCCESS}']") is None:
        raise SamlRefused(Flaw.STATUS)
    if is_encrypted(root):
        raw = opened(root, them, private, now)
        root = parsed(raw, f"{PROTOCOL}Response")
    assertion = one_assertion(root)
    _check_by_library(us, them, raw, request_id, current(them.certificates, now))
    if root.get("InResponseTo") != request_id:
        raise SamlRefused(Flaw.REQUEST)
    if root.get("Destination") != us.acs_url:
        raise SamlRefused(Flaw.DESTINATION)
    _check_conditions(assertion.find(f"{ASSERTION}Conditions"), us, now)
    name_id, until = _subject(assertion.find(f"{ASSERTION}Subject"), us, them, request_id, now)
    statement = assertion.find(f"{ASSERTION}AuthnStatement")
    authenticated_at = instant(statement.get("AuthnInstant"))
    if authenticated_at > now + SKEW:
        raise SamlRefused(Flaw.TIMES)
    ends_at = statement.get("SessionNotOnOrAfter")
    return SignedIn(
        assertion_id=assertion.get("ID"),
        until=until,
        name_id=name_id.text,
        name_format=name_id.get("Format"),
        authenticated_at=min(authenticated_at, now),
        context=statement.findtext(f"{ASSERTION}AuthnContext/{ASSERTION}AuthnContextClassRef"),
        session_index=statement.get("SessionIndex"),
        ends_at=instant(ends_at) if ends_at else None,
        attributes=_attributes(assertion),
    )


def _check_by_library(
    us: ServiceProvider, them: Provider, raw: bytes, request_id: str, certificates: list[str]
) -> None:
    at = urlsplit(us.acs_url)
    request = {
        "https": "on" if at.scheme == "https" else "off",
        "http_host": at.netloc,
        "script_name": at.path,
    }
    strictest = settings(us, them, certificates)
    try:
        # Encoded anew, so that both of us read the very same bytes.
        response = OneLogin_Saml2_Response(strictest, base64.b64encode(raw))
        response.is_valid(request, request_id, raise_exceptions=True)
        response.get_nameid_data()
    except OneLogin_Saml2_ValidationError as error:
        raise SamlRefused(_LIBRARY.get(error.code, Flaw.MALFORMED)) from None
    except (
        Exception
    ):  # it raises bare ones, as for an instant that the schema takes and it does not
        raise SamlRefused(Flaw.MALFORMED) from None


def settings(
    us: ServiceProvider, them: Provider, certificates: list[str]
) -> OneLogin_Saml2_Settings:
    """The library's settings at their strictest. Certificates are given whole; it knows no fingerprint."""
    return OneLogin_Saml2_Settings(
        {
            "strict": True,
            "sp": {
                "entityId": us.entity_id,
                "assertionConsumerService": {"url": us.acs_url, "binding": POST},
                "singleLogoutService": {"url": us.slo_url, "binding": REDIRECT},
                "NameIDFormat": PERSISTENT,
            },
            "idp": {
                "entityId": them.entity_id,
                "singleSignOnService": {"url": them.sso_url, "binding": REDIRECT},
                "x509certMulti": {"signing": certificates},
            },
            "security": {
                "wantAssertionsSigned": True,
                "wantNameId": True,
                "wantAttributeStatement": False,
                "rejectDeprecatedAlgorithm": True,
                "allowRepeatAttributeName": True,
                # Addresses were vetted by us; our own may be of a network where hosts have one name.
                "allowSingleLabelDomains": True,
            },
        }
    )


def _check_conditions(conditions: Any, us: ServiceProvider, now: dt.datetime) -> None:
    """For us alone, and now (core, 2.5.1)."""
    restrictions = conditions.findall(f"{ASSERTION}AudienceRestriction")
    meant = [[audience.text for audience in restriction] for restriction in restrictions]
    if not meant or any(audiences != [us.entity_id] for audiences in meant):
        raise SamlRefused(Flaw.AUDIENCE)
    begins = conditions.get("NotBefore")
    if begins and instant(begins) > now + SKEW:
        raise SamlRefused(Flaw.TIMES)
    if instant(conditions.get("NotOnOrAfter")) <= now - SKEW:
        raise SamlRefused(Flaw.TIMES)


def _subject(
    subject: Any, us: ServiceProvider, them: Provider, request_id: str, now: dt.datetime
) -> tuple[Any, dt.datetime]:
    """Whom it speaks of, brought by the one bearer to the one place within minutes (profiles, 4.1.4.2)."""
    confirmations = subject.findall(f"{ASSERTION}SubjectConfirmation")
    if len(confirmations) != 1:
        raise SamlRefused(Flaw.RECIPIENT)
    data = confirmations[0].find(f"{ASSERTION}SubjectConfirmationData")
    if data.get("Recipient") != us.acs_url:
        raise SamlRefused(Flaw.RECIPIENT)
    if data.get("InResponseTo") != request_id:
        raise SamlRefused(Flaw.REQUEST)
    until = instant(data.get("NotOnOrAfter"))
    if until > now + LONGEST:
        raise SamlRefused(Flaw.TIMES)
    name_id = subject.find(f"{ASSERTION}NameID")
    value = name_id.text
    if len(value) > NAME_LENGTH or not value.isprintable() or value != value.strip():
        raise SamlRefused(Flaw.SUBJECT)
    if name_id.get("Format") == TRANSIENT:
        raise SamlRefused(Flaw.SUBJECT)
    if name_id.get("NameQualifier", them.entity_id) != them.entity_id:
        raise SamlRefused(Flaw.SUBJECT)
    return name_id, until


def instant(text: str | None) -> dt.datetime:
    """An instant of SAML, which is in UTC (core, 1.3.3). Raises SamlRefused for one that is missing or has no zone."""
    try:
        found = dt.datetime.fromisoformat(text or "")
    except ValueError:
        raise SamlRefused(Flaw.TIMES) from None
    if found.tzinfo is None:
        raise SamlRefused(Flaw.TIMES)
    return found.astimezone(dt.UTC)


def _attributes(assertion: Any) -> dict[str, list[str]]:
    """Values by name. A provider may say one name several times, a value each.

    By its friendly name too, where that is nobody else's: not the name of another attribute, nor friendly to two. It is
    no identifier (core, 2.7.3.1), so that what people choose for themselves must not pass for what a provider asserts.
    """
    found: dict[str, list[str]] = {}
    friendly: dict[str, set[str]] = {}
    for one in assertion.iterfind(f"{ASSERTION}AttributeStatement/{ASSERTION}Attribute"):
        name = one.get("Name")
        values = found.setdefault(name, [])
        values += [value.text for value in one.iterfind(f"{ASSERTION}AttributeValue") if value.text]
        friendly.setdefault(one.get("FriendlyName", name), set()).add(name)
    alone = {called: names.pop() for called, names in friendly.items() if len(names) == 1}
    return {called: found[name] for called, name in alone.items()} | found
