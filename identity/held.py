"""People whom a provider has proven, or a directory means, and of whom nobody knew who they are: an administrator decides.

As in `identity/provisioning.py`: in the caller's transaction, one audit event each, the asker judged before, also for
the person whom somebody is to become. What was decided holds from their next login on, or from the directory's next
try, which then takes the person over (`identity/scim/taking_over.py`).
"""

import uuid

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.errors import IllegalMove, Invalid
from domain.identity_providers import Decision, HeldAccount, IdentityLink
from domain.people import Person
from domain.scim import ScimUser
from domain.versions import change, locked
from identity.arrivals import introduce, link
from identity.assertions import Assertion, asserted
from identity.grants import PersonInactive
from identity.mapping_sources import Source
from identity.provisioning import PersonDraft


class LinkedAlready(Invalid):
    """The person, or the login, belongs to another one at this provider already."""

    code = "LINKED_ALREADY"
    constraints = (
        "uq_identity_link_tenant_id_identity_provider_id_subject",
        "uq_identity_link_person_once",
    )

    def __init__(self) -> None:
        super().__init__(
            "This person is somebody else to this provider, or to the directory, already.",
            path=("person",),
            code=self.code,
        )


class DirectoryMakes(Invalid):
    """Whom a directory means is made by the directory, under its name for them."""

    code = "DIRECTORY_MAKES"

    def __init__(self) -> None:
        super().__init__(
            "The directory makes its people itself: give the person who has this user name another one, and its next"
            " try makes a person of their own.",
            path=("id",),
            code=self.code,
        )


async def link_held(
    session: AsyncSession, agent: Agent, held: HeldAccount, version: int, person: Person
) -> HeldAccount:
    """Say that somebody is this person. Raises StaleVersion, IllegalMove, PersonInactive, LinkedAlready."""
    present = await _open(session, agent, held, version, Decision.LINKED)
    if not person.active:
        raise PersonInactive()
    provider_id = present.identity_provider_id
    taken = select(ScimUser.id).where(
        ScimUser.tenant_id == agent.tenant_id, ScimUser.id == person.id
    )
    if provider_id is not None:
        taken = select(IdentityLink.id).where(
            IdentityLink.tenant_id == agent.tenant_id,
            IdentityLink.identity_provider_id == provider_id,
            IdentityLink.person_id == person.id,
        )
    if await session.scalar(taken) is not None:
        raise LinkedAlready()
    if provider_id is not None:
        await link(session, agent, person.id, provider_id, _said(present))
    return await _decide(session, agent, present, Decision.LINKED, person.id)


async def create_held(
    session: AsyncSession, agent: Agent, held: HeldAccount, version: int, draft: PersonDraft
) -> HeldAccount:
    """Make somebody a person of their own. Raises StaleVersion, IllegalMove, DirectoryMakes, and what `create_person` raises."""
    present = await _open(session, agent, held, version, Decision.CREATED)
    if present.identity_provider_id is None:
        raise DirectoryMakes()
    source = Source.of(present.identity_provider_id)
    person = await introduce(session, agent, source, _said(present), draft)
    return await _decide(session, agent, present, Decision.CREATED, person.id)


async def dismiss_held(
    session: AsyncSession, agent: Agent, held: HeldAccount, version: int
) -> HeldAccount:
    """Let somebody stay outside; their next login puts them here again. Raises StaleVersion, IllegalMove."""
    present = await _open(session, agent, held, version, Decision.DISMISSED)
    return await _decide(session, agent, present, Decision.DISMISSED, present.person_id)


def _said(held: HeldAccount) -> Assertion:
    return Assertion(held.subject, asserted(held.asserted))


async def _open(
    session: AsyncSession, agent: Agent, held: HeldAccount, version: int, to: Decision
) -> HeldAccount:
    """The row, locked, if it still waits and has this version."""
    present = await locked(session, agent, held, version)
    if present.state != Decision.OPEN:
        raise IllegalMove("login", present.state, to.value)
    return present


async def _decide(
    session: AsyncSession,
    agent: Agent,
    held: HeldAccount,
    to: Decision,
    person_id: uuid.UUID | None,
) -> HeldAccount:
    changed = await change(
        session,
        agent,
        held,
        held.version,
        state=to.value,
        person_id=person_id,
        decided_by=agent.person_id,
        decided_at=agent.now,
    )
    record(session, agent, "person:manage", held.id, *([person_id] if person_id else []))
    return changed
