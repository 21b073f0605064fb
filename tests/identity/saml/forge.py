"""A provider that says whatever a test wants said, and signs it or not."""

import base64
import copy
import datetime as dt
import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from lxml import etree

from identity.saml.documents import ASSERTION, DSIG, PROTOCOL
from identity.saml.parties import Provider, ServiceProvider

AT = "https://api.caretree.example/direct/oaaaaaaaaaaaa/p1"
US = ServiceProvider(f"{AT}/metadata", f"{AT}/acs", f"{AT}/slo")
THEM = "https://idp.corp.example/meta"
SSO, SLO = "https://idp.corp.example/sso", "https://idp.corp.example/slo"
REQUEST = "_request-1"
_SPACES = (
    'xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
    ' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'
)


@dataclass(frozen=True)
class Signer:
    """A key and its certificate, PEM."""

    key: bytes
    certificate: str


@functools.cache
def signer(name: str = "corp", *, begins: int = -1, ends: int = 300) -> Signer:
    """A signer whose certificate counts between days from now."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Signer(private, certificate_of(key, name, begins=begins, ends=ends))


def certificate_of(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    name: str = "corp",
    *,
    begins: int = -1,
    ends: int = 300,
) -> str:
    """A certificate of a key by itself, PEM."""
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=begins))
        .not_valid_after(now + dt.timedelta(days=ends))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def provider(*signers: Signer) -> Provider:
    """The provider as we know it: with these signers' certificates."""
    known = signers or (signer(),)
    return Provider(THEM, SSO, tuple(one.certificate for one in known), SLO)


