"""What a serving process holds while it runs, and how each part is made of the settings."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from api.context import Context
from api.live.feeds import Feeds
from api.live.presences import Presences
from api.rates import Rates, Tally
from api.settings import Settings
from authz.actor import Actor
from domain.database import engine
from domain.key_providers import FileKeyProvider
from domain.pipeline import Limits, Pipeline
from domain.sealing import Keyring, SecretSealer
from identity.actors import ActorLoader
from identity.announced_keys import announced
from identity.arrivals import Arrivals
from identity.direct.keys import own_key_set
from identity.direct.logins import Desk
from identity.direct.routes import Counter
from identity.discovery import Homes
from identity.keys import KeyCache
from identity.platform import portals_at
from identity.realms import ADMIN_PORTAL, PORTAL
from identity.registry import Registry
from identity.routes import Doors
from identity.scim.entrance import Entrance
from identity.scim.journal import Journal
from identity.scim.limits import Limit
from identity.scim.routes import Directories
from identity.setup import SetupTokens
from identity.tokens import Tokens

# The role has these as its own settings too; a connection through a pooler may come without them.
INIT = ("set timezone = 'UTC'", "set plan_cache_mode = force_generic_plan")


@dataclass(frozen=True)
class Wiring:
    """The parts of a serving process. One event loop, one cell."""

    settings: Settings
    cell: AsyncEngine
    pipeline: Pipeline
    keyring: Keyring
    actors: ActorLoader
    doors: Doors
    counter: Counter
    directories: Directories
    rates: Rates
    refusals: Tally
    compiling: Tally
    presences: Presences

    def context(self, actor: Actor, request_id: uuid.UUID) -> Context:
        """What one request works with."""
        return Context(
            actor=actor,
            pipeline=self.pipeline,
            cell=self.cell,
            keyring=self.keyring,
            request_id=request_id,
            rates=self.rates,
            refusals=self.refusals,
            deadline=self.settings.statement_seconds,
            plain_webhooks=self.settings.is_development,
            loopback=self.settings.is_development,
        )


def _keys(client: httpx.AsyncClient, registry: Registry, cell: AsyncEngine) -> KeyCache:
    """Issuers' keys: of realms, of our own issuers, and what the worker tells of a rotation."""
    own, told = partial(own_key_set, cell), partial(announced, registry, cell)
    return KeyCache(client, own=own, announced=told)


@asynccontextmanager
async def wired(settings: Settings) -> AsyncIterator[Wiring]:
    """Open everything, and close it in the opposite order. Raises SettingsError for what is not set."""
    url, key_file = settings.required("database_url"), settings.required("key_file")
    cell = engine(url, application="caretree-api")
    control = engine(settings.control_url(), application="caretree-api", size=1)
    limits = Limits(deadline=settings.statement_seconds)
    pipeline = Pipeline(url, settings.connections, INIT, limits)
    pushed = Pipeline(url, 1, INIT, limits)  # a directory's large page keeps no clinic waiting
    redis = settings.redis_url
    shared = redis.get_secret_value() if redis else None
    rates, limit = Rates(shared), Limit(shared)
    listens = settings.listen_database_url
    feeds = Feeds(listens.get_secret_value() if listens else url)
    async with httpx.AsyncClient(follow_redirects=False) as client:
        await pipeline.start()
        await pushed.start()
        await feeds.listener.start()
        working: set[asyncio.Task[None]] = set()
        try:
            registry = Registry(control, public := settings.public_url)
            tokens = Tokens(registry, _keys(client, registry, cell))
            arrive, setup = Arrivals(cell, client).arrive, SetupTokens(registry, cell).verify
            actors = ActorLoader(tokens, pipeline, arrive=arrive, setup=setup)
            provider = FileKeyProvider(Path(key_file))
            keyring, homes = Keyring(provider, cell), Homes(control, public)
            doors = Doors(registry, tokens, cell, homes, SecretSealer(provider))
            entrance, journal = Entrance(pushed, limit), Journal(cell)
            directories = Directories(registry, cell, pushed, public, entrance, journal, actors)
            presences = Presences(actors, feeds, settings.streams)
            working = {
                asyncio.create_task(presences.watch()),
                asyncio.create_task(journal.run()),
            }
            yield Wiring(
                settings,
                cell,
                pipeline,
                keyring,
                actors,
                doors,
                Counter(registry, desk_of(settings, cell, keyring), public),
                directories,
                rates,
                Tally(settings.refusals),
                Tally(settings.compile_seconds),
                presences,
            )
        finally:
            for task in working:
                task.cancel()
            if working:
                await asyncio.wait(working)
                await journal.flush()
            await feeds.listener.stop()
            await pipeline.stop()
            await pushed.stop()
            await rates.close()
            await limit.close()
            await cell.dispose()
            await control.dispose()


def desk_of(settings: Settings, cell: AsyncEngine, keyring: Keyring) -> Desk:
    """What logins without the broker work with: the same portals as the realms know."""
    portals = portals_at(settings.portal_url or settings.public_url, settings.public_url)
    return Desk(cell, keyring, {PORTAL: portals.redirects, ADMIN_PORTAL: portals.admin_redirects})
