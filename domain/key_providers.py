"""Where the keys live that no database holds: one for each health system, and one for the control plane.

A provider gives no key out; it wraps and unwraps small secrets (data keys) with a key it keeps under a name.
Destroying a health system's key makes all that was sealed for it unreadable for ever, in backups as well. Every
provider passes the suite of `tests/domain/key_providers.py`. Calls may block (a file, a network): use a thread.
"""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = 1
NONCE = 12  # bytes, NIST SP 800-38D section 8.2.2: random
HEAD = 5  # bytes: the format and the generation of the key
KEY = 32  # bytes: AES-256


class SealBroken(Exception):
    """It does not open: altered, cut, moved to another place, or sealed with another key. Says no more on purpose."""

    def __init__(self, message: str = "The sealed value does not open.") -> None:
        super().__init__(message)


class KeyMissing(SealBroken):
    """There is no key of this name, or it was destroyed."""

    def __init__(self) -> None:
        super().__init__("There is no key of this name, or it was destroyed.")


class KeyProvider(Protocol):
    """Keeps named keys. Names are a tenant's id or `control`; `place` is bound into what is wrapped."""

    def create(self, name: str) -> None:
        """Make the key if it is not there. Raises KeyMissing when one of this name was destroyed."""
        ...

    def wrap(self, name: str, plain: bytes, place: bytes) -> bytes:
        """Seal with the newest generation of the key. Raises KeyMissing."""
        ...

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        """Open what `wrap` sealed, by any generation still kept. Raises SealBroken."""
        ...

    def rotate(self, name: str) -> None:
        """Add a generation, which seals from now on. Raises KeyMissing."""
        ...

    def retire(self, name: str) -> None:
        """Forget all generations but the newest. Raises KeyMissing."""
        ...

    def destroy(self, name: str) -> None:
        """Forget the key; the name is never used again. Safe to repeat."""
        ...


def encrypt(cipher: AESGCM, generation: int, plain: bytes, place: bytes) -> bytes:
    """Format byte, generation (4 bytes, big-endian), nonce, ciphertext with its tag."""
    nonce = secrets.token_bytes(NONCE)
    head = bytes([FORMAT]) + generation.to_bytes(4, "big")
    return head + nonce + cipher.encrypt(nonce, plain, head + place)


def decrypt(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes:
    """What `encrypt` was given. Raises SealBroken."""
    try:
        return cipher.decrypt(
            sealed[HEAD : HEAD + NONCE], sealed[HEAD + NONCE :], sealed[:HEAD] + place
        )
    except (InvalidTag, ValueError):
        raise SealBroken() from None


def generation_of(sealed: bytes) -> int:
    """Which generation of the key sealed it. Raises SealBroken for what `encrypt` did not write."""
    if len(sealed) < HEAD + NONCE + 16 or sealed[0] != FORMAT:
        raise SealBroken()
    return int.from_bytes(sealed[1:HEAD], "big")


class FileKeyProvider:
    """Keys in one JSON file that only its owner may read: for development and single machines.

    Several processes may use the file: changes are made under a lock and put in place by rename, and the file is
    read again when it has changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, dict[int, AESGCM]] = {}

    def create(self, name: str) -> None:
        """See KeyProvider."""
        with self._changing() as keys:
            if name in keys and not keys[name]:
                raise KeyMissing()
            keys.setdefault(name, {"1": _new_key()})

    def wrap(self, name: str, plain: bytes, place: bytes) -> bytes:
        """See KeyProvider."""
        generations = self._generations(name)
        newest = max(generations)
        return encrypt(generations[newest], newest, plain, _bound(name, place))

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        """See KeyProvider."""
        cipher = self._generations(name).get(generation_of(wrapped))
        if cipher is None:
            raise SealBroken()
        return decrypt(cipher, wrapped, _bound(name, place))

    def rotate(self, name: str) -> None:
        """See KeyProvider."""
        with self._changing() as keys:
            generations = _existing(keys, name)
            generations[str(max(map(int, generations)) + 1)] = _new_key()

    def retire(self, name: str) -> None:
        """See KeyProvider."""
        with self._changing() as keys:
            newest = str(max(map(int, _existing(keys, name))))
            keys[name] = {newest: keys[name][newest]}

    def destroy(self, name: str) -> None:
        """See KeyProvider. An empty entry stays behind, so that the name is not used again."""
        with self._changing() as keys:
            keys[name] = {}

    def _generations(self, name: str) -> dict[int, AESGCM]:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            raise KeyMissing() from None
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._keys = {
                key: {int(g): AESGCM(base64.b64decode(k)) for g, k in generations.items()}
                for key, generations in self._read().items()
            }
            self._seen = seen
        if not self._keys.get(name):
            raise KeyMissing()
        return self._keys[name]

    def _read(self) -> dict[str, dict[str, str]]:
        if not self._path.exists():
            return {}
        if self._path.stat().st_mode & 0o077:
            raise PermissionError(f"Others may read the key file {self._path}: chmod 600 it.")
        content: dict[str, Any] = json.loads(self._path.read_bytes())
        return content

    @contextmanager
    def _changing(self) -> Iterator[dict[str, dict[str, str]]]:
        """The content to change in place; written whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self._read()
            yield keys
            self._write(json.dumps(keys).encode())
        finally:
            os.close(lock)

    def _write(self, content: bytes) -> None:
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        file = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        try:
            os.write(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(self._path)


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY)).decode()


def _bound(name: str, place: bytes) -> bytes:
    return name.encode() + b"|" + place


def _existing(keys: dict[str, dict[str, str]], name: str) -> dict[str, str]:
    if not keys.get(name):
        raise KeyMissing()
    return keys[name]
