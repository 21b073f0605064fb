"""Whom a directory means that it did not make: a person whom a login or an administrator made before.

Taken over is who is proven to be the same: the directory's own provider (`of_directory`) knows them by the directory's
external id, as its subject or as what it signs for `externalId`; or an administrator has said so. Never by a name, and
never by an e-mail address. Where it cannot be told the directory is answered 409, and an administrator is asked
(`identity/held.py`); its next try finds the answer.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ScalarSelect,
    Text,
    bindparam,
    cast,
    func,
    select,
    text,
    union,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.identity_providers import (
    Decision,
    HeldAccount,
    HeldReason,
    IdentityLink,
    IdentityProvider,
    ProviderState,
)
from domain.model import new_id
from domain.people import Person
from domain.scim import ScimUser
from identity.provisioning import PersonDraft, UserNameTaken, known_as
from identity.scim.units import TENANT
from identity.sync import cell_session

COUNTS_FOR = dt.timedelta(days=30)
"""So long an administrator's word waits for the directory's next try."""


ASKED = "scim_asked"
"""Where a session keeps what an administrator is to be asked."""


@dataclass(frozen=True)
class Question:
    """Somebody about whom an administrator is asked. `subject` is the directory's id of them, or its name."""

    subject: str
    reason: HeldReason
    asserted: dict[str, list[str]]
    person_id: uuid.UUID | None


class Undecided(UserNameTaken):
    """Nobody here can tell whom the directory means."""

    def __init__(self) -> None:
        super().__init__()
        self.message = (
            "Somebody is here already who may be this user, and no directory made them. An administrator of the"
            " health system was asked who it is (held accounts); try again when they have answered."
        )


def subject_of(values: dict[str, Any]) -> str:
    """What the directory knows somebody by: its id, else its name for them."""
    if values["external_id"]:
        return f"externalId {values['external_id']}"
    return f"userName {values['user_name']}"


async def meant(
    session: AsyncSession, agent: Agent, values: dict[str, Any], draft: PersonDraft
) -> uuid.UUID | None:
    """The person whom the directory means by what is proven or was decided; None for nobody. Raises Undecided."""
    found = (await session.execute(CLAIMED, claim(agent, values))).one()
    people: list[uuid.UUID] = found[0] or []
    if len(people) > 1 or (people and await _is_pushed(session, agent, people[0])):
        raise _undecided(session, values, draft, HeldReason.AMBIGUOUS, None)
    if people:
        return people[0]
    known: uuid.UUID | None = found[1]
    if known is not None and not await _is_pushed(session, agent, known):
        return known
    return None


async def name_taken(
    session: AsyncSession, agent: Agent, values: dict[str, Any], draft: PersonDraft
) -> UserNameTaken:
    """What to raise where somebody has the user name: a question, but where the directory itself pushed them."""
    alike = await session.scalar(
        select(Person.id).where(
            Person.tenant_id == agent.tenant_id, Person.user_name == known_as(draft.user_name)
        )
    )
    if alike is None or await _is_pushed(session, agent, alike):
        return UserNameTaken()
    return _undecided(session, values, draft, HeldReason.NAME_TAKEN, alike)


def claim(agent: Agent, values: dict[str, Any]) -> dict[str, Any]:
    """What `CLAIMED` asks with."""
    return {
        "tenant_id": agent.tenant_id,
        "external_id": values["external_id"],
        "subject": subject_of(values),
        "since": agent.now - COUNTS_FOR,
    }


def _proven() -> ScalarSelect[Any]:
    """The people whom the directory's own providers know by its id, as their subject or as what they sign for it."""
    external_id = cast(bindparam("external_id"), Text)
    linked = (
        select(IdentityLink.person_id)
        .join(
            IdentityProvider,
            (IdentityProvider.tenant_id == IdentityLink.tenant_id)
            & (IdentityProvider.id == IdentityLink.identity_provider_id),
        )
        .where(
            IdentityLink.tenant_id == TENANT,
            IdentityProvider.tenant_id == TENANT,
            IdentityProvider.of_directory,
            IdentityProvider.state == ProviderState.ACTIVE.value,
        )
    )
    # Two, for each has its index.
    either = union(
        linked.where(IdentityLink.subject == external_id),
        linked.where(IdentityLink.asserted["externalId"] == func.jsonb_build_array(external_id)),
    ).subquery("either")
    return select(func.array_agg(either.c.person_id)).scalar_subquery()


def _decided() -> ScalarSelect[Any]:
    """Whom an administrator named lately."""
    return (
        select(HeldAccount.person_id)
        .where(
            HeldAccount.tenant_id == TENANT,
            HeldAccount.identity_provider_id.is_(None),
            HeldAccount.subject == bindparam("subject"),
            HeldAccount.state == Decision.LINKED.value,
            HeldAccount.decided_at > bindparam("since"),
        )
        .order_by(HeldAccount.decided_at.desc())
        .limit(1)
        .scalar_subquery()
    )


CLAIMED = select(_proven(), _decided())
"""Who is proven to be somebody (an array, null for nobody), and whom an administrator named (null for nobody)."""


async def _is_pushed(session: AsyncSession, agent: Agent, person_id: uuid.UUID) -> bool:
    """Whether a directory speaks of the person already."""
    asked = select(ScimUser.id).where(
        ScimUser.tenant_id == agent.tenant_id, ScimUser.id == person_id
    )
    return await session.scalar(asked) is not None


def _undecided(
    session: AsyncSession,
    values: dict[str, Any],
    draft: PersonDraft,
    reason: HeldReason,
    person_id: uuid.UUID | None,
) -> Undecided:
    """Leave the question with the session, for whoever ends it, and refuse."""
    said = {
        "userName": draft.user_name,
        "givenName": draft.given_name,
        "familyName": draft.family_name,
        "email": draft.email,
        "externalId": values["external_id"],
    }
    told = {name: [value] for name, value in said.items() if value}
    question = Question(subject_of(values), reason, told, person_id)
    session.info.setdefault(ASKED, []).append(question)
    return Undecided()


async def ask(cell: AsyncEngine, tenant_id: uuid.UUID, questions: Sequence[Question]) -> None:
    """Put people before an administrator, each once: in a transaction of its own, for what asked was refused."""
    if not questions:
        return
    now = dt.datetime.now(dt.UTC)
    async with cell_session(cell, tenant_id) as session:
        for asked in questions:
            said = {
                "asserted": asked.asserted,
                "reason": asked.reason.value,
                "person_id": asked.person_id,
                "updated_at": now,
            }
            made = insert(HeldAccount).values(
                tenant_id=tenant_id, id=new_id(), subject=asked.subject, created_at=now, **said
            )
            await session.execute(
                made.on_conflict_do_update(
                    index_elements=["tenant_id", "identity_provider_id", "subject"],
                    index_where=text("state = 'open'"),
                    set_=said,
                )
            )
