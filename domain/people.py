"""People who work for a health system, and the roles they hold at nodes of its tree."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.audit import Agent
from domain.errors import unchanged
from domain.model import Base, Identified, Stamped, one_of


class Role(StrEnum):
    """What somebody may hold at a node; what each lets them do is policy."""

    SYSTEM_ADMIN = "system_admin"
    SYSTEM_VIEWER = "system_viewer"
    PRIVACY_OFFICER = "privacy_officer"
    AUDITOR = "auditor"
    REGIONAL_DIRECTOR = "regional_director"
    CLINIC_ADMIN = "clinic_admin"
    PROVIDER = "provider"
    NURSE = "nurse"
    FRONT_DESK = "front_desk"
    BILLER = "biller"
    SETUP_TREE = "setup_tree"
    SETUP_PEOPLE = "setup_people"
    SETUP_IDENTITY = "setup_identity"


class Person(Stamped, Identified):
    """Somebody who can log in. `version` rises with every change of the person or of their grants.

    A token issued before `tokens_valid_from` is refused. `subject` is the `sub` of the tenant's issuer; it is
    null until the identity provider knows the person. `second_factor_at` is when they first showed a second factor; it
    stays when one is reset. `source` and `source_ref` say whose word their names and
    address are, as grants say it. `shut_out`: an administrator did, and only an administrator lets them in again.
    """

    __tablename__ = "person"
    __resource__ = "person"
    __vouches__ = True
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        UniqueConstraint("tenant_id", "subject"),
        UniqueConstraint("tenant_id", "user_name"),
        Index("ix_person_name", "tenant_id", "family_name", "id"),
    )

    subject: Mapped[str | None]
    user_name: Mapped[str]
    given_name: Mapped[str]
    family_name: Mapped[str]
    email: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")
    shut_out: Mapped[bool] = mapped_column(server_default="false")
    tokens_valid_from: Mapped[dt.datetime | None]
    second_factor_at: Mapped[dt.datetime | None]
    source: Mapped[str] = mapped_column(server_default="local")
    source_ref: Mapped[str] = mapped_column(server_default="")


class RoleGrant(Stamped, Identified):
    """A role at a node for a time. Revoking sets `valid_until`; a grant is never deleted.

    Overlaps are refused within one source; grants of several sources add up, and revoking one leaves the others.
    """

    __tablename__ = "role_grant"
    __resource__ = "grant"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "person_id"], ["person.tenant_id", "person.id"]),
        ForeignKeyConstraint(["tenant_id", "unit_id"], ["org_unit.tenant_id", "org_unit.id"]),
        ForeignKeyConstraint(
            ["tenant_id", "granted_by"],
            ["person.tenant_id", "person.id"],
            name="fk_role_grant_granted_by",
        ),
        one_of("role", Role),
        CheckConstraint("valid_until is null or valid_until >= valid_from", name="period"),
        CheckConstraint("source <> 'local' or granted_by <> person_id", name="not_to_oneself"),
        ExcludeConstraint(
            ("tenant_id", "="),
            ("person_id", "="),
            ("role", "="),
            ("unit_id", "="),
            ("source", "="),
            ("source_ref", "="),
            (text("tstzrange(valid_from, valid_until)"), "&&"),
            name="ex_role_grant_period",
            using="gist",
        ),
        Index("ix_role_grant_person", "tenant_id", "person_id"),
        Index("ix_role_grant_unit", "tenant_id", "unit_id"),
        Index("ix_role_grant_tenant_created", "tenant_id", "created_at", "id"),
    )

    person_id: Mapped[uuid.UUID]
    role: Mapped[str]
    unit_id: Mapped[uuid.UUID]
    valid_from: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    valid_until: Mapped[dt.datetime | None]
    source: Mapped[str] = mapped_column(server_default="local")
    source_ref: Mapped[str] = mapped_column(server_default="")
    granted_by: Mapped[uuid.UUID | None]
    reason: Mapped[str] = mapped_column(server_default="")


class RevokedSession(Base):
    """A session of the identity provider (`sid`) that no token opens any more, until its tokens have expired."""

    __tablename__ = "revoked_session"
    __vouches__ = True
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),)

    sid: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[dt.datetime]


async def touch(
    session: AsyncSession,
    agent: Agent,
    person_id: uuid.UUID,
    version: int | None = None,
    **values: Any,
) -> Person:
    """Write to the person's row and raise its version; holds its lock until the transaction ends.

    With `version` only while the row has it still. Raises NotFound, StaleVersion, NoLongerYours.
    """
    here = (Person.tenant_id == agent.tenant_id, Person.id == person_id)
    based = () if version is None else (Person.version == version,)
    person: Person | None = await session.scalar(
        update(Person)
        .where(*here, *based)
        .values(version=Person.version + 1, updated_at=agent.now, **values)
        .returning(Person),
        execution_options={"populate_existing": True, "synchronize_session": False},
    )
    if person is not None:
        return person
    current = await session.scalar(select(Person.version).where(*here))
    raise unchanged(current, version)
