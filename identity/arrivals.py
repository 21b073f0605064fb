"""The first request of a session that came through a health system's own identity provider.

Keycloak has checked what the provider signed. What it asserted is asked of the realm once for each login, at its
userinfo endpoint with the person's own token; then the person is found by (provider, subject), or made, and holds what
the rules say. An e-mail address or a user name alone never makes anybody somebody: who cannot be told is held, and an
administrator decides (`identity/held.py`).
"""

import datetime as dt
import time
from dataclasses import dataclass
from uuid import UUID

import httpx
import orjson
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain import locks
from domain.audit import Agent, record
from domain.email_domains import DomainState, EmailDomain, domain_of
from domain.errors import Invalid
from domain.identity_providers import (
    HeldAccount,
    HeldReason,
    IdentityLink,
    IdentityProvider,
    Outcome,
    ProviderState,
    SignIn,
)
from domain.model import new_id
from domain.organization import JitMode, Tenant
from domain.people import Person
from domain.scim import ScimUser
from identity.assertions import Assertion, draft_of, plain, read
from identity.deferral import defer_retire_user, defer_sync
from identity.errors import AccountHeld, Cause, IdentityUnavailable, NotAdmitted
from identity.mapping_sources import IDP, Source
from identity.provider_tests import finish, judge
from identity.provisioning import PersonDraft, UserNameTaken, create_person, update_person
from identity.role_mappings import apply_mappings, concern
from identity.sync import cell_session
from identity.tokens import Token
from identity.vendors import vouches

MAX_BYTES = 512 * 1024
SECONDS = 3.0
AGAIN = 3.0
HELD = 10_000
CONTEXTS = 20
PROVEN_FOR = dt.timedelta(days=3)
"""So long after its last check a domain still counts: name servers fail for an hour, not for days."""


@dataclass(frozen=True)
class Arrival:
    """A login as it arrives: whose token, through which provider, and what the provider said."""

    token: Token
    provider_id: UUID
    assertion: Assertion

    @property
    def source(self) -> Source:
        return Source.of(self.provider_id)

    @property
    def at(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.token.auth_time, dt.UTC)

    def proven_at(self, now: dt.datetime) -> dt.datetime | None:
        """When the person proved who they are at the provider, by its word; never later than here."""
        told = self.assertion.proven_at
        return None if told is None else min(told, self.at, now)


class Arrivals:
    """Lets people in who come through a provider. For one event loop; `client` must not follow redirects."""

    def __init__(self, cell: AsyncEngine, client: httpx.AsyncClient) -> None:
        self._cell = cell
        self._client = client
        self._held: dict[tuple[UUID, str, int], tuple[float, Cause]] = {}

    async def arrive(self, token: Token, bearer: str) -> None:
        """Bring the person up to date before the session's first request. Each login is let in once.

        One that is held is looked at again after some seconds: an administrator may have decided.
        Raises AccountHeld where they are not let in, NotAdmitted, IdentityUnavailable.
        """
        login = (token.issuer.tenant_id, token.session, token.auth_time)
        known = self._held.pop(login, None)
        if known is not None and time.monotonic() < known[0]:
            self._held[login] = known
            raise AccountHeld(known[1])
        cause = await self._receive(token, bearer)
        if cause is not None:
            while len(self._held) >= HELD:
                self._held.pop(next(iter(self._held)))
            self._held[login] = (time.monotonic() + AGAIN, cause)
            raise AccountHeld(cause)

    async def _receive(self, token: Token, bearer: str) -> Cause | None:
        # An issuer of our own writes down each login before it makes a token.
        if token.provider is None or token.issuer.direct:
            raise NotAdmitted()
        assertion = read(await self._userinfo(token, bearer))
        if assertion is None:
            raise NotAdmitted()
        arrival = Arrival(token, token.provider, assertion)
        tenant_id = token.issuer.tenant_id
        agent = Agent(tenant_id=tenant_id, now=dt.datetime.now(dt.UTC))
        async with cell_session(self._cell, tenant_id) as session:
            return await receive(session, agent, arrival)

    async def _userinfo(self, token: Token, bearer: str) -> dict[str, object]:
        """What the realm knows of the token's user. Raises IdentityUnavailable, NotAdmitted."""
        body = bytearray()
        headers = {"authorization": f"Bearer {bearer}"}
        url = token.issuer.userinfo_url
        try:
            async with self._client.stream("GET", url, headers=headers, timeout=SECONDS) as answer:
                if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                    raise NotAdmitted()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise IdentityUnavailable("What the provider asserts")
            told = orjson.loads(body) if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, orjson.JSONDecodeError):
            raise IdentityUnavailable("The issuer's userinfo") from None
        if not isinstance(told, dict):
            raise IdentityUnavailable("The issuer's userinfo")
        if told.get("sub") != token.subject:
            raise NotAdmitted()
        return told


