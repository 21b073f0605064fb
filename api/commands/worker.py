"""`caretree worker`: carries out jobs, such as what has to change in Keycloak."""

import asyncio
from pathlib import Path

from api.http.logs import configure
from api.settings import Settings, load
from identity.jobs import Resources, run_worker
from identity.keycloak import Account
from identity.platform import open_platform, portals_at

NAME = "worker"


def command() -> None:
    """Carry out jobs until a signal ends it."""
    settings = load()
    configure(settings.is_development)
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    worker_url = settings.required("worker_database_url")
    async with open_platform(
        control_url=settings.control_url("worker_database_url"),
        cell_url=settings.required("database_url"),
        master=Account(
            settings.required("keycloak_admin_client_id"),
            settings.required("keycloak_admin_client_secret"),
        ),
        key_file=Path(settings.required("key_file")),
        portals=portals_at(settings.portal_url or settings.public_url, settings.public_url),
    ) as platform:
        await run_worker(worker_url, Resources(platform.cell, platform.accounts, platform.keys))
