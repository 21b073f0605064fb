"""A health system with clinics, and a way to import into it."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.database import set_tenant
from domain.imports import PlaceRule, Report, Run, clinics_of
from domain.imports.sources import Source
from domain.sealing import TenantKeys, purposes
from domain.tables import load
from tests import make
from tests.database import ROOT, Database

TABLES = (
    "patient",
    "patient_site",
    "practitioner",
    "encounter",
    "external_reference",
    "audit_event",
)
SYNTHEA = "../shared/data/synthea-r4/bundles.tar.xz"


def keys(tenant_id: uuid.UUID) -> TenantKeys:
    """Keys of a health system, the same in each process."""
    load()
    return TenantKeys(tenant_id, {purpose: {1: b"k" * 32} for purpose in purposes()})


@dataclass
class Target:
    """A health system of its own for one test."""

    tree: make.Tree
    database: Database
    engine: AsyncEngine

    @property
    def tenant_id(self) -> uuid.UUID:
        return self.tree.tenant.tenant_id

    async def rule(self, **more: Any) -> PlaceRule:
        async with AsyncSession(self.engine) as session, session.begin():
            await set_tenant(session, self.tenant_id)
            return PlaceRule(await clinics_of(session, self.tenant_id), **more)

    async def take(self, *bundles: bytes, rule: PlaceRule | None = None, **options: Any) -> Report:
        """Import the bundles as one run."""
        run = Run(
            self.engine,
            self.tenant_id,
            keys(self.tenant_id),
            rule or await self.rule(),
            **options,
        )
        return await run.take(Source(f"b{i}.json", raw) for i, raw in enumerate(bundles))

    def rows(self, query: str, **values: Any) -> list[Any]:
        """What the owner sees; `:t` is the tenant."""
        with self.database.owner_engine.connect() as connection:
            found = connection.execute(text(query), {"t": self.tenant_id} | values)
            return list(found.all())

    def one(self, query: str, **values: Any) -> Any:
        """The only row."""
        (row,) = self.rows(query, **values)
        return row

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        query = "select count(*) from {} where tenant_id = :t"
        return {table: self.one(query.format(table))[0] for table in TABLES}


@pytest.fixture
def target(database: Database, app_engine: AsyncEngine) -> Target:
    """A fresh health system with three clinics."""
    tree = make.tree(clinics=3)
    make.save(database, *tree.rows)
    return Target(tree, database, app_engine)


@pytest.fixture(scope="session")
def synthea() -> Path:
    """The sample bundles, at SYNTHEA_BUNDLES or beside the repository."""
    path = Path(os.environ.get("SYNTHEA_BUNDLES") or ROOT / SYNTHEA)
    if not path.is_file():
        pytest.fail(
            f"The sample bundles are missing: set SYNTHEA_BUNDLES to bundles.tar.xz ({path})."
        )
    return path
