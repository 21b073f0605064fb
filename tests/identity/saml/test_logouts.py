"""Logout messages: what a provider may end, and every message that ends nothing."""

import base64
import datetime as dt
import zlib
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest
import xmlsec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML as library

from identity.saml.documents import MAX_BYTES, inflated
from identity.saml.logouts import LogoutAnswered, LogoutAsked, read_posted, read_redirected
from identity.saml.messages import (
    RSA_SHA256,
    login_request,
    logout_request,
    logout_response,
    metadata,
    redirect,
)
from identity.saml.parties import ServiceProvider, check_libraries, our_key
from identity.saml.refusals import Flaw, SamlRefused
from tests.identity.saml import forge
from tests.identity.saml.forge import SLO, THEM, US, at, certificate_of, provider, signer

# The provider as one of those that speak: it sends to us what we send to it.
IT = ServiceProvider(THEM, "https://idp.corp.example/acs", SLO)


def now(seconds: float = 0) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)


def asked(to: str = US.slo_url, by: ServiceProvider = IT, when: float = 0, **changes: Any) -> bytes:
    told = {"name_id": "nora-1", "name_format": None, "index": "session-1"} | changes
    return logout_request(by, to, "_logout-1", now(when), **told)


def address(message: bytes, kind: str = "SAMLRequest", by: forge.Signer | None = None) -> str:
    return urlsplit(redirect(US.slo_url, kind, message, (by or signer()).key, "state")).query


def redirected(query: str, **changes: Any) -> LogoutAsked | LogoutAnswered:
    return read_redirected(US, replace(provider(), **changes), query, now())


def posted(message: bytes, **how: Any) -> LogoutAsked | LogoutAnswered:
    root = etree.fromstring(message)
    forge.sign(root, **how)
    return read_posted(US, provider(), forge.posted(root), now())


def flaw(call: Any, *values: Any, **more: Any) -> Flaw:
    with pytest.raises(SamlRefused) as caught:
        call(*values, **more)
    return caught.value.flaw


def test_asked_and_answered_both_ways() -> None:
    expected = LogoutAsked("_logout-1", "nora-1", frozenset({"session-1"}))
    assert redirected(address(asked())) == posted(asked()) == expected
    assert redirected(address(asked(index=None))) == replace(expected, indexes=frozenset())
    answer = logout_response(IT, US.slo_url, "_answer-1", "_logout-2", now())
    assert redirected(address(answer, "SAMLResponse")) == LogoutAnswered(
        "_answer-1", "_logout-2", True
    )
    failed = answer.replace(b"status:Success", b"status:Responder")
    assert posted(failed) == LogoutAnswered("_answer-1", "_logout-2", False)
    # The signature is over the address as its sender wrote it: with `%20` or `+`, without a state.
    query = f"SAMLRequest={parse_qs(address(asked()))['SAMLRequest'][0].replace('+', '%2b').replace('/', '%2f').replace('=', '%3d')}"
    query += f"&SigAlg={quote(RSA_SHA256, safe='')}"
    assert redirected(f"{query}&Signature={_signature(query)}") == expected


def _signature(query: str) -> str:
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(signer().key, xmlsec.constants.KeyDataFormatPem, None)
    raw = context.sign_binary(query.encode(), xmlsec.constants.TransformRsaSha256)
    return quote_plus(base64.b64encode(raw).decode())


CHANGED: dict[str, tuple[Flaw, dict[str, Any]]] = {
    "another issuer": (Flaw.ISSUER, {"by": replace(IT, entity_id="https://evil.example")}),
    "another address": (Flaw.DESTINATION, {"to": "https://elsewhere.example/slo"}),
    "an address that begins with ours": (Flaw.DESTINATION, {"to": f"{US.slo_url}/more"}),
    "old": (Flaw.TIMES, {"when": -700}),
    "of the future": (Flaw.TIMES, {"when": 120}),
    "a long name": (Flaw.SUBJECT, {"name_id": "n" * 256}),
    "no name": (Flaw.SUBJECT, {"name_id": ""}),
}


@pytest.mark.parametrize("name", CHANGED)
def test_loose(name: str) -> None:
    expected, changes = CHANGED[name]
    assert flaw(redirected, address(asked(**changes))) is expected
    assert flaw(posted, asked(**changes)) is expected


def test_messages_without_what_they_need() -> None:
    without = asked().replace(f' Destination="{US.slo_url}"'.encode(), b"")
    assert flaw(posted, without) is Flaw.DESTINATION
    answer = logout_response(IT, US.slo_url, "_answer-1", "_logout-2", now())
    assert flaw(posted, answer.replace(b' InResponseTo="_logout-2"', b"")) is Flaw.REQUEST
    over = asked().replace(b" Version=", f' NotOnOrAfter="{at(-60)}" Version='.encode())
    assert flaw(posted, over) is Flaw.TIMES
    in_time = asked().replace(b" Version=", f' NotOnOrAfter="{at(60)}" Version='.encode())
    assert isinstance(posted(in_time), LogoutAsked)
    many = b"".join(
        b"<s:SessionIndex xmlns:s='urn:oasis:names:tc:SAML:2.0:protocol'>x</s:SessionIndex>"
        for _ in range(101)
    )
    assert (
        flaw(
            posted,
            asked(index=None).replace(b"</samlp:LogoutRequest>", many + b"</samlp:LogoutRequest>"),
        )
        is Flaw.MALFORMED
    )
    unknown = asked().replace(b"</samlp:LogoutRequest>", b"<samlp:Further/></samlp:LogoutRequest>")
    assert flaw(posted, unknown) is Flaw.MALFORMED


