"""What moving a clinic or closing a unit changes for people, told before it is done.

Nothing of a unit's rows moves: who sees them is the tree's doing. So what changes is who holds a role above the unit.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from authz.session import grants_at
from authz.tree import Tree
from domain.appointments import Appointment
from domain.audit import Agent
from domain.encounters import Encounter
from domain.organization import OrgUnit
from domain.patients import PatientSite
from domain.people import Person, RoleGrant

OPEN = ("proposed", "pending", "booked", "arrived", "checked-in", "waitlist")
"""States of appointments that are still to come or under way."""
NOT_OVER = ("planned", "arrived", "triaged", "in-progress", "onleave")
"""States of encounters that somebody has still to end."""


@dataclass(frozen=True)
class Holder:
    """A person by name and the role, held at a node, by which they gain or lose sight."""

    person_id: uuid.UUID
    given_name: str
    family_name: str
    role: str
    unit_id: uuid.UUID


@dataclass(frozen=True)
class Effects:
    """As far as the asker may read them: `patients` are seen at the unit, `appointments` are still to come there,
    `encounters` are not over.
    """

    patients: int
    appointments: int
    encounters: int
    gaining: list[Holder] = field(default_factory=list)
    losing: list[Holder] = field(default_factory=list)


async def of_closing(session: AsyncSession, agent: Agent, unit: OrgUnit) -> Effects:
    """What lies at a unit that is to be closed. It stays readable, to the same people."""
    return Effects(*await _there(session, agent, unit))


async def of_moving(
    session: AsyncSession, agent: Agent, tree: Tree, clinic: OrgUnit, region: OrgUnit
) -> Effects:
    """Who gains and who loses sight of a clinic that is to lie below another region.

    Judged by all grants that have not ended; listed are those at nodes that one line has and the other has not,
    which whoever may move the clinic may read.
    """
    before = {*tree.ancestors(clinic.id)}
    after = {clinic.id, *tree.ancestors(region.id)}
    grants = await grants_at(session, agent.tenant_id, before | after)
    seeing = {(g.person_id, g.role) for g in grants if g.unit_id in before}
    will_see = {(g.person_id, g.role) for g in grants if g.unit_id in after}
    gaining = [g for g in grants if (g.person_id, g.role) not in seeing]
    losing = [g for g in grants if (g.person_id, g.role) not in will_see]
    return Effects(
        *await _there(session, agent, clinic),
        await _named(session, agent, gaining),
        await _named(session, agent, losing),
    )


async def _named(session: AsyncSession, agent: Agent, grants: Sequence[RoleGrant]) -> list[Holder]:
    """The active holders by family name, each once for a role and node."""
    people = await session.scalars(
        select(Person).where(
            Person.tenant_id == agent.tenant_id,
            Person.id.in_({grant.person_id for grant in grants}),
            Person.active,
        )
    )
    names = {person.id: person for person in people}
    holders = {
        Holder(
            grant.person_id,
            names[grant.person_id].given_name,
            names[grant.person_id].family_name,
            grant.role,
            grant.unit_id,
        )
        for grant in grants
        if grant.person_id in names
    }
    return sorted(holders, key=lambda h: (h.family_name, h.given_name, str(h.person_id), h.role))


async def _there(session: AsyncSession, agent: Agent, unit: OrgUnit) -> tuple[int, int, int]:
    """How many patients, appointments to come and encounters under way a unit has."""
    patients = select(func.count(PatientSite.patient_id)).where(
        PatientSite.tenant_id == agent.tenant_id, PatientSite.unit_id == unit.id, PatientSite.active
    )
    ahead = select(func.count(Appointment.id)).where(
        Appointment.tenant_id == agent.tenant_id,
        or_(Appointment.clinic_id == unit.id, Appointment.unit_id == unit.id),
        Appointment.starts_at >= agent.now,
        Appointment.state.in_(OPEN),
    )
    begun = select(func.count(Encounter.id)).where(
        Encounter.tenant_id == agent.tenant_id,
        or_(Encounter.clinic_id == unit.id, Encounter.unit_id == unit.id),
        Encounter.state.in_(NOT_OVER),
    )
    counted = [int(await session.scalar(each) or 0) for each in (patients, ahead, begun)]
    return counted[0], counted[1], counted[2]
