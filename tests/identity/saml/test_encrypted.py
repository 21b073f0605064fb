"""Encrypted assertions: opened where nobody learns anything by it, and then judged like all others."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
import xmlsec
from cryptography.hazmat.primitives import hashes
from lxml import etree

from identity.saml.documents import ASSERTION, DSIG, PROTOCOL
from identity.saml.encrypted import CBC_KEYS, GCM, OAEP, XENC
from identity.saml.refusals import Flaw, SamlRefused
from identity.saml.responses import SignedIn, read_response
from tests.identity.saml import forge
from tests.identity.saml.encrypting import AES256_CBC, How, element, encrypted
from tests.identity.saml.forge import REQUEST, US, Said, document, provider, signed, signer
from tests.identity.saml.wrappings import WRAPPINGS

OURS = signer("caretree")
SHA256 = '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
MGF256 = '<x11:MGF Algorithm="http://www.w3.org/2009/xmlenc11#mgf1sha256"/>'
TRIPLE = "http://www.w3.org/2001/04/xmlenc#tripledes-cbc"
PKCS1 = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"


def read(root: Any, private: bytes | None = OURS.key) -> SignedIn:
    now = dt.datetime.now(dt.UTC)
    return read_response(US, provider(), forge.posted(root), REQUEST, now, private)


def flaw(root: Any, private: bytes | None = OURS.key) -> Flaw:
    with pytest.raises(SamlRefused) as caught:
        read(root, private)
    return caught.value.flaw


def whole(root: Any, by: forge.Signer | None = None) -> Any:
    """The response signed as a whole."""
    forge.sign(root, by)
    return forge.reread(root)


@pytest.mark.parametrize("content", GCM)
@pytest.mark.parametrize(
    "how",
    [
        How(),
        How(inside=False),
        How(method=SHA256, digest=hashes.SHA256),
        How(key=OAEP),
        How(key=OAEP, method=SHA256 + MGF256, digest=hashes.SHA256, mask=hashes.SHA256),
    ],
)
def test_taken(content: str, how: How) -> None:
    root = encrypted(signed(), OURS, replace(how, content=content))
    assert b"nora" not in etree.tostring(root)
    found = read(root)
    assert (found.name_id, found.attributes["groups"]) == ("nora-1", ["nurses", "choir"])


@pytest.mark.parametrize("content", [*GCM, *CBC_KEYS])
def test_taken_in_a_response_that_is_signed_too(content: str) -> None:
    assert read(whole(encrypted(signed(), OURS, How(content)))).name_id == "nora-1"


@pytest.mark.parametrize("content", CBC_KEYS)
def test_what_can_be_changed_on_the_way_is_not_opened_unsigned(content: str) -> None:
    assert flaw(encrypted(signed(), OURS, How(content))) is Flaw.ENCRYPTED


HOW = {
    "another's key": (signer("partner"), How()),
    "changed on the way": (OURS, How(spoilt=True)),
    "an old padding of the key": (OURS, How(key=PKCS1)),
    "a padding of the key that is none of these": (OURS, How(key="urn:other")),
    "an old cipher": (OURS, How(TRIPLE)),
    "a label of the key": (OURS, How(method="<xenc:OAEPparams>eA==</xenc:OAEPparams>")),
    "a hash that is none of these": (OURS, How(method='<ds:DigestMethod Algorithm="urn:md5"/>')),
    "a mask that is none of these": (OURS, How(key=OAEP, method='<x11:MGF Algorithm="urn:md5"/>')),
    "another hash than it says": (OURS, How(method=SHA256)),
    "a short key": (OURS, How(length=16)),
}


@pytest.mark.parametrize("name", HOW)
def test_not_opened(name: str) -> None:
    to, how = HOW[name]
    assert flaw(encrypted(signed(), to, how)) is Flaw.ENCRYPTED
    # Signed as a whole or not: there is one word for all of it.
    assert flaw(whole(encrypted(signed(), to, how))) is Flaw.ENCRYPTED


@pytest.mark.parametrize("cut", ["key", "content", "padding", "empty"])
def test_broken_ones_in_a_signed_response(cut: str) -> None:
    root = encrypted(signed(), OURS, How(AES256_CBC))
    values = list(root.iter(f"{XENC}CipherValue"))
    changed = values[0] if cut == "key" else values[-1]
    changed.text = {"key": "AAAA", "content": "AAA", "padding": "A" * 64, "empty": f"{'A' * 22}=="}[
        cut
    ]
    assert flaw(whole(root)) is Flaw.ENCRYPTED


def test_parts_that_are_missing_or_there_twice() -> None:
    for name in ("EncryptedData", "EncryptedKey", "EncryptionMethod", "CipherValue"):
        root = encrypted(signed(), OURS)
        (found, *_) = root.iter(f"{XENC}{name}")
        found.getparent().append(forge.reread(found))
        assert flaw(root) is Flaw.ENCRYPTED, name
        root = encrypted(signed(), OURS)
        (found, *_) = root.iter(f"{XENC}{name}")
        found.getparent().remove(found)
        assert flaw(root) is Flaw.ENCRYPTED, name
    deeper = encrypted(signed(), OURS)
    (data,) = deeper.iter(f"{XENC}EncryptedData")
    outer = etree.SubElement(data.getparent(), f"{DSIG}KeyInfo")
    outer.append(data)
    assert flaw(deeper) is Flaw.ENCRYPTED
    assert flaw(encrypted(signed(), OURS), None) is Flaw.ENCRYPTED


def test_two_of_them_or_one_that_is_open_beside() -> None:
    root = encrypted(signed(), OURS)
    root.append(forge.reread(root.find(f"{ASSERTION}EncryptedAssertion")))
    assert flaw(root) is Flaw.ENCRYPTED
    for at in (0, 99):
        beside = encrypted(signed(), OURS)
        beside.insert(at, signed(Said(assertion_id="_other")).find(f"{ASSERTION}Assertion"))
        assert flaw(beside) is Flaw.STRUCTURE
    within = encrypted(signed(), OURS)
    status = within.find(f"{PROTOCOL}Status")
    detail = etree.SubElement(status, f"{PROTOCOL}StatusDetail")
    detail.append(within.find(f"{ASSERTION}EncryptedAssertion"))
    assert flaw(within) is Flaw.STRUCTURE


def test_what_is_hidden_inside_is_one_signed_assertion() -> None:
    genuine = etree.tostring(signed().find(f"{ASSERTION}Assertion"))
    bare = etree.tostring(document(Said()).find(f"{ASSERTION}Assertion"))
    nested = etree.tostring(element(genuine, OURS))
    expected = {
        b"": Flaw.ENCRYPTED,
        b"nora": Flaw.ENCRYPTED,
        b"<a/>": Flaw.ENCRYPTED,
        genuine + genuine.replace(b"_assertion-1", b"_other"): Flaw.ENCRYPTED,
        b"nora" + genuine: Flaw.ENCRYPTED,
        genuine + b"nora": Flaw.ENCRYPTED,
        nested: Flaw.ENCRYPTED,
        genuine[:-5]: Flaw.MALFORMED,
        b"</around><around>" + genuine: Flaw.MALFORMED,
        b"<!DOCTYPE a>" + genuine: Flaw.MALFORMED,
        b"<!-- -->" + genuine: Flaw.STRUCTURE,
        genuine.replace(b"nora-1", b"nor<!-- -->a-1"): Flaw.STRUCTURE,
        bare: Flaw.SIGNATURE,
        genuine.replace(b"nora-1", b"admin"): Flaw.SIGNATURE,
    }
    for plain, why in expected.items():
        root = document(Said())
        root.replace(root.find(f"{ASSERTION}Assertion"), element(plain, OURS))
        assert flaw(forge.reread(root)) is why, plain[:60]
        # A signature around all of it does not stand for the one inside.
        assert flaw(whole(forge.reread(root))) is why, plain[:60]


def test_nothing_else_may_be_hidden() -> None:
    """A name that is encrypted by itself, or an assertion in the advice of another, also where that was encrypted."""
    root = document(Said())
    subject = root.find(f"{ASSERTION}Assertion/{ASSERTION}Subject")
    subject.replace(subject[0], etree.Element(f"{ASSERTION}EncryptedID"))
    forge.sign(root.find(f"{ASSERTION}Assertion"))
    assert flaw(root) is Flaw.ENCRYPTED
    assert flaw(encrypted(forge.reread(root), OURS)) is Flaw.ENCRYPTED
    root = document(Said())
    advice = etree.Element(f"{ASSERTION}Advice")
    advice.append(element(b"<a/>", OURS))
    root.find(f"{ASSERTION}Assertion/{ASSERTION}Conditions").addnext(advice)
    forge.sign(root.find(f"{ASSERTION}Assertion"))
    assert flaw(encrypted(forge.reread(root), OURS)) is Flaw.ENCRYPTED


def test_names_that_are_declared_around_it_hold_inside() -> None:
    root = signed()
    plain = etree.tostring(root.find(f"{ASSERTION}Assertion"))
    for declared in (b"protocol", b"assertion"):
        at = b"urn:oasis:names:tc:SAML:2.0:" + declared
        for prefix in (b"saml", b"samlp"):
            plain = plain.replace(b' xmlns:%s="%s"' % (prefix, at), b"", 1)
    assert b"xmlns:saml=" not in plain
    root.replace(root.find(f"{ASSERTION}Assertion"), element(plain, OURS))
    assert read(forge.reread(root)).name_id == "nora-1"


def test_the_signature_around_it_is_checked_before_it_is_opened() -> None:
    by_another = whole(encrypted(signed(), OURS), signer("mallory"))
    assert flaw(by_another) is Flaw.SIGNATURE
    otherwise = encrypted(signed(), OURS, How(AES256_CBC))
    forge.sign(otherwise, canonical=xmlsec.constants.TransformInclC14N)
    assert flaw(otherwise) is Flaw.STRUCTURE
    changed = whole(encrypted(signed(), OURS, How(AES256_CBC)))
    changed.set("IssueInstant", "2030-01-01T00:00:00Z")
    assert flaw(changed) is Flaw.SIGNATURE
    astray = encrypted(signed(), OURS)
    beside = etree.SubElement(astray.find(f"{PROTOCOL}Status"), f"{PROTOCOL}StatusDetail")
    beside.append(forge.reread(whole(signed()).find(f"{DSIG}Signature")))
    assert flaw(astray) is Flaw.SIGNATURE


@pytest.mark.parametrize("name", WRAPPINGS)
@pytest.mark.parametrize("around", [False, True])
def test_wrapped(name: str, around: bool) -> None:
    """Every way to wrap what is signed, encrypted: hidden, it is refused as well, signed once more around it or not."""
    made = WRAPPINGS[name][0]()
    if isinstance(made, bytes) or made.tag != f"{PROTOCOL}Response":
        assert name in UNREADABLE
        return
    if made.find(f"{ASSERTION}Assertion") is None:
        assert name in WITHOUT
        return
    root = encrypted(made, OURS)
    if around:
        for old in root.findall(f"{DSIG}Signature"):
            root.remove(old)
        root = whole(root)
    if around and name in GENUINE_AGAIN:
        assert read(root).name_id == "nora-1"
    else:
        assert flaw(root)


UNREADABLE = {
    *("a_document_type_with_an_entity", "entities_that_grow", "another_message_around"),
}
"""These never get as far as what is encrypted."""
WITHOUT = {"the_assertion_in_extensions"}
"""These have no assertion below the response."""
GENUINE_AGAIN = {"a_genuine_assertion_in_a_response_that_was_changed"}
"""What was changed in these, the provider itself has signed by then."""