def test_unsigned_or_signed_by_others() -> None:
    mallory = signer("mallory")
    message = asked()
    query = address(message)
    assert flaw(read_posted, US, provider(), forge.posted(message), now()) is Flaw.SIGNATURE
    assert flaw(posted, message, by=mallory) is Flaw.SIGNATURE
    assert flaw(posted, message, method=xmlsec.constants.TransformRsaSha1) is Flaw.SIGNATURE
    assert flaw(redirected, address(message, by=mallory)) is Flaw.SIGNATURE
    assert flaw(redirected, query.partition("&SigAlg")[0]) is Flaw.SIGNATURE
    assert flaw(redirected, query.partition("&Signature")[0]) is Flaw.SIGNATURE
    assert flaw(redirected, query.replace("rsa-sha256", "hmac-sha256")) is Flaw.SIGNATURE
    assert flaw(redirected, query.replace("rsa-sha256", "rsa-sha512")) is Flaw.SIGNATURE
    assert flaw(redirected, query.replace("RelayState=state", "RelayState=other")) is Flaw.SIGNATURE
    assert (
        flaw(redirected, query, certificates=(signer("ended", begins=-9, ends=-1).certificate,))
        is Flaw.CERTIFICATE
    )
    # A second message beside the signed one; whichever is read, it has to be the one that is signed.
    other = address(asked(name_id="admin"), by=mallory)
    assert flaw(redirected, f"{query}&{other.split('&')[0]}") is Flaw.MALFORMED
    assert (
        flaw(redirected, query.replace("SAMLRequest", "SAMLResponse") + "&" + other.split("&")[0])
        is Flaw.SIGNATURE
    )


def test_a_key_of_another_kind_signs_no_address() -> None:
    curve = certificate_of(ec.generate_private_key(ec.SECP256R1()))
    assert flaw(redirected, address(asked()), certificates=(curve,)) is Flaw.SIGNATURE


def test_wrapped() -> None:
    root = etree.fromstring(asked())
    forge.sign(root)
    genuine = forge.reread(root)
    evil = etree.fromstring(asked(name_id="admin"))
    evil.set("ID", "_evil")
    evil.append(genuine)
    assert flaw(read_posted, US, provider(), forge.posted(evil), now()) is Flaw.SIGNATURE
    signature = genuine[1]
    evil.insert(1, signature)
    assert flaw(read_posted, US, provider(), forge.posted(evil), now()) is Flaw.STRUCTURE


def test_what_is_no_message() -> None:
    for query in (
        "",
        "SAMLRequest=",
        "SAMLRequest=AAAA",
        "SAMLRequest=%2F%2F%2F%2F",
        f"SAMLRequest={quote_plus(base64.b64encode(b'x').decode())}",
    ):
        assert flaw(redirected, query) is Flaw.MALFORMED
    assert flaw(read_posted, US, provider(), forge.response(), now()) is Flaw.MALFORMED


def test_a_message_that_grows_when_unpacked() -> None:
    pack = zlib.compressobj(wbits=-15)
    bomb = base64.b64encode(pack.compress(b" " * (50 * MAX_BYTES)) + pack.flush()).decode()
    assert len(bomb) < MAX_BYTES
    assert flaw(inflated, bomb) is Flaw.MALFORMED
    small = zlib.compressobj(wbits=-15)
    packed = small.compress(b"<a/>") + small.flush()
    assert inflated(base64.b64encode(packed).decode()) == b"<a/>"
    assert flaw(inflated, base64.b64encode(packed + b"more").decode()) is Flaw.MALFORMED
    assert flaw(inflated, base64.b64encode(packed[:-1]).decode()) is Flaw.MALFORMED


def test_what_we_say_is_what_the_schema_asks_for() -> None:
    protocol = "saml-schema-protocol-2.0.xsd"
    nasty = replace(provider(), sso_url="https://idp.corp.example/sso?a=1&b=<")
    request = login_request(US, nasty, "_r", now(), contexts=["urn:a", "urn:<b>"], anew=True)
    for message in (
        request,
        login_request(US, nasty, "_r", now()),
        asked(name_format="urn:f"),
        asked(index=None),
    ):
        assert not isinstance(library.validate_xml(etree.fromstring(message), protocol), str)
    assert etree.fromstring(request).get("Destination") == nasty.sso_url
    described = metadata(US, [signer().certificate, signer("next").certificate])
    assert not isinstance(
        library.validate_xml(etree.fromstring(described), "saml-schema-metadata-2.0.xsd"), str
    )
    assert redirect("https://i.example/?a=1", "SAMLRequest", b"<a/>", signer().key).startswith(
        "https://i.example/?a=1&SAMLRequest="
    )


def test_a_key_of_another_kind_signs_nothing() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(TypeError, match="RSA"):
        our_key(pem)


def test_libraries_that_do_not_fit_are_told_before_they_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_libraries()
    monkeypatch.setattr(etree, "LIBXML_VERSION", (2, 9, 14))
    with pytest.raises(RuntimeError, match="libxml2"):
        check_libraries()
