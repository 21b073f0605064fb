"""Roles that follow from what a source says of a person: the one function that logins and SCIM apply rules by.

Only grants of that very source are given, moved and ended: what somebody gave by hand, or what another source says,
is not its to take. A rule gives nothing that could not be given by hand, so whatever a grant refuses is refused here
as well and told, rule by rule; the rest is carried out.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Self

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from authz.delegation import SECOND_APPROVAL
from domain.audit import Agent, record
from domain.errors import DomainError, Invalid
from domain.organization import Tenant
from domain.people import Person, RoleGrant, touch
from domain.role_mappings import Match, RoleMapping
from identity.administrators import OFFICES, keep_filled, lock_offices
from identity.assertions import Asserted
from identity.deferral import defer_sync
from identity.grants import GrantDraft, NeedsApproval, ToOneself, give_grant, revoke_grant

IDP = "idp"
SCIM = "scim"


@dataclass(frozen=True)
class Source:
    """Whose word it is, as grants and rules name it: `idp` and the provider's id, or `scim`."""

    kind: str
    ref: str = ""

    @classmethod
    def of(cls, provider_id: uuid.UUID) -> Self:
        """What a provider says."""
        return cls(IDP, str(provider_id))


@dataclass(frozen=True)
class Refused:
    """A rule that matched and gave nothing, or a grant that it no longer carries and that stayed, and why."""

    role: str
    unit_id: uuid.UUID
    code: str
    mapping_id: uuid.UUID | None = None


