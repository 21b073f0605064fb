"""Watching the realms: each is looked at every few seconds, by one worker of a cell.

One look at a realm is a request, every third time two: for fifty realms 67 a second. Each takes 2.5 to 4 ms of Keycloak's
processor and 1.5 ms of ours (two cores that had other work), a fifth of a core there. A cluster that does not answer
holds up no realm of another; its realms are asked again when their turn comes, and what happened meanwhile is in their
logs.
"""

import asyncio
import logging
import random
from collections import defaultdict
from functools import partial
from uuid import UUID

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from identity.accounts import Accounts, NoAccount
from identity.keycloak import Realm
from identity.keycloak_failures import KeycloakFailure
from identity.realm_events import Reader
from identity.realms import SVC_IDENTITY

Turns = dict[str, asyncio.Semaphore]
log = logging.getLogger(__name__)

EACH = 1.0
"""Seconds from the end of a look at a realm to the next one."""
WHOLE = 3
"""Of so many looks one is a whole one."""
WITHIN = 10.0
"""Seconds that one look may take."""
AT_ONCE = 8
"""Realms of a cluster that are looked at at the same moment."""
AGAIN = 5.0
"""Seconds after which it is asked which realms there are, and whether another worker has stopped watching."""
LOCK = "caretree: realms are watched"


async def watch_alone(dsn: str, cell: AsyncEngine, accounts: Accounts) -> None:
    """Watch while no other worker does, until cancelled.

    `dsn` is the worker's role; the lock is its connection's, so PostgreSQL gives it to another one the moment this
    process is gone. Two that watch at the same time would only do the same twice.
    """
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as held:
                taking = "select 1 where pg_try_advisory_lock(hashtextextended(%s, 0))"
                if await (await held.execute(taking, [LOCK])).fetchone():
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(_lost(held))
                        tasks.create_task(watch(cell, accounts))
        except* (
            Exception
        ) as failed:  # mostly a database that is away; a fault of ours must not end it either
            kinds = sorted({type(error).__qualname__ for error in failed.exceptions})
            log.warning("Realms are not watched for a moment: %s", ", ".join(kinds))
        await asyncio.sleep(AGAIN)


async def _lost(held: psycopg.AsyncConnection) -> None:
    """Raises psycopg.Error once the connection, and with it the lock, is gone."""
    while True:
        await asyncio.sleep(AGAIN)
        async with asyncio.timeout(WITHIN):
            await held.execute("select 1")


async def watch(cell: AsyncEngine, accounts: Accounts, *, each: float = EACH) -> None:
    """Look at every open health system's realm again and again, until cancelled."""
    turns: Turns = defaultdict(partial(asyncio.Semaphore, AT_ONCE))
    watched: dict[UUID, asyncio.Task[None]] = {}
    try:
        while True:
            try:
                present = set(await accounts.tenants(open_only=True))
            except (SQLAlchemyError, OSError):
                present = set(watched)  # the control plane is away: those that are known go on
            for tenant_id in present - watched.keys():
                reader = Reader(cell, tenant_id, partial(_console, accounts, tenant_id))
                following = _watch_one(reader, tenant_id, accounts, turns, each)
                watched[tenant_id] = asyncio.create_task(following)
            for tenant_id in watched.keys() - present:
                watched.pop(tenant_id).cancel()
            await asyncio.sleep(AGAIN)
    finally:
        for task in watched.values():
            task.cancel()
        await asyncio.gather(*watched.values(), return_exceptions=True)


async def _watch_one(
    reader: Reader, tenant_id: UUID, accounts: Accounts, turns: Turns, each: float
) -> None:
    await asyncio.sleep(random.uniform(0, each))  # noqa: S311  # spread over the time, no secret
    answers, looks, url = True, 0, ""
    while True:
        try:
            url = url or (await accounts.place(tenant_id))[0]
            async with turns[url], asyncio.timeout(WITHIN):
                realm = await accounts.realm(tenant_id, SVC_IDENTITY)
                await reader.look(realm, whole=looks % WHOLE == 0)
            looks += 1
            if not answers:
                log.info("The realm of %s is watched again.", tenant_id)
            answers = True
        except (KeycloakFailure, NoAccount, SQLAlchemyError, OSError, TimeoutError) as error:
            if answers:
                log.warning("The realm of %s: %s", tenant_id, type(error).__qualname__)
            answers, looks = False, 0
        except Exception as error:  # a fault of ours must not be the last look
            log.error("The realm of %s: %s", tenant_id, type(error).__qualname__)
        await asyncio.sleep(each)


async def _console(accounts: Accounts, tenant_id: UUID) -> Realm:
    return await accounts.as_master(*await accounts.place(tenant_id))
