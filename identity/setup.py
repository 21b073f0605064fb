"""Setup links: how a customer's IT gets at its new health system before anybody can log in there.

An operator makes a link for some hours and hands it over. Whoever brings it first gets a secret for it, which is a bearer
token of the API from then on, and the first two people's temporary passwords; the link itself is worth nothing any
more. The holder acts as a person of the health system who exists for this alone: with roles that end with the link, open
no patient, and give nobody more than a region (`authz/policies/organization.polar`). So who did what is on record, an
administrator sees the link's roles among the grants, and revoking them, ending the session or shutting the person out
ends it like anybody's.
"""

import datetime as dt
import hashlib
import json
import re
import secrets
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, record
from domain.control import RegistryState, TenantEntry
from domain.errors import Invalid, NotFound
from domain.model import new_id
from domain.operators import LifecycleOrder, OrderKind, OrderState
from domain.organization import OrgUnit
from domain.people import Person, RoleGrant
from domain.sealing import SecretSealer
from domain.setup import ROLES, SOURCE, Scope, SetupLink
from identity.deferral import defer_end_setup_links
from identity.errors import NotAdmitted, Refusal, TokenRefused
from identity.mfa import SECOND_FACTORS
from identity.operators import Operator
from identity.orders import first_passwords_of
from identity.registry import Entry, Registry
from identity.sync import cell_session
from identity.tenants import Platform
from identity.tokens import Token

