"""A directory's users: each is a person of the health system, made, changed and shut out as by everybody else.

The directory's word is kept beside the person (`scim_user`). Somebody whom it deleted and pushes anew is the same
person again, found by external id or user name among the deleted. Whom somebody else made is taken over where they are
proven to be the same (`identity/scim/taking_over.py`), never for an e-mail address.
"""

import uuid
from collections.abc import Set
from typing import Any

from scim2_models import (
    InvalidValueException,
    Path,
    PreconditionFailedException,
    UniquenessException,
)
from sqlalchemy import Row, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from domain.people import Person, touch
from identity.mapping_sources import SCIM
from identity.provisioning import (
    PersonDraft,
    UserNameTaken,
    create_person,
    deactivate_person,
    known_as,
    reactivate_person,
    update_person,
)
from identity.scim.departures import let_go
from identity.scim.kinds import EMAILS, MEMBERS, USER_KIND, USERS
from identity.scim.reading import Found, etag, related, resource, row_of
from identity.scim.refusals import refused
from identity.scim.roles import are_asked_for, follow, follow_new
from identity.scim.schemas import CLINICAL, ENTERPRISE
from identity.scim.taking_over import meant, name_taken
from identity.scim.units import TENANT, by_session

_APART = ("id", "meta", "groups", "password")
"""What has a place of its own, or none: a password is not ours to keep."""
_PERSON = ("user_name", "given_name", "family_name", "email")
UNIQUE = ("user_name", "external_id", "npi")
ALIKE = (
    select(USERS.c.id)
    .where(
        USERS.c.tenant_id == TENANT,
        or_(*(USERS.c[name] == bindparam(name) for name in UNIQUE)),
    )
    .limit(1)
)
"""Somebody who has one of these values, whether the directory sees them or deleted them."""


def document(made: Found) -> dict[str, Any]:
    """The resource as it is kept: without what has a place of its own, and without schemas that nobody knows."""
    told: dict[str, Any] = made.model_dump()
    for name in (*_APART, "members"):
        told.pop(name, None)
    known = {str(type(made).__schema__), *map(str, type(made).get_extension_models())}
    told["schemas"] = [u for u in told.get("schemas") or [] if u in known]
    return told


def key(model: Any, attribute: str, value: Any) -> str | None:
    """A value in the form in which it is compared; nothing and empty text are nothing."""
    if not value:
        return None
    bound = Path[model](attribute).resolve()
    assert bound is not None, attribute
    folded: str = bound.comparable(str(value))
    return folded


