"""Sealed values open in their place, with their health system's keys, and nowhere else."""

import base64
import sys
import uuid
from pathlib import Path

import anyio
import pytest
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.key_providers import FileKeyProvider
from domain.keys import DataKey
from domain.sealing import (
    KeyMissing,
    Keyring,
    SealBroken,
    SecretSealer,
    TenantKeys,
    purposes,
)
from tests import make
from tests.database import Database

pytestmark = pytest.mark.anyio

COLUMN = "note.body_sealed"
TEXT = "Pain since Tuesday, worse at night. Łódź".encode()


@pytest.fixture
def provider(tmp_path: Path) -> FileKeyProvider:
    return FileKeyProvider(tmp_path / "keys.json")


@pytest.fixture
def keyring(provider: FileKeyProvider, app_engine: AsyncEngine) -> Keyring:
    return Keyring(provider, app_engine)


@pytest.fixture
async def tenant(database: Database, keyring: Keyring) -> uuid.UUID:
    """A health system with a key."""
    return await born(database, keyring)


async def born(database: Database, keyring: Keyring) -> uuid.UUID:
    system = make.tenant()
    make.save(database, system)
    await keyring.create(system.tenant_id)
    return system.tenant_id


def data_keys(database: Database, tenant: uuid.UUID) -> dict[tuple[str, int], bytes]:
    with database.owner_engine.connect() as connection:
        rows = connection.execute(
            select(DataKey.purpose, DataKey.generation, DataKey.wrapped).where(
                DataKey.tenant_id == tenant
            )
        )
        return {(row.purpose, row.generation): row.wrapped for row in rows}


async def test_a_value_opens_in_its_place_only(keyring: Keyring, tenant: uuid.UUID) -> None:
    keys, row = await keyring.of(tenant), uuid.uuid4()
    sealed = keys.seal(COLUMN, row, TEXT)
    assert keys.open(COLUMN, row, sealed) == TEXT
    assert keys.open(COLUMN, str(row), sealed) == TEXT
    assert TEXT not in sealed
    with pytest.raises(SealBroken):
        keys.open(COLUMN, uuid.uuid4(), sealed)
    with pytest.raises(SealBroken):
        keys.open("note.other_sealed", row, sealed)
    with pytest.raises(SealBroken):
        keys.open("patient.national_id_sealed", row, sealed)


async def test_another_health_system_cannot_open_it(
    keyring: Keyring, database: Database, tenant: uuid.UUID
) -> None:
    row = uuid.uuid4()
    sealed = (await keyring.of(tenant)).seal(COLUMN, row, TEXT)
    other = await keyring.of(await born(database, keyring))
    with pytest.raises(SealBroken):
        other.open(COLUMN, row, sealed)


async def test_data_keys_copied_to_another_health_system_do_not_open(
    keyring: Keyring, database: Database, tenant: uuid.UUID
) -> None:
    await keyring.of(tenant)
    thief = await born(database, keyring)
    with database.owner_engine.begin() as connection:
        for (purpose, generation), wrapped in data_keys(database, tenant).items():
            stolen = {"tenant_id": thief, "purpose": purpose, "generation": generation}
            connection.execute(insert(DataKey).values(**stolen, wrapped=wrapped))
    with pytest.raises(SealBroken):
        await keyring.of(thief)


@pytest.mark.parametrize("cut", [0, 1, 4, 17, 32])
async def test_a_cut_value_is_broken(keyring: Keyring, tenant: uuid.UUID, cut: int) -> None:
    keys, row = await keyring.of(tenant), uuid.uuid4()
    with pytest.raises(SealBroken):
        keys.open(COLUMN, row, keys.seal(COLUMN, row, TEXT)[:cut])


async def test_every_altered_byte_is_noticed(keyring: Keyring, tenant: uuid.UUID) -> None:
    keys, row = await keyring.of(tenant), uuid.uuid4()
    sealed = keys.seal(COLUMN, row, b"short")
    for at in range(len(sealed)):
        altered = bytes([*sealed[:at], sealed[at] ^ 0x80, *sealed[at + 1 :]])
        with pytest.raises(SealBroken):
            keys.open(COLUMN, row, altered)


async def test_a_response_opens_the_databases_base64(keyring: Keyring, tenant: uuid.UUID) -> None:
    keys, row = await keyring.of(tenant), uuid.uuid4()
    sealed = keys.seal(COLUMN, row, TEXT * 10)
    encoded = base64.encodebytes(sealed).decode()
    assert "\n" in encoded.strip()
    assert keys.open_text("note", "body_sealed", str(row), encoded) == (TEXT * 10).decode()
    with pytest.raises(SealBroken):
        keys.open_text("note", "body_sealed", str(row), "not base64 at all!")
    with pytest.raises(SealBroken):
        keys.open_text(
            "note",
            "body_sealed",
            str(row),
            base64.b64encode(keys.seal(COLUMN, row, b"\xff\xfe")).decode(),
        )


async def test_the_blind_index_finds_equal_values_of_one_health_system(
    keyring: Keyring, database: Database, tenant: uuid.UUID
) -> None:
    keys = await keyring.of(tenant)
    other = await keyring.of(await born(database, keyring))
    assert keys.index(b"123-45-6789") == keys.index(b"123-45-6789")
    assert keys.index(b"123-45-6789") != keys.index(b"123-45-6780")
    assert keys.index(b"123-45-6789") != other.index(b"123-45-6789")
    assert len(keys.index(b"")) == 32


