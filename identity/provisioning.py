"""People: the commands that administrators, logins through a broker and SCIM share (grants: `identity/grants.py`).

Each writes its row, raises the person's version (so that the next request loads them anew), leaves one audit event
and defers the work for Keycloak, all in the caller's transaction; none commits. Whether the agent may do it has been
decided before. The person's row is locked first, so that two changes of one person follow each other and rules over
several grants hold.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from authz.session import every_grant
from domain.audit import Agent, record
from domain.errors import Invalid, NotAllowed, part
from domain.model import new_id
from domain.people import Person, touch
from domain.plain_text import name, optional_email
from domain.scim import ScimUser
from identity.administrators import SYSTEM_ADMIN, keep_filled
from identity.deferral import defer_sync
from identity.grants import LOCAL, GrantDraft, NeedsApproval, add_grant, needs_approval

_USER_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{1,199}")
_RESERVED = "service-account-"
"""So Keycloak names the users of clients: a person of such a name would be taken for the client."""


class UserNameTaken(Invalid):
    """Another person of the health system has this user name."""

    code = "USER_NAME_TAKEN"
    constraints = ("uq_person_tenant_id_user_name",)

    def __init__(self) -> None:
        super().__init__("This user name is taken.", path=("userName",), code=self.code)


class ReturnNeedsApproval(Invalid):
    """One administrator alone would bring back a role that takes two."""

    code = NeedsApproval.code

    def __init__(self) -> None:
        super().__init__(
            "They hold a role that a second person has to approve: revoke it first, and request it anew.",
            path=("id",),
            code=self.code,
        )


class DirectoryShutOut(Invalid):
    """The directory that made somebody says that they have left."""

    code = "DIRECTORY_SHUT_OUT"

    def __init__(self) -> None:
        super().__init__(
            "The directory says that they have left: it lets them in again.",
            path=("id",),
            code=self.code,
        )


class OfAnotherWord(Invalid):
    """A name or an address follows what a directory or an identity provider says; by hand it would come undone."""

    code = "PERSON_OF_ANOTHER_SOURCE"

    def __init__(self, field: str) -> None:
        super().__init__(
            "This is changed where it comes from: the directory or the identity provider.",
            path=(field,),
            code=self.code,
        )


class Oneself(NotAllowed):
    """Nobody shuts themselves out: somebody else has to be left who can undo it."""

    code = "ONESELF"

    def __init__(self) -> None:
        super().__init__("Nobody shuts themselves out.")


@dataclass(frozen=True)
class PersonDraft:
    """Somebody to be made a person of the health system."""

    user_name: str
    given_name: str
    family_name: str
    email: str | None = None


async def create_person(
    session: AsyncSession,
    agent: Agent,
    draft: PersonDraft,
    *,
    person_id: uuid.UUID | None = None,
    first: GrantDraft | None = None,
    source: tuple[str, str] = (LOCAL, ""),
) -> Person:
    """Add a person, who may log in as soon as Keycloak knows them; `first` is a grant to begin with.

    `source` says whose word their names are, as `RoleGrant` has it.

    Raises Invalid, UserNameTaken, and what `add_grant` raises.
    """
    person: Person | None = await session.scalar(
        insert(Person)
        .values(
            tenant_id=agent.tenant_id,
            id=person_id or new_id(),
            **kept(draft),
            active=True,
            source=source[0],
            source_ref=source[1],
            created_at=agent.now,
            updated_at=agent.now,
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "user_name"])
        .returning(Person)
    )
    if person is None:
        raise UserNameTaken()
    subjects = [person.id]
    if first is not None:
        with part("grant"):
            subjects.append((await add_grant(session, agent, first)).id)
    record(session, agent, "person:create", *subjects)
    await defer_sync(session, agent.tenant_id, [person.id])
    return person


def kept(draft: PersonDraft) -> dict[str, str | None]:
    """What a person is called, by their columns. Raises Invalid."""
    return {
        "user_name": known_as(draft.user_name),
        "given_name": name(draft.given_name, "givenName"),
        "family_name": name(draft.family_name, "familyName"),
        "email": optional_email(draft.email, "email"),
    }


def known_as(user_name: str) -> str:
    """A user name as it is kept. Raises Invalid."""
    kept = user_name.strip().lower()
    if not _USER_NAME.fullmatch(kept):
        raise Invalid(
            "A user name has 2 to 200 of a-z, 0-9 and . _ @ + - and begins with a letter or digit.",
            path=("userName",),
        )
    if kept.startswith(_RESERVED):
        raise Invalid(f"User names with {_RESERVED} in front are reserved.", path=("userName",))
    return kept


async def update_person(
    session: AsyncSession,
    agent: Agent,
    person_id: uuid.UUID,
    version: int,
    by: str = LOCAL,
    **said: str | None,
) -> Person:
    """Correct `user_name`, `given_name`, `family_name` or `email`; what is not said stays. `by` is whose word it is.

    Raises Invalid, OfAnotherWord, UserNameTaken (by the constraint), StaleVersion, NotFound.
    """
    if by == LOCAL:
        await _must_be_ours(session, agent, person_id, said)
    values: dict[str, Any] = {}
    if "user_name" in said:
        values["user_name"] = known_as(said["user_name"] or "")
    for field, path in (("given_name", "givenName"), ("family_name", "familyName")):
        if field in said:
            values[field] = name(said[field] or "", path)
    if "email" in said:
        values["email"] = optional_email(said["email"], "email")
    person = await touch(session, agent, person_id, version, **values)
    record(session, agent, "person:manage", person.id)
    await defer_sync(session, agent.tenant_id, [person.id])
    return person


_OWNED = {
    "scim": {"user_name": "userName", "given_name": "givenName", "family_name": "familyName"}
    | {"email": "email"},
    "idp": {"given_name": "givenName", "family_name": "familyName", "email": "email"},
}
"""Whose word a person's names are -> the fields that follow it, by their names in inputs."""


