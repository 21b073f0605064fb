"""The storage on PostgreSQL against the suite that the protocol's core has for storages."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from scim2_models import ScimProvider
from scim2_server.storage import ScimStorage
from scim2_server.testing import SEARCH_USERS, AsyncScimStorageContract, BlockingStorage
from scim2_server.utils import load_default_provider
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.database import set_tenant
from domain.model import new_id
from identity.scim.schemas import PROVIDER
from identity.scim.storage import Directory
from tests import make
from tests.database import Database


class TestDirectory(AsyncScimStorageContract):
    """All of the suite; each test has a health system of its own, in a transaction that is rolled back."""

    @pytest.fixture
    def provider(self) -> ScimProvider:
        return PROVIDER

    @pytest.fixture
    def group_model(self) -> Any:
        """The core's own: the suite sends members with a `display`, which our groups do not declare."""
        described = load_default_provider()
        return described.model_for(next(t for t in described.resource_types if t.id == "Group"))

    @pytest.fixture
    def storage(self, database: Database) -> Iterator[ScimStorage]:
        tree = make.tree()
        make.save(database, *tree.rows)
        tenant_id = tree.tenant.tenant_id
        engine = database.async_engine("caretree_app")
        session = AsyncSession(engine, expire_on_commit=False)
        agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
        with asyncio.Runner() as runner:
            runner.run(set_tenant(session, tenant_id))
            yield BlockingStorage(Directory(session, agent, new_id()), runner)
            runner.run(session.close())
            runner.run(engine.dispose())

    def search_users(self) -> list[dict[str, Any]]:
        """As the suite has them, but for a sign that no user name of a realm may have; `_` stays a wildcard of LIKE."""
        return [{**user, "userName": user["userName"].replace("%", "+")} for user in SEARCH_USERS]
