"""Brings Keycloak to what the cell says about a person or a health system.

Each function reads the present state on both sides and changes what differs, so it does not matter how often or
after which change it runs: a job that was lost in the middle is simply run again.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.database import set_tenant
from domain.organization import Tenant, TenantState
from domain.people import Person, RoleGrant
from domain.setup import SOURCE as SETUP
from identity.drift import apply_methods
from identity.keycloak import Json, Realm
from identity.keycloak_failures import Conflict, NotFound
from identity.mfa import is_marked, rule_of
from identity.realms import MARKER, apply_mfa_policy, apply_session_limits
from identity.sync_states import digest_of, synced


class UserTaken(Exception):
    """The realm has a user of this name who is not this person. Nothing was changed."""


@dataclass(frozen=True)
class FirstLogin:
    """What a new user logs in with. A temporary password must be changed at the first login.

    `totp_secret` presets an authenticator app (its text as Keycloak keeps it, before base32), for people of a
    demonstration; everybody else enrols their own.
    """

    password: str = field(repr=False)
    temporary: bool = True
    totp_secret: str | None = field(default=None, repr=False)


def _app(secret: str) -> Json:
    """Keycloak's representation of an authenticator app."""
    kind = {"subType": "totp", "digits": 6, "counter": 0, "period": 30, "algorithm": "HmacSHA1"}
    return {
        "type": "otp",
        "userLabel": "preset",
        "secretData": json.dumps({"value": secret}),
        "credentialData": json.dumps(kind),
    }


async def set_first_login(realm: Realm, user_id: str, login: FirstLogin) -> None:
    """Set the password, and the authenticator app if one is preset; what a user has lasting stays.

    A temporary password always replaces the present one. Raises Invalid for one that the realm's policy refuses.
    """
    held = {credential["type"] for credential in await realm.credentials(user_id)}
    if login.temporary or "password" not in held:
        await realm.set_password(user_id, login.password, temporary=login.temporary)
    if login.totp_secret is not None and "otp" not in held:
        user = await realm.user(user_id)
        await realm.update_user({**user, "credentials": [_app(login.totp_secret)]})


@dataclass(frozen=True)
class Wanted:
    """What the cell says about somebody now: Keycloak's user as it shall be, and whether they are marked."""

    person_id: UUID
    subject: str | None
    user: Json
    marked: bool
    digest: str


@asynccontextmanager
async def cell_session(cell: AsyncEngine, tenant_id: UUID) -> AsyncIterator[AsyncSession]:
    """A transaction that sees one health system only: row-level security is told its id. Commits at its end."""
    async with AsyncSession(cell, expire_on_commit=False) as session, session.begin():
        await set_tenant(session, tenant_id)
        yield session


async def sync_person(
    cell: AsyncEngine,
    realm: Realm,
    tenant_id: UUID,
    person_id: UUID,
) -> str | None:
    """Make the person's user, or bring it up to date; answer its id, or None where there is to be none.

    `realm` speaks as svc-identity. A suspended health system is left alone: its realm answers nobody, and resuming
    it synchronizes everyone.
    """
    async with cell_session(cell, tenant_id) as session:
        wanted = await _wanted(session, tenant_id, person_id)
    if wanted is None:
        return None
    user_id = await _brought(realm, wanted)
    async with cell_session(cell, tenant_id) as session:
        if user_id not in (None, wanted.subject):
            await session.execute(
                update(Person)
                .where(
                    Person.tenant_id == tenant_id,
                    Person.id == person_id,
                    # Who came in as another user meanwhile is that one.
                    Person.subject.is_not_distinct_from(wanted.subject),
                )
                .values(subject=user_id)
            )
        await synced(session, tenant_id, person_id, wanted.digest, datetime.now(UTC))
    return user_id


async def _brought(realm: Realm, wanted: Wanted) -> str | None:
    """The id of the person's user as it shall be; None where there is none and shall be none."""
    user = await _present(realm, wanted)
    if user is None:
        if not wanted.user["enabled"]:
            return None
        user_id = await _created(realm, wanted)
    else:
        user_id = str(user["id"])
        await _correct(realm, user, wanted)
    await _mark(realm, user_id, wanted.marked)
    return user_id


