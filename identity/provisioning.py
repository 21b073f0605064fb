"""People and their grants: the commands that administrators, logins through a broker and SCIM share.

Each writes its row, raises the person's version (so that the next request loads them anew), leaves one audit event
and defers the work for Keycloak, all in the caller's transaction; none commits. Whether the agent may do it has been
decided before. The person's row is locked first, so that two changes of one person follow each other and rules over
several grants hold.
"""

import datetime as dt
import re
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from authz.delegation import CONFLICTS
from authz.grants import fits
from domain.audit import Agent, record
from domain.errors import Invalid, NotFound
from domain.model import new_id
from domain.organization import OrgUnit, Tenant
from domain.people import Person, RoleGrant
from domain.plain_text import name, optional_identifier
from identity.jobs import defer_sync
from identity.sync import in_force

LOCAL = "local"
A_WHILE = dt.timedelta(minutes=1)
SYSTEM_ADMIN = "system_admin"
_USER_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{1,199}")


class UserNameTaken(Invalid):
    """Another person of the health system has this user name."""

    code = "USER_NAME_TAKEN"
    constraints = ("uq_person_tenant_id_user_name",)

    def __init__(self) -> None:
        super().__init__("This user name is taken.", path=("userName",), code=self.code)


class GrantOverlaps(Invalid):
    """The person holds this role at this node, from this source, in part of this period already."""

    code = "GRANT_OVERLAPS"
    constraints = ("ex_role_grant_period",)

    def __init__(self) -> None:
        super().__init__("The person holds this role here in this period already.", code=self.code)


class RoleDoesNotFit(Invalid):
    """The role is for units further up than this one."""

    code = "ROLE_DOES_NOT_FIT"

    def __init__(self) -> None:
        super().__init__("This role is not held at a unit of this level.", code=self.code)


class RolesConflict(Invalid):
    """Whoever watches the administrators is none of them (separation of duties)."""

    code = "ROLES_CONFLICT"

    def __init__(self) -> None:
        super().__init__("The person holds a role that this one must watch over.", code=self.code)


class LastAdministrator(Invalid):
    """Nobody would be left to administer the health system."""

    code = "LAST_ADMINISTRATOR"

    def __init__(self) -> None:
        super().__init__(
            "A health system keeps at least one active system administrator.",
            code=self.code,
        )


@dataclass(frozen=True)
class PersonDraft:
    """Somebody to be made a person of the health system."""

    user_name: str
    given_name: str
    family_name: str
    email: str | None = None


@dataclass(frozen=True)
class GrantDraft:
    """A role at a node, from an instant (None: now) until an instant (None: until revoked).

    `source` and `source_ref` say what the grant comes from: grants of several sources add up.
    """

    person_id: uuid.UUID
    role: str
    unit_id: uuid.UUID
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    source: str = LOCAL
    source_ref: str = ""
    reason: str = ""


async def create_person(session: AsyncSession, agent: Agent, draft: PersonDraft) -> Person:
    """Add a person, who may log in as soon as Keycloak knows them. Raises Invalid, UserNameTaken."""
    user_name = draft.user_name.strip().lower()
    if not _USER_NAME.fullmatch(user_name):
        raise Invalid(
            "A user name has 2 to 200 of a-z, 0-9 and . _ @ + - and begins with a letter or digit.",
            path=("userName",),
        )
    person: Person | None = await session.scalar(
        insert(Person)
        .values(
            tenant_id=agent.tenant_id,
            id=new_id(),
            user_name=user_name,
            given_name=name(draft.given_name, "givenName"),
            family_name=name(draft.family_name, "familyName"),
            email=optional_identifier(draft.email, "email"),
            active=True,
            created_at=agent.now,
            updated_at=agent.now,
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "user_name"])
        .returning(Person)
    )
    if person is None:
        raise UserNameTaken()
    record(session, agent, "person:manage", person.id)
    await defer_sync(session, agent.tenant_id, [person.id])
    return person