async def test_all_sealed_tables_have_a_key(
    keyring: Keyring, database: Database, tenant: uuid.UUID
) -> None:
    await keyring.of(tenant)
    assert {"note", "patient", "blind_index"} <= purposes()
    alone = "from domain.sealing import purposes; print(*sorted(purposes()))"
    told = await anyio.run_process([sys.executable, "-c", alone])
    assert told.stdout.decode().split() == sorted(purposes())  # whatever was imported before
    assert set(data_keys(database, tenant)) == {(purpose, 1) for purpose in purposes()}


async def test_two_processes_at_once_agree_on_the_keys(
    provider: FileKeyProvider, app_engine: AsyncEngine, keyring: Keyring, tenant: uuid.UUID
) -> None:
    rings = [Keyring(provider, app_engine) for _ in range(4)]
    async with anyio.create_task_group() as group:
        for ring in rings:
            group.start_soon(ring.of, tenant)
    row = uuid.uuid4()
    sealed = (await rings[0].of(tenant)).seal(COLUMN, row, TEXT)
    for ring in rings:
        assert (await ring.of(tenant)).open(COLUMN, row, sealed) == TEXT


async def test_a_new_data_key_seals_and_the_old_still_opens(
    keyring: Keyring, tenant: uuid.UUID
) -> None:
    row = uuid.uuid4()
    before = await keyring.of(tenant)
    old, indexed = before.seal(COLUMN, row, TEXT), before.index(TEXT)
    await keyring.renew(tenant, "note")
    await keyring.renew(tenant, "blind_index")
    keys = await keyring.of(tenant)
    new = keys.seal(COLUMN, row, TEXT)
    assert (old[1:5], new[1:5]) == (b"\0\0\0\1", b"\0\0\0\2")
    assert keys.open(COLUMN, row, old) == keys.open(COLUMN, row, new) == TEXT
    assert keys.index(TEXT) == indexed
    # The generation is bound too: it cannot be rewritten to point at another key.
    with pytest.raises(SealBroken):
        keys.open(COLUMN, row, new[:1] + old[1:5] + new[5:])


async def test_rotation_wraps_the_data_keys_anew_and_touches_no_row(
    keyring: Keyring, provider: FileKeyProvider, database: Database, tenant: uuid.UUID
) -> None:
    row = uuid.uuid4()
    sealed = (await keyring.of(tenant)).seal(COLUMN, row, TEXT)
    before = data_keys(database, tenant)
    assert await keyring.rotate(tenant) == len(before)
    after = data_keys(database, tenant)
    assert not set(before.values()) & set(after.values())
    assert (await keyring.of(tenant)).open(COLUMN, row, sealed) == TEXT
    for (purpose, generation), wrapped in before.items():
        with pytest.raises(SealBroken):
            provider.unwrap(str(tenant), wrapped, f"data_key|{purpose}|{generation}".encode())


async def test_a_destroyed_key_leaves_nothing_readable(
    keyring: Keyring, provider: FileKeyProvider, app_engine: AsyncEngine, tenant: uuid.UUID
) -> None:
    await keyring.of(tenant)
    await keyring.destroy(tenant)
    for ring in (keyring, Keyring(provider, app_engine)):
        with pytest.raises(KeyMissing):
            await ring.of(tenant)
    with pytest.raises(KeyMissing):
        await keyring.create(tenant)


async def test_keys_in_memory_end_after_a_while(
    provider: FileKeyProvider, app_engine: AsyncEngine, keyring: Keyring, tenant: uuid.UUID
) -> None:
    impatient = Keyring(provider, app_engine, fresh=0)
    await impatient.of(tenant)
    await keyring.destroy(tenant)
    with pytest.raises(KeyMissing):
        await impatient.of(tenant)


async def test_without_a_key_nothing_is_sealed(
    keyring: Keyring, database: Database, app_engine: AsyncEngine
) -> None:
    system = make.tenant()
    make.save(database, system)
    with pytest.raises(KeyMissing):
        await keyring.of(system.tenant_id)
    assert data_keys(database, system.tenant_id) == {}
    bare = TenantKeys(system.tenant_id, {})
    with pytest.raises(KeyMissing):
        bare.seal(COLUMN, uuid.uuid4(), TEXT)
    with pytest.raises(KeyMissing):
        bare.index(TEXT)


async def test_the_application_cannot_delete_a_data_key(
    app_engine: AsyncEngine, keyring: Keyring, tenant: uuid.UUID
) -> None:
    await keyring.of(tenant)
    async with app_engine.connect() as connection:
        with pytest.raises(ProgrammingError, match="permission denied"):
            await connection.execute(delete(DataKey))


def test_secrets_of_the_control_plane_are_bound_to_their_place(provider: FileKeyProvider) -> None:
    sealer = SecretSealer(provider)
    sealed = sealer.seal(b"client secret", b"tenant|control.service_account|secret_sealed|worker")
    same = SecretSealer(provider)
    assert same.open(sealed, b"tenant|control.service_account|secret_sealed|worker") == (
        b"client secret"
    )
    with pytest.raises(SealBroken):
        same.open(sealed, b"tenant|control.service_account|secret_sealed|api")
