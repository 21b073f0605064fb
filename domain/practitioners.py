"""Practitioners, and everything else that an appointment can block: rooms and devices."""

import datetime as dt
import re
import uuid
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent, record
from domain.errors import Invalid, NotAllowed
from domain.model import Base, Identified, Stamped, new_id, one_of
from domain.organization import Place, clinic_of
from domain.people import touch
from domain.plain_text import name as a_name
from domain.plain_text import optional_line

NPI = re.compile(r"[0-9]{10}")


class ResourceKind(StrEnum):
    """What a bookable resource is."""

    PRACTITIONER = "practitioner"
    ROOM = "room"
    DEVICE = "device"


class Practitioner(Stamped, Identified):
    """Somebody who treats patients (FHIR Practitioner). Linked to a person where they log in."""

    __tablename__ = "practitioner"
    __resource__ = "practitioner"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        UniqueConstraint("tenant_id", "person_id"),
        UniqueConstraint("tenant_id", "npi"),
        Index("ix_practitioner_name", "tenant_id", "family_name", "id"),
    )

    person_id: Mapped[uuid.UUID | None]
    given_name: Mapped[str]
    family_name: Mapped[str]
    specialty: Mapped[str | None]
    npi: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")


class BookableResource(Stamped, Identified):
    """Something that can be in one place at a time. A practitioner's resource has the practitioner's id."""

    __tablename__ = "bookable_resource"
    __resource__ = "practitioner"
    __table_args__ = (
        one_of("kind", ResourceKind),
        CheckConstraint("(kind = 'practitioner') = (practitioner_id is not null)", name="whose"),
        CheckConstraint("practitioner_id is null or practitioner_id = id", name="same_id"),
        ForeignKeyConstraint(
            ["tenant_id", "practitioner_id"], ["practitioner.tenant_id", "practitioner.id"]
        ),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
    )

    kind: Mapped[str]
    name: Mapped[str]
    practitioner_id: Mapped[uuid.UUID | None]
    active: Mapped[bool] = mapped_column(server_default="true")


class ResourceAssignment(Base):
    """The resource may be booked at the unit: a whole clinic (unit = clinic) or one department of it.

    From an instant (null: ever since) until before another (null: without end); appointments lie inside.
    """

    __tablename__ = "resource_assignment"
    __resource__ = "assignment"
    __table_args__ = (
        CheckConstraint("valid_until >= valid_from", name="period"),
        ForeignKeyConstraint(
            ["tenant_id", "resource_id"], ["bookable_resource.tenant_id", "bookable_resource.id"]
        ),
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "clinic_id"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
        ),
        Index("ix_resource_assignment_clinic", "tenant_id", "clinic_id", "resource_id"),
    )

    resource_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    unit_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    clinic_id: Mapped[uuid.UUID]
    valid_from: Mapped[dt.datetime | None]
    valid_until: Mapped[dt.datetime | None]


class LinkedAlready(Invalid):
    """Another practitioner is linked to this person."""

    code = "LINKED_ALREADY"
    constraints = ("uq_practitioner_tenant_id_person_id",)

    def __init__(self) -> None:
        super().__init__(
            "Another practitioner is linked to this person.", path=("person",), code=self.code
        )


class NpiTaken(Invalid):
    """Another practitioner of the health system has this number."""

    code = "NPI_TAKEN"
    constraints = ("uq_practitioner_tenant_id_npi",)

    def __init__(self) -> None:
        super().__init__("Another practitioner has this NPI.", path=("npi",), code=self.code)


class NotAPractitioner(NotAllowed):
    """What was asked for is done by practitioners only, and the asker is none (any more)."""

    code = "NOT_A_PRACTITIONER"

    def __init__(self) -> None:
        super().__init__("Only somebody linked to an active practitioner may do this.")