async def deactivate_person(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> Person:
    """Shut a person out from the next request on; their grants stay for the day they return.

    Tokens issued before now are refused for ever. Repeating it is no error. Raises NotFound, LastAdministrator.
    """
    await _somebody_else_administers(session, agent, person_id=person_id)
    person = await _touch(session, agent, person_id, active=False, tokens_valid_from=agent.now)
    record(session, agent, "person:deactivate", person.id)
    await defer_sync(session, agent.tenant_id, [person.id])
    return person


async def reactivate_person(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> Person:
    """Let a person in again, with the grants that are still in force. Raises NotFound."""
    person = await _touch(session, agent, person_id, active=True)
    record(session, agent, "person:manage", person.id)
    await defer_sync(session, agent.tenant_id, [person.id])
    return person


async def give_grant(session: AsyncSession, agent: Agent, draft: GrantDraft) -> RoleGrant:
    """Give a role at a node.

    Raises NotFound (person, unit), Invalid (period), RoleDoesNotFit, RolesConflict, GrantOverlaps.
    """
    begins = draft.valid_from or agent.now
    if draft.valid_until is not None and draft.valid_until <= begins:
        raise Invalid("A grant ends after it begins.", path=("validUntil",))
    await _touch(session, agent, draft.person_id)
    await _must_fit(session, agent, draft)
    await _must_not_clash(session, agent, draft, begins)
    grant = RoleGrant(
        tenant_id=agent.tenant_id,
        id=new_id(),
        person_id=draft.person_id,
        role=draft.role,
        unit_id=draft.unit_id,
        valid_from=begins,
        valid_until=draft.valid_until,
        source=draft.source,
        source_ref=draft.source_ref,
        granted_by=agent.person_id,
        reason=draft.reason,
        created_at=agent.now,
    )
    session.add(grant)
    record(session, agent, "grant:give", grant.id, draft.person_id)
    await session.flush()
    await defer_sync(session, agent.tenant_id, [draft.person_id])
    for moment in (begins, draft.valid_until):
        if moment is not None and moment > agent.now:
            await defer_sync(session, agent.tenant_id, [draft.person_id], at=moment)
    return grant


async def revoke_grant(session: AsyncSession, agent: Agent, grant_id: uuid.UUID) -> RoleGrant:
    """End a grant now; one that has not begun ends as it begins. One that has ended stays as it is.

    Raises NotFound, LastAdministrator.
    """
    mine = (RoleGrant.tenant_id == agent.tenant_id, RoleGrant.id == grant_id)
    grant = await session.scalar(select(RoleGrant).where(*mine))
    if grant is None:
        raise NotFound()
    if grant.role == SYSTEM_ADMIN:
        await _somebody_else_administers(session, agent, grant_id=grant_id)
    await _touch(session, agent, grant.person_id)
    await session.refresh(grant)
    if grant.valid_until is None or grant.valid_until > agent.now:
        grant.valid_until = max(grant.valid_from, agent.now)
    record(session, agent, "grant:revoke", grant.id, grant.person_id)
    await session.flush()
    await defer_sync(session, agent.tenant_id, [grant.person_id])
    return grant


async def _touch(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, **values: Any
) -> Person:
    """Write to the person's row and raise its version; holds its lock until the transaction ends."""
    person: Person | None = await session.scalar(
        update(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id == person_id)
        .values(version=Person.version + 1, updated_at=agent.now, **values)
        .returning(Person),
        execution_options={"populate_existing": True, "synchronize_session": False},
    )
    if person is None:
        raise NotFound()
    return person


async def _must_fit(session: AsyncSession, agent: Agent, draft: GrantDraft) -> None:
    level = await session.scalar(
        select(OrgUnit.level).where(
            OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id == draft.unit_id, OrgUnit.active
        )
    )
    if level is None:
        raise NotFound(path=("unitId",))
    if not fits(draft.role, level):
        raise RoleDoesNotFit()


async def _must_not_clash(
    session: AsyncSession, agent: Agent, draft: GrantDraft, begins: dt.datetime
) -> None:
    """Compare with the person's other grants in the same period; the person's row is locked."""
    period = func.tstzrange(RoleGrant.valid_from, RoleGrant.valid_until)
    others = await session.scalars(
        select(RoleGrant).where(
            RoleGrant.tenant_id == agent.tenant_id,
            RoleGrant.person_id == draft.person_id,
            period.op("&&")(func.tstzrange(begins, draft.valid_until)),
        )
    )
    for other in others:
        # Auditor and privacy officer are held at the root, so every other grant lies in their subtree.
        if frozenset({other.role, draft.role}) in CONFLICTS:
            raise RolesConflict()
        if _place(other) == _place(draft):
            raise GrantOverlaps()


def _place(grant: RoleGrant | GrantDraft) -> tuple[object, ...]:
    """What two grants may not have in common in one period."""
    return grant.role, grant.unit_id, grant.source, grant.source_ref


async def _somebody_else_administers(
    session: AsyncSession,
    agent: Agent,
    *,
    person_id: uuid.UUID | None = None,
    grant_id: uuid.UUID | None = None,
) -> None:
    """Refuse what would leave the health system without an active system administrator.

    The tenant's row is locked, so that two administrators cannot remove each other at the same moment. A grant counts
    that lasts for another minute: the one that was revoked while we waited may have ended after `agent.now`, which
    is older than the lock, and clocks differ.
    """
    await session.execute(
        select(Tenant.tenant_id).where(Tenant.tenant_id == agent.tenant_id).with_for_update()
    )
    administrators = (
        select(RoleGrant.id)
        .join(
            Person,
            (Person.tenant_id == RoleGrant.tenant_id) & (Person.id == RoleGrant.person_id),
        )
        .where(
            RoleGrant.tenant_id == agent.tenant_id,
            Person.tenant_id == agent.tenant_id,
            RoleGrant.role == SYSTEM_ADMIN,
            Person.active,
            *in_force(agent.now),
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > agent.now + A_WHILE),
        )
    )
    spared = or_(RoleGrant.person_id == person_id, RoleGrant.id == grant_id)
    if await session.scalar(administrators.where(spared).limit(1)) is None:
        return
    if await session.scalar(administrators.where(~spared).limit(1)) is None:
        raise LastAdministrator()
