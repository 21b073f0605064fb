"""The sync page's record of requests: noted when they are answered, written a moment later, many at once.

It costs no request anything. A process that is killed loses at most the last second of it; what requests changed is on
record in the audit trail, by the same request id and in the change's own transaction.
"""

import asyncio
import datetime as dt
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Table, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.model import Base, new_id
from domain.scim_requests import Asked, ScimRequest
from identity.scim.reading import as_id
from identity.sync import cell_session

log = logging.getLogger(__name__)
REQUESTS: Table = Base.metadata.tables[ScimRequest.__tablename__]
MOST = 20_000
"""So many requests wait to be written; what comes beyond them is not shown."""
SECONDS = 1.0
LONGEST = 200
_ASKED = {"users": Asked.USER, "groups": Asked.GROUP, "bulk": Asked.BULK}
_NAMES = ("username", "displayname")
_IDS = ("x-request-id", "client-request-id", "x-ms-client-request-id", "x-okta-request-id")
"""Headers in which a directory says what it calls a request."""
Row = dict[str, Any]


@dataclass
class Visit:
    """A request while it is answered. `token_id` as soon as it is known; without one nothing is shown of it."""

    method: str
    path: str
    outside_request_id: str | None
    id: uuid.UUID = field(default_factory=new_id)
    tenant_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None
    cause: str | None = None
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.perf_counter() - self.began


def outside_id(headers: dict[str, str]) -> str | None:
    """What the directory calls a request, where it says so in letters that an id has."""
    for name in _IDS:
        said = headers.get(name, "")
        if (
            0 < len(said) <= 100
            and said.isascii()
            and all(c.isalnum() or c in "-_.:" for c in said)
        ):
            return said
    return None


class Journal:
    """Writes down requests, for one process. `cell` as the API's role."""

    def __init__(self, cell: AsyncEngine) -> None:
        self._cell = cell
        self._waiting: list[Row] = []
        self._throttled: set[uuid.UUID] = set()

    def note(self, visit: Visit, status: int, sent: bytes, answer: Any) -> None:
        """Note how a request was answered: of those that came too often one a moment, of a bulk request what failed."""
        if visit.token_id is None or visit.tenant_id is None or len(self._waiting) >= MOST:
            return
        if status == 429:
            if visit.tenant_id in self._throttled:
                return
            self._throttled.add(visit.tenant_id)
        body = answer if isinstance(answer, dict) else {}
        now = dt.datetime.now(dt.UTC)
        same = {"tenant_id": visit.tenant_id, "token_id": visit.token_id, "created_at": now} | {
            "outside_request_id": visit.outside_request_id,
            "milliseconds": round(visit.seconds * 1000),
        }
        row = _about(visit.path, body.get("id")) | {"method": visit.method, "status": status}
        row |= {"id": visit.id, "cause": visit.cause, "subject": None}
        if status >= 400:
            row["cause"] = visit.cause or str(body.get("detail") or "")
            row["subject"] = _named(_parsed(sent)) or row.pop("unknown", None)
        row.pop("unknown", None)
        self._waiting.append(same | row)
        if row["asked"] is Asked.BULK and status < 400:
            self._waiting += [same | {"id": new_id()} | failed for failed in _failures(sent, body)]

    async def run(self) -> None:
        """Write what waits, each moment, until cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits. Where the database is away it waits on."""
        rows, self._waiting = self._waiting, []
        self._throttled.clear()
        tenants: dict[uuid.UUID, list[Row]] = defaultdict(list)
        for row in rows:
            tenants[row["tenant_id"]].append(row)
        for tenant_id, told in tenants.items():
            try:
                async with cell_session(self._cell, tenant_id) as session:
                    await session.execute(insert(REQUESTS), told)
            except (SQLAlchemyError, OSError) as error:
                log.warning("requests of directories wait to be noted: %s", type(error).__name__)
                self._waiting = (told + self._waiting)[:MOST]


def _about(path: str, made: Any) -> Row:
    """What a path is about; `made` is the id of what came of it."""
    parts = path.strip("/").split("/")
    named = parts[1] if len(parts) > 1 else None
    asked = _ASKED.get(parts[0].lower(), Asked.OTHER)
    found = as_id(named or made) if asked in (Asked.USER, Asked.GROUP) else None
    return {"asked": asked, "resource_id": found, "unknown": None if found else _plain(named)}


def _failures(sent: bytes, body: dict[str, Any]) -> Iterator[Row]:
    """The operations of a bulk request that were refused."""
    asked = {
        o.get("bulkId"): o
        for o in _parsed(sent).get("operations") or ()
        if isinstance(o, dict) and o.get("bulkId")
    }
    for done in body.get("Operations") or ():
        status = int(done.get("status", 0))
        if status < 400:
            continue
        of = asked.get(done.get("bulkId"), {})
        path = str(of.get("path") or str(done.get("location", "")).partition("/scim/v2")[2])
        row = _about(path, None)
        unknown = row.pop("unknown")
        detail = (done.get("response") or {}).get("detail")
        yield row | {
            "method": str(done.get("method", ""))[:10],
            "status": status,
            "cause": str(detail or ""),
            "subject": _named(of.get("data")) or unknown,
        }


def _parsed(sent: bytes) -> Row:
    try:
        found = orjson.loads(sent)
    except orjson.JSONDecodeError:
        return {}
    return {k.lower(): v for k, v in found.items()} if isinstance(found, dict) else {}


def _named(said: Any) -> str | None:
    """The user or group name in what was sent."""
    if not isinstance(said, dict):
        return None
    low = {k.lower(): v for k, v in said.items()}
    return next(filter(None, (_plain(low.get(name)) for name in _NAMES)), None)


def _plain(said: Any) -> str | None:
    """A text as it can be stored and shown, None for anything else."""
    if not isinstance(said, str):
        return None
    return "".join(c for c in said if c.isprintable())[:LONGEST].strip() or None
