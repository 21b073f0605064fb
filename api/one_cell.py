"""What commands of the command line do in the cell of one health system."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from api.cli import fail
from api.settings import Settings, load
from domain.audit import Agent
from domain.database import engine
from domain.errors import DomainError
from identity.registry import Registry

T = TypeVar("T")


def in_cell(slug: str, work: Callable[[AsyncEngine, Agent], Awaitable[T]]) -> T:
    """Carry the work out in the health system's cell; what is refused is a sentence and exit code 1."""
    try:
        return asyncio.run(_in_cell(load(), slug, work))
    except DomainError as error:
        fail(error.message)
        raise


async def _in_cell(
    settings: Settings, slug: str, work: Callable[[AsyncEngine, Agent], Awaitable[T]]
) -> T:
    cell = engine(settings.required("database_url"), application="caretree-command", size=1)
    control = engine(settings.control_url(), application="caretree-command", size=1)
    try:
        entry = await Registry(control).by_slug(slug)
        if entry is None:
            fail(f"There is no active health system {slug!r}.")
            raise SystemExit(1)
        return await work(cell, Agent(tenant_id=entry.tenant_id, now=dt.datetime.now(dt.UTC)))
    finally:
        await cell.dispose()
        await control.dispose()
