"""Ways to hide what is signed and to show what is not: each takes a genuine response apart and answers a forged one.

1 to 8 as Somorovsky and others published them ("On Breaking SAML", USENIX Security 2012) and tools have numbered them
since; the others are their relatives.
"""

import copy
from collections.abc import Callable
from typing import Any

import xmlsec
from lxml import etree

from identity.saml.documents import ASSERTION, DSIG, PROTOCOL
from identity.saml.refusals import Flaw
from tests.identity.saml.forge import (
    EXTENSIONS,
    STATUS,
    Parts,
    Said,
    document,
    evil,
    reread,
    sign,
    signed,
    signer,
)

WRAPPINGS: dict[str, tuple[Callable[[], Any], Flaw]] = {}
DETAIL = f"{PROTOCOL}StatusDetail"


def wrapping(flaw: Flaw = Flaw.STRUCTURE) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """One of them, and as what it is refused."""

    def keep(made: Callable[[], Any]) -> Callable[[], Any]:
        WRAPPINGS[made.__name__] = (made, flaw)
        return made

    return keep


def _signed_response() -> tuple[Any, Any]:
    """A response signed as a whole (and its assertion), and the signature over all."""
    root = signed()
    sign(root)
    read = reread(root)
    return read, read.find(f"{DSIG}Signature")


def _evil_response(root: Any) -> tuple[Any, Any]:
    """A copy with another id and another person, and its place for a signature."""
    made = copy.deepcopy(root)
    made.set("ID", "_evil-response")
    for signature in list(made.iter(f"{DSIG}Signature")):
        signature.getparent().remove(signature)
    made.find(f"{ASSERTION}Assertion").set("ID", "_evil-1")
    made.find(f".//{ASSERTION}NameID").text = "admin"
    return made, made.find(f"{ASSERTION}Issuer")


@wrapping(Flaw.STRUCTURE)
def xsw1_the_response_inside_the_signature_of_another() -> Any:
    root, signature = _signed_response()
    made, issuer = _evil_response(root)
    root.remove(signature)
    signature.append(root)
    issuer.addnext(signature)
    return made


@wrapping(Flaw.STRUCTURE)
def xsw2_the_response_beside_the_signature_of_another() -> Any:
    root, signature = _signed_response()
    made, issuer = _evil_response(root)
    root.remove(signature)
    issuer.addnext(root)
    root.addnext(signature)
    return made


@wrapping()
def xsw3_another_assertion_in_front() -> Any:
    parts = Parts()
    parts.assertion.addprevious(evil(parts.assertion))
    return parts.root


@wrapping()
def xsw4_the_assertion_inside_another() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    parts.root.replace(parts.assertion, other)
    other.append(parts.assertion)
    return parts.root


@wrapping()
def xsw5_the_signature_at_another_the_assertion_behind() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    original = parts.bare()
    other.insert(1, parts.signature)
    parts.root.append(other)
    parts.root.append(original)
    return parts.root


@wrapping()
def xsw6_the_assertion_inside_the_signature_at_another() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    original = parts.bare()
    other.insert(1, parts.signature)
    parts.signature.append(original)
    parts.root.append(other)
    return parts.root


@wrapping()
def xsw7_another_assertion_in_extensions() -> Any:
    parts = Parts()
    extensions = parts.within(EXTENSIONS, evil(parts.assertion, None))
    parts.root.find(STATUS).addprevious(extensions)
    return parts.root


@wrapping()
def xsw8_the_assertion_in_an_object_of_the_signature() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    original = parts.bare()
    other.insert(1, parts.signature)
    parts.signature.append(parts.within(f"{DSIG}Object", original))
    parts.root.append(other)
    return parts.root


@wrapping()
def another_assertion_behind() -> Any:
    parts = Parts()
    parts.root.append(evil(parts.assertion))
    return parts.root


@wrapping()
def another_assertion_of_the_same_id_in_front() -> Any:
    parts = Parts()
    parts.assertion.addprevious(evil(parts.assertion, None))
    return parts.root


@wrapping()
def another_assertion_of_the_same_id_behind() -> Any:
    parts = Parts()
    parts.root.append(evil(parts.assertion, None))
    return parts.root


