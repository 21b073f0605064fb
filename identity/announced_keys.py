"""A realm's signing keys, from the worker that read of their change to the processes that verify tokens.

A process asks a realm for keys twice a minute at the most. Whoever invents key ids could use that up just when the realm
rotates its key. The worker reads of a rotation within a second or two, asks the realm's administration for its keys, and
writes them down in the cell, where every process finds them without asking the realm.
"""

import datetime as dt
from uuid import UUID

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.logins import RealmCursor
from identity.errors import IdentityUnavailable
from identity.keycloak import Json, Realm
from identity.keys import Announced
from identity.registry import Registry
from identity.sync import cell_session
from identity.tokens import ALGORITHMS

USABLE = ("ACTIVE", "PASSIVE")


async def key_set_of(realm: Realm) -> str:
    """The JWK set of what a realm signs tokens with, or has signed those with that are still about."""
    told: Json = await realm.get("keys")
    found = [_jwk(key) for key in told.get("keys", []) if _signs(key)]
    return orjson.dumps({"keys": [jwk for jwk in found if jwk is not None]}).decode()


def _signs(key: Json) -> bool:
    return (
        key.get("status") in USABLE
        and key.get("use") == "SIG"
        and key.get("algorithm") in ALGORITHMS
        and bool(key.get("publicKey"))
    )


def _jwk(key: Json) -> Json | None:
    try:
        pem = f"-----BEGIN PUBLIC KEY-----\n{key['publicKey']}\n-----END PUBLIC KEY-----\n"
        public = ECKey.import_key(pem.encode()).as_dict(private=False)
    except (JoseError, ValueError):  # one that cannot be read keeps no other back
        return None
    return {**public, "kid": key["kid"], "use": "sig", "alg": key["algorithm"]}


async def announce(session: AsyncSession, tenant_id: UUID, keys: str, until: dt.datetime) -> None:
    """Write a realm's keys down. `until`: how far its events were read, where nobody has written that down yet."""
    told = {"keys": keys, "keys_at": func.clock_timestamp()}
    row = insert(RealmCursor).values(tenant_id=tenant_id, read_until=until, **told)
    await session.execute(row.on_conflict_do_update(index_elements=["tenant_id"], set_=told))


async def announced(registry: Registry, cell: AsyncEngine, url: str) -> Announced | None:
    """What was written down for the realm whose keys are at this address. Raises IdentityUnavailable."""
    entry = await registry.by_keys(url)
    if entry is None:
        return None
    age = func.extract("epoch", func.clock_timestamp() - RealmCursor.keys_at)
    query = select(RealmCursor.keys, age).where(RealmCursor.tenant_id == entry.tenant_id)
    try:
        async with cell_session(cell, entry.tenant_id) as session:
            row = (await session.execute(query)).one_or_none()
    except (SQLAlchemyError, OSError):
        raise IdentityUnavailable("The key set") from None
    if row is None or row[0] is None:
        return None
    return row[0].encode(), float(row[1])
