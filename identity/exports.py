"""A health system's data, handed over: one archive of its rows and its realm, for the end of a contract or before it.

The rows are read in one transaction as of one moment, within the health system's own walls, and streamed: nothing is
held in memory but a page. What was sealed for it is opened; secrets and what serves a login under way stay behind. The
form is told in `docs/leaving.md`; `FORM` rises whenever a reader would have to change.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile

import orjson
from sqlalchemy import Select, Table, Text, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.control import STANDING, IdentityCluster, TenantEntry
from domain.errors import NotFound
from domain.holdings import see_all
from domain.sealing import TenantKeys
from domain.tables import load
from identity.keycloak import Json, Realm
from identity.tenants import Platform, Progress, silent

FORM = 1
PAGE = 1_000
OPENED = {
    "note": ("body", "subjective", "objective", "assessment", "plan"),
    "patient": ("national_id",),
}
"""Table -> what is sealed there (`<name>_sealed`) and handed over in plain text."""
WITHHELD = {
    "data_key": "keys of this installation",
    "signing_key": "keys of this installation",
    "direct_session": "a login under way",
    "saml_message": "a login under way",
    "saml_request": "a login under way",
    "sign_in": "a login under way",
    "idempotency": "requests of the last day",
}
"""Table -> why its rows are of use to nobody else."""
SECRETS = {
    "identity_provider": ("client_secret_sealed",),
    "patient": ("national_id_index",),
    "reminder_setting": ("webhook_secret_sealed",),
    "scim_token": ("token_hash",),
    "setup_link": ("token_hash", "session_hash", "first_passwords"),
}
"""Table -> columns that are left out: secrets, and what only this installation can compare with."""


@dataclass(frozen=True)
class Exported:
    """An archive that is complete. `rows` by table; `people` are the realm's users."""

    tenant_id: UUID
    sha256: str
    size: int
    rows: dict[str, int]
    people: int


async def export_tenant(
    platform: Platform, slug: str, to: Path, progress: Progress = silent
) -> Exported:
    """Write the archive; what is at `to` is replaced once the new one is whole, and readable by its owner only.

    Raises NotFound, KeyMissing (its key is destroyed), SealBroken, KeycloakFailure, OSError.
    """
    entry, url = await _place(platform.control, slug)
    keys = await platform.keys.of(entry.id)
    realm = await platform.accounts.as_master(url, entry.realm)
    part = to.with_name(f"{to.name}.part")
    part.unlink(missing_ok=True)
    try:
        with _private(part) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
            progress("realm")
            people = await _realm_into(archive, realm)
            rows = await _rows_into(archive, platform.cell, entry.id, keys, progress)
            manifest = _manifest(entry, rows, people)
            archive.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        digest, size = await asyncio.to_thread(_digest, part)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return Exported(entry.id, digest, size, rows, people)


async def _place(control: AsyncEngine, slug: str) -> tuple[TenantEntry, str]:
    """The registry's row of a health system that has both rows and a realm, and where its Keycloak is."""
    query = (
        select(TenantEntry.__table__, IdentityCluster.url.label("cluster"))
        .join(IdentityCluster, IdentityCluster.id == TenantEntry.identity_cluster_id)
        .where(TenantEntry.slug == slug, TenantEntry.state.in_(STANDING))
    )
    async with control.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such health system.", path=("slug",))
    told = dict(row)
    return TenantEntry(**{k: v for k, v in told.items() if k != "cluster"}), told["cluster"]