async def practising(session: AsyncSession, agent: Agent) -> uuid.UUID:
    """The active practitioner that the agent is. Raises NotAPractitioner."""
    found = await session.scalar(
        select(Practitioner.id).where(
            Practitioner.tenant_id == agent.tenant_id,
            Practitioner.id == agent.practitioner_id,
            Practitioner.person_id == agent.person_id,
            Practitioner.active,
        )
    )
    if found is None:
        raise NotAPractitioner()
    return found


async def require_active(session: AsyncSession, agent: Agent, practitioner_id: uuid.UUID) -> None:
    """Raises Invalid (PRACTITIONER_UNKNOWN) unless the tenant has this practitioner and they are active."""
    found = await session.scalar(
        select(Practitioner.id).where(
            Practitioner.tenant_id == agent.tenant_id,
            Practitioner.id == practitioner_id,
            Practitioner.active,
        )
    )
    if found is None:
        raise Invalid(
            "There is no such practitioner.", path=("practitionerId",), code="PRACTITIONER_UNKNOWN"
        )


async def add_practitioner(
    session: AsyncSession,
    agent: Agent,
    given_name: str,
    family_name: str,
    *,
    specialty: str | None = None,
    npi: str | None = None,
    person_id: uuid.UUID | None = None,
    practitioner_id: uuid.UUID | None = None,
) -> Practitioner:
    """Make a practitioner and what appointments book of them: a resource with the same id.

    `npi` is the US National Provider Identifier, ten digits. Raises Invalid.
    """
    practitioner = Practitioner(
        tenant_id=agent.tenant_id,
        id=practitioner_id or new_id(),
        person_id=person_id,
        given_name=a_name(given_name, "givenName"),
        family_name=a_name(family_name, "familyName"),
        specialty=optional_line(specialty, "specialty"),
        npi=known_npi(npi),
        active=True,
        version=1,
    )
    session.add(practitioner)
    await session.flush()
    if person_id is not None:
        await touch(session, agent, person_id)  # their next request carries the practitioner
    resource = BookableResource(
        tenant_id=agent.tenant_id,
        id=practitioner.id,
        kind=ResourceKind.PRACTITIONER.value,
        name=f"{practitioner.given_name} {practitioner.family_name}",
        practitioner_id=practitioner.id,
        active=True,
    )
    session.add(resource)
    await session.flush()
    record(session, agent, "practitioner:create", practitioner.id)
    return practitioner


def known_npi(npi: str | None) -> str | None:
    """A National Provider Identifier as it is kept. Raises Invalid."""
    if npi is not None and not NPI.fullmatch(npi):
        raise Invalid("An NPI has ten digits.", path=("npi",))
    return npi


async def add_resource(
    session: AsyncSession,
    agent: Agent,
    kind: ResourceKind,
    name: str,
    resource_id: uuid.UUID | None = None,
) -> BookableResource:
    """Make a room or a device. Raises Invalid for a practitioner's resource, which comes with them."""
    if kind is ResourceKind.PRACTITIONER:
        raise Invalid("A practitioner's resource is made with the practitioner.", path=("kind",))
    resource = BookableResource(
        tenant_id=agent.tenant_id,
        id=resource_id or new_id(),
        kind=kind.value,
        name=a_name(name, "name"),
        practitioner_id=None,
        active=True,
    )
    session.add(resource)
    await session.flush()
    record(session, agent, "bookable_resource:create", resource.id)
    return resource


async def assign(session: AsyncSession, agent: Agent, resource_id: uuid.UUID, place: Place) -> None:
    """Let a practitioner, room or device be booked at a clinic (all of it) or a department. Twice is once."""
    clinic_id = clinic_of(place)
    await session.execute(
        insert(ResourceAssignment)
        .values(
            tenant_id=agent.tenant_id,
            resource_id=resource_id,
            unit_id=place.id,
            clinic_id=clinic_id,
        )
        .on_conflict_do_nothing()
    )
    record(session, agent, "bookable_resource:assign", resource_id, place.id, clinic_id=clinic_id)
