"""Secrets in rows: sealed in Python, so that neither the database nor a backup of it shows them.

Envelope encryption with AES-256-GCM (NIST SP 800-38D). A *data key* for each health system and table seals the
table's `*_sealed` columns; data keys lie in `data_key`, wrapped by the health system's key at a key provider.
Rotating that key wraps the data keys anew and touches no row; destroying it makes all of them unreadable.

Sealed value: format byte, generation of the data key (4 bytes, big-endian), nonce (12), ciphertext, tag (16).
Bound into it as additional data: the head and `tenant|table|column|row id`, so that a value opens only in its place.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
import uuid
from binascii import Error as NotBase64
from binascii import a2b_base64
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import LargeBinary, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain import tables
from domain.database import set_tenant
from domain.key_providers import (
    KEY,
    KeyMissing,
    KeyProvider,
    SealBroken,
    decrypt,
    encrypt,
    generation_of,
)
from domain.keys import DataKey

__all__ = ["KeyMissing", "Keyring", "SealBroken", "SecretSealer", "TenantKeys", "purposes"]

INDEX = "blind_index"
CONTROL = "control"
FRESH = 300.0  # seconds: how long unwrapped keys are used before the provider is asked again
TENANTS = 1_000  # whose keys are kept unwrapped at a time


class TenantKeys:
    """The unwrapped keys of one health system. Nothing here waits: a response opens many values.

    `column` is `table.column`. What is sealed for one row of one column opens nowhere else.
    """

    def __init__(self, tenant_id: uuid.UUID, keys: Mapping[str, Mapping[int, bytes]]) -> None:
        self.tenant_id = tenant_id
        self._ciphers = {p: {g: AESGCM(k) for g, k in ks.items()} for p, ks in keys.items()}
        self._newest = {purpose: max(ciphers) for purpose, ciphers in self._ciphers.items()}
        index = keys.get(INDEX, {})
        self._index = index[min(index)] if index else None
        self._prefix = f"{tenant_id}|"

    def seal(self, column: str, row_id: uuid.UUID, value: bytes, /) -> bytes:
        """Seal a value for its place. Raises KeyMissing for a table without a data key."""
        table, _, name = column.partition(".")
        newest = self._newest.get(table)
        if newest is None:
            raise KeyMissing()
        place = self._place(table, name, row_id)
        return encrypt(self._ciphers[table][newest], newest, value, place)

    def open(self, column: str, row_id: uuid.UUID | str, sealed: bytes, /) -> bytes:
        """What was sealed for this place. Raises SealBroken."""
        table, _, name = column.partition(".")
        return self._open(table, name, row_id, sealed)

    def open_text(self, table: str, column: str, row_id: str, encoded: str) -> str:
        """As `open` for a response: base64 in (also with PostgreSQL's line ends), text out. Raises SealBroken."""
        try:
            return self._open(table, column, row_id, a2b_base64(encoded)).decode()
        except (NotBase64, UnicodeError):
            raise SealBroken() from None

    def index(self, value: bytes, /) -> bytes:
        """HMAC-SHA256 with a key of the health system: equal values are found by it, and nothing else is learnt."""
        if self._index is None:
            raise KeyMissing()
        return hmac.digest(self._index, value, hashlib.sha256)

    def _open(self, table: str, name: str, row_id: uuid.UUID | str, sealed: bytes) -> bytes:
        cipher = self._ciphers.get(table, {}).get(generation_of(sealed))
        if cipher is None:
            raise SealBroken()
        return decrypt(cipher, sealed, self._place(table, name, row_id))

    def _place(self, table: str, name: str, row_id: uuid.UUID | str) -> bytes:
        return f"{self._prefix}{table}|{name}|{row_id}".encode()


class Keyring:
    """Finds the keys of a health system: from memory for some minutes, else from `data_key` and the provider.

    `cell` is the application's engine. A data key that is missing is made at the first use; the health system's own
    key is made only by `create`, so that nothing can be sealed again for one whose key was destroyed.
    """

    def __init__(self, provider: KeyProvider, cell: AsyncEngine, *, fresh: float = FRESH) -> None:
        self._provider = provider
        self._cell = cell
        self._fresh = fresh
        self._known: OrderedDict[uuid.UUID, tuple[float, TenantKeys]] = OrderedDict()
        self._loading: dict[uuid.UUID, asyncio.Lock] = {}

    async def create(self, tenant_id: uuid.UUID) -> None:
        """Make the health system's key at the provider. Safe to repeat; its tenant row need not exist yet."""
        await asyncio.to_thread(self._provider.create, str(tenant_id))

    async def of(self, tenant_id: uuid.UUID) -> TenantKeys:
        """The health system's keys. Raises KeyMissing when it has none (any more)."""
        known = self._known.get(tenant_id)
        if known and time.monotonic() < known[0]:
            self._known.move_to_end(tenant_id)
            return known[1]
        async with self._loading.setdefault(tenant_id, asyncio.Lock()):
            known = self._known.get(tenant_id)
            if not known or time.monotonic() >= known[0]:
                known = (time.monotonic() + self._fresh, await self._load(tenant_id))
                self._known[tenant_id] = known
            while len(self._known) > TENANTS:
                self._known.popitem(last=False)
        self._loading.pop(tenant_id, None)
        return known[1]

    async def renew(self, tenant_id: uuid.UUID, purpose: str) -> None:
        """Seal the purpose with a new data key from now on; earlier values open as before."""
        async with self._cell.begin() as connection:
            wrapped = await self._wrapped(connection, tenant_id)
            newest = max((g for p, g in wrapped if p == purpose), default=0)
            await self._add(connection, tenant_id, [(purpose, newest + 1)])
        self.forget(tenant_id)

    async def rotate(self, tenant_id: uuid.UUID) -> int:
        """Rotate the health system's key: wrap its data keys anew, then retire the old key; answers how many.

        No sealed row is touched. Stopped half-way, everything still opens, and another run finishes.
        """
        name = str(tenant_id)
        await asyncio.to_thread(self._provider.rotate, name)
        async with self._cell.begin() as connection:
            # A data key made meanwhile is wrapped by the new key already, as the provider rotated first.
            wrapped = await self._wrapped(connection, tenant_id)
            for (purpose, generation), old in wrapped.items():
                plain = await self._unwrap(tenant_id, purpose, generation, old)
                place = _place(purpose, generation)
                new = await asyncio.to_thread(self._provider.wrap, name, plain, place)
                await connection.execute(
                    update(DataKey)
                    .where(
                        DataKey.tenant_id == tenant_id,
                        DataKey.purpose == purpose,
                        DataKey.generation == generation,
                    )
                    .values(wrapped=new)
                )
        await asyncio.to_thread(self._provider.retire, name)
        self.forget(tenant_id)
        return len(wrapped)

    async def destroy(self, tenant_id: uuid.UUID) -> None:
        """Crypto-shredding: nothing sealed for the health system opens any more, here at once, elsewhere in minutes."""
        await asyncio.to_thread(self._provider.destroy, str(tenant_id))
        self.forget(tenant_id)

    def forget(self, tenant_id: uuid.UUID) -> None:
        """Drop the unwrapped keys from memory."""
        self._known.pop(tenant_id, None)

    async def _load(self, tenant_id: uuid.UUID) -> TenantKeys:
        async with self._cell.begin() as connection:
            wrapped = await self._wrapped(connection, tenant_id)
            missing = purposes() - {purpose for purpose, _ in wrapped}
            if missing:
                await self._add(connection, tenant_id, [(p, 1) for p in sorted(missing)])
                wrapped = await self._wrapped(connection, tenant_id)
        keys: dict[str, dict[int, bytes]] = {}
        for (purpose, generation), value in wrapped.items():
            plain = await self._unwrap(tenant_id, purpose, generation, value)
            keys.setdefault(purpose, {})[generation] = plain
        return TenantKeys(tenant_id, keys)

    async def _wrapped(
        self, connection: AsyncConnection, tenant_id: uuid.UUID
    ) -> dict[tuple[str, int], bytes]:
        await set_tenant(connection, tenant_id)
        rows = await connection.execute(
            select(DataKey.purpose, DataKey.generation, DataKey.wrapped)
            .where(DataKey.tenant_id == tenant_id)
            .order_by(DataKey.purpose, DataKey.generation)
        )
        return {(row.purpose, row.generation): row.wrapped for row in rows}

    async def _add(
        self, connection: AsyncConnection, tenant_id: uuid.UUID, wanted: Iterable[tuple[str, int]]
    ) -> None:
        """New data keys; where another process was first, its keys stand."""
        for purpose, generation in wanted:
            plain, place = secrets.token_bytes(KEY), _place(purpose, generation)
            wrapped = await asyncio.to_thread(self._provider.wrap, str(tenant_id), plain, place)
            key = {"tenant_id": tenant_id, "purpose": purpose, "generation": generation}
            await connection.execute(
                insert(DataKey).values(**key, wrapped=wrapped).on_conflict_do_nothing()
            )

    async def _unwrap(
        self, tenant_id: uuid.UUID, purpose: str, generation: int, wrapped: bytes
    ) -> bytes:
        place = _place(purpose, generation)
        return await asyncio.to_thread(self._provider.unwrap, str(tenant_id), wrapped, place)


class SecretSealer:
    """Seals the few secrets of the control plane, with a key of its own. `aad` binds one to its place."""

    def __init__(self, provider: KeyProvider) -> None:
        provider.create(CONTROL)
        self._provider = provider

    def seal(self, plain: bytes, aad: bytes) -> bytes:
        """The sealed form."""
        return self._provider.wrap(CONTROL, plain, aad)

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """The secret. Raises SealBroken."""
        return self._provider.unwrap(CONTROL, sealed, aad)


def purposes() -> frozenset[str]:
    """What has data keys: each table with a `*_sealed` column of bytes, and the blind index."""
    found = (
        table.name
        for table in tables.load().metadata.tables.values()
        if any(c.name.endswith("_sealed") and isinstance(c.type, LargeBinary) for c in table.c)
    )
    return frozenset([*found, INDEX])


def _place(purpose: str, generation: int) -> bytes:
    return f"data_key|{purpose}|{generation}".encode()
