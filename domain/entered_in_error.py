"""Striking out what was entered in error: kept with a reason, hidden unless asked for, never deleted."""

import uuid
from collections.abc import Iterator
from typing import Any, TypeVar

from sqlalchemy import ARRAY, Uuid, func, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.billing.charges import LOCK
from domain.billing.ledger import enter
from domain.encounters import Encounter
from domain.errors import Invalid
from domain.locks import hold
from domain.model import Base
from domain.plain_text import passage
from domain.state_tables import ERROR, Stateful, become

Row = TypeVar("Row", bound=Stateful)
REASON = 1_000


class StillDocumented(Invalid):
    """What was written at a visit is struck out before the visit."""

    def __init__(self) -> None:
        text = "Strike out first what is documented at this visit."
        super().__init__(text, path=("id",), code="STILL_DOCUMENTED")


class StillBilled(Invalid):
    """What is billed or claimed of a visit is taken back before the visit is struck out."""

    def __init__(self) -> None:
        text = "Take back first what is billed or claimed of this visit."
        super().__init__(text, path=("id",), code="STILL_BILLED")


async def mark_entered_in_error(
    session: AsyncSession, agent: Agent, row: Row, version: int, reason: str
) -> Row:
    """Strike a row out, and its parts with it (of a visit what is charged and not billed); the reason stays with it.

    Raises Invalid without a reason, StillDocumented, StillBilled, IllegalMove for what is struck out already,
    StaleVersion. Writes the row's own resource; charges for who may not too (`strike_charges`, migration 0026).
    """
    found: Any = row
    why = passage(reason, "reason", maximum=REASON)
    error = type(next(iter(found.__states__.moves)))(ERROR)
    if isinstance(found, Encounter) and await _documented(session, found):
        raise StillDocumented()
    parts: list[Any] = await found.parts(session)
    struck: Any = await become(session, agent, found, version, error, error_reason=why)
    for part in parts:
        await become(session, agent, part, part.version, error, error_reason=why)
    ids = [part.id for part in parts]
    if isinstance(found, Encounter):
        ids += await _charges_struck(session, agent, found)
    action = f"{struck.__resource__}:mark_entered_in_error"
    record(session, agent, action, struck.id, *ids, clinic_id=struck.clinic_id)
    marked: Row = struck
    return marked


async def _charges_struck(
    session: AsyncSession, agent: Agent, encounter: Encounter
) -> list[uuid.UUID]:
    """Strike out the charges of a visit; which they were. Raises StillBilled.

    Nobody bills (the account) or charges and claims (the visit) meanwhile.
    """
    await enter(session, agent, encounter.patient_id, encounter.clinic_id)
    await hold(session, LOCK, agent.tenant_id, encounter.id)
    asked = func.strike_charges(agent.tenant_id, encounter.id, type_=ARRAY(Uuid()))
    struck: list[uuid.UUID] | None = await session.scalar(select(asked))
    if struck is None:
        raise StillBilled()
    return struck


async def _documented(session: AsyncSession, encounter: Encounter) -> bool:
    """Whether anything that the session shows is written at the visit and not struck out."""
    for model in _documents():
        state = getattr(model, model.__states__.column)
        moves = model.__states__.moves.items()
        standing = [
            now.value for now, then in moves if ERROR in then
        ]  # a draft of a note is nothing yet
        found = await session.scalar(
            select(model.id)
            .where(
                model.tenant_id == encounter.tenant_id,
                model.encounter_id == encounter.id,
                state.in_(standing),
            )
            .limit(1)
        )
        if found is not None:
            return True
    return False


def _documents() -> Iterator[Any]:
    for mapper in Base.registry.mappers:
        model = mapper.class_
        if issubclass(model, Stateful) and "encounter_id" in inspect(model).column_attrs:
            yield model
