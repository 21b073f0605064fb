"""What a provider says of an end of sessions, asked or answered (SAML profiles, 4.4; core, 3.7).

`python3-saml` takes such messages unsigned, without an issuer and an address; nothing of it is used here but the
schema and the check of signatures inside of documents.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from identity.saml.documents import (
    ASSERTION,
    PROTOCOL,
    RSA,
    check_signatures,
    decoded,
    inflated,
    parsed,
)
from identity.saml.parties import SKEW, Provider, ServiceProvider, current, loaded
from identity.saml.refusals import Flaw, SamlRefused
from identity.saml.responses import LONGEST, NAME_LENGTH, SUCCESS, instant

REQUEST, RESPONSE = f"{PROTOCOL}LogoutRequest", f"{PROTOCOL}LogoutResponse"
SCHEMA = "saml-schema-protocol-2.0.xsd"
INDEXES = 100
_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512()}


@dataclass(frozen=True)
class LogoutAsked:
    """The provider ends sessions of somebody: those of `indexes`, or all of them where it names none."""

    message_id: str
    name_id: str
    indexes: frozenset[str]


@dataclass(frozen=True)
class LogoutAnswered:
    """The provider has ended what we asked it to, or not."""

    message_id: str
    request_id: str
    done: bool


def read_posted(
    us: ServiceProvider, them: Provider, posted: str, now: dt.datetime
) -> LogoutAsked | LogoutAnswered:
    """A message that came by POST, signed inside (SAML bindings, 3.5). Raises SamlRefused."""
    root = parsed(decoded(posted), REQUEST, RESPONSE)
    check_signatures(root, root)
    kind = "LogoutRequest" if root.tag == REQUEST else "LogoutResponse"
    if not OneLogin_Saml2_Utils.validate_sign(
        root,
        multicerts=current(them.certificates, now),
        xpath=f"/samlp:{kind}/ds:Signature",
    ):
        raise SamlRefused(Flaw.SIGNATURE)
    return _read(us, them, root, now)


def read_redirected(
    us: ServiceProvider, them: Provider, query: str, now: dt.datetime
) -> LogoutAsked | LogoutAnswered:
    """A message in an address, signed beside it (SAML bindings, 3.4.4.1). Raises SamlRefused.

    `query` is the address's own text: the signature is over it as its sender wrote it.
    """
    told: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in told:
            raise SamlRefused(Flaw.MALFORMED)
        told[name] = value
    kind = "SAMLRequest" if "SAMLRequest" in told else "SAMLResponse"
    root = parsed(inflated(unquote_plus(told.get(kind, ""))), REQUEST, RESPONSE)
    names = [kind, *(["RelayState"] if "RelayState" in told else []), "SigAlg"]
    signed = "&".join(f"{name}={told.get(name, '')}" for name in names).encode()
    algorithm = unquote_plus(told.get("SigAlg", ""))
    if algorithm not in RSA:
        raise SamlRefused(Flaw.SIGNATURE)
    signature = decoded(unquote_plus(told.get("Signature", "")))
    if not any(
        _is_signed(pem, signature, signed, RSA[algorithm])
        for pem in current(them.certificates, now)
    ):
        raise SamlRefused(Flaw.SIGNATURE)
    return _read(us, them, root, now)


def _is_signed(pem: str, signature: bytes, signed: bytes, bits: int) -> bool:
    key = loaded(pem).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(signature, signed, padding.PKCS1v15(), _HASHES[bits])
    except InvalidSignature:
        return False
    return True


def _read(
    us: ServiceProvider, them: Provider, root: Any, now: dt.datetime
) -> LogoutAsked | LogoutAnswered:
    if isinstance(OneLogin_Saml2_XML.validate_xml(root, SCHEMA), str):
        raise SamlRefused(Flaw.MALFORMED)
    if root.findtext(f"{ASSERTION}Issuer") != them.entity_id:
        raise SamlRefused(Flaw.ISSUER)
    if root.get("Destination") != us.slo_url:
        raise SamlRefused(Flaw.DESTINATION)
    issued = instant(root.get("IssueInstant"))
    if not now - LONGEST < issued <= now + SKEW:
        raise SamlRefused(Flaw.TIMES)
    if root.tag == RESPONSE:
        code = root.find(f"{PROTOCOL}Status/{PROTOCOL}StatusCode").get("Value")
        asked = root.get("InResponseTo")
        if asked is None:
            raise SamlRefused(Flaw.REQUEST)
        return LogoutAnswered(root.get("ID"), asked, code == SUCCESS)
    until = root.get("NotOnOrAfter")
    if until is not None and instant(until) <= now - SKEW:
        raise SamlRefused(Flaw.TIMES)
    name_id = root.findtext(f"{ASSERTION}NameID")
    if not name_id or len(name_id) > NAME_LENGTH:
        raise SamlRefused(Flaw.SUBJECT)
    indexes = [found.text or "" for found in root.iterfind(f"{PROTOCOL}SessionIndex")]
    if len(indexes) > INDEXES:
        raise SamlRefused(Flaw.MALFORMED)
    return LogoutAsked(root.get("ID"), name_id, frozenset(indexes))
