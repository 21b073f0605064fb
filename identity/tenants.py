"""Health systems as a whole: made ready to log in, suspended, resumed.

Every operation is a row of steps of which each finds out what is done already, so that after a crash at any point the
same call ends where an undisturbed one would have. The registry's row comes first and holds all that was drawn by lot
(ids, the realm's name, sealed secrets); its state becomes `active` last.
"""

import asyncio
import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent
from domain.control import SLUG, IdentityCluster, RegistryState, ServiceAccount, TenantEntry, Tier
from domain.errors import Invalid, part
from domain.model import new_id
from domain.organization import MfaPolicy, OrgUnit, PolicyVariant, Tenant, add_unit
from domain.people import Person
from domain.plain_text import name, optional_email
from domain.sealing import Keyring, SecretSealer
from identity.accounts import Accounts, aad
from identity.administrators import PRIVACY_OFFICER, SYSTEM_ADMIN
from identity.grants import GrantDraft, give_grant
from identity.provisioning import PersonDraft, create_person, known_as
from identity.realms import SERVICE_ACCOUNTS, SVC_IDENTITY, RealmPlan, provision
from identity.sync import FirstLogin, cell_session, set_first_login, sync_person

_OPAQUE = string.ascii_lowercase + string.digits
# Without characters that are read wrong from a screen; 20 of them are 116 bits.
_PASSWORD = "".join(c for c in string.ascii_letters + string.digits if c not in "0O1lI")


class NoRoom(Exception):
    """Each identity cluster of the region holds as many realms as it may, or there is none."""


@dataclass(frozen=True)
class Portals:
    """Where browsers come back to after a login, and where Keycloak announces logouts (without the realm)."""

    redirects: tuple[str, ...]
    admin_redirects: tuple[str, ...]
    backchannel_logout: str


@dataclass(frozen=True)
class Platform:
    """What health systems are made on: the control plane and the cell (the platform's role), Keycloak."""

    control: AsyncEngine
    cell: AsyncEngine
    accounts: Accounts
    sealer: SecretSealer
    keys: Keyring
    portals: Portals
    codes_serve_twice: bool = False  # on a developer's machine, for scripted logins
    redis_url: str | None = field(default=None, repr=False)  # where requests are counted
    exports: Path | None = None  # the folder that ordered exports go to


@dataclass(frozen=True)
class TenantOrder:
    """A health system to be made."""

    slug: str
    name: str
    admin: PersonDraft
    privacy_officer: PersonDraft
    mfa: MfaPolicy = MfaPolicy.ADMINS
    currency: str = "USD"
    variant: PolicyVariant = PolicyVariant.ADMINS_INHERIT
    viewer_clinical: bool = False
    cell: str = "main"
    region: str = "local"
    tier: Tier = Tier.SHARED
    admin_login: FirstLogin | None = None
    privacy_officer_login: FirstLogin | None = None
    otp_code_reusable: bool = False


