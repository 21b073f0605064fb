"""A provider's own description is taken only where nothing of it is loose."""

import base64
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID

from domain.identity_providers import Protocol
from identity.metadata import MAX_BYTES, MetadataRefused, address, described, is_outside

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
AT = "https://login.corp.example"
DISCOVERY = {
    "issuer": f"{AT}/t1",
    "authorization_endpoint": f"{AT}/authorize",
    "token_endpoint": f"{AT}/token",
    "jwks_uri": f"{AT}/keys",
    "userinfo_endpoint": f"{AT}/userinfo",
    "end_session_endpoint": f"{AT}/logout",
    "response_types_supported": ["code", "id_token"],
    "id_token_signing_alg_values_supported": ["RS256", "none"],
}
RSA = rsa.generate_private_key(65537, 2048)


def certificate(
    key: Any = RSA, begins: dt.datetime = NOW - dt.timedelta(days=9), days: int = 100
) -> str:
    """A self-signed certificate, base64 of its DER form."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corp")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


GOOD = certificate()


def metadata(
    *certificates: str,
    entity: str = f"{AT}/saml",
    sso: str = f"{AT}/sso",
    binding: str = "HTTP-POST",
    attributes: str = "",
    role: str = "IDPSSODescriptor",
    before: str = "",
) -> str:
    """SAML metadata as a provider exports them."""
    keys = "".join(
        f'<KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{one}'
        "</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>"
        for one in certificates or (GOOD,)
    )
    return (
        f'{before}<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata"'
        f' xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{entity}" {attributes}>'
        f'<{role} protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{keys}'
        '<SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"'
        f' Location="{AT}/slo"/>'
        f'<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:{binding}"'
        f' Location="{sso}"/></{role}></EntityDescriptor>'
    )


def test_a_discovery_document() -> None:
    told = described(Protocol.OIDC, json.dumps(DISCOVERY))
    assert told.issuer == f"{AT}/t1"
    assert told.endpoints["jwks_uri"] == f"{AT}/keys"
    assert told.endpoints["userinfo_endpoint"] == f"{AT}/userinfo"
    assert told.certificates == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": None},
        {"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"},
        {"issuer": f"{AT}/t1?x=1"},
        {"issuer": 5},
        {"token_endpoint": None},
        {"authorization_endpoint": "http://login.corp.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "https://10.0.0.7/keys"},
        {"jwks_uri": "https://169.254.169.254/latest/meta-data"},
        {"jwks_uri": "https://[::1]/keys"},
        {"jwks_uri": "https://localhost/keys"},
        {"jwks_uri": "https://2130706433/keys"},
        {"jwks_uri": "https://0x7f.1/keys"},
        {"jwks_uri": "https://127.1/keys"},
        {"jwks_uri": "https://keycloak.internal/keys"},
        {"jwks_uri": "https://user@login.corp.example/keys"},
        {"jwks_uri": "https://login.corp.example:port/keys"},
        {"jwks_uri": f"{AT}/keys#x"},
        {"end_session_endpoint": "https://login.corp.example/<x>"},
        {"token_endpoint": f"{AT}/" + "t" * 1000},
        {"id_token_signing_alg_values_supported": ["none", "HS256"]},
        {"response_types_supported": ["id_token"]},
    ],
)
def test_a_discovery_document_that_is_not_taken(changes: dict[str, Any]) -> None:
    with pytest.raises(MetadataRefused):
        described(Protocol.OIDC, json.dumps(DISCOVERY | changes))


@pytest.mark.parametrize("text", ["", "[]", "nothing", "{", '"https://login.corp.example"'])
def test_what_is_no_discovery_document(text: str) -> None:
    with pytest.raises(MetadataRefused):
        described(Protocol.OIDC, text)


def test_saml_metadata() -> None:
    told = described(Protocol.SAML, metadata(), now=NOW)
    assert told.issuer == f"{AT}/saml"
    assert told.endpoints == {
        "single_sign_on_service": f"{AT}/sso",
        "single_logout_service": f"{AT}/slo",
    }
    (pem,) = told.certificates
    assert pem.startswith("-----BEGIN CERTIFICATE-----")


def test_the_next_certificate_comes_behind_and_an_old_one_is_left_out() -> None:
    old = certificate(begins=NOW - dt.timedelta(days=20), days=10)
    following = certificate(days=900)
    told = described(Protocol.SAML, metadata(following, old, GOOD, GOOD), now=NOW)
    first, second = (x509.load_pem_x509_certificate(c.encode()) for c in told.certificates)
    assert first.not_valid_after_utc < second.not_valid_after_utc


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "<x/>",
        metadata(before=BOMB, entity="&b;"),
        metadata(before=FILE, entity="&f;"),
        metadata(role="SPSSODescriptor"),
        metadata(entity=""),
        metadata(entity="x" * 2000),
        metadata(sso="http://login.corp.example/sso"),
        metadata(sso="https://192.168.0.1/sso"),
        metadata(sso="javascript:alert(1)"),
        metadata(binding="SOAP"),
        metadata("bm90aGluZw=="),
        metadata("@@@"),
        metadata(certificate(begins=NOW - dt.timedelta(days=20), days=10)),
        metadata(certificate(begins=NOW + dt.timedelta(days=1))),
        metadata(certificate(days=101), certificate(days=102), certificate(days=103)),
        metadata(attributes='validUntil="2026-11-20T00:00:00Z"'),
        metadata(attributes='validUntil="yesterday"'),
        f'<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">{metadata()}'
        f"{metadata(entity='https://other.example')}</EntitiesDescriptor>",
    ],
)
def test_saml_metadata_that_are_not_taken(text: str) -> None:
    with pytest.raises(MetadataRefused):
        described(Protocol.SAML, text, now=NOW)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: ec.generate_private_key(ec.SECP192R1()),
        lambda: dsa.generate_private_key(2048),
    ],
    ids=["short", "an old curve", "dsa"],
)
def test_keys_that_are_not_taken(make: Callable[[], Any]) -> None:
    with pytest.raises(MetadataRefused):
        described(Protocol.SAML, metadata(certificate(make())), now=NOW)


def test_one_entity_in_a_list_is_one() -> None:
    text = f'<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">{metadata()}</EntitiesDescriptor>'
    assert described(Protocol.SAML, text, now=NOW).issuer == f"{AT}/saml"


def test_what_is_too_long_is_not_read() -> None:
    with pytest.raises(MetadataRefused, match="256 KB"):
        described(Protocol.SAML, metadata(attributes=f'x="{"y" * MAX_BYTES}"'), now=NOW)


def test_this_machine_only_where_it_is_allowed() -> None:
    here = "http://127.0.0.1:8080/keys"
    assert address(here, "The address", loopback=True) == here
    for other in (here, "http://localhost/keys", "http://10.0.0.1/keys"):
        with pytest.raises(MetadataRefused):
            address(other, "The address", loopback=other != here)


@pytest.mark.parametrize(
    ("host", "outside"),
    [
        ("login.corp.example", True),
        ("xn--bcher-kva.example", True),
        ("corp", False),
        ("localhost", False),
        ("a.localhost", False),
        ("db.internal", False),
        ("1.2.3.4", False),
        ("corp.example.", False),
        ("", False),
        ("-x.example", False),
    ],
)
def test_hosts_of_the_internet(host: str, outside: bool) -> None:
    assert is_outside(host) is outside
