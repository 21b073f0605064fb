"""A provider that encrypts: whatever a test wants, with the keys that it wants."""

import base64
import os
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from lxml import etree

from identity.saml.documents import ASSERTION
from identity.saml.encrypted import CBC_KEYS, GCM, OAEP_MGF1P
from tests.identity.saml.forge import Signer, reread

_SPACES = (
    'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'
    ' xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"'
    ' xmlns:x11="http://www.w3.org/2009/xmlenc11#"'
    ' xmlns:ds="http://www.w3.org/2000/09/xmldsig#"'
)
AES256_GCM, AES256_CBC = list(GCM)[-1], list(CBC_KEYS)[-1]


@dataclass(frozen=True)
class How:
    """How it encrypts. `inside`: the key is in the content's KeyInfo; else beside it. `method`: what the key's method holds."""

    content: str = AES256_GCM
    key: str = OAEP_MGF1P
    method: str = ""
    digest: type[hashes.HashAlgorithm] = hashes.SHA1
    mask: type[hashes.HashAlgorithm] = hashes.SHA1
    length: int | None = None
    inside: bool = True
    spoilt: bool = False


def element(plain: bytes, to: Signer, how: How | None = None) -> Any:
    """An encrypted assertion whose text is this."""
    used = how or How()
    length = used.length or (GCM | CBC_KEYS).get(used.content, 32)
    key, iv = os.urandom(length), os.urandom(12 if used.content in GCM else 16)
    if used.content in GCM:
        sealed = iv + AESGCM(key).encrypt(iv, plain, None)
    else:
        fill = 16 - len(plain) % 16
        encryptor = Cipher(AES(key), CBC(iv)).encryptor()
        sealed = (
            iv + encryptor.update(plain + bytes(fill - 1) + bytes([fill])) + encryptor.finalize()
        )
    if used.spoilt:
        sealed = sealed[:-20] + bytes([sealed[-20] ^ 1]) + sealed[-19:]
    public = x509.load_pem_x509_certificate(to.certificate.encode()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    pad: Any = padding.OAEP(padding.MGF1(used.mask()), used.digest(), None)
    if used.key.endswith("rsa-1_5"):
        pad = padding.PKCS1v15()
    wrapped = public.encrypt(key, pad)
    told = (
        f'<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{used.key}">{used.method}'
        f"</xenc:EncryptionMethod>{_value(wrapped)}</xenc:EncryptedKey>"
    )
    info = f"<ds:KeyInfo>{told}</ds:KeyInfo>" if used.inside else ""
    return etree.fromstring(
        f"<saml:EncryptedAssertion {_SPACES}>"
        '<xenc:EncryptedData Type="http://www.w3.org/2001/04/xmlenc#Element">'
        f'<xenc:EncryptionMethod Algorithm="{used.content}"/>{info}{_value(sealed)}'
        f"</xenc:EncryptedData>{'' if used.inside else told}</saml:EncryptedAssertion>"
    )


def _value(raw: bytes) -> str:
    text = base64.b64encode(raw).decode()
    return f"<xenc:CipherData><xenc:CipherValue>{text}</xenc:CipherValue></xenc:CipherData>"


def encrypted(root: Any, to: Signer, how: How | None = None) -> Any:
    """The response with its (first) assertion encrypted."""
    assertion = root.find(f"{ASSERTION}Assertion")
    tail, assertion.tail = assertion.tail, None
    made = element(etree.tostring(assertion), to, how)
    made.tail = tail
    root.replace(assertion, made)
    return reread(root)
