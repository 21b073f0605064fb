"""What people are written to about their own login: what others ask for or did to it, so that they can object."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.organization import Tenant

RESET_REQUESTED = "device_reset_requested"
DEVICES_RESET = "devices_reset"


async def reset_requested(session: AsyncSession, agent: Agent, _: str) -> tuple[str, str]:
    """That a second administrator has to agree, and what to do where nothing is lost."""
    return (
        "Somebody asks to reset your second factor",
        f"An administrator of {await _name(session, agent)} has asked to remove the app, passkeys and recovery codes that"
        " you log in with. A second administrator has to agree.\n\n"
        "If you have not lost your device, tell an administrator now.\n",
    )


async def devices_reset(session: AsyncSession, agent: Agent, _: str) -> tuple[str, str]:
    """That it was done."""
    return (
        "Your second factor was reset",
        f"Two administrators of {await _name(session, agent)}, or those who run this service, have removed the app,"
        " passkeys and recovery codes that you log in with, and ended your sessions. At your next login you set up a new"
        " one.\n\nIf you did not ask for this, tell an administrator at once and log in nowhere before.\n",
    )


async def _name(session: AsyncSession, agent: Agent) -> str:
    query = select(Tenant.name).where(Tenant.tenant_id == agent.tenant_id)
    return str(await session.scalar(query))
