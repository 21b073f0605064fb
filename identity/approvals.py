"""Requests for grants of the highest duties: one administrator asks, another one who is neither they nor the receiver
approves. The rules of the grant itself are asked twice, when it is requested and when it is given.

As in `identity/grants.py`: in the caller's transaction, one audit event each, the asker judged before.
"""

import uuid

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from authz.delegation import SECOND_APPROVAL
from authz.grants import fits
from authz.session import every_grant
from domain.approvals import LAPSES, AlreadyRequested, GrantRequest, RequestState
from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid, NotAllowed
from domain.model import new_id
from domain.organization import OrgUnit
from domain.people import Person, RoleGrant
from domain.versions import change, locked
from identity.administrators import SYSTEM_ADMIN
from identity.grants import (
    GrantDraft,
    PersonInactive,
    RoleDoesNotFit,
    ToOneself,
    give_grant,
    must_not_clash,
)


class OwnRequest(NotAllowed):
    """Nobody approves what they asked for themselves."""

    code = "OWN_REQUEST"

    def __init__(self) -> None:
        super().__init__("Somebody else has to approve what you asked for.")


class RequesterGone(Invalid):
    """Whoever asked administers the health system no more, so that one person alone would have decided."""

    code = "REQUESTER_GONE"

    def __init__(self) -> None:
        super().__init__(
            "Whoever asked is no system administrator any more: it has to be asked for anew.",
            path=("id",),
            code=self.code,
        )


async def request_grant(
    session: AsyncSession, agent: Agent, draft: GrantDraft, request_id: uuid.UUID | None = None
) -> GrantRequest:
    """Ask for a grant that somebody else has to approve.

    Raises Invalid (NO_APPROVAL_NEEDED for other roles), RoleDoesNotFit, PersonInactive, RolesConflict,
    GrantOverlaps, AlreadyRequested.
    """
    if draft.role not in SECOND_APPROVAL:
        message = "This role needs no approval: give it."
        raise Invalid(message, path=("role",), code="NO_APPROVAL_NEEDED")
    level = await session.scalar(
        select(OrgUnit.level).where(
            OrgUnit.tenant_id == agent.tenant_id, OrgUnit.id == draft.unit_id
        )
    )
    if level is None or not fits(draft.role, level):
        raise RoleDoesNotFit()
    if not await _active(session, agent, draft.person_id):
        raise PersonInactive()
    await must_not_clash(session, agent, draft, draft.valid_from or agent.now)
    await _make_room(session, agent, draft)
    assert agent.person_id is not None  # the product itself needs nobody's approval
    request = GrantRequest(
        tenant_id=agent.tenant_id,
        id=request_id or new_id(),
        person_id=draft.person_id,
        role=draft.role,
        unit_id=draft.unit_id,
        valid_from=draft.valid_from,
        valid_until=draft.valid_until,
        reason=draft.reason,
        state=RequestState.PENDING.value,
        requested_by=agent.person_id,
        lapses_at=agent.now + LAPSES,
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(request)
    await session.flush()
    record(session, agent, "grant:request", request.id, request.person_id)
    return request


async def approve_grant(
    session: AsyncSession, agent: Agent, request: GrantRequest, version: int
) -> RoleGrant:
    """Give what was asked for. The period begins now where it would have begun already.

    Raises OwnRequest, ToOneself, StaleVersion, IllegalMove, Invalid (REQUEST_LAPSED), RequesterGone, and what
    `give_grant` raises.
    """
    present = await _open(session, agent, request, version, RequestState.APPROVED)
    if present.requested_by == agent.person_id:
        raise OwnRequest()
    if present.person_id == agent.person_id:
        raise ToOneself()
    if present.lapses_at <= agent.now:
        raise Invalid("This request has lapsed: ask anew.", path=("id",), code="REQUEST_LAPSED")
    if not await is_administrator(session, agent, present.requested_by):
        raise RequesterGone()
    begins = present.valid_from and max(present.valid_from, agent.now)
    draft = GrantDraft(
        present.person_id,
        present.role,
        present.unit_id,
        begins,
        present.valid_until,
        reason=present.reason,
        asked_by=present.requested_by,
    )
    grant = await give_grant(session, agent, draft, present.id)
    await _decide(session, agent, present, RequestState.APPROVED, grant_id=grant.id)
    return grant


async def decline_grant(
    session: AsyncSession, agent: Agent, request: GrantRequest, version: int
) -> GrantRequest:
    """Close a request without giving anything; whoever asked may take it back so. Raises StaleVersion, IllegalMove."""
    present = await _open(session, agent, request, version, RequestState.DECLINED)
    record(session, agent, "grant:decline", present.id, present.person_id)
    return await _decide(session, agent, present, RequestState.DECLINED)


async def _open(
    session: AsyncSession, agent: Agent, request: GrantRequest, version: int, to: RequestState
) -> GrantRequest:
    """The request, locked, if it still waits and has this version."""
    present = await locked(session, agent, request, version)
    if present.state != RequestState.PENDING:
        raise IllegalMove("request", present.state, to.value)
    return present


async def _decide(
    session: AsyncSession,
    agent: Agent,
    request: GrantRequest,
    to: RequestState,
    grant_id: uuid.UUID | None = None,
) -> GrantRequest:
    return await change(
        session,
        agent,
        request,
        request.version,
        state=to.value,
        decided_by=agent.person_id,
        decided_at=agent.now,
        grant_id=grant_id,
    )


async def is_administrator(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> bool:
    """Whether the person is active and a system administrator at this moment."""
    held = await every_grant(session, agent.tenant_id, person_id)
    return await _active(session, agent, person_id) and any(
        g.role == SYSTEM_ADMIN and g.valid_from <= agent.now for g in held
    )


async def _active(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> bool:
    here = (Person.tenant_id == agent.tenant_id, Person.id == person_id)
    return bool(await session.scalar(select(Person.active).where(*here)))


async def _make_room(session: AsyncSession, agent: Agent, draft: GrantDraft) -> None:
    """Close a request for the same grant that lapsed or whose time is over. Raises AlreadyRequested for another."""
    waiting = await session.scalar(
        select(GrantRequest)
        .where(
            GrantRequest.tenant_id == agent.tenant_id,
            GrantRequest.person_id == draft.person_id,
            GrantRequest.role == draft.role,
            GrantRequest.unit_id == draft.unit_id,
            GrantRequest.state == RequestState.PENDING.value,
        )
        .with_for_update()
    )
    if waiting is None:
        return
    over = waiting.valid_until is not None and waiting.valid_until <= agent.now
    if waiting.lapses_at > agent.now and not over:
        raise AlreadyRequested()
    await _decide(session, agent, waiting, RequestState.DECLINED)