async def _must_be_ours(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, said: Mapping[str, object]
) -> None:
    source = await session.scalar(
        select(Person.source).where(Person.tenant_id == agent.tenant_id, Person.id == person_id)
    )
    for field, path in _OWNED.get(source or LOCAL, {}).items():
        if field in said:
            raise OfAnotherWord(path)


async def deactivate_person(
    session: AsyncSession,
    agent: Agent,
    person_id: uuid.UUID,
    version: int | None = None,
    by: str = LOCAL,
) -> Person:
    """Shut a person out from the next request on; their grants stay for the day they return.

    Whom an administrator shuts out, only an administrator lets in again: `by` is whose word it is. Tokens issued before
    now are refused for ever. Repeating it is no error. Raises NotFound, StaleVersion, Oneself, LastAdministrator.
    """
    if person_id == agent.person_id:
        raise Oneself()
    await keep_filled(session, agent, SYSTEM_ADMIN, person_id=person_id)
    word = {"shut_out": True} if by == LOCAL else {}
    person = await touch(
        session, agent, person_id, version, active=False, tokens_valid_from=agent.now, **word
    )
    record(session, agent, "person:deactivate", person.id)
    await defer_sync(session, agent.tenant_id, [person.id], urgent=True)
    return person


async def reactivate_person(
    session: AsyncSession,
    agent: Agent,
    person_id: uuid.UUID,
    version: int | None = None,
    by: str = LOCAL,
) -> Person:
    """Let a person in again, with the grants that are still in force: where neither word, an administrator's nor the
    directory's, shuts them out any more. `by` is whose word it is.

    Not with grants that two administrators have to agree on: they are revoked first, and requested anew afterwards.
    Repeating it is no error. Raises NotFound, StaleVersion, DirectoryShutOut, Invalid (NEEDS_APPROVAL).
    """
    found = await session.execute(
        select(~Person.active, Person.shut_out)
        .where(Person.tenant_id == agent.tenant_id, Person.id == person_id)
        .with_for_update()
    )
    gone, shut_out = found.one_or_none() or (False, False)
    if by != LOCAL and shut_out:
        return await touch(session, agent, person_id, version)
    if by == LOCAL and await session.scalar(
        select(ScimUser.id).where(
            ScimUser.tenant_id == agent.tenant_id,
            ScimUser.id == person_id,
            ~ScimUser.active,
            ScimUser.deleted_at.is_(None),
        )
    ):
        raise DirectoryShutOut()
    person = await touch(session, agent, person_id, version, active=True, shut_out=False)
    held = await every_grant(session, agent.tenant_id, person_id) if gone else ()
    if await needs_approval(session, agent, *(grant.role for grant in held)):
        raise ReturnNeedsApproval()
    record(session, agent, "person:reactivate", person.id)
    await defer_sync(session, agent.tenant_id, [person.id])
    return person
