"""Logins through a hospital's own provider, from its login page to what the API lets them do."""

import datetime as dt
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

import pytest
from lxml import etree
from sqlalchemy import insert, select

from authz.actor import Actor
from domain.audit import Agent
from domain.control import DomainEntry
from domain.errors import Invalid
from domain.identity_providers import (
    HeldAccount,
    IdentityProvider,
    Protocol,
    ProviderTest,
    SignIn,
)
from domain.model import Base
from domain.organization import MfaPolicy, OrgUnit
from domain.people import Person
from identity.errors import AccountHeld, Cause, MfaRequired, NotAdmitted
from identity.exemptions import exempt_provider
from identity.held import link_held
from identity.keycloak_failures import NotFound
from identity.login_events import tell_refusals
from identity.providers import ProviderDraft, activate, add_provider, start_test, suspend
from identity.provisioning import PersonDraft, create_person
from identity.realms import SVC_IDENTITY
from identity.sync import cell_session
from identity.tenants import MadeTenant
from tests import providers, web
from tests.database import Database
from tests.identity import foreign
from tests.identity.browser import Browser, LoginFailed, next_second
from tests.identity.conftest import CALLBACK, PASSWORD, KeycloakServer, World
from tests.identity.test_logins import set_policy

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]


M = TypeVar("M", bound=Base)


@dataclass
class Connected:
    """A health system and the provider of its hospital."""

    world: World
    made: MadeTenant
    hospital: foreign.Foreign
    provider_id: UUID

    @property
    def agent(self) -> Agent:
        return Agent(tenant_id=self.made.tenant_id, now=dt.datetime.now(dt.UTC))

    async def rows(self, model: type[M], **values: object) -> list[M]:
        async with cell_session(self.world.platform.cell, self.made.tenant_id) as session:
            found = select(model).filter_by(**values)
            return sorted(await session.scalars(found), key=lambda row: str(getattr(row, "id", "")))

    async def provider(self) -> IdentityProvider:
        (found,) = await self.rows(IdentityProvider, id=self.provider_id)
        return found

    async def step(self, command: object, *more: object) -> None:
        """Carry out a command about the provider, and what follows from it."""
        provider = await self.provider()
        async with cell_session(self.world.platform.cell, self.made.tenant_id) as session:
            await command(session, self.agent, provider, *more)  # type: ignore[operator]  # one of ours
        await self.world.work()

    async def save(self, row: Base) -> None:
        async with cell_session(self.world.platform.cell, self.made.tenant_id) as session:
            session.add(row)

    async def prove(self, name: str = "corp.example") -> None:
        """Have the hospital's domain proven."""
        await self.save(providers.domain(await self.provider(), name))

    async def rule(self, group: str, role: str) -> None:
        """Whoever is in the group holds the role at the root."""
        (admin,) = await self.rows(Person, user_name="admin")
        (root,) = await self.rows(OrgUnit, id=self.made.root_unit_id)
        await self.save(providers.rule(admin, group, role, root, await self.provider()))

    async def refusing(self) -> None:
        """A try that the realm refuses says so, and the provider stays a draft."""
        await self.step(start_test, (await self.provider()).version)
        (test,) = await self.rows(ProviderTest)
        await self.hospital.hire("ruth")
        await self.hospital.change_client(self.made.issuer, **{"saml.assertion.signature": "false"})
        with pytest.raises(LoginFailed):
            await self.token("ruth")
        realm = await self.world.platform.accounts.realm(self.made.tenant_id, SVC_IDENTITY)
        (told,) = await tell_refusals(self.world.platform.cell, realm, self.made.tenant_id, test.id)
        assert (told.name, told.passed) == ("signature", False)
        (test,) = await self.rows(ProviderTest)
        assert test.steps == [str(told)]
        assert (await self.provider()).state == "draft"
        await self.hospital.change_client(self.made.issuer, **{"saml.assertion.signature": "true"})

    async def open(self) -> None:
        """Try it, and let people in."""
        await self.step(start_test, (await self.provider()).version)
        await self.hospital.hire("tess")
        assert await self.held("tess") is Cause.TESTED
        test = (await self.rows(ProviderTest))[-1]
        assert test.passed, test.steps
        await self.step(activate, (await self.provider()).version)

    async def token(self, name: str) -> str:
        """Log in there, and come back with our token."""
        async with Browser(self.made.issuer, CALLBACK) as browser:
            tokens = await browser.login(name, PASSWORD, kc_idp_hint=str(self.provider_id))
        return str(tokens["access_token"])

    async def come(self, name: str) -> Actor:
        return await self.world.loader.actor(await self.token(name))

    async def held(self, name: str) -> Cause:
        with pytest.raises(AccountHeld) as caught:
            await self.come(name)
        return caught.value.cause


@pytest.fixture
async def hospital(world: World, keycloak: KeycloakServer) -> AsyncIterator[foreign.Foreign]:
    made = await foreign.opened(world, keycloak.url, f"foreign-{secrets.token_hex(4)}")
    yield made
    await foreign.closed(made)


