"""`caretree dev seed`: makes the demo world on the stack that the environment describes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from api.settings import Settings, load
from dev.demo.operators import seed_operators
from dev.demo.seed import Links, Summary, seed
from dev.product import OPERATORS, SYSTEMS
from dev.state import State
from domain.tables import load as load_tables
from identity.keycloak import Account
from identity.platform import open_platform, portals_at
from identity.tenants import register_cluster

CLUSTER = "embedded"
REGION = "local"


def make(state: State, say: Callable[[str], None]) -> str:
    """Make what is missing and write down where people log in; a few words about it. Raises what `seed` raises."""
    load_tables()  # keys are made for the sealed columns of the tables that are known
    summary = asyncio.run(_make(load(), state, say))
    for slug, issuer in summary.issuers.items():
        state.put(
            {"issuer": issuer, "tenant_id": str(summary.tenants[slug])},
            SYSTEMS,
            slug,
        )
    return f"{' and '.join(summary.issuers)}, {summary.people} people"


async def _make(settings: Settings, state: State, say: Callable[[str], None]) -> Summary:
    url = settings.required("keycloak_url")
    async with open_platform(
        control_url=settings.control_url("platform_database_url"),
        cell_url=settings.required("platform_database_url"),
        master=Account(
            settings.required("keycloak_admin_client_id"),
            settings.required("keycloak_admin_client_secret"),
        ),
        key_file=Path(settings.required("key_file")),
        portals=portals_at(settings.portal_url or settings.public_url, settings.public_url),
    ) as platform:
        await register_cluster(platform.control, CLUSTER, region=REGION, url=url)
        issuer = await seed_operators(platform, state, REGION)
        state.put(issuer, *OPERATORS)
        links = Links(platform, settings.required("owner_database_url"))
        return await seed(links, state, lambda what, done, of: say(f"{what} {done} of {of}"))
