"""A provider's description is read again: keys are rolled over by it, and what is loose changes nothing."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.identity_providers import IdentityProvider
from identity.metadata import MetadataRefused
from identity.providers import ends, published, refresh
from identity.sync import cell_session
from tests import make, providers
from tests.database import Database
from tests.identity.test_metadata import AT, certificate, metadata

pytestmark = pytest.mark.anyio
NOW = dt.datetime.now(dt.UTC)
BEGUN = NOW - dt.timedelta(days=2)
OLD, NEW = certificate(begins=BEGUN, days=30), certificate(begins=BEGUN, days=700)


@pytest.fixture
async def cell(database: Database) -> AsyncIterator[AsyncEngine]:
    made = database.async_engine("caretree_app")
    yield made
    await made.dispose()


def pem(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


async def test_a_certificate_is_rolled_over(cell: AsyncEngine, database: Database) -> None:
    system = make.tenant()
    of = providers.provider(
        system,
        protocol="saml",
        client_id=None,
        issuer=f"{AT}/saml",
        certificates=[pem(OLD)],
        endpoints={"single_sign_on_service": f"{AT}/sso", "key_name": "NONE"},
        metadata_url=f"{AT}/metadata",
        expires_at=ends([pem(OLD)]),
    )
    with database.owner_engine.begin() as connection:
        make.save(connection, system, of)
    tenant_id = system.tenant_id
    assert await published(cell, tenant_id) == [of.id]

    async def after(text: str) -> IdentityProvider:
        async def fetch(url: str) -> str:
            assert url == f"{AT}/metadata"
            if text == "away":
                raise MetadataRefused("Nothing was found.")
            return text

        await refresh(cell, tenant_id, of.id, fetch)
        async with cell_session(cell, tenant_id) as session:
            return await session.get_one(IdentityProvider, (tenant_id, of.id))

    both = await after(metadata(OLD, NEW))
    assert len(both.certificates) == 2
    assert both.expires_at == ends([pem(NEW)])
    # The next day nothing has changed, and nothing is told to anybody.
    assert (await after(metadata(OLD, NEW))).version == both.version
    only = await after(metadata(NEW))
    assert len(only.certificates) == 1
    for worse in (
        "away",
        "<x/>",
        metadata(certificate(begins=BEGUN, days=1)),
        metadata(NEW, entity="https://another.example"),
        metadata(NEW, sso="http://login.corp.example/sso"),
    ):
        kept = await after(worse)
        assert (kept.certificates, kept.endpoints) == (only.certificates, only.endpoints)
        assert kept.issuer == f"{AT}/saml"
        assert kept.metadata_problem
    assert (await after(metadata(NEW))).metadata_problem is None
