"""XML of a provider before any of it is believed: small, plain, and signed in the one shape that is taken.

Signature wrapping (Somorovsky and others, USENIX Security 2012) hides what is signed where nobody reads and lets what
nobody signed be read. So it is the shape that is checked: one assertion, directly below the response, its signature
directly below it, covering all of it. The signature itself is `python3-saml`'s to check.
"""

import binascii
import zlib
from collections.abc import Iterable
from typing import Any

from lxml import etree

from identity.saml.refusals import Flaw, SamlRefused

MAX_BYTES = 256 * 1024
PROTOCOL = "{urn:oasis:names:tc:SAML:2.0:protocol}"
ASSERTION = "{urn:oasis:names:tc:SAML:2.0:assertion}"
DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_MORE, _ENC = "http://www.w3.org/2001/04/xmldsig-more#", "http://www.w3.org/2001/04/xmlenc#"
RSA = {f"{_MORE}rsa-sha256": 256, f"{_MORE}rsa-sha384": 384, f"{_MORE}rsa-sha512": 512}
SIGNATURES = {*RSA, f"{_MORE}ecdsa-sha256", f"{_MORE}ecdsa-sha384", f"{_MORE}ecdsa-sha512"}
DIGESTS = {f"{_ENC}sha256", f"{_MORE}sha384", f"{_ENC}sha512"}
_IDS = {"id", "{http://www.w3.org/XML/1998/namespace}id"}


def decoded(posted: str) -> bytes:
    """The document in a form's field (SAML bindings, 3.5.4). Raises SamlRefused."""
    try:
        return binascii.a2b_base64("".join(posted.split()), strict_mode=True)
    except ValueError:
        raise SamlRefused(Flaw.MALFORMED) from None


def inflated(told: str) -> bytes:
    """The document in an address (SAML bindings, 3.4.4.1), unpacked no further than it may be long."""
    try:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        raw = unpack.decompress(decoded(told), MAX_BYTES + 1)
    except zlib.error:
        raise SamlRefused(Flaw.MALFORMED) from None
    if not unpack.eof or unpack.unused_data:
        raise SamlRefused(Flaw.MALFORMED)
    return raw


def parsed(raw: bytes, *names: str) -> Any:
    """The root of a document of one of these names. Raises SamlRefused.

    No document type, no comments (they cut names in two for careless readers), no processing instructions, no two
    elements of one id.
    """
    if len(raw) > MAX_BYTES:
        raise SamlRefused(Flaw.MALFORMED)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise SamlRefused(Flaw.MALFORMED) from None
    if root.getroottree().docinfo.doctype or root.tag not in names:
        raise SamlRefused(Flaw.MALFORMED)
    if any(not isinstance(node.tag, str) for node in root.iter()):
        raise SamlRefused(Flaw.STRUCTURE)
    ids = [v for node in root.iter() for n, v in node.attrib.items() if n.lower() in _IDS]
    if len(ids) != len(set(ids)):
        raise SamlRefused(Flaw.STRUCTURE)
    return root


def one_assertion(root: Any) -> Any:
    """The assertion of a response, which is signed as a whole; nothing else in the document claims to be one."""
    if any(True for _ in root.iter(f"{ASSERTION}EncryptedAssertion", f"{ASSERTION}EncryptedID")):
        raise SamlRefused(Flaw.ENCRYPTED)
    (assertion,) = _only(root.iter(f"{ASSERTION}Assertion"))
    if assertion.getparent() is not root:
        raise SamlRefused(Flaw.STRUCTURE)
    check_signatures(root, assertion, root)
    return assertion


def check_signatures(root: Any, signed: Any, *may: Any) -> None:
    """`signed` has a signature over all of itself; the others that there are cover all of one that may have one."""
    places = [signature.getparent() for signature in root.iter(f"{DSIG}Signature")]
    if signed not in places:
        raise SamlRefused(Flaw.SIGNATURE)
    if any(place is not signed and place not in may for place in places):
        raise SamlRefused(Flaw.STRUCTURE)
    if len(places) != len(set(places)):
        raise SamlRefused(Flaw.STRUCTURE)
    for place in places:
        _check_signature(place.find(f"{DSIG}Signature"), place)


def _check_signature(signature: Any, signed: Any) -> None:
    """One reference, to its parent, by its id, with the transformations that SAML allows (core, 5.4)."""
    (info,) = _only(signature.iter(f"{DSIG}SignedInfo"))
    (reference,) = _only(signature.iter(f"{DSIG}Reference"))
    if [reference.getparent(), info.getparent()] != [info, signature]:
        raise SamlRefused(Flaw.STRUCTURE)
    if reference.get("URI") != f"#{signed.get('ID')}":
        raise SamlRefused(Flaw.STRUCTURE)
    if any(True for _ in signature.iter(f"{DSIG}Object", f"{DSIG}RetrievalMethod")):
        raise SamlRefused(Flaw.STRUCTURE)
    if _algorithms(signature, "Transform") != [ENVELOPED, EXCLUSIVE]:
        raise SamlRefused(Flaw.STRUCTURE)
    if _algorithms(signature, "CanonicalizationMethod") != [EXCLUSIVE]:
        raise SamlRefused(Flaw.STRUCTURE)
    if not SIGNATURES.issuperset(_algorithms(signature, "SignatureMethod")):
        raise SamlRefused(Flaw.SIGNATURE)
    if not DIGESTS.issuperset(_algorithms(signature, "DigestMethod")):
        raise SamlRefused(Flaw.SIGNATURE)


def _algorithms(signature: Any, name: str) -> list[str]:
    return [found.get("Algorithm", "") for found in signature.iter(f"{DSIG}{name}")]


def _only(found: Iterable[Any]) -> list[Any]:
    listed = list(found)
    if len(listed) != 1:
        raise SamlRefused(Flaw.STRUCTURE)
    return listed
