"""Who comes in by a login through a provider, who is held, and why; without Keycloak, which has checked the rest."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.audit import Agent
from domain.email_domains import EmailDomain
from domain.identity_providers import HeldAccount, IdentityLink, SignIn
from domain.model import Base
from domain.people import Person
from identity.arrivals import MAX_BYTES, PROVEN_FOR, Arrival, Arrivals, receive
from identity.assertions import Assertion, asserted, read
from identity.errors import AccountHeld, Cause, IdentityUnavailable, NotAdmitted
from identity.sync import cell_session
from identity.tokens import Issuer, Token
from tests import directories, make, providers, web
from tests.database import Database
from tests.identity.forge import served

pytestmark = pytest.mark.anyio

NORA = {
    "userName": "nora",
    "givenName": "Nora",
    "familyName": "Corp",
    "email": "nora@corp.example",
    "groups": ["nurses"],
}


@dataclass
class House:
    """A health system with an open provider that was proven to speak for corp.example."""

    cell: AsyncEngine
    database: Database
    logins: int = 0
    tree: make.Tree = field(default_factory=make.tree)

    def __post_init__(self) -> None:
        system = self.tree.tenant
        self.tenant_id = system.tenant_id
        self.admin = make.person(system)
        self.of = providers.provider(system, creates=True)
        rule = providers.rule(self.admin, "nurses", "nurse", self.tree.root, self.of)
        self.save(*self.tree.rows, self.admin, self.of, rule, providers.domain(self.of))

    def save(self, *rows: Base) -> None:
        with self.database.owner_engine.begin() as connection:
            make.save(connection, *rows)

    def change(self, statement: str, *values: Any) -> None:
        with self.database.owner_engine.begin() as connection:
            text = f"{statement} where tenant_id = %s"
            connection.exec_driver_sql(text, (*values, self.tenant_id))

    def token(self, user: str = "user 1", **more: Any) -> Token:
        self.logins += 1
        now = int(time.time())
        plain: dict[str, Any] = {
            "issuer": Issuer("http://k/realms/o", self.tenant_id, "http://k/certs"),
            "subject": user,
            "session": f"session {self.logins}",
            "client": "portal",
            "issued_at": now,
            "expires_at": now + 300,
            "auth_time": now,
            "acr": "1",
            "amr": frozenset(),
            "provider": self.of.id,
        }
        return Token(**plain | more)

    async def come(
        self, said: dict[str, Any] | None = None, subject: str = "s-1", user: str = "user 1"
    ) -> Cause | None:
        """A login, as Keycloak's user, of somebody whom the provider knows by this subject."""
        told = Assertion(subject, asserted(NORA if said is None else said))
        arrival = Arrival(self.token(user), self.of.id, told)
        agent = Agent(tenant_id=self.tenant_id, now=dt.datetime.now(dt.UTC))
        async with cell_session(self.cell, self.tenant_id) as session:
            return await receive(session, agent, arrival)

    async def rows(self, model: type[Base], **values: Any) -> list[Any]:
        async with cell_session(self.cell, self.tenant_id) as session:
            return list(await session.scalars(select(model).filter_by(**values)))

    async def nora(self) -> Person:
        (found,) = await self.rows(Person, user_name="nora")
        assert isinstance(found, Person)
        return found


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    cell = database.async_engine("caretree_app")
    yield House(cell, database)
    await cell.dispose()


async def test_the_first_login_makes_a_person_and_the_next_one_finds_them(house: House) -> None:
    assert await house.come() is None
    nora = await house.nora()
    assert (nora.given_name, nora.email, nora.subject) == ("Nora", "nora@corp.example", "user 1")
    assert (nora.source, nora.source_ref) == ("idp", str(house.of.id))
    assert await house.come(NORA | {"familyName": "Newly-Wed", "userName": "other"}) is None
    again = await house.nora()
    assert (again.id, again.family_name) == (nora.id, "Newly-Wed")
    (link,) = await house.rows(IdentityLink)
    assert link.asserted["familyName"] == ["Newly-Wed"]
    assert [s.outcome for s in await house.rows(SignIn)] == ["admitted", "admitted"]


async def test_names_of_another_source_are_not_the_providers_to_change(house: House) -> None:
    local = make.person(house.tree.tenant, user_name="nora", given_name="Honoria")
    house.save(local, providers.link(house.of, local, subject="s-1"))
    assert await house.come() is None
    assert (await house.nora()).given_name == "Honoria"