@wrapping()
def another_assertion_with_a_copy_of_the_signature() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    other.insert(1, copy.deepcopy(parts.signature))
    parts.assertion.addprevious(other)
    return parts.root


@wrapping()
def the_assertion_in_the_advice_of_another() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    parts.root.replace(parts.assertion, other)
    other.find(f"{ASSERTION}Conditions").addnext(
        parts.within(f"{ASSERTION}Advice", parts.assertion)
    )
    return parts.root


@wrapping()
def the_assertion_in_the_status_of_another() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    parts.root.replace(parts.assertion, other)
    parts.root.find(STATUS).append(parts.within(DETAIL, parts.assertion))
    return parts.root


@wrapping()
def another_assertion_in_the_status() -> Any:
    parts = Parts()
    parts.root.find(STATUS).append(parts.within(DETAIL, evil(parts.assertion)))
    return parts.root


@wrapping()
def the_assertion_in_a_value_of_another() -> Any:
    parts = Parts()
    other = evil(parts.assertion)
    parts.root.replace(parts.assertion, other)
    other.find(f".//{ASSERTION}AttributeValue").append(parts.assertion)
    return parts.root


@wrapping()
def the_assertion_in_extensions() -> Any:
    parts = Parts()
    parts.root.find(STATUS).addprevious(parts.within(EXTENSIONS, parts.assertion))
    return parts.root


@wrapping()
def a_whole_response_in_extensions_of_another() -> Any:
    root = signed()
    made, issuer = _evil_response(root)
    outer = etree.Element(EXTENSIONS)
    outer.append(root)
    issuer.addnext(outer)
    return made


@wrapping(Flaw.SIGNATURE)
def the_assertion_without_its_signature_which_is_in_extensions() -> Any:
    parts = Parts()
    parts.assertion.remove(parts.signature)
    parts.root.find(STATUS).addprevious(parts.within(EXTENSIONS, parts.signature))
    return parts.root


@wrapping()
def a_second_signature_in_extensions() -> Any:
    parts = Parts()
    extensions = parts.within(EXTENSIONS, copy.deepcopy(parts.signature))
    parts.root.find(STATUS).addprevious(extensions)
    return parts.root


@wrapping()
def two_signatures_of_one_assertion() -> Any:
    parts = Parts()
    parts.signature.addnext(copy.deepcopy(parts.signature))
    return parts.root


@wrapping()
def a_signature_that_names_another_element() -> Any:
    root = document(Said())
    sign(root.find(f"{ASSERTION}Assertion"), uri="")
    return root


@wrapping()
def a_signature_with_two_references() -> Any:
    return signed(twice=True)


@wrapping()
def a_reference_outside_of_what_is_signed() -> Any:
    parts = Parts()
    (info,) = parts.signature.findall(f"{DSIG}SignedInfo")
    manifest = parts.within(f"{DSIG}Manifest", info.find(f"{DSIG}Reference"))
    parts.signature.append(parts.within(f"{DSIG}Object", manifest))
    return parts.root


@wrapping()
def a_reference_in_the_key_info() -> Any:
    parts = Parts()
    reference = parts.signature.find(f".//{DSIG}Reference")
    parts.signature.find(f"{DSIG}KeyInfo").append(reference)
    return parts.root


@wrapping()
def a_signed_element_beside() -> Any:
    root = document(Said())
    detail = etree.SubElement(root.find(STATUS), DETAIL)
    beside = etree.SubElement(detail, f"{ASSERTION}Advice", ID="_beside")
    sign(root.find(f"{ASSERTION}Assertion"))
    sign(beside)
    return root


@wrapping()
def an_object_in_the_signature() -> Any:
    parts = Parts()
    parts.signature.append(etree.Element(f"{DSIG}Object"))
    return parts.root


@wrapping()
def a_key_to_be_retrieved_elsewhere() -> Any:
    parts = Parts()
    method = etree.SubElement(parts.signature.find(f"{DSIG}KeyInfo"), f"{DSIG}RetrievalMethod")
    method.set("URI", "http://127.0.0.1:9/key")
    return parts.root


@wrapping()
def a_second_signed_info() -> Any:
    parts = Parts()
    info = copy.deepcopy(parts.signature.find(f"{DSIG}SignedInfo"))
    parts.signature.append(info)
    return parts.root


