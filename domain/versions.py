"""Changing a row that carries a version: the change is refused when somebody else changed the row meanwhile."""

import uuid
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.changes import written
from domain.errors import NotFound, StaleVersion, unchanged


class Versioned(Protocol):
    """A row with an id and a version (`Identified` and `Stamped`)."""

    @property
    def tenant_id(self) -> uuid.UUID: ...
    @property
    def id(self) -> uuid.UUID: ...
    @property
    def version(self) -> int: ...


Row = TypeVar("Row", bound=Versioned)


async def change(session: AsyncSession, agent: Agent, row: Row, version: int, **values: Any) -> Row:
    """Write the values and raise the version by one, if the row still has `version`; answers the fresh row.

    Raises StaleVersion with the present version, NoLongerYours, NotFound when the row is not there (any more) for
    the session.
    One statement, so that of two changes based on one version exactly one succeeds.
    """
    model = cast(Any, type(row))
    here = (model.tenant_id == row.tenant_id, model.id == row.id)
    changed = await session.scalar(
        update(model)
        .where(*here, model.version == version)
        .values(**values, version=version + 1, updated_at=agent.now)
        .returning(model),
        execution_options={"populate_existing": True, "synchronize_session": False},
    )
    if changed is not None:
        written(session, changed)
        return cast(Row, changed)
    current = await session.scalar(select(model.version).where(*here))
    raise unchanged(current, version)


async def locked(session: AsyncSession, agent: Agent, row: Row, version: int) -> Row:
    """The row as it is now, nobody else's until the end. Raises NotFound, StaleVersion with the present version."""
    model = cast(Any, type(row))
    present = await session.scalar(
        select(model)
        .where(model.tenant_id == agent.tenant_id, model.id == row.id)
        .with_for_update(),
        execution_options={"populate_existing": True},
    )
    if present is None:
        raise NotFound()
    if present.version != version:
        raise StaleVersion(present.version)
    return cast(Row, present)