@pytest.mark.parametrize(
    ("mode", "creates", "cause"),
    [
        ("all", True, None),
        ("all", False, None),
        ("restricted", True, None),
        ("restricted", False, Cause.NOT_KNOWN),
        ("off", True, Cause.NOT_KNOWN),
        ("off", False, Cause.NOT_KNOWN),
    ],
)
async def test_whose_logins_make_people(
    house: House, mode: str, creates: bool, cause: Cause | None
) -> None:
    house.change("update tenant set jit_mode = %s", mode)
    house.change("update identity_provider set creates = %s", creates)
    assert await house.come() is cause
    assert len(await house.rows(Person, user_name="nora")) == (cause is None)
    assert len(await house.rows(HeldAccount)) == (cause is not None)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"email": "nora@elsewhere.example"}, Cause.DOMAIN_NOT_PROVEN),
        ({"email": "nora@corp.example.evil.example"}, Cause.DOMAIN_NOT_PROVEN),
        ({"email": None}, Cause.DOMAIN_NOT_PROVEN),
        ({"email": ["nora@corp.example", "root@corp.example"]}, Cause.DOMAIN_NOT_PROVEN),
        ({"givenName": None}, Cause.INCOMPLETE),
        ({"familyName": ["Corp", "Other"]}, Cause.INCOMPLETE),
        ({"userName": "Nora Ünlü!"}, Cause.INCOMPLETE),
        ({"givenName": "1"}, Cause.INCOMPLETE),
        ({"userName": "service-account-svc-identity"}, Cause.INCOMPLETE),
    ],
)
async def test_who_is_held_before_they_are_somebody(
    house: House, said: dict[str, Any], cause: Cause
) -> None:
    assert await house.come(NORA | said) is cause
    (held,) = await house.rows(HeldAccount)
    assert (held.reason, held.state, held.subject) == (cause.value, "open", "s-1")
    # Coming again changes what is said of them, and nothing more.
    assert await house.come(NORA | said) is cause
    assert len(await house.rows(HeldAccount)) == 1
    assert len(await house.rows(Person)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "update email_domain set state = 'lost'",
        "update email_domain set state = 'pending', proven_at = null",
        f"update email_domain set checked_at = now() - interval '{PROVEN_FOR.days} days 1 hour'",
    ],
)
async def test_a_domain_counts_only_while_it_is_proven(house: House, change: str) -> None:
    house.change(change)
    assert await house.come() is Cause.DOMAIN_NOT_PROVEN


async def test_one_provider_does_not_speak_for_the_domain_of_another(house: House) -> None:
    partner = providers.provider(house.tree.tenant, creates=True)
    house.save(partner)
    (domain,) = await house.rows(EmailDomain)
    assert domain.identity_provider_id == house.of.id
    house.of = partner
    assert await house.come() is Cause.DOMAIN_NOT_PROVEN


async def test_googles_word_needs_the_organization(house: House) -> None:
    """A private account that somebody opened with their address at work is none of the hospital."""
    house.change("update identity_provider set vendor = 'google'")
    assert await house.come() is Cause.DOMAIN_NOT_PROVEN
    assert await house.come(NORA | {"organization": "gmail.com"}) is Cause.DOMAIN_NOT_PROVEN
    assert await house.come(NORA | {"organization": "Corp.Example"}) is None


async def test_nobody_becomes_somebody_by_a_name_or_an_address(house: House) -> None:
    known = make.person(house.tree.tenant, user_name="nora", email="nora@corp.example")
    house.save(known)
    assert await house.come() is Cause.NAME_TAKEN
    (held,) = await house.rows(HeldAccount)
    assert (held.reason, held.person_id) == ("NAME_TAKEN", known.id)
    assert await house.rows(IdentityLink) == []
    assert (await house.nora()).subject == known.subject


async def test_whom_the_directory_pushed_its_own_provider_proves(house: House) -> None:
    """By the directory's id of them, at the provider that is the directory's: never by a name, never by another."""
    pushed = make.person(house.tree.tenant, user_name="nora", source="scim")
    house.save(pushed)
    house.save(directories.user(pushed, external_id="E-1"))
    assert await house.come(subject="E-1") is Cause.NAME_TAKEN, "any provider could say so"
    house.change("update identity_provider set of_directory = true")
    assert await house.come(subject="s-9") is Cause.NAME_TAKEN
    assert await house.come(NORA | {"externalId": "E-1"}, subject="s-1") is None
    (link,) = await house.rows(IdentityLink)
    assert (link.person_id, link.subject) == (pushed.id, "s-1")
    assert (await house.nora()).subject == "user 1"
    # Linked is linked: the same id from another subject is not the person.
    assert await house.come(subject="E-1", user="user 2") is Cause.NAME_TAKEN
    other = make.person(house.tree.tenant, user_name="otto", source="scim", active=False)
    house.save(other)
    house.save(directories.user(other, external_id="E-2", active=False))
    assert await house.come(subject="E-2", user="user 3") is Cause.INACTIVE


