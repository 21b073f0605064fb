"""A demo health system that is filled once for this folder's tests, without Keycloak: that is what `seed` adds."""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection

from dev.demo.generate import Volume
from dev.demo.places import MERCY
from dev.demo.populate import Target, populate, retire
from domain.keys import Sealer
from domain.sealing import TenantKeys, purposes
from domain.tables import load
from tests import make
from tests.database import Database

VOLUME = Volume(patients=600, encounters=900, appointments=600, batch=150)


@dataclass(frozen=True)
class Filled:
    """The health system that was filled."""

    tenant_id: uuid.UUID
    target: Target


def keys(tenant_id: uuid.UUID) -> Sealer:
    """Keys of a health system, the same in each call."""
    load()
    return TenantKeys(tenant_id, {purpose: {1: b"k" * 32} for purpose in purposes()})


@pytest.fixture(scope="session")
def filled(database: Database) -> Iterator[Filled]:
    """Mercy at a quarter of its size."""
    tenant = make.tenant(slug="mercy", currency="USD")
    make.save(database, tenant, make.unit(tenant, None, "system", name="Mercy Health"))
    engine = database.async_engine("caretree_app")
    target = Target(engine, database.owner_url, tenant.tenant_id, keys(tenant.tenant_id))
    asyncio.run(populate(target, MERCY, volume=VOLUME))
    asyncio.run(retire(engine, tenant.tenant_id, MERCY))
    yield Filled(tenant.tenant_id, target)
    asyncio.run(engine.dispose())


@pytest.fixture
def rows(owner: Connection) -> Connection:
    """The owner's connection, which sees everything."""
    return owner