def columns(made: Any, doc: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a resource beside its place and time. Raises InvalidValueException."""
    if not (made.user_name or "").strip():
        raise refused(InvalidValueException, "userName must not be empty.")
    model = type(made)
    enterprise, clinical = doc.get(ENTERPRISE) or {}, doc.get(CLINICAL) or {}
    number = f"{ENTERPRISE}:employeeNumber"
    return {
        "user_name": key(model, "userName", made.user_name),
        "external_id": key(model, "externalId", made.external_id),
        "employee_number": key(model, number, enterprise.get("employeeNumber")),
        "npi": key(model, f"{CLINICAL}:npi", clinical.get("npi")),
        "doc": doc,
    }


def draft_of(doc: dict[str, Any]) -> PersonDraft:
    """The person that a resource describes. Names that were not said are taken from what was."""
    said = doc.get("name") or {}
    shown = (doc.get("displayName") or said.get("formatted") or "").split()
    alone = str(doc["userName"]).split("@")[0]
    alone = alone if any(c.isalpha() for c in alone) else f"user {alone}"
    given = said.get("givenName") or (shown[0] if shown else alone)
    family = said.get("familyName") or (shown[-1] if shown else alone)
    return PersonDraft(str(doc["userName"]), given, family, email_of(doc))


def email_of(doc: dict[str, Any]) -> str | None:
    """The primary address, else the one at work, else the first."""
    listed = [e for e in doc.get("emails") or [] if e.get("value")]

    def rank(entry: dict[str, Any]) -> tuple[bool, bool]:
        return not entry.get("primary"), str(entry.get("type", "")).lower() != "work"

    return str(min(listed, key=rank)["value"]) if listed else None


async def create(session: AsyncSession, agent: Agent, made: Any) -> Found:
    """Make a person, or let one that the directory deleted return. Raises UniquenessException, DomainError."""
    doc = document(made)
    values = columns(made, doc)
    active = doc["active"] = made.active is not False
    before = await _known(session, agent, values)
    if before is not None:
        await _leave(session, agent, before.id)  # where a group was pushed as they were deleted
        row = await _write(session, agent, before.id, values, active=active, deleted_at=None)
        await _person(session, agent, before.id, doc)
        if active:
            await reactivate_person(session, agent, before.id, by=SCIM)
        await _addresses(session, agent, before.id, made)
        await follow(session, agent, [before.id])
    else:
        user_id = await _made(session, agent, values, doc, active=active)
        stamps = {"created_at": agent.now, "updated_at": agent.now}
        key_ = {"tenant_id": agent.tenant_id, "id": user_id}
        made_row = insert(USERS).values(**key_, **values, **stamps, active=active)
        row = (await session.execute(made_row.returning(*USERS.c))).one()
        if not active:
            await deactivate_person(session, agent, user_id, by=SCIM)
        await _keep(session, agent, user_id, addresses_of(made))
        await follow_new(session, agent, user_id, doc)
    return resource(USER_KIND, row, None)


async def _made(
    session: AsyncSession,
    agent: Agent,
    values: dict[str, Any],
    doc: dict[str, Any],
    *,
    active: bool,
) -> uuid.UUID:
    """The person whom a directory speaks of for the first time: somebody new, or who is proven to be the same."""
    draft = draft_of(doc)
    known = await meant(session, agent, values, draft)
    if known is None:
        try:
            return (await create_person(session, agent, draft, source=(SCIM, ""))).id
        except UserNameTaken:
            raise await name_taken(session, agent, values, draft) from None
    # From now on their names are the directory's word, and it lets them in and out.
    await touch(session, agent, known, source=SCIM, source_ref="")
    record(session, agent, "scim:take_over", known)
    await _person(session, agent, known, doc)
    if active:
        await reactivate_person(session, agent, known, by=SCIM)
    return known


async def replace(session: AsyncSession, agent: Agent, made: Any, expected: str | None) -> Found:
    """Bring a user to a whole new state.

    Raises NotFoundException, PreconditionFailedException, UniquenessException, TooManyLeave.
    """
    before = await row_of(session, agent.tenant_id, USER_KIND, made.id, lock=True)
    _unchanged(before, expected)
    doc = document(made)
    values = columns(made, doc)
    active = before.active if made.active is None else bool(made.active)
    same = {name for name in UNIQUE if values[name] == getattr(before, name)}
    row = await _write(session, agent, before.id, values, same, active=active)
    if doc.get("emails") != before.doc.get("emails"):
        await _addresses(session, agent, before.id, made)
    if draft_of(doc) != draft_of(before.doc):
        await _person(session, agent, before.id, doc)
    if before.active and not active:
        await let_go(session, agent, [before.id])
        await deactivate_person(session, agent, before.id, by=SCIM)
    if active and not before.active:
        await reactivate_person(session, agent, before.id, by=SCIM)
    if active != before.active or await are_asked_for(session, agent, before.doc, doc):
        await follow(session, agent, [before.id])
    groups = await related(by_session(session), agent.tenant_id, USER_KIND, [before.id])
    return resource(USER_KIND, row, groups.get(before.id))


async def remove(session: AsyncSession, agent: Agent, text: str, expected: str | None) -> uuid.UUID:
    """Shut a person out and hide them from the directory; all that they did stays. Raises as `replace`."""
    row = await row_of(session, agent.tenant_id, USER_KIND, text, lock=True)
    _unchanged(row, expected)
    if row.active:
        await let_go(session, agent, [row.id])
    await _leave(session, agent, row.id)
    await session.execute(
        update(USERS)
        .where(USERS.c.tenant_id == agent.tenant_id, USERS.c.id == row.id)
        .values(
            active=False, deleted_at=agent.now, version=USERS.c.version + 1, updated_at=agent.now
        )
    )
    await deactivate_person(session, agent, row.id, by=SCIM)
    await follow(session, agent, [row.id])
    gone: uuid.UUID = row.id
    return gone


async def _leave(session: AsyncSession, agent: Agent, user_id: uuid.UUID) -> None:
    here = (MEMBERS.c.tenant_id == agent.tenant_id, MEMBERS.c.member_id == user_id)
    await session.execute(delete(MEMBERS).where(*here))


def _unchanged(row: Row[Any], expected: str | None) -> None:
    if expected is not None and etag(row.version) != expected:
        raise PreconditionFailedException()


async def _known(session: AsyncSession, agent: Agent, values: dict[str, Any]) -> Row[Any] | None:
    """As `_deleted`; whoever is new, as most are, costs one statement. Raises UniquenessException."""
    named = {name: values[name] for name in UNIQUE} | {"tenant_id": agent.tenant_id}
    if await session.scalar(ALIKE, named) is None:
        return None
    before = await _deleted(session, agent, values)
    if before is None:
        await _must_be_free(session, agent, None, values)
    return before


async def _deleted(session: AsyncSession, agent: Agent, values: dict[str, Any]) -> Row[Any] | None:
    """Whom the directory deleted and means again: by external id, else by user name."""
    alike = [USERS.c.user_name == values["user_name"]]
    if values["external_id"]:
        alike.append(USERS.c.external_id == values["external_id"])
    found = await session.execute(
        select(USERS)
        .where(USERS.c.tenant_id == agent.tenant_id, USERS.c.deleted_at.isnot(None), or_(*alike))
        .order_by(
            USERS.c.external_id.is_not_distinct_from(values["external_id"]).desc(),
            USERS.c.deleted_at.desc(),
        )
        .limit(1)
        .with_for_update(key_share=True)
    )
    return found.one_or_none()


async def _write(
    session: AsyncSession,
    agent: Agent,
    user_id: uuid.UUID,
    values: dict[str, Any],
    same: Set[str] = frozenset(),
    **more: Any,
) -> Row[Any]:
    """Write a user's row; values that are the `same` as before are nobody else's."""
    new = {name: None if name in same else value for name, value in values.items()}
    await _must_be_free(session, agent, user_id, new)
    written = await session.execute(
        update(USERS)
        .where(USERS.c.tenant_id == agent.tenant_id, USERS.c.id == user_id)
        .values(**values, **more, version=USERS.c.version + 1, updated_at=agent.now)
        .returning(*USERS.c)
    )
    return written.one()


async def _must_be_free(
    session: AsyncSession, agent: Agent, user_id: uuid.UUID | None, values: dict[str, Any]
) -> None:
    """Raises UniquenessException before the database does: an error of its own would end a bulk request."""
    for column, name in (("user_name", "userName"), ("npi", "npi")):
        if values[column] is not None and await session.scalar(
            select(USERS.c.id).where(
                USERS.c.tenant_id == agent.tenant_id,
                USERS.c[column] == values[column],
                USERS.c.id.is_distinct_from(user_id),
            )
        ):
            raise refused(UniquenessException, f"Another user has this {name}.")


async def _person(
    session: AsyncSession, agent: Agent, user_id: uuid.UUID, doc: dict[str, Any]
) -> None:
    """Let the person be called what the directory says."""
    person = await session.scalar(
        select(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id == user_id)
        .with_for_update(key_share=True),
        execution_options={"populate_existing": True},
    )
    assert person is not None  # the foreign key's word
    draft = draft_of(doc)
    said = {name: getattr(draft, name) for name in _PERSON}
    said["user_name"] = known_as(draft.user_name)
    new = {name: value for name, value in said.items() if value != getattr(person, name)}
    if new:
        await update_person(session, agent, user_id, person.version, SCIM, **new)


async def _addresses(session: AsyncSession, agent: Agent, user_id: uuid.UUID, made: Any) -> None:
    """Keep the addresses by which directories look for somebody."""
    said = addresses_of(made)
    here = (EMAILS.c.tenant_id == agent.tenant_id, EMAILS.c.user_id == user_id)
    kept = set(await session.scalars(select(EMAILS.c.address).where(*here)))
    if kept - said:
        await session.execute(delete(EMAILS).where(*here, EMAILS.c.address.in_(kept - said)))
    await _keep(session, agent, user_id, said - kept)


def addresses_of(made: Any) -> set[str]:
    """The addresses that somebody is looked up by, folded."""
    said = (key(type(made), "emails.value", e.value) for e in made.emails or [] if e.value)
    return set(filter(None, said))


async def _keep(
    session: AsyncSession, agent: Agent, user_id: uuid.UUID, addresses: set[str]
) -> None:
    new = {"tenant_id": agent.tenant_id, "user_id": user_id}
    if addresses:
        told = [new | {"address": address} for address in sorted(addresses)]
        await session.execute(insert(EMAILS), told)
