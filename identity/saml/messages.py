"""What we say to a provider: our metadata, a login request, a logout asked for and answered.

Written with lxml and not by the library, whose templates put addresses and session indexes into XML as they are.
Messages go by redirect, signed beside the document with RSA-SHA256 (SAML bindings, 3.4.4.1).
"""

import base64
import datetime as dt
import zlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree
from lxml.builder import ElementMaker

from identity.saml.parties import Provider, ServiceProvider, our_key
from identity.saml.responses import PERSISTENT, POST, REDIRECT, SUCCESS

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_SPACES = {
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
_P, _A, _M, _D = (
    ElementMaker(namespace=uri, nsmap={prefix: uri}) for prefix, uri in _SPACES.items()
)


def metadata(us: ServiceProvider, certificates: Iterable[str]) -> bytes:
    """Our description for the provider's administrators (SAML metadata, 2.4.4)."""
    plain = ["".join(pem.split("\n")[1:-2]) for pem in certificates]
    keys = [
        _M.KeyDescriptor(_D.KeyInfo(_D.X509Data(_D.X509Certificate(text))), use="signing")
        for text in plain
    ]
    role = _M.SPSSODescriptor(
        *keys,
        _M.SingleLogoutService(Binding=REDIRECT, Location=us.slo_url),
        _M.SingleLogoutService(Binding=POST, Location=us.slo_url),
        _M.NameIDFormat(PERSISTENT),
        _M.AssertionConsumerService(Binding=POST, Location=us.acs_url, index="0", isDefault="true"),
        protocolSupportEnumeration=_SPACES["samlp"],
        AuthnRequestsSigned="true",
        WantAssertionsSigned="true",
    )
    described = _M.EntityDescriptor(role, entityID=us.entity_id)
    written: bytes = etree.tostring(described, xml_declaration=True, encoding="utf-8")
    return written


def login_request(
    us: ServiceProvider,
    them: Provider,
    request_id: str,
    now: dt.datetime,
    *,
    contexts: Sequence[str] = (),
    name_format: str = PERSISTENT,
    anew: bool = False,
) -> bytes:
    """Ask who somebody is (core, 3.4.1): by one of these authentication contexts, and anew, where that is wanted."""
    wanted: list[Any] = [_P.NameIDPolicy(Format=name_format, AllowCreate="true")]
    if contexts:
        references = (_A.AuthnContextClassRef(one) for one in contexts)
        wanted.append(_P.RequestedAuthnContext(*references, Comparison="exact"))
    return _message(
        "AuthnRequest",
        us,
        them.sso_url,
        request_id,
        now,
        *wanted,
        AssertionConsumerServiceURL=us.acs_url,
        ProtocolBinding=POST,
        **({"ForceAuthn": "true"} if anew else {}),
    )


def logout_request(
    us: ServiceProvider,
    to: str,
    request_id: str,
    now: dt.datetime,
    *,
    name_id: str,
    name_format: str | None,
    index: str | None,
) -> bytes:
    """Ask the provider to end its own session and those that hang on it (core, 3.7.1)."""
    named = _A.NameID(name_id, **({"Format": name_format} if name_format else {}))
    indexes = [_P.SessionIndex(index)] if index else []
    return _message("LogoutRequest", us, to, request_id, now, named, *indexes)


def logout_response(
    us: ServiceProvider, to: str, message_id: str, asked: str, now: dt.datetime
) -> bytes:
    """Say that a session that the provider ended has ended here (core, 3.7.2)."""
    status = _P.Status(_P.StatusCode(Value=SUCCESS))
    return _message("LogoutResponse", us, to, message_id, now, status, InResponseTo=asked)


def _message(
    name: str,
    us: ServiceProvider,
    to: str,
    message_id: str,
    now: dt.datetime,
    *parts: Any,
    **attributes: str,
) -> bytes:
    whole = _P(
        name,
        _A.Issuer(us.entity_id),
        *parts,
        ID=message_id,
        Version="2.0",
        IssueInstant=now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        Destination=to,
        **attributes,
    )
    written: bytes = etree.tostring(whole)
    return written


def redirect(to: str, kind: str, message: bytes, key: bytes, relay_state: str | None = None) -> str:
    """The address that carries a message to the provider. `kind` is SAMLRequest or SAMLResponse, `key` our PEM."""
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = base64.b64encode(pack.compress(message) + pack.flush()).decode()
    told = {kind: packed}
    if relay_state is not None:
        told["RelayState"] = relay_state
    told["SigAlg"] = RSA_SHA256
    query = "&".join(f"{name}={quote_plus(value)}" for name, value in told.items())
    signature = our_key(key).sign(query.encode(), padding.PKCS1v15(), hashes.SHA256())
    signed = f"{query}&Signature={quote_plus(base64.b64encode(signature).decode())}"
    return f"{to}{'&' if '?' in to else '?'}{signed}"
