"""A provider's own description, read with suspicion: OpenID Connect discovery (JSON) or SAML metadata (XML).

Whatever is loose is refused here, before Keycloak is told anything: addresses that are not https or lead inside,
several providers in one document, keys that are weak or over, a description that has expired. Nothing is fetched and
no entity is resolved.
"""

import binascii
import datetime as dt
import ipaddress
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from domain.errors import Invalid
from domain.identity_providers import CERTIFICATES, Protocol

MAX_BYTES = 256 * 1024
LONGEST = 1_000
RSA_BITS, EC_BITS = 2048, 256
SKEW = dt.timedelta(minutes=5)
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"})
SAML2 = "urn:oasis:names:tc:SAML:2.0:protocol"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
REDIRECTS = {
    "SingleSignOnService": "single_sign_on_redirect",
    "SingleLogoutService": "single_logout_redirect",
}
_NS = {
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
_HOST = re.compile(
    r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])"
)
_INSIDE = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test", ".invalid")


class MetadataRefused(Invalid):
    """The description cannot be taken; the message says why in words for whoever has it."""

    code = "METADATA_REFUSED"

    def __init__(self, why: str) -> None:
        super().__init__(why, path=("metadata",), code=self.code)


@dataclass(frozen=True)
class Described:
    """What counts of a description. `endpoints` by the names of the specifications; `certificates` are PEM."""

    issuer: str
    endpoints: dict[str, Any]
    certificates: tuple[str, ...] = ()