async def connected(world: World, hospital: foreign.Foreign, draft: ProviderDraft) -> Connected:
    made = await world.tenant()
    agent = Agent(tenant_id=made.tenant_id, now=dt.datetime.now(dt.UTC))
    keys = await world.platform.keys.of(made.tenant_id)
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        provider = await add_provider(session, agent, keys, draft)
    await world.work()
    return Connected(world, made, hospital, provider.id)


@pytest.fixture
async def oidc(world: World, hospital: foreign.Foreign) -> Connected:
    draft = ProviderDraft(
        Protocol.OIDC,
        "generic",
        "Corp",
        hospital.issuer,
        hospital.endpoints,
        foreign.CLAIMS,
        client_id=foreign.CLIENT,
        client_secret=foreign.SECRET,
        creates=True,
    )
    ready = await connected(world, hospital, draft)
    await hospital.meet(f"{ready.made.issuer}/broker/{ready.provider_id}/endpoint")
    return ready


@pytest.fixture
async def saml(world: World, hospital: foreign.Foreign) -> Connected:
    told = etree.fromstring(await hospital.descriptor())
    draft = ProviderDraft(
        Protocol.SAML,
        "generic",
        "Corp",
        hospital.issuer,
        {"single_sign_on_service": f"{hospital.issuer}/protocol/saml"},
        foreign.CLAIMS,
        certificates=tuple(told.xpath("//*[local-name()='X509Certificate']/text()")[:1]),
        creates=True,
    )
    ready = await connected(world, hospital, draft)
    acs = f"{ready.made.issuer}/broker/{ready.provider_id}/endpoint"
    async with web.client() as http:
        ours = etree.fromstring(
            (await http.get(f"{ready.made.issuer}/protocol/saml/descriptor")).content
        )
    (certificate,) = ours.xpath("//*[local-name()='X509Certificate']/text()")
    await hospital.trust(ready.made.issuer, acs, certificate)
    return ready


async def test_the_same_by_saml(saml: Connected) -> None:
    await saml.hospital.hire("nora", "nurses", "choir")
    await saml.prove()
    await saml.rule("nurses", "nurse")
    await saml.refusing()
    await saml.open()
    nora = await saml.come("nora")
    assert [(g.role, g.source) for g in nora.grants] == [("nurse", "idp")]
    await saml.world.work()
    await saml.hospital.move("nora", "choir")
    again = await saml.come("nora")
    assert (again.person_id, again.grants) == (nora.person_id, ())
    entity = saml.made.issuer
    # Each looseness of the provider's is refused by the realm, before anybody comes to us.
    for worse in (
        {"saml.assertion.signature": "false", "saml.server.signature": "true"},
        {"saml.assertion.signature": "false"},
        {"saml.signature.algorithm": "RSA_SHA1"},
    ):
        good = {
            "saml.assertion.signature": "true",
            "saml.server.signature": "false",
            "saml.signature.algorithm": "RSA_SHA256",
            "saml_name_id_format": "persistent",
        }
        await saml.hospital.change_client(entity, **good | worse)
        with pytest.raises(LoginFailed):
            await saml.token("nora")
    # A subject that is another one each time is nobody whom we know.
    await saml.hospital.change_client(entity, **good | {"saml_name_id_format": "transient"})
    assert await saml.held("nora") is Cause.NAME_TAKEN
    await saml.hospital.change_client(entity, **good)
    assert (await saml.come("nora")).person_id == nora.person_id


async def test_from_a_draft_to_somebodys_first_day(oidc: Connected) -> None:
    await oidc.hospital.hire("nora", "nurses", "choir")
    await oidc.prove()
    await oidc.rule("nurses", "nurse")
    # A draft: nobody gets in, and nobody gets as far as the hospital's page.
    with pytest.raises(LoginFailed):
        await oidc.token("nora")
    await oidc.open()
    nora = await oidc.come("nora")
    assert [(g.role, g.unit_id, g.source) for g in nora.grants] == [
        ("nurse", oidc.made.root_unit_id, "idp")
    ]
    (person,) = await oidc.rows(Person, user_name="nora")
    assert (person.given_name, person.family_name) == ("Nora", "Corp")
    assert (person.email, person.source) == ("nora@corp.example", "idp")
    await oidc.world.work()
    # She comes again, as herself, and with what her groups are by now.
    await oidc.hospital.move("nora", "billing")
    await oidc.rule("billing", "biller")
    again = await oidc.come("nora")
    assert again.person_id == nora.person_id
    assert [g.role for g in again.grants] == ["biller"]
    assert not await oidc.world.stands(nora)
    await oidc.hospital.move("nora")
    assert (await oidc.come("nora")).grants == ()
    log = await oidc.rows(SignIn, person_id=nora.person_id)
    assert [entry.outcome for entry in log] == ["admitted"] * 3