@dataclass(frozen=True)
class MadeTenant:
    """A health system that people can log in to. `passwords`: temporary ones by user name, drawn in this run."""

    tenant_id: UUID
    slug: str
    realm: str
    issuer: str
    root_unit_id: UUID
    passwords: dict[str, str] = field(repr=False)


Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress that nobody watches."""


async def register_cluster(
    control: AsyncEngine,
    name: str,
    *,
    region: str,
    url: str,
    public_url: str | None = None,
    cap: int | None = None,
) -> UUID:
    """Make an identity cluster known, or correct where it is reached and how many realms it takes; answer its id.

    The public address is part of every issuer, so it stays as it was first registered.
    """
    address = url.rstrip("/")
    public = (public_url or url).rstrip("/")
    capped = {} if cap is None else {"realm_cap": cap}
    async with control.begin() as connection:
        made: UUID | None = await connection.scalar(
            insert(IdentityCluster)
            .values(id=new_id(), name=name, region=region, url=address, public_url=public, **capped)
            .on_conflict_do_update(index_elements=["name"], set_={"url": address, **capped})
            .returning(IdentityCluster.id)
        )
    if made is None:
        raise LookupError("the cluster was not registered")
    return made


async def create_tenant(
    platform: Platform, order: TenantOrder, progress: Progress = silent
) -> MadeTenant:
    """Make a health system ready to log in. `progress` is told of each step as it begins.

    A second call, also after a crash, finishes what is missing and leaves the rest; the people of an `active`
    health system keep their passwords. Raises NoRoom, Invalid (slug, names), RealmTaken, KeycloakFailure.
    """
    progress("registry")
    entry, url, drawn = await _registered(platform, order)
    progress("keys")
    await platform.keys.create(entry.id)
    progress("cell")
    root, people = await _settled(platform, order, entry.id)
    progress("realm")
    realm = await platform.accounts.as_master(url, entry.realm)
    await provision(realm, _plan(platform.portals, order, entry, drawn))
    progress("people")
    fresh = entry.state == RegistryState.CREATING
    passwords = await _let_in(platform, order, entry.id, people, draw=fresh)
    progress("active")
    await _advance(platform.control, entry.id, RegistryState.CREATING, RegistryState.ACTIVE)
    return MadeTenant(entry.id, entry.slug, entry.realm, entry.issuer, root, passwords)


def checked(order: TenantOrder) -> None:
    """Refuse what no health system can be made of. Raises Invalid."""
    if not re.fullmatch(SLUG, order.slug):
        raise Invalid(
            "A slug has 3 to 40 of a-z, 0-9 and -, and begins with a letter.", path=("slug",)
        )
    if not re.fullmatch("[A-Z]{3}", order.currency):
        raise Invalid("A currency has three letters (ISO 4217).", path=("currency",))
    name(order.name, "name")
    for person, place in ((order.admin, "admin"), (order.privacy_officer, "privacyOfficer")):
        with part(place):
            known_as(person.user_name)
            name(person.given_name, "givenName")
            name(person.family_name, "familyName")
            optional_email(person.email, "email")
    if order.admin.user_name.lower() == order.privacy_officer.user_name.lower():
        message = "Whoever watches over the administrators is none of them."
        raise Invalid(message, path=("privacyOfficer", "userName"), code="ROLES_CONFLICT")


async def _registered(
    platform: Platform, order: TenantOrder
) -> tuple[TenantEntry, str, dict[str, str]]:
    """The registry's row, the cluster's address and the service accounts' secrets, made or found."""
    async with AsyncSession(platform.control, expire_on_commit=False) as session, session.begin():
        entry = await session.scalar(_by_slug(order.slug))
        if entry is None:
            cluster = await _roomy_cluster(session, order.region)
            await session.execute(_new_entry(order, cluster))
            entry = (await session.scalars(_by_slug(order.slug))).one()
        if entry.state in (RegistryState.ERASING, RegistryState.ERASED):
            raise Invalid("This slug is taken.", path=("slug",), code="SLUG_TAKEN")
        home = (await session.scalars(_cluster(entry))).one()
        drawn = {
            c: await secret_of(session, platform.sealer, entry.id, c) for c in SERVICE_ACCOUNTS
        }
    return entry, home.url, drawn


def _by_slug(slug: str) -> Select[TenantEntry]:
    return select(TenantEntry).where(TenantEntry.slug == slug)


def _cluster(entry: TenantEntry) -> Select[IdentityCluster]:
    return select(IdentityCluster).where(IdentityCluster.id == entry.identity_cluster_id)


def _new_entry(order: TenantOrder, cluster: IdentityCluster) -> Insert:
    """A row for the slug unless there is one: of two calls at once the first draws the names."""
    checked(order)
    realm = "o" + "".join(secrets.choice(_OPAQUE) for _ in range(15))
    return (
        insert(TenantEntry)
        .values(
            id=new_id(),
            slug=order.slug,
            cell=order.cell,
            region=order.region,
            tier=order.tier.value,
            identity_cluster_id=cluster.id,
            realm=realm,
            issuer=f"{cluster.public_url}/realms/{realm}",
        )
        .on_conflict_do_nothing(index_elements=["slug"])
    )


async def _roomy_cluster(session: AsyncSession, region: str) -> IdentityCluster:
    """The region's cluster with the fewest realms. Its row is locked, so that the cap holds."""
    realms = (
        select(func.count())
        .where(
            TenantEntry.identity_cluster_id == IdentityCluster.id,
            TenantEntry.state != RegistryState.ERASED,
        )
        .scalar_subquery()
    )
    cluster = await session.scalar(
        select(IdentityCluster)
        .where(IdentityCluster.region == region, realms < IdentityCluster.realm_cap)
        .order_by(realms, IdentityCluster.name)
        .limit(1)
        .with_for_update()
    )
    if cluster is None:
        raise NoRoom("No identity cluster of this region has room for another realm.")
    return cluster


