"""Grants: giving, extending and ending them. Administrators, logins through a broker and SCIM share these commands.

Each locks the person's row first and raises its version, so that two changes of one person follow each other, rules
over several grants hold, and the next request loads the person anew. Each leaves one audit event and defers the work
for Keycloak, all in the caller's transaction; none commits. Whether the agent may do it has been decided before.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from authz.delegation import CONFLICTS, SECOND_APPROVAL, meet
from authz.grants import LOWEST, OF_LINKS, fits
from authz.session import every_grant
from domain.audit import Agent, record
from domain.errors import Invalid, NotAllowed, NotFound
from domain.model import new_id
from domain.organization import OrgUnit, Tenant
from domain.people import RoleGrant, touch
from domain.plain_text import line
from domain.versions import change
from identity.administrators import OFFICES, keep_filled
from identity.deferral import defer_sync

LOCAL = "local"
LATE = dt.timedelta(minutes=5)
"""So far the clocks of portals may be behind ours."""


class GrantOverlaps(Invalid):
    """The person holds this role at this node, from this source, in part of this period already."""

    code = "GRANT_OVERLAPS"
    constraints = ("ex_role_grant_period",)

    def __init__(self) -> None:
        super().__init__("The person holds this role here in this period already.", code=self.code)


class UnknownRole(Invalid):
    """There is no such role."""

    code = "UNKNOWN_ROLE"

    def __init__(self) -> None:
        super().__init__("There is no such role.", path=("role",), code=self.code)


class RoleDoesNotFit(Invalid):
    """The role is for units further up than this one."""

    code = "ROLE_DOES_NOT_FIT"

    def __init__(self) -> None:
        super().__init__(
            "This role is not held at a unit of this level.", path=("unit",), code=self.code
        )


class RolesConflict(Invalid):
    """Whoever watches the administrators is none of them (separation of duties)."""

    code = "ROLES_CONFLICT"

    def __init__(self) -> None:
        super().__init__(
            "The person holds a role that this one must not meet.", path=("role",), code=self.code
        )


class NeedsApproval(Invalid):
    """The health system asks for a second approval of this role."""

    code = "NEEDS_APPROVAL"

    def __init__(self) -> None:
        super().__init__(
            "Somebody else has to approve this role: request it.", path=("role",), code=self.code
        )


class PersonInactive(Invalid):
    """Somebody who has left is given nothing that would wait for their return."""

    code = "PERSON_INACTIVE"

    def __init__(self) -> None:
        super().__init__(
            "This person is inactive: reactivate them first.", path=("person",), code=self.code
        )


class OfAnotherSource(NotAllowed):
    """The grant follows what a directory or an identity provider says; by hand it would come back or come undone."""

    code = "GRANT_OF_ANOTHER_SOURCE"

    def __init__(self) -> None:
        super().__init__("This grant is changed where it comes from, not here.")


class ToOneself(NotAllowed):
    """Nobody gives a role to themselves, nor makes their own last longer."""

    code = "TO_ONESELF"

    def __init__(self) -> None:
        super().__init__("Nobody gives a role to themselves.")


def by_hand(grant: RoleGrant) -> None:
    """Raises OfAnotherSource for a grant that is not changed by hand."""
    if grant.source != LOCAL:
        raise OfAnotherSource()


@dataclass(frozen=True)
class GrantDraft:
    """A role at a node, from an instant (None: now) until an instant (None: until revoked).

    `source` and `source_ref` say what the grant comes from: grants of several sources add up. `asked_by` is who
    asked for it, where somebody else approves.
    """

    person_id: uuid.UUID
    role: str
    unit_id: uuid.UUID
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    source: str = LOCAL
    source_ref: str = ""
    reason: str = ""
    asked_by: uuid.UUID | None = None


def drafted(
    agent: Agent,
    person_id: uuid.UUID,
    role: str,
    unit_id: uuid.UUID,
    *,
    valid_from: dt.datetime | None = None,
    valid_until: dt.datetime | None = None,
    reason: str | None = None,
) -> GrantDraft:
    """A grant as somebody asks for it by hand. Raises ToOneself, UnknownRole, Invalid (a period in the past, reason)."""
    if person_id == agent.person_id:
        raise ToOneself()
    if role not in LOWEST or role in OF_LINKS:
        raise UnknownRole()
    if valid_from is not None and valid_from < agent.now - LATE:
        raise Invalid("A grant does not begin in the past.", path=("validFrom",))
    begins = None if valid_from is None else max(valid_from, agent.now)
    check_period(begins or agent.now, valid_until)
    said = line(reason, "reason") if reason and reason.strip() else ""
    return GrantDraft(person_id, role, unit_id, begins, valid_until, reason=said)


def check_period(begins: dt.datetime, ends: dt.datetime | None) -> None:
    """Raises Invalid for a period that ends before it begins."""
    if ends is not None and ends <= begins:
        raise Invalid("A grant ends after it begins.", path=("validUntil",))


async def needs_approval(session: AsyncSession, agent: Agent, *roles: str) -> bool:
    """Whether somebody else has to approve before anybody holds one of these roles."""
    if SECOND_APPROVAL.isdisjoint(roles):
        return False
    asked = select(Tenant.second_approval).where(Tenant.tenant_id == agent.tenant_id)
    return bool(await session.scalar(asked))


async def give_grant(
    session: AsyncSession,
    agent: Agent,
    draft: GrantDraft,
    *because: uuid.UUID,
    grant_id: uuid.UUID | None = None,
) -> RoleGrant:
    """Give a role at a node; `because` are ids of further rows that the audit event names.

    Raises NotFound (person, unit), Invalid (period, closed unit), PersonInactive, UnknownRole, RoleDoesNotFit, RolesConflict,
    GrantOverlaps.
    """
    grant = await add_grant(session, agent, draft, grant_id)
    record(session, agent, "grant:give", grant.id, draft.person_id, *because)
    return grant


async def add_grant(
    session: AsyncSession, agent: Agent, draft: GrantDraft, grant_id: uuid.UUID | None = None
) -> RoleGrant:
    """As `give_grant`, for a command that leaves an audit event of its own."""
    begins = draft.valid_from or agent.now
    check_period(begins, draft.valid_until)
    await _touch_active(session, agent, draft.person_id)
    await _must_fit(session, agent, draft)
    await must_not_clash(session, agent, draft, begins)
    grant = RoleGrant(
        tenant_id=agent.tenant_id,
        id=grant_id or new_id(),
        person_id=draft.person_id,
        role=draft.role,
        unit_id=draft.unit_id,
        valid_from=begins,
        valid_until=draft.valid_until,
        source=draft.source,
        source_ref=draft.source_ref,
        granted_by=draft.asked_by or agent.person_id,
        reason=draft.reason,
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(grant)
    await session.flush()
    await _follow(session, agent, grant, begins, draft.valid_until)
    return grant


async def extend_grant(
    session: AsyncSession, agent: Agent, grant: RoleGrant, version: int, until: dt.datetime
) -> RoleGrant:
    """Let a grant that will end last longer.

    Raises OfAnotherSource, ToOneself, PersonInactive, Invalid (GRANT_ENDED, NO_EXTENSION), RolesConflict, GrantOverlaps,
    StaleVersion.
    """
    by_hand(grant)
    if grant.person_id == agent.person_id:
        raise ToOneself()
    await _touch_active(session, agent, grant.person_id)
    present = await _fresh(session, agent, grant.id)
    ends = present.valid_until
    if ends is not None and ends <= agent.now:
        raise Invalid("This grant has ended: give it anew.", path=("id",), code="GRANT_ENDED")
    if ends is None or until <= ends:
        message = "The new end lies behind the present one."
        raise Invalid(message, path=("validUntil",), code="NO_EXTENSION")
    longer = GrantDraft(present.person_id, present.role, present.unit_id, valid_until=until)
    await _must_fit(session, agent, longer)
    await must_not_clash(session, agent, longer, present.valid_from, but=present.id)
    changed = await change(session, agent, present, version, valid_until=until)
    record(session, agent, "grant:extend", changed.id, changed.person_id)
    await _follow(session, agent, changed, until)
    return changed


async def revoke_grant(session: AsyncSession, agent: Agent, grant_id: uuid.UUID) -> RoleGrant:
    """End a grant now; one that has not begun ends as it begins. One that has ended stays as it is.

    Raises NotFound, LastAdministrator, LastPrivacyOfficer.
    """
    grant = await _fresh(session, agent, grant_id)
    if grant.role in OFFICES:
        await keep_filled(session, agent, grant.role, grant_id=grant_id)
    await touch(session, agent, grant.person_id)
    grant = await _fresh(session, agent, grant_id)
    if grant.valid_until is None or grant.valid_until > agent.now:
        grant.valid_until = max(grant.valid_from, agent.now)
        grant.version += 1
        grant.updated_at = agent.now
    record(session, agent, "grant:revoke", grant.id, grant.person_id)
    await session.flush()
    await _follow(session, agent, grant)
    return grant


async def _touch_active(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> None:
    """Raises NotFound, PersonInactive."""
    if not (await touch(session, agent, person_id)).active:
        raise PersonInactive()


async def _follow(
    session: AsyncSession, agent: Agent, grant: RoleGrant, *moments: dt.datetime | None
) -> None:
    """Let Keycloak follow, now and at the coming ones of these moments."""
    await defer_sync(session, agent.tenant_id, [grant.person_id])
    for moment in moments:
        if moment is not None and moment > agent.now:
            await defer_sync(session, agent.tenant_id, [grant.person_id], at=moment)


async def _fresh(session: AsyncSession, agent: Agent, grant_id: uuid.UUID) -> RoleGrant:
    """The grant as it is now, whatever the session has of it in memory. Raises NotFound."""
    found = await session.scalar(
        select(RoleGrant).where(RoleGrant.tenant_id == agent.tenant_id, RoleGrant.id == grant_id),
        execution_options={"populate_existing": True},
    )
    if found is None:
        raise NotFound()
    return found


async def _must_fit(session: AsyncSession, agent: Agent, draft: GrantDraft) -> None:
    if draft.role not in LOWEST:
        raise UnknownRole()
    unit = await session.scalar(
        select(OrgUnit).where(OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id == draft.unit_id)
    )
    if unit is None:
        raise NotFound(path=("unit",))
    if not unit.active:
        raise Invalid("This unit is closed.", path=("unit",), code="UNIT_CLOSED")
    if not fits(draft.role, unit.level):
        raise RoleDoesNotFit()


async def must_not_clash(
    session: AsyncSession,
    agent: Agent,
    draft: GrantDraft,
    begins: dt.datetime,
    but: uuid.UUID | None = None,
) -> None:
    """Compare with all that the person holds or will hold in the same period; who gives has locked the person's row.

    Raises RolesConflict, GrantOverlaps.
    """
    for other in await every_grant(session, agent.tenant_id, draft.person_id):
        period = (other.valid_from, other.valid_until)
        if other.id == but or not meet((begins, draft.valid_until), period):
            continue
        # Auditor and privacy officer are held at the root, so every other grant lies in their subtree.
        if frozenset({other.role, draft.role}) in CONFLICTS:
            raise RolesConflict()
        if _place(other) == _place(draft):
            raise GrantOverlaps()


def _place(grant: RoleGrant | GrantDraft) -> tuple[object, ...]:
    """What two grants may not have in common in one period."""
    return grant.role, grant.unit_id, grant.source, grant.source_ref
