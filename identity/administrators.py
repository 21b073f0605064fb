"""The offices that a health system never leaves empty: nobody takes away the last one."""

import datetime as dt
import uuid

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent
from domain.errors import Invalid
from domain.organization import Tenant
from domain.people import Person, RoleGrant
from identity.sync import in_force

SYSTEM_ADMIN = "system_admin"
PRIVACY_OFFICER = "privacy_officer"
A_MONTH = dt.timedelta(days=30)
"""So long at least whoever stays holds the office: time to find somebody else."""


class LastAdministrator(Invalid):
    """Nobody would be left to administer the health system."""

    code = "LAST_ADMINISTRATOR"

    def __init__(self) -> None:
        super().__init__(
            "A health system keeps at least one active system administrator.", code=self.code
        )


class LastPrivacyOfficer(Invalid):
    """Nobody would be left to watch over the administrators."""

    code = "LAST_PRIVACY_OFFICER"

    def __init__(self) -> None:
        super().__init__(
            "A health system keeps at least one active privacy officer: name another one first.",
            code=self.code,
        )


_VACANT = {SYSTEM_ADMIN: LastAdministrator, PRIVACY_OFFICER: LastPrivacyOfficer}
OFFICES = frozenset(_VACANT)
"""Roles of which an active holder remains."""


async def lock_offices(session: AsyncSession, agent: Agent) -> None:
    """Lock the health system's row, before any person's: who holds an office changes under it alone."""
    await session.execute(
        select(Tenant.tenant_id).where(Tenant.tenant_id == agent.tenant_id).with_for_update()
    )


async def keep_filled(
    session: AsyncSession,
    agent: Agent,
    role: str,
    *,
    person_id: uuid.UUID | None = None,
    grant_id: uuid.UUID | None = None,
) -> None:
    """Refuse what would leave the office without an active holder: losing this person, or this grant.

    The tenant's row is locked, so that two holders cannot remove each other at the same moment. What remains must
    last: also because the grant that was revoked while we waited may have ended after `agent.now`, which is older
    than the lock. Raises LastAdministrator, LastPrivacyOfficer.
    """
    await lock_offices(session, agent)
    holders = (
        select(RoleGrant.id)
        .join(
            Person,
            (Person.tenant_id == RoleGrant.tenant_id) & (Person.id == RoleGrant.person_id),
        )
        .where(
            RoleGrant.tenant_id == agent.tenant_id,
            Person.tenant_id == agent.tenant_id,
            RoleGrant.role == role,
            Person.active,
            *in_force(agent.now),
        )
    )
    spared = or_(RoleGrant.person_id == person_id, RoleGrant.id == grant_id)
    if await session.scalar(holders.where(spared).limit(1)) is None:
        return
    lasts = or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > agent.now + A_MONTH)
    if await session.scalar(holders.where(~spared, lasts).limit(1)) is None:
        raise _VACANT[role]()