@dataclass
class Applied:
    """What changed of a person's grants from one source; each place is (role, unit)."""

    given: list[tuple[str, uuid.UUID]] = field(default_factory=list)
    moved: list[tuple[str, uuid.UUID]] = field(default_factory=list)
    ended: list[tuple[str, uuid.UUID]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def matches(rule: RoleMapping, values: Asserted) -> bool:
    """Whether the source says what the rule asks for; without regard to case, as directories compare."""
    wanted = rule.value.casefold()
    found = (value.casefold() for value in values.get(rule.attribute, ()))
    if rule.match == Match.PATTERN:
        return any(fnmatchcase(value, _escaped(wanted)) for value in found)
    return wanted in found


def _escaped(pattern: str) -> str:
    """Only `*` is special: brackets and question marks are part of many groups' names."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


async def rules_of(session: AsyncSession, agent: Agent, source: Source) -> Sequence[RoleMapping]:
    """The rules that count now for a source, oldest first."""
    found = await session.scalars(
        select(RoleMapping)
        .where(
            RoleMapping.tenant_id == agent.tenant_id,
            RoleMapping.source == source.kind,
            RoleMapping.source_ref == source.ref,
            RoleMapping.ended_at.is_(None),
            or_(RoleMapping.valid_until.is_(None), RoleMapping.valid_until > agent.now),
        )
        .order_by(RoleMapping.id)
    )
    return found.all()


def wanted(
    rules: Iterable[RoleMapping], values: Asserted
) -> dict[tuple[str, uuid.UUID], RoleMapping]:
    """The places that the rules give, each by the rule that gives it longest."""
    out: dict[tuple[str, uuid.UUID], RoleMapping] = {}
    for rule in rules:
        place = (rule.role, rule.unit_id)
        if matches(rule, values) and (place not in out or _lasts(rule) > _lasts(out[place])):
            out[place] = rule
    return out


def _lasts(rule: RoleMapping) -> dt.datetime:
    return rule.valid_until or dt.datetime.max.replace(tzinfo=dt.UTC)


async def apply_mappings(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, source: Source, values: Asserted
) -> Applied:
    """Bring a person's grants of this source to what its rules say of these values; an absent value gives nothing.

    In the caller's transaction; repeating it changes nothing. Somebody who is inactive is given nothing, and what
    they held of the source ends. What could not be done is in `refused`: SECOND_APPROVAL roles while two have to
    approve (NEEDS_APPROVAL), the rule's own author (TO_ONESELF), duties that must not meet (ROLES_CONFLICT), closed
    units, and the last of an office, who stays (LAST_ADMINISTRATOR, LAST_PRIVACY_OFFICER).
    """
    done = Applied()
    held = await _held(session, agent, person_id, source)
    if any(grant.role in OFFICES for grant in held):  # the order of all who take two locks
        await lock_offices(session, agent)
    active = await session.scalar(
        select(Person.active)
        .where(Person.tenant_id == agent.tenant_id, Person.id == person_id)
        .with_for_update()
    )
    places = wanted(await rules_of(session, agent, source), values) if active else {}
    allowed = await _allowed(session, agent, person_id, places, done)
    held = await _held(session, agent, person_id, source)
    for grant in held:
        rule = allowed.pop((grant.role, grant.unit_id), None)
        if rule is None:
            await _end(session, agent, grant, done)
        elif rule.valid_until != grant.valid_until:
            await _move(session, agent, grant, rule.valid_until, done)
    for place, rule in allowed.items():
        draft = GrantDraft(
            person_id,
            *place,
            valid_until=rule.valid_until,
            source=source.kind,
            source_ref=source.ref,
            reason=f"{rule.attribute}: {rule.value}",
            asked_by=rule.created_by,
        )
        try:
            await give_grant(session, agent, draft, rule.id)
            done.given.append(place)
        except DomainError as error:
            done.refused.append(Refused(*place, error.code, rule.id))
    return done


async def _held(
    session: AsyncSession, agent: Agent, person_id: uuid.UUID, source: Source
) -> Sequence[RoleGrant]:
    found = await session.scalars(
        select(RoleGrant)
        .where(
            RoleGrant.tenant_id == agent.tenant_id,
            RoleGrant.person_id == person_id,
            RoleGrant.source == source.kind,
            RoleGrant.source_ref == source.ref,
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > agent.now),
        )
        .order_by(RoleGrant.id),
        execution_options={"populate_existing": True},
    )
    return found.all()


async def _allowed(
    session: AsyncSession,
    agent: Agent,
    person_id: uuid.UUID,
    places: dict[tuple[str, uuid.UUID], RoleMapping],
    done: Applied,
) -> dict[tuple[str, uuid.UUID], RoleMapping]:
    """The places without those that a rule alone may not give."""
    two = await session.scalar(
        select(Tenant.second_approval).where(Tenant.tenant_id == agent.tenant_id)
    )
    out = {}
    for place, rule in places.items():
        code = None
        if two and rule.role in SECOND_APPROVAL:
            code = NeedsApproval.code
        elif rule.created_by == person_id:
            code = ToOneself.code
        if code is None:
            out[place] = rule
        else:
            done.refused.append(Refused(*place, code, rule.id))
    return out


async def _end(session: AsyncSession, agent: Agent, grant: RoleGrant, done: Applied) -> None:
    place = (grant.role, grant.unit_id)
    try:
        await revoke_grant(session, agent, grant.id)
        done.ended.append(place)
    except Invalid as error:  # the last of an office
        done.refused.append(Refused(*place, error.code))


async def _move(
    session: AsyncSession,
    agent: Agent,
    grant: RoleGrant,
    until: dt.datetime | None,
    done: Applied,
) -> None:
    """Let a grant end when its rule does by now."""
    place = (grant.role, grant.unit_id)
    try:
        if grant.role in OFFICES and until is not None:
            await keep_filled(session, agent, grant.role, grant_id=grant.id)
    except Invalid as error:
        done.refused.append(Refused(*place, error.code))
        return
    await touch(session, agent, grant.person_id)
    grant.valid_until = until
    grant.version += 1
    grant.updated_at = agent.now
    await session.flush()
    record(session, agent, "grant:extend", grant.id, grant.person_id)
    await defer_sync(session, agent.tenant_id, [grant.person_id])
    if until is not None:
        await defer_sync(session, agent.tenant_id, [grant.person_id], at=until)
    done.moved.append(place)