def at(seconds: float = 0) -> str:
    """An instant as SAML writes it, so many seconds from now."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Said:
    """What a response says; None leaves an attribute or an element out. Instants: text, or seconds from now."""

    request: str | None = REQUEST
    bearer_request: str | None = REQUEST
    destination: str | None = US.acs_url
    recipient: str | None = US.acs_url
    audiences: tuple[tuple[str, ...], ...] = ((US.entity_id,),)
    issuer: str = THEM
    message_issuer: str | None = THEM
    name_id: str | None = "nora-1"
    name: str = 'Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"'
    until: str | int | None = 300
    begins: str | int | None = -5
    ends: str | int | None = 300
    conditions: bool = True
    shown: str | int = -20
    session: str = 'SessionIndex="session-1"'
    context: str = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
    status: str = "urn:oasis:names:tc:SAML:2.0:status:Success"
    method: str = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
    confirmations: int = 1
    version: str = "2.0"
    assertion_id: str = "_assertion-1"
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("uid", ("nora",)),
        ("givenName", ("Nora",)),
        ("sn", ("Corp",)),
        ("mail", ("nora@corp.example",)),
        ("groups", ("nurses", "choir")),
    )
    friendly: tuple[tuple[str, str], ...] = ()


def _attribute(name: str, value: str | int | None) -> str:
    told = at(value) if isinstance(value, int) else value
    return "" if told is None else f' {name}="{told}"'


def document(said: Said) -> Any:
    """The response, not signed yet."""
    restrictions = "".join(
        "<saml:AudienceRestriction>"
        + "".join(f"<saml:Audience>{audience}</saml:Audience>" for audience in one)
        + "</saml:AudienceRestriction>"
        for one in said.audiences
    )
    conditions = (
        f"<saml:Conditions{_attribute('NotBefore', said.begins)}"
        f"{_attribute('NotOnOrAfter', said.ends)}>{restrictions}</saml:Conditions>"
    )
    data = (
        f"<saml:SubjectConfirmationData{_attribute('NotOnOrAfter', said.until)}"
        f"{_attribute('Recipient', said.recipient)}"
        f"{_attribute('InResponseTo', said.bearer_request)}/>"
    )
    confirmation = (
        f'<saml:SubjectConfirmation Method="{said.method}">{data}</saml:SubjectConfirmation>'
    )
    named = "" if said.name_id is None else f"<saml:NameID {said.name}>{said.name_id}</saml:NameID>"
    friendly = dict(said.friendly)
    told = "".join(
        f'<saml:Attribute Name="{name}"{_attribute("FriendlyName", friendly.get(name))}>'
        + "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
        + "</saml:Attribute>"
        for name, values in said.attributes
    )
    issuer = (
        "" if said.message_issuer is None else f"<saml:Issuer>{said.message_issuer}</saml:Issuer>"
    )
    return etree.fromstring(
        f'<samlp:Response {_SPACES} ID="_response-1" Version="{said.version}" IssueInstant="{at()}"'
        f"{_attribute('Destination', said.destination)}{_attribute('InResponseTo', said.request)}>"
        f'{issuer}<samlp:Status><samlp:StatusCode Value="{said.status}"/></samlp:Status>'
        f'<saml:Assertion ID="{said.assertion_id}" Version="2.0" IssueInstant="{at()}">'
        f"<saml:Issuer>{said.issuer}</saml:Issuer>"
        f"<saml:Subject>{named}{confirmation * said.confirmations}</saml:Subject>"
        f"{conditions if said.conditions else ''}"
        f"<saml:AuthnStatement{_attribute('AuthnInstant', said.shown)} {said.session}>"
        "<saml:AuthnContext>"
        f"<saml:AuthnContextClassRef>{said.context}</saml:AuthnContextClassRef></saml:AuthnContext>"
        f"</saml:AuthnStatement><saml:AttributeStatement>{told}</saml:AttributeStatement>"
        "</saml:Assertion></samlp:Response>"
    )


def sign(
    element: Any,
    by: Signer | None = None,
    *,
    method: Any = xmlsec.constants.TransformRsaSha256,
    digest: Any = xmlsec.constants.TransformSha256,
    canonical: Any = xmlsec.constants.TransformExclC14N,
    transforms: tuple[Any, ...] = (
        xmlsec.constants.TransformEnveloped,
        xmlsec.constants.TransformExclC14N,
    ),
    uri: str | None = None,
    twice: bool = False,
    key: xmlsec.Key | None = None,
) -> Any:
    """Put a signature into an element, behind its issuer, over all of it."""
    used = by or signer()
    signature = xmlsec.template.create(element, canonical, method, ns="ds")
    element.insert(1 if element.find(f"{ASSERTION}Issuer") is not None else 0, signature)
    for _ in range(2 if twice else 1):
        own = f"#{element.get('ID')}" if uri is None else uri
        reference = xmlsec.template.add_reference(signature, digest, uri=own)
        for transform in transforms:
            xmlsec.template.add_transform(reference, transform)
    info = xmlsec.template.ensure_key_info(signature)
    xmlsec.template.add_x509_data(info)
    xmlsec.tree.add_ids(element, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = key or xmlsec.Key.from_memory(used.key, xmlsec.constants.KeyDataFormatPem, None)
    if key is None:
        context.key.load_cert_from_memory(
            used.certificate.encode(), xmlsec.constants.KeyDataFormatCertPem
        )
    context.sign(signature)
    return signature


def signed(said: Said | None = None, by: Signer | None = None, **how: Any) -> Any:
    """The response with its assertion signed."""
    root = document(said or Said())
    sign(root.find(f"{ASSERTION}Assertion"), by, **how)
    return reread(root)


def reread(root: Any) -> Any:
    """The document anew: lxml finds by name only what it has read itself, not what xmlsec has put in."""
    return etree.fromstring(etree.tostring(root))


def posted(root: Any) -> str:
    """The form's field that carries a document."""
    raw = root if isinstance(root, bytes) else etree.tostring(root)
    return base64.b64encode(raw).decode()


def response(by: Signer | None = None, **changes: Any) -> str:
    """A genuine response but for these changes."""
    return posted(signed(replace(Said(), **changes), by))


def evil(assertion: Any, own: str | None = "_evil-1") -> Any:
    """A copy of an assertion that speaks of somebody else and is not signed."""
    made = copy.deepcopy(assertion)
    if own is not None:
        made.set("ID", own)
    for signature in made.findall(f"{DSIG}Signature"):
        made.remove(signature)
    made.find(f"{ASSERTION}Subject/{ASSERTION}NameID").text = "admin"
    return made


@dataclass
class Parts:
    """A genuine response taken apart, for those who put it together otherwise."""

    root: Any = field(default_factory=signed)

    def __post_init__(self) -> None:
        self.assertion = self.root.find(f"{ASSERTION}Assertion")
        self.signature = self.assertion.find(f"{DSIG}Signature")

    def bare(self) -> Any:
        """The original assertion without its signature, out of the document."""
        self.root.remove(self.assertion)
        self.assertion.remove(self.signature)
        return self.assertion

    def within(self, name: str, *parts: Any) -> Any:
        """An element of the protocol around parts."""
        made = etree.Element(name)
        made.extend(parts)
        return made


Wrapping = Callable[[Parts], Any]
STATUS, EXTENSIONS = f"{PROTOCOL}Status", f"{PROTOCOL}Extensions"