async def secret_of(
    session: AsyncSession, sealer: SecretSealer, tenant_id: UUID, client_id: str
) -> str:
    """The service account's secret: drawn and sealed once, then always the same."""
    place = aad(tenant_id, client_id)
    fresh = secrets.token_urlsafe(32).encode()
    await session.execute(
        insert(ServiceAccount)
        .values(
            tenant_id=tenant_id,
            client_id=client_id,
            secret_sealed=await asyncio.to_thread(sealer.seal, fresh, place),
        )
        .on_conflict_do_nothing()
    )
    sealed = await session.scalar(
        select(ServiceAccount.secret_sealed).where(
            ServiceAccount.tenant_id == tenant_id, ServiceAccount.client_id == client_id
        )
    )
    if sealed is None:
        raise LookupError("the service account was not kept")
    return (await asyncio.to_thread(sealer.open, sealed, place)).decode()


def _plan(
    portals: Portals, order: TenantOrder, entry: TenantEntry, drawn: dict[str, str]
) -> RealmPlan:
    return RealmPlan(
        name=entry.realm,
        tenant_id=entry.id,
        mfa=order.mfa,
        portal_redirects=portals.redirects,
        admin_redirects=portals.admin_redirects,
        backchannel_logout=f"{portals.backchannel_logout}/{entry.realm}",
        secrets=drawn,
        otp_code_reusable=order.otp_code_reusable,
    )


async def _settled(
    platform: Platform, order: TenantOrder, tenant_id: UUID
) -> tuple[UUID, dict[str, UUID]]:
    """The tenant's row, the root of its tree and its first two people with their grants, in one transaction."""
    agent = Agent(tenant_id=tenant_id, now=datetime.now(UTC))
    async with cell_session(platform.cell, tenant_id) as session:
        await session.execute(_new_tenant(order, agent))
        root = await session.scalar(
            select(OrgUnit.id).where(OrgUnit.tenant_id == tenant_id, OrgUnit.parent_id.is_(None))
        )
        if root is None:
            root = (await add_unit(session, agent, None, order.name)).id
        people = {}
        for draft, role in ((order.admin, SYSTEM_ADMIN), (order.privacy_officer, PRIVACY_OFFICER)):
            people[draft.user_name.lower()] = await _first_person(session, agent, draft, role, root)
    return root, people


def _new_tenant(order: TenantOrder, agent: Agent) -> Insert:
    return (
        insert(Tenant)
        .values(
            tenant_id=agent.tenant_id,
            slug=order.slug,
            name=order.name,
            currency=order.currency,
            policy_variant=order.variant.value,
            viewer_clinical=order.viewer_clinical,
            mfa_policy=order.mfa.value,
        )
        .on_conflict_do_nothing()
    )


async def _first_person(
    session: AsyncSession, agent: Agent, draft: PersonDraft, role: str, root: UUID
) -> UUID:
    """The person of this user name, made with the role at the root if they were not there."""
    found: UUID | None = await session.scalar(
        select(Person.id).where(
            Person.tenant_id == agent.tenant_id, Person.user_name == draft.user_name.lower()
        )
    )
    if found is not None:
        return found
    person = await create_person(session, agent, draft)
    grant = GrantDraft(person.id, role, root, reason="the first of its kind in the health system")
    await give_grant(session, agent, grant)
    return person.id


async def _let_in(
    platform: Platform,
    order: TenantOrder,
    tenant_id: UUID,
    people: dict[str, UUID],
    *,
    draw: bool,
) -> dict[str, str]:
    """Make the first people's users, so that they need not wait for the worker; answer drawn passwords."""
    realm = await platform.accounts.realm(tenant_id, SVC_IDENTITY)
    given = dict(zip(people, (order.admin_login, order.privacy_officer_login), strict=True))
    drawn = {}
    for user_name, person_id in people.items():
        user_id = await sync_person(platform.cell, realm, tenant_id, person_id)
        if user_id is None or not draw:
            continue
        login = given[user_name]
        if login is None:
            drawn[user_name] = drawn_password()
            login = FirstLogin(drawn[user_name])
        await set_first_login(realm, user_id, login)
    return drawn


def drawn_password() -> str:
    """A temporary password that can be read from a screen."""
    return "".join(secrets.choice(_PASSWORD) for _ in range(20))


async def _advance(
    control: AsyncEngine, tenant_id: UUID, before: RegistryState, after: RegistryState
) -> None:
    """Move the registry's state, if it is the one expected."""
    async with control.begin() as connection:
        await connection.execute(
            update(TenantEntry)
            .where(TenantEntry.id == tenant_id, TenantEntry.state == before)
            .values(state=after.value, epoch=TenantEntry.epoch + 1)
        )
