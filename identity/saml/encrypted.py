"""An assertion that came encrypted, opened and put where it belongs, so that it is judged like any other.

Of XML Encryption (1.1) only what tells nobody anything about what others have encrypted: the key under RSA-OAEP, the
assertion under AES-GCM. AES-CBC can be changed on the way and opened bit by bit by asking often enough (Jager and
Somorovsky, "How To Break XML Encryption", CCS 2011), so it is taken only inside of a response that is signed, and nothing
is opened before that signature was checked. Opened by hand and not by a library that does what the document says.
"""

import binascii
import datetime as dt
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from lxml import etree
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from identity.saml.documents import ASSERTION, DSIG, check_signatures, parsed
from identity.saml.parties import Provider, current, our_key
from identity.saml.refusals import Flaw, SamlRefused

XENC = "{http://www.w3.org/2001/04/xmlenc#}"
XENC11 = "{http://www.w3.org/2009/xmlenc11#}"
_1, _11 = XENC[1:-1], XENC11[1:-1]
GCM = {f"{_11}aes128-gcm": 16, f"{_11}aes192-gcm": 24, f"{_11}aes256-gcm": 32}
CBC_KEYS = {f"{_1}aes128-cbc": 16, f"{_1}aes192-cbc": 24, f"{_1}aes256-cbc": 32}
OAEP_MGF1P, OAEP = f"{_1}rsa-oaep-mgf1p", f"{_11}rsa-oaep"
_SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    _SHA1: hashes.SHA1(),  # noqa: S303  # of no consequence in OAEP, and what nearly all send
    f"{_1}sha256": hashes.SHA256(),
    f"{_1}sha512": hashes.SHA512(),
    f"{_11}mgf1sha1": hashes.SHA1(),  # noqa: S303  # likewise
    f"{_11}mgf1sha256": hashes.SHA256(),
    f"{_11}mgf1sha512": hashes.SHA512(),
}
IV, TAG, BLOCK = 12, 16, 16


def is_encrypted(root: Any) -> bool:
    """Whether a response holds an encrypted assertion anywhere."""
    return any(True for _ in root.iter(f"{ASSERTION}EncryptedAssertion"))


def opened(root: Any, them: Provider, private: bytes | None, now: dt.datetime) -> bytes:
    """The response with its assertion in the open, to be read anew. `private`: our key, PEM. Raises SamlRefused.

    A signature over the whole response is checked here and taken out: it covers the encrypted form.
    """
    (encrypted,) = _only(root.iter(f"{ASSERTION}EncryptedAssertion"))
    if encrypted.getparent() is not root or any(True for _ in root.iter(f"{ASSERTION}Assertion")):
        raise SamlRefused(Flaw.STRUCTURE)
    signed = _checked(root, them, now)
    try:
        plain = _plain(encrypted, private, signed=signed)
    except (ValueError, TypeError, InvalidTag):
        raise SamlRefused(Flaw.ENCRYPTED) from None
    return _in_place(root, encrypted, plain)


def _checked(root: Any, them: Provider, now: dt.datetime) -> bool:
    """Whether the response is signed as a whole, by the provider; then without its signature."""
    signatures = list(root.iter(f"{DSIG}Signature"))
    if not signatures:
        return False
    check_signatures(root, root)
    if not OneLogin_Saml2_Utils.validate_sign(
        root,
        multicerts=current(them.certificates, now),
        xpath="/samlp:Response/ds:Signature",
    ):
        raise SamlRefused(Flaw.SIGNATURE)
    root.remove(signatures[0])
    return True


def _plain(encrypted: Any, private: bytes | None, *, signed: bool) -> bytes:
    """The assertion's text. Raises SamlRefused, ValueError, InvalidTag."""
    (data,) = _only(encrypted.iter(f"{XENC}EncryptedData"))
    (wrapped,) = _only(encrypted.iter(f"{XENC}EncryptedKey"))
    if data.getparent() is not encrypted or private is None:
        raise SamlRefused(Flaw.ENCRYPTED)
    algorithm, content = _method(data), _value(data)
    length = (GCM | (CBC_KEYS if signed else {})).get(algorithm.get("Algorithm", ""))
    if length is None:
        raise SamlRefused(Flaw.ENCRYPTED)
    key = _unwrapped(wrapped, private)
    if len(key) != length:
        raise SamlRefused(Flaw.ENCRYPTED)
    if algorithm.get("Algorithm") in GCM:
        return AESGCM(key).decrypt(content[:IV], content[IV:], None)
    decryptor = Cipher(AES(key), CBC(content[:BLOCK])).decryptor()
    padded = decryptor.update(content[BLOCK:]) + decryptor.finalize()
    if not padded or not 1 <= padded[-1] <= BLOCK:
        raise SamlRefused(Flaw.ENCRYPTED)
    return padded[: -padded[-1]]


def _unwrapped(wrapped: Any, private: bytes) -> bytes:
    """The key of the content (XML Encryption 1.1, section 5.5.2). Raises SamlRefused, ValueError."""
    method = _method(wrapped)
    told = method.get("Algorithm")
    if told not in (OAEP_MGF1P, OAEP) or method.find(f"{XENC}OAEPparams") is not None:
        raise SamlRefused(Flaw.ENCRYPTED)
    digest = _hash(method.find(f"{DSIG}DigestMethod"))
    mask = _hash(method.find(f"{XENC11}MGF") if told == OAEP else None)
    return our_key(private).decrypt(_value(wrapped), padding.OAEP(padding.MGF1(mask), digest, None))


def _hash(named: Any) -> hashes.HashAlgorithm:
    found = _HASHES.get(_SHA1 if named is None else named.get("Algorithm", ""))
    if found is None:
        raise SamlRefused(Flaw.ENCRYPTED)
    return found


def _method(element: Any) -> Any:
    return _only(element.findall(f"{XENC}EncryptionMethod"))[0]


def _value(element: Any) -> bytes:
    (value,) = _only(element.findall(f"{XENC}CipherData/{XENC}CipherValue"))
    return binascii.a2b_base64("".join((value.text or "").split()), strict_mode=True)


def _in_place(root: Any, encrypted: Any, plain: bytes) -> bytes:
    """The response with the assertion's text where it was encrypted; names that were declared around it hold for it.

    As text: an element that lxml moves takes over other prefixes, and what was signed would be another one.
    """
    declared = {**encrypted.nsmap, **root.nsmap}
    outer = parsed(b"<around" + _declarations(declared) + b">" + plain + b"</around>", "around")
    if outer.text or len(outer) != 1 or outer[0].tail or outer[0].tag != f"{ASSERTION}Assertion":
        raise SamlRefused(Flaw.ENCRYPTED)
    mark = secrets.token_hex(16)
    encrypted.addprevious(stand_in := etree.Element("stand-in"))
    root.remove(encrypted)
    stand_in.tail = mark
    etree.strip_elements(root, "stand-in", with_tail=False)
    before, _, after = etree.tostring(root).partition(mark.encode())
    name, space, rest = before.partition(b" ")
    more = _declarations({p: uri for p, uri in declared.items() if p not in root.nsmap})
    return bytes(name + more + space + rest + plain + after)


def _declarations(names: dict[str | None, str]) -> bytes:
    written: bytes = etree.tostring(etree.Element("a", nsmap=names))
    return written.removeprefix(b"<a").removesuffix(b"/>")


def _only(found: Any) -> list[Any]:
    listed = list(found)
    if len(listed) != 1:
        raise SamlRefused(Flaw.ENCRYPTED)
    return listed
