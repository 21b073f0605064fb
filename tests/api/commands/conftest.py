"""The office: an API as it is served, over two health systems of its own for each module of tests."""

from collections.abc import AsyncIterator

import pytest

from tests.api.commands.office import Office, opened
from tests.database import Database


@pytest.fixture(scope="module")
async def office(
    database: Database, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    async with opened(database, redis_url, tmp_path_factory.mktemp("keys")) as made:
        yield made