async def receive(session: AsyncSession, agent: Agent, arrival: Arrival) -> Cause | None:
    """Decide about a login and keep a record of it; answers why it is held, None where the person may come in."""
    subject = arrival.assertion.subject
    await locks.hold(session, "arrival", agent.tenant_id, arrival.provider_id, subject)
    provider = await session.scalar(
        select(IdentityProvider).where(
            IdentityProvider.tenant_id == agent.tenant_id,
            IdentityProvider.id == arrival.provider_id,
        )
    )
    if provider is None:
        raise NotAdmitted()
    if provider.state != ProviderState.ACTIVE:
        if provider.test_until is not None and provider.test_until > agent.now:
            verdict = await judge(session, agent, provider, arrival.assertion)
            await finish(session, agent, provider, verdict)
            return Cause.TESTED
        return _log(session, agent, arrival, None, Cause.PROVIDER_INACTIVE)
    person = await _linked(session, agent, arrival)
    if person is None and provider.of_directory:
        person = await _pushed(session, agent, arrival)
    if person is None:
        found = await _introduced(session, agent, arrival, provider)
        if not isinstance(found, Person):
            await _hold(session, agent, arrival, found)
            return _log(session, agent, arrival, None, Cause(found.value))
        person = found
    elif not person.active:
        return _log(session, agent, arrival, person, Cause.INACTIVE)
    else:
        await _correct(session, agent, arrival, person)
    await _is_user(session, agent, arrival, person)
    concerned = await concern(session, agent, arrival.source, [person.id])
    if concerned is not None:
        said = {person.id: arrival.assertion.values}
        await apply_mappings(session, agent, concerned, said)
    return _log(session, agent, arrival, person, None)


def _log(
    session: AsyncSession,
    agent: Agent,
    arrival: Arrival,
    person: Person | None,
    cause: Cause | None,
) -> Cause | None:
    session.add(
        SignIn(
            tenant_id=agent.tenant_id,
            id=new_id(),
            identity_provider_id=arrival.provider_id,
            person_id=person.id if person else None,
            subject=arrival.assertion.subject,
            sid=arrival.token.session,
            authenticated_at=arrival.at,
            outcome=(Outcome.HELD if cause else Outcome.ADMITTED).value,
            cause=cause.value if cause else None,
            contexts=sorted(arrival.assertion.contexts)[:CONTEXTS],
            proven_at=arrival.proven_at(agent.now),
            created_at=agent.now,
        )
    )
    return cause


async def _linked(session: AsyncSession, agent: Agent, arrival: Arrival) -> Person | None:
    """The person whom this provider knows by this subject; keeps what it says of them now."""
    link = await session.scalar(
        select(IdentityLink).where(
            IdentityLink.tenant_id == agent.tenant_id,
            IdentityLink.identity_provider_id == arrival.provider_id,
            IdentityLink.subject == arrival.assertion.subject,
        )
    )
    if link is None:
        return None
    link.asserted = plain(arrival.assertion.values)
    link.version += 1
    link.updated_at = agent.now
    return await session.get_one(Person, (agent.tenant_id, link.person_id))


async def _pushed(session: AsyncSession, agent: Agent, arrival: Arrival) -> Person | None:
    """Whom the directory pushed under the id that its own provider has now proven; linked from now on."""
    ids = {arrival.assertion.subject, arrival.assertion.one("externalId")} - {None}
    linked = select(IdentityLink.person_id).where(
        IdentityLink.tenant_id == agent.tenant_id,
        IdentityLink.identity_provider_id == arrival.provider_id,
    )
    found = await session.scalars(
        select(Person)
        .join(ScimUser, (ScimUser.tenant_id == Person.tenant_id) & (ScimUser.id == Person.id))
        .where(
            Person.tenant_id == agent.tenant_id,
            ScimUser.tenant_id == agent.tenant_id,
            ScimUser.external_id.in_(ids),
            ScimUser.deleted_at.is_(None),
            Person.id.not_in(linked),
        )
    )
    people = found.all()
    if len(people) != 1:
        return None
    await link(session, agent, people[0].id, arrival.provider_id, arrival.assertion)
    return people[0]


async def _introduced(
    session: AsyncSession, agent: Agent, arrival: Arrival, provider: IdentityProvider
) -> Person | HeldReason:
    """Somebody new, made from what the provider says; or why an administrator has to decide."""
    mode = await session.scalar(select(Tenant.jit_mode).where(Tenant.tenant_id == agent.tenant_id))
    if mode == JitMode.OFF or (mode == JitMode.RESTRICTED and not provider.creates):
        return HeldReason.NOT_KNOWN
    if not await _is_at_home(session, agent, arrival, provider):
        return HeldReason.DOMAIN_NOT_PROVEN
    draft = draft_of(arrival.assertion)
    if draft is None:
        return HeldReason.INCOMPLETE
    try:
        return await introduce(session, agent, arrival.source, arrival.assertion, draft)
    except UserNameTaken:
        return HeldReason.NAME_TAKEN
    except Invalid:
        return HeldReason.INCOMPLETE