def described(
    protocol: Protocol, text: str, *, loopback: bool = False, now: dt.datetime | None = None
) -> Described:
    """Read a description. Raises MetadataRefused.

    `loopback` also takes plain http on this machine, for development.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise MetadataRefused("The metadata are longer than 256 KB.")
    if protocol is Protocol.OIDC:
        return _discovery(text, loopback)
    return _saml(text, loopback, now or dt.datetime.now(dt.UTC))


def address(value: Any, what: str, *, loopback: bool = False) -> str:
    """An address that may be called or shown to browsers. Raises MetadataRefused."""
    if not isinstance(value, str) or len(value) > LONGEST or not value.isascii():
        raise MetadataRefused(f"{what} is no address.")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise MetadataRefused(f"{what} is no address.") from None
    if loopback and parts.scheme == "http" and host == "127.0.0.1":
        return value
    if parts.scheme != "https":
        raise MetadataRefused(f"{what} is not https.")
    if "@" in parts.netloc or parts.fragment or any(c.isspace() or c in '\\<>"' for c in value):
        raise MetadataRefused(f"{what} has parts that an address here must not have.")
    if not is_outside(host):
        raise MetadataRefused(f"{what} leads to an address inside a network.")
    return value


def is_here(url: str) -> bool:
    """Whether an address that was taken is of this machine, as in development."""
    return url.startswith("http://127.0.0.1")


def is_outside(host: str) -> bool:
    """Whether a host is named as one of the internet is; numbers and names of inner networks are not."""
    if not _HOST.fullmatch(host) or f".{host}".endswith(_INSIDE):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _discovery(text: str, loopback: bool) -> Described:
    """OpenID Connect Discovery 1.0, section 3."""
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise MetadataRefused("This is no discovery document: it is not JSON.") from None
    if not isinstance(told, dict):
        raise MetadataRefused("This is no discovery document.")
    issuer = address(told.get("issuer"), "The issuer", loopback=loopback)
    if "{" in issuer or urlsplit(issuer).query:
        raise MetadataRefused(
            "The issuer is a pattern for many organizations: take your own one's."
        )
    algorithms = told.get("id_token_signing_alg_values_supported", ["RS256"])
    if not isinstance(algorithms, list) or ALGORITHMS.isdisjoint(map(str, algorithms)):
        raise MetadataRefused("Its ID tokens are not signed by a key that can be published.")
    if "code" not in told.get("response_types_supported", ["code"]):
        raise MetadataRefused("It does not offer the authorization code flow.")
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    endpoints = {name: address(told.get(name), name, loopback=loopback) for name in needed}
    for name in ("userinfo_endpoint", "end_session_endpoint"):
        if told.get(name):
            endpoints[name] = address(told[name], name, loopback=loopback)
    return Described(issuer, endpoints)


def _saml(text: str, loopback: bool, now: dt.datetime) -> Described:
    """SAML V2.0 Metadata (saml-metadata-2.0-os), sections 2.3 and 2.4.3."""
    entity = _entity(text)
    _still_valid(entity, now)
    issuer = entity.get("entityID", "")
    if not 1 <= len(issuer) <= LONGEST or not issuer.isprintable() or issuer.strip() != issuer:
        raise MetadataRefused("The entity has no id that could be used.")
    roles = [
        role
        for role in entity.findall("md:IDPSSODescriptor", _NS)
        if SAML2 in role.get("protocolSupportEnumeration", "").split()
    ]
    if len(roles) != 1:
        raise MetadataRefused("It does not describe one identity provider of SAML 2.0.")
    (role,) = roles
    _still_valid(role, now)
    sso = _location(role, "SingleSignOnService", loopback)
    if sso is None:
        raise MetadataRefused("It has no address to log in at by POST or redirect.")
    endpoints = {"single_sign_on_service": sso}
    slo = _location(role, "SingleLogoutService", loopback)
    if slo is not None:
        endpoints["single_logout_service"] = slo
    # Where we speak with it ourselves, we do so by redirect.
    for service in ("SingleSignOnService", "SingleLogoutService"):
        found = _location(role, service, loopback, REDIRECT)
        if found is not None:
            endpoints[REDIRECTS[service]] = found
    return Described(issuer, endpoints, _certificates(role, now))


def _entity(text: str) -> Any:
    """The one entity of the document."""
    raw = text.strip().encode()
    if b"<!DOCTYPE" in raw.upper() or b"<!ENTITY" in raw.upper():
        raise MetadataRefused("The metadata define entities of their own.")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise MetadataRefused("This is no XML.") from None
    name = f"{{{_NS['md']}}}EntityDescriptor"
    found = [root] if root.tag == name else list(root.iter(name))
    if len(found) != 1:
        raise MetadataRefused(f"It describes {len(found)} entities where one is asked for.")
    return found[0]


def _still_valid(element: Any, now: dt.datetime) -> None:
    until = element.get("validUntil")
    if until is None:
        return
    try:
        moment = dt.datetime.fromisoformat(until)
    except ValueError:
        raise MetadataRefused("Nobody can read until when it is valid.") from None
    if moment.replace(tzinfo=moment.tzinfo or dt.UTC) <= now:
        raise MetadataRefused("These metadata have expired: export them anew.")


def _location(role: Any, name: str, loopback: bool, *bindings: str) -> str | None:
    """Where the service is, by the first of these bindings that it offers; POST is preferred."""
    found = {s.get("Binding"): s.get("Location") for s in role.findall(f"md:{name}", _NS)}
    for binding in bindings or (POST, REDIRECT):
        if binding in found:
            return address(found[binding], name, loopback=loopback)
    return None


def _certificates(role: Any, now: dt.datetime) -> tuple[str, ...]:
    """What it signs with now, the one that ends first in front; those that are over are left out."""
    texts = [
        element.text or ""
        for key in role.findall("md:KeyDescriptor", _NS)
        if key.get("use") in (None, "signing")
        for element in key.iter(f"{{{_NS['ds']}}}X509Certificate")
    ]
    read = {certificate(text) for text in texts}
    valid = sorted(
        (c for c in read if c.not_valid_after_utc > now and c.not_valid_before_utc <= now + SKEW),
        key=lambda c: c.not_valid_after_utc,
    )
    if not valid:
        raise MetadataRefused("It has no certificate to sign with that is valid now.")
    if len(valid) > CERTIFICATES:
        raise MetadataRefused("It has more than two certificates: leave the old ones out.")
    return tuple(c.public_bytes(Encoding.PEM).decode() for c in valid)


def certificate(text: str) -> x509.Certificate:
    """A certificate with a sound key, from base64 or PEM. Raises MetadataRefused."""
    plain = re.sub(r"-----[A-Z ]+-----|\s", "", text)
    try:
        found = x509.load_der_x509_certificate(binascii.a2b_base64(plain, strict_mode=True))
        key = found.public_key()
    except ValueError:
        raise MetadataRefused("A certificate of it cannot be read.") from None
    sound = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= EC_BITS
    )
    if not sound:
        raise MetadataRefused("A certificate of it has a key that is too weak.")
    return found
