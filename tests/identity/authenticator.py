"""A passkey in software: what a browser and its authenticator answer to Keycloak's pages (WebAuthn Level 2)."""

import hashlib
import json
import re
import secrets
import struct
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
_CHALLENGE = re.compile(r"challenge\s*:\s*['\"]([\w-]+)['\"]")


def b64(raw: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def cbor(value: Any) -> bytes:
    """As much of CBOR (RFC 8949) as attestations need."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    pairs = b"".join(cbor(key) + cbor(item) for key, item in value.items())
    return _head(5, len(value)) + pairs


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    if number < 256:
        return bytes([kind << 5 | 24, number])
    return bytes([kind << 5 | 25]) + struct.pack(">H", number)


class Passkey:
    """One credential of one person: made at the first page that asks, used at the following ones."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._id = secrets.token_bytes(32)
        self._uses = 0

    def answer(self, url: str, page: str, fields: dict[str, str]) -> dict[str, str]:
        """The form of a page that registers a passkey or asks for it."""
        found = _CHALLENGE.search(page)
        assert found, "a page of WebAuthn has a challenge"
        return (self._made if "attestationObject" in fields else self._shown)(url, found[1])

    def _made(self, url: str, challenge: str) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        x, y = (n.to_bytes(32, "big") for n in (numbers.x, numbers.y))
        public = cbor({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        credential = bytes(16) + struct.pack(">H", len(self._id)) + self._id + public
        data = self._data(url, PRESENT | VERIFIED | ATTESTED) + credential
        return {
            "clientDataJSON": b64(_client(url, challenge, "webauthn.create")),
            "attestationObject": b64(cbor({"fmt": "none", "attStmt": {}, "authData": data})),
            "publicKeyCredentialId": b64(self._id),
            "authenticatorLabel": "software",
            "transports": "internal",
        }

    def _shown(self, url: str, challenge: str) -> dict[str, str]:
        self._uses += 1
        client = _client(url, challenge, "webauthn.get")
        data = self._data(url, PRESENT | VERIFIED)
        signed = data + hashlib.sha256(client).digest()
        return {
            "clientDataJSON": b64(client),
            "authenticatorData": b64(data),
            "signature": b64(self._key.sign(signed, ec.ECDSA(hashes.SHA256()))),
            "credentialId": b64(self._id),
            "userHandle": "",
        }

    def _data(self, url: str, flags: int) -> bytes:
        party = hashlib.sha256((urlsplit(url).hostname or "").encode()).digest()
        return party + bytes([flags]) + struct.pack(">I", self._uses)


def _client(url: str, challenge: str, kind: str) -> bytes:
    at = urlsplit(url)
    origin = f"{at.scheme}://{at.netloc}"
    told = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}
    return json.dumps(told).encode()