def _private(path: Path) -> IO[bytes]:
    """A new file that nobody else reads, not even for a moment."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


async def _realm_into(archive: ZipFile, realm: Realm) -> int:
    """The realm as Keycloak exports it, and its users: who they are, not what they log in with."""
    archive.writestr("realm.json", orjson.dumps(await realm.export()))
    count = 0
    with archive.open("realm-users.ndjson", "w", force_zip64=True) as file:
        async for user in _users(realm):
            file.write(orjson.dumps(user) + b"\n")
            count += 1
    return count


async def _users(realm: Realm) -> AsyncIterator[Json]:
    first = 0
    while True:
        asked = {"first": first, "max": PAGE, "briefRepresentation": "false"}
        found: list[Json] = await realm.get("users", **asked)
        for user in found:
            kinds = [
                {k: held[k] for k in ("type", "userLabel", "createdDate") if k in held}
                for held in await realm.credentials(user["id"])
            ]
            links = await realm.get(f"users/{user['id']}/federated-identity")
            yield {**user, "credentials": kinds, "federatedIdentities": links}
        if len(found) < PAGE:
            return
        first += PAGE


async def _rows_into(
    archive: ZipFile, cell: AsyncEngine, tenant_id: UUID, keys: TenantKeys, progress: Progress
) -> dict[str, int]:
    """A file for each table that has rows, all as of one moment."""
    counts = {}
    async with _moment(cell, tenant_id) as connection:
        for table in exported():
            progress(f"rows of {table.name}")
            count = await _table_into(archive, connection, table, tenant_id, keys)
            if count:
                counts[str(table.name)] = count
    return counts


@asynccontextmanager
async def _moment(cell: AsyncEngine, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
    """A transaction that only reads, and sees what was there when it began."""
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    async with cell.connect() as opened:
        connection = await opened.execution_options(**options)
        async with connection.begin():
            await see_all(connection, tenant_id)
            yield connection


def exported() -> list[Table]:
    """The tables whose rows are handed over, by name."""
    tables = load().metadata.tables.values()
    return sorted((t for t in tables if t.name not in WITHHELD), key=lambda table: str(table.name))


async def _table_into(
    archive: ZipFile,
    connection: AsyncConnection,
    table: Table,
    tenant_id: UUID,
    keys: TenantKeys,
) -> int:
    """One line of JSON for each row, in the order of their keys."""
    opened = OPENED.get(str(table.name), ())
    rows = await connection.stream(rows_of(table, tenant_id), execution_options={"yield_per": PAGE})
    count = 0
    file: IO[bytes] | None = None
    try:
        async for row in rows:
            if file is None:
                file = archive.open(f"rows/{table.name}.ndjson", "w", force_zip64=True)
            plain = {
                name: keys.open(f"{table.name}.{name}_sealed", row.id, sealed).decode()
                for name, sealed in zip(opened, row[2:], strict=True)
                if sealed is not None
            }
            file.write(_line(row.line, plain))
            count += 1
    finally:
        if file is not None:
            file.close()
    return count


def rows_of(table: Table, tenant_id: UUID) -> Select[Any]:
    """Each row as PostgreSQL writes it in JSON (so that no number loses a digit), its id, and what is sealed in it."""
    name = str(table.name)
    sealed = [table.c[f"{column}_sealed"] for column in OPENED.get(name, ())]
    hidden = [*SECRETS.get(name, ()), *(str(column.name) for column in sealed)]
    whole: Any = func.to_jsonb(table.table_valued())
    if hidden:
        whole = whole.op("-")(cast(array(hidden), ARRAY(Text)))
    line = cast(whole, Text).label("line")
    id_ = table.c.id if "id" in table.c else table.c.tenant_id
    keys = [column for column in table.primary_key if column.name != "tenant_id"]
    return (
        select(line, id_.label("id"), *sealed).where(table.c.tenant_id == tenant_id).order_by(*keys)
    )


def _line(written: str, plain: dict[str, str]) -> bytes:
    """The row with what was opened, as a line."""
    if not plain:
        return written.encode() + b"\n"
    further = orjson.dumps(plain)
    return written[:-1].encode() + b", " + further[1:] + b"\n"


def _manifest(entry: TenantEntry, rows: dict[str, int], people: int) -> Json:
    return {
        "form": FORM,
        "slug": entry.slug,
        "tenantId": str(entry.id),
        "realm": entry.realm,
        "issuer": entry.issuer,
        "at": datetime.now(UTC).isoformat(),
        "realmUsers": people,
        "rows": rows,
        "opened": {table: list(columns) for table, columns in OPENED.items()},
        "leftOut": {table: list(columns) for table, columns in SECRETS.items()},
        "withheld": WITHHELD,
    }


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