async def test_somebody_who_is_known_is_linked_and_a_closed_provider_lets_nobody_in(
    oidc: Connected,
) -> None:
    world, made = oidc.world, oidc.made
    await oidc.prove()
    await oidc.rule("nurses", "nurse")
    await oidc.open()
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        known = await create_person(session, oidc.agent, PersonDraft("nora", "Nora", "Local"))
    await world.work()
    (before,) = await oidc.rows(Person, user_name="nora")
    await oidc.hospital.hire("nora", "nurses")
    assert await oidc.held("nora") is Cause.NAME_TAKEN
    (held,) = await oidc.rows(HeldAccount)
    (admin,) = await oidc.rows(Person, user_name="admin")
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        agent = replace(oidc.agent, person_id=admin.id)
        whom = await session.get_one(Person, (made.tenant_id, known.id))
        await link_held(session, agent, held, held.version, whom)
    nora = await oidc.come("nora")
    assert nora.person_id == known.id
    assert [g.role for g in nora.grants] == ["nurse"]
    await world.work()
    # One user in the realm: the one that she came as; it has her name by now, and nothing is lost by that.
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    user = await realm.find_user("nora")
    (after,) = await oidc.rows(Person, user_name="nora")
    assert user is not None
    assert user["id"] == after.subject != before.subject
    with pytest.raises(NotFound):
        await realm.user(str(before.subject))
    assert (await oidc.come("nora")).person_id == known.id
    # Closed: her session ends with the next request, and no new one begins, here or in the realm.
    bearer = await oidc.token("nora")
    assert await world.loader.actor(bearer)
    open_ = await world.loader.actor(bearer)
    provider = await oidc.provider()
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await suspend(session, oidc.agent, provider, provider.version)
    assert not await world.stands(open_)
    with pytest.raises(NotAdmitted):
        await world.loader.actor(bearer, fresh=True)
    # The realm still knows of nothing: the API denies by itself.
    assert await oidc.held("nora") is Cause.PROVIDER_INACTIVE
    name = await listed(world, oidc)
    await world.work()
    assert await is_closed(world, name)
    with pytest.raises(LoginFailed):
        await oidc.token("nora")
    await oidc.step(activate, (await oidc.provider()).version)
    await world.work()
    assert not await is_closed(world, name)
    await next_second()
    assert (await oidc.come("nora")).person_id == known.id


async def listed(world: World, oidc: Connected) -> str:
    """A domain that leads to the provider, by the control plane's list."""
    provider = await oidc.provider()
    name = f"d{provider.tenant_id.hex}.example"
    entry = {"domain": name, "tenant_id": provider.tenant_id, "identity_provider_id": provider.id}
    async with world.platform.control.begin() as connection:
        await connection.execute(insert(DomainEntry).values(entry))
    return name


async def is_closed(world: World, name: str) -> bool:
    async with world.platform.control.connect() as connection:
        found = select(DomainEntry.closed).where(DomainEntry.domain == name)
        return bool(await connection.scalar(found))


async def test_a_providers_word_on_second_factors(oidc: Connected, database: Database) -> None:
    """It counts for the logins at which it asserts one by a name that was named, and as long as it is named."""
    with database.owner_engine.begin() as owner:
        sources = "attributes || jsonb_build_object('amr', 'groups')"
        owner.exec_driver_sql(
            f"update identity_provider set attributes = {sources} where id = %s",
            (oidc.provider_id,),
        )
    await oidc.hospital.hire("nora", "nurses", "phone")
    await oidc.hospital.hire("otto", "nurses")
    await oidc.prove()
    await oidc.open()

    async def exempted(*contexts: str) -> None:
        await oidc.step(exempt_provider, (await oidc.provider()).version, contexts)

    for nothing in (
        "pwd",
        "1",
        "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
    ):
        with pytest.raises(Invalid):
            await exempted("phone", nothing)
    await exempted("phone")
    await set_policy(oidc.world, oidc.made, MfaPolicy.ALL)
    token = await oidc.token("nora")
    nora = await oidc.world.loader.actor(token)
    assert (nora.session.mfa, nora.session.asserted) == (True, True)
    assert nora.session.proven_at is not None, "when she proved it there"
    assert nora.session.proven_at <= nora.session.auth_time
    async with Browser(oidc.made.issuer, CALLBACK) as otto:
        hint = {"kc_idp_hint": str(oidc.provider_id)}
        weak = await otto.login("otto", PASSWORD, **hint)
        assert otto.trail == ["password"], "the realm leaves it to us"
        with pytest.raises(MfaRequired):
            await oidc.world.loader.actor(weak["access_token"])
        # Mere federation proves nothing: he shows one here, as anybody does.
        strong = await otto.login("otto", PASSWORD, acr_values="mfa", **hint)
        assert otto.trail[-1] == "enrol"
        assert not (await oidc.world.loader.actor(strong["access_token"])).session.asserted
    # Of her next login it says nothing; and what is taken back counts no more, for sessions that stand either.
    await oidc.hospital.move("nora", "nurses")
    with pytest.raises(MfaRequired):
        await oidc.come("nora")
    assert await oidc.world.loader.actor(token)
    await exempted()
    assert not await oidc.world.stands(nora)
    with pytest.raises(MfaRequired):
        await oidc.world.loader.actor(token, fresh=True)
    async with Browser(oidc.made.issuer, CALLBACK) as again:
        await again.login("nora", PASSWORD, kc_idp_hint=str(oidc.provider_id))
        assert again.trail == ["password", "enrol"]