@wrapping()
def an_xpath_as_transformation() -> Any:
    parts = Parts()
    last = parts.signature.findall(f".//{DSIG}Transform")[-1]
    last.set("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
    etree.SubElement(last, f"{DSIG}XPath").text = "false()"
    return parts.root


@wrapping()
def a_stylesheet_as_transformation() -> Any:
    parts = Parts()
    last = parts.signature.findall(f".//{DSIG}Transform")[-1]
    last.set("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")
    return parts.root


@wrapping()
def another_canonical_form() -> Any:
    return signed(canonical=xmlsec.constants.TransformInclC14N)


@wrapping()
def comments_as_part_of_the_canonical_form() -> Any:
    return signed(canonical=xmlsec.constants.TransformExclC14NWithComments)


@wrapping()
def a_comment_in_a_name() -> Any:
    parts = Parts()
    name = parts.assertion.find(f"{ASSERTION}Subject/{ASSERTION}NameID")
    name.text, comment = "nor", etree.Comment("x")
    comment.tail = "a-1"
    name.append(comment)
    return parts.root


@wrapping()
def an_instruction_in_a_name() -> Any:
    return signed(Said(name_id="nor<?x y?>a-1"))


@wrapping()
def one_id_twice_in_another_spelling() -> Any:
    parts = Parts()
    parts.root.find(STATUS).set("Id", "_assertion-1")
    return parts.root


@wrapping()
def an_encrypted_assertion_beside() -> Any:
    parts = Parts()
    parts.root.append(etree.Element(f"{ASSERTION}EncryptedAssertion"))
    return parts.root


@wrapping(Flaw.SIGNATURE)
def only_the_response_signed() -> Any:
    root = document(Said())
    sign(root)
    return root


@wrapping(Flaw.SIGNATURE)
def nothing_signed() -> Any:
    return document(Said())


@wrapping(Flaw.SIGNATURE)
def sha1() -> Any:
    return signed(method=xmlsec.constants.TransformRsaSha1)


@wrapping(Flaw.SIGNATURE)
def sha1_of_the_content() -> Any:
    return signed(digest=xmlsec.constants.TransformSha1)


@wrapping(Flaw.SIGNATURE)
def our_public_certificate_as_a_shared_secret() -> Any:
    secret = xmlsec.Key.from_binary_data(
        xmlsec.constants.KeyDataHmac, signer().certificate.encode()
    )
    return signed(method=xmlsec.constants.TransformHmacSha256, key=secret)


@wrapping(Flaw.SIGNATURE)
def signed_by_somebody_who_brings_their_certificate() -> Any:
    return signed(by=signer("mallory"))


@wrapping(Flaw.SIGNATURE)
def a_name_changed_after_the_signature() -> Any:
    parts = Parts()
    parts.assertion.find(f"{ASSERTION}Subject/{ASSERTION}NameID").text = "admin"
    return parts.root


@wrapping(Flaw.SIGNATURE)
def a_value_changed_after_the_signature() -> Any:
    parts = Parts()
    parts.assertion.findall(f".//{ASSERTION}AttributeValue")[-1].text = "admins"
    return parts.root


@wrapping(Flaw.SIGNATURE)
def a_genuine_assertion_in_a_response_that_was_changed() -> Any:
    root, _ = _signed_response()
    root.set("IssueInstant", "2030-01-01T00:00:00Z")
    return root


@wrapping(Flaw.MALFORMED)
def a_document_type_with_an_entity() -> Any:
    raw = etree.tostring(signed())
    return b'<!DOCTYPE r [<!ENTITY who "admin">]>' + raw.replace(b"nora-1", b"&who;")


@wrapping(Flaw.MALFORMED)
def entities_that_grow() -> Any:
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 9))
    return b'<!DOCTYPE r [<!ENTITY l0 "ha">' + laughs + b"]>" + etree.tostring(signed())


@wrapping(Flaw.MALFORMED)
def another_message_around() -> Any:
    made = etree.Element(f"{PROTOCOL}ArtifactResponse")
    made.append(signed())
    return made


@wrapping(Flaw.MALFORMED)
def an_element_that_no_schema_has() -> Any:
    parts = Parts()
    etree.SubElement(parts.root, f"{PROTOCOL}Further")
    return parts.root
