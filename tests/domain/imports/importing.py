"""An import as a process of its own, for tests that kill it: a line for every bundle that is done."""

import asyncio
import sys
import uuid
from pathlib import Path

from domain.database import engine
from domain.imports import PlaceRule, Report, Run, Sources
from tests.domain.imports.conftest import keys


async def main(url: str, tenant: str, clinic: str, archive: str) -> None:
    """Import the archive into the tenant, everything to one clinic."""
    cell = engine(url, application="import-test")
    tenant_id = uuid.UUID(tenant)
    rule = PlaceRule((), otherwise=uuid.UUID(clinic))
    run = Run(cell, tenant_id, keys(tenant_id), rule)
    await run.take(Sources([Path(archive)]), told)
    await cell.dispose()


def told(report: Report) -> None:
    """Say how many bundles are done."""
    sys.stdout.write(f"{report.bundles}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