async def introduce(
    session: AsyncSession, agent: Agent, source: Source, assertion: Assertion, draft: PersonDraft
) -> Person:
    """Make a person whom a provider has proven, linked to it. Raises Invalid, UserNameTaken."""
    person = await create_person(session, agent, draft, source=(source.kind, source.ref))
    await link(session, agent, person.id, UUID(source.ref), assertion)
    return person


async def link(
    session: AsyncSession, agent: Agent, person_id: UUID, provider_id: UUID, assertion: Assertion
) -> IdentityLink:
    """Say that a provider's subject is this person; from their next login on they come in as them.

    Raises what the constraints of `identity_link` mean: each subject is one person, and the other way round.
    """
    made = IdentityLink(
        tenant_id=agent.tenant_id,
        id=new_id(),
        person_id=person_id,
        identity_provider_id=provider_id,
        subject=assertion.subject,
        asserted=plain(assertion.values),
        created_at=agent.now,
        updated_at=agent.now,
    )
    session.add(made)
    record(session, agent, "person:manage", person_id, made.id)
    await session.flush()
    return made


async def _is_at_home(
    session: AsyncSession, agent: Agent, arrival: Arrival, provider: IdentityProvider
) -> bool:
    """Whether the asserted address is of a domain that this provider was proven to speak for."""
    domain = domain_of(arrival.assertion.one("email") or "")
    if domain is None or not vouches(provider.vendor, arrival.assertion, domain):
        return False
    found = await session.scalar(
        select(EmailDomain.id).where(
            EmailDomain.tenant_id == agent.tenant_id,
            EmailDomain.domain == domain,
            EmailDomain.identity_provider_id == arrival.provider_id,
            EmailDomain.state == DomainState.PROVEN,
            EmailDomain.checked_at > agent.now - PROVEN_FOR,
        )
    )
    return bool(found)


async def _hold(session: AsyncSession, agent: Agent, arrival: Arrival, reason: HeldReason) -> None:
    """Put somebody before an administrator, once, with what is said of them by now."""
    said = plain(arrival.assertion.values)
    draft = draft_of(arrival.assertion)
    alike = draft and await session.scalar(
        select(Person.id).where(
            Person.tenant_id == agent.tenant_id,
            Person.user_name == draft.user_name.strip().lower(),
        )
    )
    changed = await session.scalar(
        update(HeldAccount)
        .where(
            HeldAccount.tenant_id == agent.tenant_id,
            HeldAccount.identity_provider_id == arrival.provider_id,
            HeldAccount.subject == arrival.assertion.subject,
            HeldAccount.state == "open",
        )
        .values(asserted=said, reason=reason.value, person_id=alike, updated_at=agent.now)
        .returning(HeldAccount.id)
    )
    if changed is None:
        session.add(
            HeldAccount(
                tenant_id=agent.tenant_id,
                id=new_id(),
                identity_provider_id=arrival.provider_id,
                subject=arrival.assertion.subject,
                asserted=said,
                reason=reason.value,
                person_id=alike or None,
                created_at=agent.now,
                updated_at=agent.now,
            )
        )


async def _correct(session: AsyncSession, agent: Agent, arrival: Arrival, person: Person) -> None:
    """Follow what the provider says of a person whose names are its word; what cannot be taken stays as it was."""
    if (person.source, person.source_ref) != (IDP, str(arrival.provider_id)):
        return
    draft = draft_of(arrival.assertion)
    if draft is None:
        return
    said = {
        name: value
        for name in ("given_name", "family_name", "email")
        if (value := getattr(draft, name)) and value != getattr(person, name)
    }
    if said:
        try:
            await update_person(session, agent, person.id, person.version, IDP, **said)
        except Invalid:
            return


async def _is_user(session: AsyncSession, agent: Agent, arrival: Arrival, person: Person) -> None:
    """Let the person be the realm's user who has just logged in; one that they were before is removed."""
    if arrival.token.issuer.direct:  # the realm has nothing to do with it
        return
    subject = arrival.token.subject
    before = await session.scalar(
        select(Person.subject).where(Person.tenant_id == agent.tenant_id, Person.id == person.id)
    )
    if before == subject:
        return
    await session.execute(
        update(Person)
        .where(Person.tenant_id == agent.tenant_id, Person.id == person.id)
        .values(subject=subject, version=Person.version + 1, updated_at=agent.now),
        execution_options={"synchronize_session": False},
    )
    if before is not None:
        await defer_retire_user(session, agent.tenant_id, person.id, before)
    await defer_sync(session, agent.tenant_id, [person.id])
