"""How one enters a ledger: alone at an account, beside others at a clinic's day, and when the entry counts."""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import DateTime, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.locks import hold

LOCK = "account"
"""Of a patient at a clinic: no two find the same amount open."""
DAY = "ledger"
"""Of a clinic, shared by all who enter and held alone by who closes a day: what is under way is waited for."""


async def enter(
    session: AsyncSession, agent: Agent, patient_id: uuid.UUID, *clinic_ids: uuid.UUID
) -> list[Agent]:
    """Wait for a patient's accounts; answers the agent as whom to write at each clinic: `now` is when the entry counts.

    That is the agent's own moment, unless the clinic's day was closed meanwhile: then the next open day begins with it.
    """
    agents = await enter_all(session, agent, ((clinic_id, patient_id) for clinic_id in clinic_ids))
    return [agents[clinic_id] for clinic_id in clinic_ids]


async def enter_all(
    session: AsyncSession, agent: Agent, accounts: Iterable[tuple[uuid.UUID, uuid.UUID]]
) -> dict[uuid.UUID, Agent]:
    """As `enter`, many accounts (clinic, patient); answers by clinic.

    All days come before all accounts: else who closes could wait for somebody who waits for them.
    """
    ordered = sorted(set(accounts))
    clinics = sorted({clinic_id for clinic_id, _ in ordered})
    for clinic_id in clinics:
        await hold(session, DAY, agent.tenant_id, clinic_id, shared=True)
    for clinic_id, patient_id in ordered:
        await hold(session, LOCK, agent.tenant_id, clinic_id, patient_id)
    return {id_: replace(agent, now=await open_moment(session, agent, id_)) for id_ in clinics}


async def open_moment(session: AsyncSession, agent: Agent, clinic_id: uuid.UUID) -> dt.datetime:
    """When an entry that is made now counts at a clinic (migration 0026)."""
    kind = DateTime(timezone=True)
    moment: dt.datetime | None = await session.scalar(
        select(func.open_moment(agent.tenant_id, clinic_id, agent.now, type_=kind))
    )
    return moment or agent.now