async def test_who_has_left_does_not_come_back_by_a_login(house: House) -> None:
    await house.come()
    house.change("update person set active = false")
    assert await house.come() is Cause.INACTIVE
    assert [s.cause for s in await house.rows(SignIn)] == [None, "INACTIVE"]


@pytest.mark.parametrize("state", ["draft", "tested", "suspended"])
async def test_nobody_comes_in_by_a_provider_that_is_not_open(house: House, state: str) -> None:
    await house.come()
    house.change("update identity_provider set state = %s", state)
    assert await house.come() is Cause.PROVIDER_INACTIVE
    assert await house.come(subject="s-2", user="user 2") is Cause.PROVIDER_INACTIVE
    assert await house.rows(HeldAccount) == []


async def test_the_user_of_the_realm_may_change_and_the_old_one_is_removed(house: House) -> None:
    await house.come()
    assert await house.come(user="user 2") is None
    assert (await house.nora()).subject == "user 2"
    with house.database.owner_engine.begin() as connection:
        jobs = connection.exec_driver_sql(
            "select task_name, args ->> 'subject' from procrastinate_jobs"
            " where args ->> 'tenant_id' = %s order by id",
            (str(house.tenant_id),),
        ).all()
    assert ("identity:retire_user", "user 1") in [tuple(job) for job in jobs]


async def test_two_first_requests_at_once_make_one_person(house: House) -> None:
    causes = await asyncio.gather(*(house.come() for _ in range(5)))
    assert causes == [None] * 5
    assert len(await house.rows(IdentityLink)) == 1
    assert len(await house.rows(Person, user_name="nora")) == 1


async def test_what_the_realm_says_is_asked_with_the_persons_own_token(house: House) -> None:
    async with served() as realm, web.client() as http:
        arrivals = Arrivals(house.cell, http)
        issuer = Issuer("http://k/realms/o", house.tenant_id, realm.url)
        token = house.token(issuer=issuer)
        told = {"sub": "user 1", "idp_subject": "s-1", "asserted": NORA}
        realm.body = json.dumps(told | {"sub": "somebody else"}).encode()
        with pytest.raises(NotAdmitted):
            await arrivals.arrive(token, "bearer")
        for body in (b"[]", b"{", b"x" * (MAX_BYTES + 1)):
            realm.body = body
            with pytest.raises(IdentityUnavailable):
                await arrivals.arrive(token, "bearer")
        realm.body = json.dumps(told | {"idp_subject": ""}).encode()
        with pytest.raises(NotAdmitted):
            await arrivals.arrive(token, "bearer")
        realm.status = "401 Unauthorized"
        with pytest.raises(NotAdmitted):
            await arrivals.arrive(token, "bearer")
        realm.status = "503 Busy"
        with pytest.raises(IdentityUnavailable):
            await arrivals.arrive(token, "bearer")
        assert await house.rows(SignIn) == []
        realm.status, realm.body = "200 OK", json.dumps(told).encode()
        await arrivals.arrive(token, "bearer")
        assert len(await house.rows(SignIn)) == 1
        # Who is held is not looked at again at each of their requests.
        realm.body = json.dumps(told | {"sub": "user 3", "idp_subject": "s-3"}).encode()
        stranger = house.token("user 3", issuer=issuer)
        asked = realm.asked
        for _ in range(5):
            with pytest.raises(AccountHeld) as held:
                await arrivals.arrive(stranger, "bearer")
            assert held.value.cause is Cause.NAME_TAKEN
        assert realm.asked == asked + 1


def test_what_an_assertion_is_made_of() -> None:
    assert read({"sub": "x"}) is None
    assert read({"idp_subject": "s", "asserted": 5}) is None
    told = read(
        {"idp_subject": "s", "asserted": {"groups": ["a", 5, " ", "b "], "shoeSize": ["9"]}}
    )
    assert told is not None
    assert told.values == {"groups": frozenset({"a", "b"})}
    assert told.one("groups") is None
