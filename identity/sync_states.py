"""How far Keycloak follows of each person: pending, synced or failed, with the cause of the last failure.

Nothing is written when a person changes: what Keycloak was last brought to is kept as a digest, and compared with what
the person is now. So a change that no job ever saw shows as pending too, and the nightly comparison mends it
(`identity/realm_checks.py`).
"""

import datetime as dt
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, case, cast, func
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.realms import PersonSync
from identity.deferral import defer_sync
from identity.keycloak_failures import KeycloakFailure


class SyncState(StrEnum):
    """FAILED: nothing tries again by itself before the night."""

    PENDING = "pending"
    SYNCED = "synced"
    FAILED = "failed"


def _named(state: SyncState) -> ColumnElement[str]:
    return raw(f"'{state.value}'", Text)


def digest_of(person: Any) -> ColumnElement[str]:
    """What Keycloak is to know of a person, in short; `person` is the record or an alias of it."""
    names = (person.user_name, person.given_name, person.family_name, person.email, person.active)
    told = func.convert_to(cast(func.row(*names), Text), raw("'UTF8'"))
    return func.encode(func.sha256(told), raw("'hex'"))


def state_of(person: Any, sync: Any) -> ColumnElement[str]:
    """The state, of a person and their row of `person_sync`, which may be absent."""
    return case(
        (sync.failed.is_(True), _named(SyncState.FAILED)),
        (sync.digest == digest_of(person), _named(SyncState.SYNCED)),
        else_=_named(SyncState.PENDING),
    )


async def synced(
    session: AsyncSession, tenant_id: UUID, person_id: UUID, digest: str, now: dt.datetime
) -> None:
    """Note that the person's user is as this digest says."""
    values = {"digest": digest, "synced_at": now, "cause": None, "tried_at": now, "failed": False}
    await _note(session, tenant_id, person_id, values)


async def failing(
    session: AsyncSession, tenant_id: UUID, person_id: UUID, error: Exception, *, last: bool
) -> None:
    """Note why a try failed; `last`: nothing tries again by itself."""
    now = dt.datetime.now(dt.UTC)
    values = {"cause": cause_of(error), "tried_at": now, "failed": last}
    await _note(session, tenant_id, person_id, values)


def cause_of(error: Exception) -> str:
    """A code for an error: the kind of Keycloak's failure, or what else it was."""
    name = type(error).__name__
    told = "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()
    return told if isinstance(error, KeycloakFailure) or name in _OURS else "FAULT"


_OURS = frozenset({"UserTaken", "NoAccount"})


async def _note(
    session: AsyncSession, tenant_id: UUID, person_id: UUID, values: dict[str, Any]
) -> None:
    made = insert(PersonSync).values(tenant_id=tenant_id, person_id=person_id, **values)
    await session.execute(
        made.on_conflict_do_update(index_elements=["tenant_id", "person_id"], set_=values)
    )


async def retry_sync(session: AsyncSession, agent: Agent, person_id: UUID) -> None:
    """Bring somebody's user up to date once more, as after whatever made it fail was mended.

    In the caller's transaction; the asker judged before.
    """
    record(session, agent, "person:manage", person_id)
    await defer_sync(session, agent.tenant_id, [person_id], urgent=True)
