"""The world on a database of this worker, for all tests of the oracle."""

from collections.abc import AsyncIterator

import pytest

from tests.database import Database
from tests.oracle.stage import Stage, staged


@pytest.fixture(scope="session")
async def stage(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """Both health systems, saved once for the worker; tests only read."""
    cell = database.async_engine("caretree_app")
    keys = tmp_path_factory.mktemp("oracle") / "keys.json"
    async with staged(database, cell, keys) as made:
        yield made
    await cell.dispose()