SCOPES = tuple(scope.value for scope in Scope)
LONGEST = dt.timedelta(days=14)
SHORTEST = dt.timedelta(hours=1)
LINK, SESSION = "setup-link_", "setup_"
CLIENT = "setup"
_TEXT = re.compile(rf"(?:{LINK}|{SESSION})([a-z][a-z0-9-]{{1,38}}[a-z0-9])\.([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True)
class MadeLink:
    """A new link; its address is never to be had again."""

    id: uuid.UUID
    expires_at: dt.datetime
    scopes: tuple[str, ...]
    url: str = field(repr=False)


@dataclass(frozen=True)
class Redeemed:
    """What a link is exchanged for. `passwords`: temporary ones by user name, where the link brought them."""

    expires_at: dt.datetime
    scopes: tuple[str, ...]
    session: str = field(repr=False)
    passwords: dict[str, str] = field(repr=False)


async def make_link(
    platform: Platform,
    operator: Operator,
    slug: str,
    *,
    scopes: Iterable[str] = SCOPES,
    lasts: dt.timedelta = dt.timedelta(hours=72),
) -> MadeLink:
    """Make a link for an active health system. Raises NotFound, Invalid (scopes, hours)."""
    given = tuple(scope for scope in SCOPES if scope in set(scopes))
    if not given or set(scopes) - set(SCOPES):
        raise Invalid(f"Some of {', '.join(SCOPES)}.", path=("scopes",))
    if not SHORTEST <= lasts <= LONGEST:
        raise Invalid("A link is good for an hour to 14 days.", path=("hours",))
    tenant_id = await _active(platform, slug)
    link_id, person_id, secret = new_id(), new_id(), secrets.token_urlsafe(32)
    agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
    ends = agent.now + lasts
    brought = await _unclaimed(platform, slug)
    async with cell_session(platform.cell, tenant_id) as session:
        brought = brought or await _taken_over(session, tenant_id)
        session.add(_person(agent, person_id, link_id, ends))
        await session.flush()
        root = await session.scalar(
            select(OrgUnit.id).where(OrgUnit.tenant_id == tenant_id, OrgUnit.parent_id.is_(None))
        )
        assert root is not None  # there since the health system was made
        for scope in given:
            session.add(_grant(agent, person_id, root, Scope(scope), link_id, ends))
        session.add(
            SetupLink(
                tenant_id=tenant_id,
                id=link_id,
                person_id=person_id,
                token_hash=_hash(secret),
                scopes=list(given),
                first_passwords=brought,
                expires_at=ends,
                made_by=operator.id,
            )
        )
        record(session, agent, "setup_link:create", link_id, person_id)
        await defer_end_setup_links(session, tenant_id, ends)
    await _ordered(platform, operator, slug, {"link": str(link_id), "until": ends.isoformat()})
    # Behind the #, so that it is in no log and no referrer.
    portal = platform.portals.redirects[0].rsplit("/", 1)[0]
    return MadeLink(link_id, ends, given, f"{portal}/setup#{LINK}{slug}.{secret}")


async def end_links(platform: Platform, operator: Operator, slug: str) -> int:
    """End every open link of a health system, also one that is in use; answer how many. Raises NotFound."""
    tenant_id = await _active(platform, slug)
    agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
    async with cell_session(platform.cell, tenant_id) as session:
        found = await session.scalars(
            select(SetupLink.id).where(
                SetupLink.tenant_id == tenant_id, SetupLink.ended_at.is_(None)
            )
        )
        links = found.all()
        for link in links:
            await end_link(session, agent, link)
    await _ordered(platform, operator, slug, {"ended": len(links)}, OrderKind.SETUP_END)
    return len(links)


async def end_expired(session: AsyncSession, agent: Agent) -> int:
    """End what links leave whose time is over: their people stay active else. Answers how many."""
    found = await session.scalars(
        select(SetupLink.id).where(
            SetupLink.tenant_id == agent.tenant_id,
            SetupLink.ended_at.is_(None),
            SetupLink.expires_at <= agent.now,
        )
    )
    links = found.all()
    for link in links:
        await end_link(session, agent, link)
    return len(links)


async def end_link(session: AsyncSession, agent: Agent, link_id: uuid.UUID) -> None:
    """End a link and all that came with it, for the next request on."""
    here = (SetupLink.tenant_id == agent.tenant_id, SetupLink.id == link_id)
    quiet = {"synchronize_session": False}
    person_id = await session.scalar(
        update(SetupLink)
        .where(*here, SetupLink.ended_at.is_(None))
        .values(ended_at=agent.now)
        .returning(SetupLink.person_id),
        execution_options=quiet,
    )
    if person_id is None:
        return
    await session.execute(
        update(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id == person_id)
        .values(active=False, version=Person.version + 1, updated_at=agent.now),
        execution_options=quiet,
    )
    await session.execute(
        update(RoleGrant)
        .where(
            RoleGrant.tenant_id == agent.tenant_id,
            RoleGrant.person_id == person_id,
            or_(RoleGrant.valid_until.is_(None), RoleGrant.valid_until > agent.now),
        )
        .values(valid_until=func.greatest(RoleGrant.valid_from, agent.now), updated_at=agent.now),
        execution_options=quiet,
    )
    record(session, agent, "setup_link:end", link_id, person_id)


async def redeem(
    registry: Registry, cell: AsyncEngine, sealer: SecretSealer, text: str
) -> Redeemed:
    """Exchange a link, once. Raises TokenRefused for one that is none, used, over or ended; IdentityUnavailable."""
    slug, secret = _read(text, LINK)
    entry = await registry.by_slug(slug)
    if entry is None:
        raise TokenRefused(Refusal.ISSUER)
    now, fresh = dt.datetime.now(dt.UTC), secrets.token_urlsafe(32)
    agent = Agent(tenant_id=entry.tenant_id, now=now)
    async with cell_session(cell, entry.tenant_id) as session:
        link = await session.scalar(
            select(SetupLink)
            .where(
                SetupLink.tenant_id == entry.tenant_id,
                SetupLink.token_hash == _hash(secret),
                SetupLink.redeemed_at.is_(None),
                SetupLink.ended_at.is_(None),
                SetupLink.expires_at > now,
            )
            .with_for_update()
        )
        if link is None:
            raise TokenRefused(Refusal.NOT_ADMITTED)
        sealed = link.first_passwords
        link.redeemed_at, link.session_hash, link.first_passwords = now, _hash(fresh), None
        record(session, agent, "setup_link:redeem", link.id, link.person_id)
    place = first_passwords_of(slug)
    passwords = json.loads(sealer.open(sealed, place)) if sealed is not None else {}
    return Redeemed(
        link.expires_at, tuple(link.scopes), f"{SESSION}{slug}.{fresh}", dict(passwords)
    )


async def finish(registry: Registry, cell: AsyncEngine, bearer: str) -> None:
    """End one's own link. Raises TokenRefused, NotAdmitted, IdentityUnavailable."""
    entry, link = await _in_use(registry, cell, bearer)
    now = dt.datetime.now(dt.UTC)
    agent = Agent(tenant_id=entry.tenant_id, person_id=link.person_id, now=now)
    async with cell_session(cell, entry.tenant_id) as session:
        await end_link(session, agent, link.id)


class SetupTokens:
    """Answers what the bearer token of a redeemed link stands for, as the token of anybody's login does."""

    def __init__(self, registry: Registry, cell: AsyncEngine) -> None:
        self._registry = registry
        self._cell = cell

    async def verify(self, bearer: str) -> Token:
        """The token. Raises TokenRefused, NotAdmitted, IdentityUnavailable.

        It passes for one with a second factor: under the policy `all` nobody could set anything up otherwise.
        """
        entry, link = await _in_use(self._registry, self._cell, bearer)
        now = int(time.time())
        return Token(
            issuer=entry.issuer,
            subject=subject_of_link(link.id),
            session=subject_of_link(link.id),
            client=CLIENT,
            issued_at=now,
            expires_at=int(link.expires_at.timestamp()),
            auth_time=now,
            acr="mfa",
            amr=SECOND_FACTORS,
        )


async def _in_use(registry: Registry, cell: AsyncEngine, bearer: str) -> tuple[Entry, SetupLink]:
    """The health system and the link that a bearer token was got for, while it is open."""
    slug, secret = _read(bearer, SESSION)
    entry = await registry.by_slug(slug)
    if entry is None:
        raise TokenRefused(Refusal.ISSUER)
    async with cell_session(cell, entry.tenant_id) as session:
        link = await session.scalar(
            select(SetupLink).where(
                SetupLink.tenant_id == entry.tenant_id,
                SetupLink.session_hash == _hash(secret),
                SetupLink.ended_at.is_(None),
                SetupLink.expires_at > dt.datetime.now(dt.UTC),
            )
        )
    if link is None:
        raise NotAdmitted()
    return entry, link


def subject_of_link(link_id: uuid.UUID) -> str:
    """What a link's person has for a subject; no realm's user is called so."""
    return f"{SOURCE}:{link_id}"


def _read(text: str, prefix: str) -> tuple[str, str]:
    found = _TEXT.fullmatch(text) if text.startswith(prefix) else None
    if found is None:
        raise TokenRefused(Refusal.MALFORMED)
    return found[1], found[2]


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _person(agent: Agent, person_id: uuid.UUID, link_id: uuid.UUID, ends: dt.datetime) -> Person:
    return Person(
        tenant_id=agent.tenant_id,
        id=person_id,
        subject=subject_of_link(link_id),
        user_name=f"setup-{link_id}",
        given_name="Setup link",
        family_name=f"until {ends:%Y-%m-%d %H:%M} UTC",
        active=True,
        source=SOURCE,
        source_ref=str(link_id),
    )


def _grant(
    agent: Agent,
    person_id: uuid.UUID,
    root: uuid.UUID,
    scope: Scope,
    link_id: uuid.UUID,
    ends: dt.datetime,
) -> RoleGrant:
    return RoleGrant(
        tenant_id=agent.tenant_id,
        id=new_id(),
        person_id=person_id,
        role=ROLES[scope].value,
        unit_id=root,
        valid_from=agent.now,
        valid_until=ends,
        source=SOURCE,
        source_ref=str(link_id),
        reason="a setup link of the platform",
    )


async def _active(platform: Platform, slug: str) -> uuid.UUID:
    query = select(TenantEntry.id).where(
        TenantEntry.slug == slug, TenantEntry.state == RegistryState.ACTIVE.value
    )
    async with platform.control.connect() as connection:
        found: uuid.UUID | None = await connection.scalar(query)
    if found is None:
        raise NotFound("There is no such active health system.", path=("slug",))
    return found


async def _unclaimed(platform: Platform, slug: str) -> bytes | None:
    """The first passwords that still lie with the order."""
    query = select(LifecycleOrder.sealed).where(
        LifecycleOrder.slug == slug,
        LifecycleOrder.kind == OrderKind.CREATE.value,
        LifecycleOrder.state == OrderState.DONE.value,
        LifecycleOrder.sealed.is_not(None),
    )
    async with platform.control.connect() as connection:
        found: bytes | None = await connection.scalar(query.limit(1))
    return found


async def _taken_over(session: AsyncSession, tenant_id: uuid.UUID) -> bytes | None:
    """Those of an earlier link that nobody has brought."""
    earlier = await session.scalar(
        select(SetupLink)
        .where(SetupLink.tenant_id == tenant_id, SetupLink.first_passwords.is_not(None))
        .with_for_update()
        .limit(1)
    )
    if earlier is None:
        return None
    sealed, earlier.first_passwords = earlier.first_passwords, None
    return sealed


async def _ordered(
    platform: Platform,
    operator: Operator,
    slug: str,
    report: dict[str, object],
    kind: OrderKind = OrderKind.SETUP_LINK,
) -> None:
    """Keep on record what an operator did, and take from the order what the link has now."""
    async with AsyncSession(platform.control) as session, session.begin():
        session.add(
            LifecycleOrder(
                kind=kind.value,
                slug=slug,
                state=OrderState.DONE.value,
                requested_by=operator.id,
                report=report,
            )
        )
        if kind is OrderKind.SETUP_LINK:
            mine = (LifecycleOrder.slug == slug, LifecycleOrder.kind == OrderKind.CREATE.value)
            await session.execute(update(LifecycleOrder).where(*mine).values(sealed=None))
