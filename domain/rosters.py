"""Who practises, what can be booked, and where and when: changes of practitioners, rooms and devices."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import Invalid, NotFound
from domain.organization import Place, clinic_of
from domain.people import touch
from domain.plain_text import name as a_name
from domain.plain_text import optional_line
from domain.practitioners import (
    BookableResource,
    Practitioner,
    ResourceAssignment,
    ResourceKind,
    known_npi,
)
from domain.versions import change


async def update_practitioner(
    session: AsyncSession,
    agent: Agent,
    practitioner: Practitioner,
    version: int,
    **said: Any,
) -> Practitioner:
    """Correct `given_name`, `family_name`, `specialty` or `npi`, or say by `active` that they left or returned.

    What appointments book of them follows. Whoever is linked to them is told by their version. Raises Invalid,
    NpiTaken (by the constraint), StaleVersion.
    """
    values: dict[str, Any] = {}
    for field, path in (("given_name", "givenName"), ("family_name", "familyName")):
        if field in said:
            values[field] = a_name(said[field] or "", path)
    if "specialty" in said:
        values["specialty"] = optional_line(said["specialty"], "specialty")
    if "npi" in said:
        values["npi"] = known_npi(said["npi"])
    if said.get("active") is not None:
        values["active"] = said["active"]
    if practitioner.person_id is not None:
        await touch(session, agent, practitioner.person_id)
    changed = await change(session, agent, practitioner, version, **values)
    resource = await session.get(BookableResource, (agent.tenant_id, changed.id))
    if resource is not None:
        named = {"name": f"{changed.given_name} {changed.family_name}", "active": changed.active}
        await change(session, agent, resource, resource.version, **named)
    record(session, agent, "practitioner:manage", changed.id)
    return changed


async def link_practitioner(
    session: AsyncSession,
    agent: Agent,
    practitioner: Practitioner,
    person_id: uuid.UUID | None,
    version: int,
) -> Practitioner:
    """Say as whom a practitioner logs in, or that they do not; both people's next requests know it.

    Raises NotFound (person), LinkedAlready (by the constraint), StaleVersion.
    """
    people = {practitioner.person_id, person_id} - {None}
    for whose in sorted(people, key=str):  # the order of all who lock people
        assert whose is not None
        await touch(session, agent, whose)
    changed = await change(session, agent, practitioner, version, person_id=person_id)
    subjects = [whose for whose in people if whose is not None]
    record(session, agent, "practitioner:manage", changed.id, *subjects)
    return changed


async def update_resource(
    session: AsyncSession, agent: Agent, resource: BookableResource, version: int, **said: Any
) -> BookableResource:
    """Give a room or device another name, or say by `active` whether it can be booked. Raises Invalid, StaleVersion."""
    if resource.kind == ResourceKind.PRACTITIONER:
        message = "What is booked of a practitioner changes with them."
        raise Invalid(message, path=("id",), code="PRACTITIONERS_OWN")
    values: dict[str, Any] = {}
    if "name" in said:
        values["name"] = a_name(said["name"] or "", "name")
    if said.get("active") is not None:
        values["active"] = said["active"]
    changed = await change(session, agent, resource, version, **values)
    record(session, agent, "practitioner:manage", changed.id)
    return changed


async def place(
    session: AsyncSession,
    agent: Agent,
    resource_id: uuid.UUID,
    unit: Place,
    begins: dt.datetime | None = None,
    ends: dt.datetime | None = None,
) -> ResourceAssignment:
    """Let something be booked at a clinic (all of it) or a department for a time; again sets the period anew.

    `begins` None: ever since; `ends` None: without end. Appointments that were booked stay. Raises Invalid.
    """
    found = await set_place(session, agent, resource_id, unit, begins, ends)
    record(session, agent, "assignment:edit", resource_id, unit.id, clinic_id=unit.clinic_id)
    return found


async def set_place(
    session: AsyncSession,
    agent: Agent,
    resource_id: uuid.UUID,
    unit: Place,
    begins: dt.datetime | None = None,
    ends: dt.datetime | None = None,
) -> ResourceAssignment:
    """As `place`, for a command that leaves an audit event of its own."""
    clinic_id = clinic_of(unit)
    check_period(begins, ends)
    found = await _assigned(session, agent, resource_id, unit.id)
    if found is None:
        found = ResourceAssignment(
            tenant_id=agent.tenant_id, resource_id=resource_id, unit_id=unit.id, clinic_id=clinic_id
        )
        session.add(found)
    found.valid_from, found.valid_until = begins, ends
    await session.flush()
    return found


async def withdraw(
    session: AsyncSession,
    agent: Agent,
    resource_id: uuid.UUID,
    unit: Place,
    ends: dt.datetime | None = None,
) -> ResourceAssignment:
    """Let something be booked at a place until an instant only (None: now). Raises NotFound, Invalid."""
    found = await _assigned(session, agent, resource_id, unit.id)
    # The database's own moment, so that the answer of this very transaction shows it over.
    until = ends or await session.scalar(select(func.now()))
    assert until is not None
    if found is None or (found.valid_until is not None and found.valid_until <= agent.now):
        raise NotFound(path=("unit",))
    if ends is not None and ends < agent.now:
        raise Invalid("This has passed already.", path=("validUntil",))
    if found.valid_from is not None and until < found.valid_from:
        until = found.valid_from  # it never begins
    found.valid_until = until
    await session.flush()
    record(session, agent, "assignment:edit", resource_id, unit.id, clinic_id=unit.clinic_id)
    return found


def check_period(begins: dt.datetime | None, ends: dt.datetime | None) -> None:
    """Raises Invalid for a period that ends before it begins."""
    if begins is not None and ends is not None and ends <= begins:
        raise Invalid("A period ends after it begins.", path=("validUntil",))


async def _assigned(
    session: AsyncSession, agent: Agent, resource_id: uuid.UUID, unit_id: uuid.UUID
) -> ResourceAssignment | None:
    found: ResourceAssignment | None = await session.scalar(
        select(ResourceAssignment)
        .where(
            ResourceAssignment.tenant_id == agent.tenant_id,
            ResourceAssignment.resource_id == resource_id,
            ResourceAssignment.unit_id == unit_id,
        )
        .with_for_update()
    )
    return found