async def _wanted(session: AsyncSession, tenant_id: UUID, person_id: UUID) -> Wanted | None:
    here = (Person.tenant_id == tenant_id, Person.id == person_id, Person.source != SETUP)
    found = (await session.execute(select(Person, digest_of(Person)).where(*here))).one_or_none()
    tenant = await session.get(Tenant, tenant_id)
    if found is None or tenant is None or tenant.state != TenantState.ACTIVE:
        return None
    person, digest = found
    now = datetime.now(UTC)
    held = select(RoleGrant).where(
        RoleGrant.tenant_id == tenant_id, RoleGrant.person_id == person_id
    )
    grants = (await session.scalars(held)).all()
    return Wanted(
        person_id=person_id,
        subject=person.subject,
        user={
            "username": person.user_name.lower(),
            "firstName": person.given_name,
            "lastName": person.family_name,
            "email": person.email or "",
            "enabled": person.active,
            "attributes": {"person_id": [str(person_id)]},
        },
        marked=person.active and is_marked(rule_of(tenant), person, grants, now),
        digest=digest,
    )


def in_force(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """The conditions under which a grant counts: begun and not ended."""
    return (
        RoleGrant.valid_from <= now,
        or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > now),
    )


async def _present(realm: Realm, wanted: Wanted) -> Json | None:
    """The person's user: by the recorded id, else by name, provided that it was made for this person."""
    if wanted.subject is not None:
        try:
            return await realm.user(wanted.subject)
        except NotFound:  # removed by hand: made anew
            pass
    user = await realm.find_user(wanted.user["username"])
    if user is not None and user.get("attributes", {}).get("person_id") != [str(wanted.person_id)]:
        raise UserTaken("The realm has another user of this name.")
    return user


async def _created(realm: Realm, wanted: Wanted) -> str:
    try:
        return await realm.create_user(wanted.user)
    except Conflict:  # a job and a provisioning run at the same moment: the other one was first
        user = await _present(realm, wanted)
        if user is None:
            raise
        return str(user["id"])


async def _correct(realm: Realm, user: Json, wanted: Wanted) -> None:
    if user["enabled"] and not wanted.user["enabled"]:
        # Disabling ends no session and tells no client, so the sessions go first.
        await realm.end_sessions(user["id"])
    # What a provider asserted at the last login lies in attributes beside ours, and stays.
    attributes = {**user.get("attributes", {}), **wanted.user["attributes"]}
    due = {**wanted.user, "attributes": attributes}
    if any(user.get(name, "") != value for name, value in due.items()):
        await realm.update_user({**user, **due})


async def _mark(realm: Realm, user_id: str, marked: bool) -> None:
    held = [role for role in await realm.roles_of(user_id) if role["name"] == MARKER]
    if marked and not held:
        await realm.give_role(user_id, await realm.role(MARKER))
    if held and not marked:
        await realm.take_role(user_id, held[0])


async def subject_of(cell: AsyncEngine, tenant_id: UUID, person_id: UUID) -> str | None:
    """The id of the person's user in Keycloak, None before there is one."""
    async with cell_session(cell, tenant_id) as session:
        subject: str | None = await session.scalar(
            select(Person.subject).where(
                Person.tenant_id == tenant_id, Person.id == person_id, Person.source != SETUP
            )
        )
    return subject


async def sync_tenant(cell: AsyncEngine, realm: Realm, tenant_id: UUID) -> None:
    """Let the realm follow what is said of second factors and the limits of sessions.

    `realm` speaks as the master's provisioning client: flows are compared with a whole export.
    """
    async with cell_session(cell, tenant_id) as session:
        tenant = await session.get(Tenant, tenant_id)
    if tenant is not None and tenant.state == TenantState.ACTIVE:
        rule = rule_of(tenant)
        await apply_methods(realm, rule.methods)
        await apply_mfa_policy(realm, rule.of_realm)
        await apply_session_limits(realm, tenant.session_idle, tenant.session_max)
