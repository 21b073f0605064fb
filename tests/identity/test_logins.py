"""Real logins under the three MFA policies, from the login page to the actor."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from domain.audit import Agent
from domain.organization import MfaPolicy
from domain.people import Person
from domain.second_factors import EVERY_METHOD, MfaMethod
from identity.errors import MfaRequired, Refusal, TokenRefused
from identity.grants import GrantDraft, give_grant, revoke_grant
from identity.lifecycle import set_session_limits
from identity.provisioning import PersonDraft, create_person
from identity.realms import SVC_IDENTITY, SVC_POLICY
from identity.second_factors import configure_mfa, drafted_rule
from identity.sync import FirstLogin, cell_session, set_first_login
from identity.tenants import MadeTenant
from identity.upgrades import drift_of
from tests import web
from tests.identity.browser import Browser, LoginFailed
from tests.identity.conftest import ADMIN_CALLBACK, CALLBACK, PASSWORD, World

pytestmark = [pytest.mark.anyio, pytest.mark.keycloak]


def browser(made: MadeTenant) -> Browser:
    return Browser(made.issuer, CALLBACK)


async def set_policy(
    world: World,
    made: MadeTenant,
    policy: MfaPolicy,
    methods: tuple[MfaMethod, ...] = EVERY_METHOD,
    grace: int = 0,
) -> None:
    agent = Agent(tenant_id=made.tenant_id, now=datetime.now(UTC))
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await configure_mfa(session, agent, drafted_rule(policy, methods, grace))
    await world.work()


async def hire(world: World, made: MadeTenant, name: str, role: str | None = None) -> UUID:
    """A person who can log in with PASSWORD, with a role at the root."""
    agent = Agent(tenant_id=made.tenant_id, now=datetime.now(UTC))
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        person = await create_person(session, agent, PersonDraft(name, "Nora", "Nurse"))
        if role:
            await give_grant(session, agent, GrantDraft(person.id, role, made.root_unit_id))
    await world.work()
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        subject = await session.scalar(select(Person.subject).where(Person.id == person.id))
    assert subject
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    await set_first_login(realm, subject, FirstLogin(PASSWORD, temporary=False))
    return person.id


async def enrols_and_steps_up(world: World, person: Browser, name: str) -> None:
    """The realm makes the person set up an app; having set it up is not yet having shown it, says the API."""
    tokens = await person.login(name, PASSWORD)
    assert person.trail == ["password", "enrol"]
    with pytest.raises(MfaRequired):
        await world.loader.actor(tokens["access_token"])
    tokens = await person.login(name, PASSWORD, acr_values="mfa")
    assert person.trail == ["otp"]
    assert (await world.loader.actor(tokens["access_token"])).session.mfa


async def test_nobody_is_asked_for_a_second_factor_under_none(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    async with browser(made) as admin:
        tokens = await admin.login("admin", PASSWORD)
    assert admin.trail == ["password"]
    actor = await world.loader.actor(tokens["access_token"])
    assert [grant.role for grant in actor.grants] == ["system_admin"]
    assert not actor.session.mfa
    # Asking for more works under every policy, and leads to a session that has shown it.
    async with browser(made) as admin:
        tokens = await admin.login("admin", PASSWORD, acr_values="mfa")
        assert admin.trail == ["password", "enrol"]
        assert (await world.loader.actor(tokens["access_token"])).session.mfa
        # Whoever owns a factor is asked for it from now on.
        app = admin.totp
    async with browser(made) as admin:
        admin.totp = app
        tokens = await admin.login("admin", PASSWORD)
        assert admin.trail == ["password", "otp"]
        assert (await world.loader.actor(tokens["access_token"])).session.mfa


async def test_administrators_only_under_admins_and_the_mark_follows_the_grants(
    world: World,
) -> None:
    made = await world.tenant(MfaPolicy.ADMINS)
    nurse = await hire(world, made, "nora", "nurse")
    async with browser(made) as nora:
        tokens = await nora.login("nora", PASSWORD)
        assert nora.trail == ["password"]
        assert await world.loader.actor(tokens["access_token"])
    async with browser(made) as admin:
        await enrols_and_steps_up(world, admin, "admin")
    agent = Agent(tenant_id=made.tenant_id, now=datetime.now(UTC))
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        grant = await give_grant(
            session, agent, GrantDraft(nurse, "clinic_admin", made.root_unit_id)
        )
    await world.work()
    async with browser(made) as nora:
        await nora.login("nora", PASSWORD)
        assert nora.trail == ["password", "enrol"]
    agent = Agent(tenant_id=made.tenant_id, now=datetime.now(UTC))
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await revoke_grant(session, agent, grant.id)
    await world.work()
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    user = await realm.find_user("nora")
    assert user
    assert "mfa-required" not in {role["name"] for role in await realm.roles_of(user["id"])}


async def test_everybody_under_all_also_people_who_come_later(world: World) -> None:
    made = await world.tenant(MfaPolicy.ALL)
    await hire(world, made, "nora", "nurse")
    async with browser(made) as nora:
        await enrols_and_steps_up(world, nora, "nora")
        app = nora.totp
    async with browser(made) as nora:
        nora.totp = app
        tokens = await nora.login("nora", PASSWORD)
        assert nora.trail == ["password", "otp"]
        assert (await world.loader.actor(tokens["access_token"])).session.mfa


async def test_a_tightened_policy_reaches_open_sessions(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    async with browser(made) as admin:
        tokens = await admin.login("admin", PASSWORD)
        actor = await world.loader.actor(tokens["access_token"])
        await set_policy(world, made, MfaPolicy.ALL)
        assert not await world.stands(actor)
        with pytest.raises(MfaRequired):
            await world.loader.actor(tokens["access_token"], fresh=True)
        # The step-up that the API asked for, in the same browser: no password again.
        tokens = await admin.login("admin", PASSWORD, acr_values="mfa")
        assert admin.trail == ["enrol"]
        assert (await world.loader.actor(tokens["access_token"])).session.mfa
    await set_policy(world, made, MfaPolicy.NONE)
    await hire(world, made, "nora")
    async with browser(made) as nora:
        await nora.login("nora", PASSWORD)
        assert nora.trail == ["password"]


async def test_the_realm_follows_the_limits_of_sessions(world: World) -> None:
    made = await world.tenant()
    agent = Agent(tenant_id=made.tenant_id, now=datetime.now(UTC))
    async with cell_session(world.platform.cell, made.tenant_id) as session:
        await set_session_limits(session, agent, 120, 900)

    async def differing() -> list[str]:
        return [f for f in await drift_of(world.platform, made.slug) if "Session" in f]

    assert len(await differing()) == 4, "the job has not run yet"
    await world.work()
    assert await differing() == []
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_POLICY)
    found = await realm.read()
    assert (found["ssoSessionIdleTimeout"], found["ssoSessionMaxLifespan"]) == (120, 900)
    async with browser(made) as admin:
        tokens = await admin.login("admin", PASSWORD)
        # The refresh token says for how long the realm keeps a login without use.
        assert 0 < tokens["refresh_expires_in"] <= 120


async def test_the_admin_portal_cannot_be_entered_with_a_password_alone(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    async with Browser(made.issuer, ADMIN_CALLBACK, "admin-portal") as admin:
        tokens = await admin.login("admin", PASSWORD, acr_values="1")
        assert admin.trail == ["password", "enrol"]
        assert (await world.loader.actor(tokens["access_token"])).session.mfa


async def test_only_registered_redirects_and_only_with_pkce(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    async with Browser(made.issuer, "http://127.0.0.1:9/elsewhere") as thief:
        with pytest.raises(LoginFailed):
            await thief.login("admin", PASSWORD)
    async with browser(made) as plain:
        with pytest.raises(LoginFailed):
            await plain.login("admin", PASSWORD, code_challenge_method="plain")


async def test_a_password_is_traded_for_no_token(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    form = {"grant_type": "password", "username": "admin", "password": PASSWORD}
    async with web.client() as http:
        for client in ("portal", "admin-portal", "admin-cli", "account"):
            answer = await http.post(
                f"{made.issuer}/protocol/openid-connect/token", data={**form, "client_id": client}
            )
            assert answer.is_client_error
            assert "access_token" not in answer.text


async def test_only_the_access_token_opens_the_api(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    async with browser(made) as admin:
        tokens = await admin.login("admin", PASSWORD)
        for kind in ("refresh_token", "id_token"):
            with pytest.raises(TokenRefused):
                await world.loader.actor(tokens[kind])
        # A service account is no person, whatever it may do in Keycloak.
        url = f"{made.issuer}/protocol/openid-connect/token"
        secret = (await world.secrets(made))[SVC_IDENTITY]
        form = {"client_id": SVC_IDENTITY, "client_secret": secret}
        async with web.client() as http:
            answer = await http.post(url, data={"grant_type": "client_credentials", **form})
        with pytest.raises(TokenRefused) as refused:
            await world.loader.actor(answer.json()["access_token"])
        assert refused.value.reason is Refusal.AUDIENCE


async def test_refresh_tokens_rotate_and_a_used_one_ends_the_session(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE)
    async with browser(made) as admin:
        tokens = await admin.login("admin", PASSWORD)
        first = await admin.refresh(tokens["refresh_token"])
        assert first.status_code == httpx.codes.OK
        assert await world.loader.actor(first.json()["access_token"])
        assert (await admin.refresh(tokens["refresh_token"])).is_client_error
        assert (await admin.refresh(first.json()["refresh_token"])).is_client_error


async def test_a_temporary_password_must_be_changed(world: World) -> None:
    made = await world.tenant(MfaPolicy.NONE, admin_login=None)
    password = made.passwords["admin"]
    assert "officer" not in made.passwords
    async with browser(made) as admin:
        await admin.login("admin", password)
        assert admin.trail == ["password", "new password"]
        new = admin.new_password
    assert new
    async with browser(made) as admin:
        await admin.login("admin", new)
        assert admin.trail == ["password"]


async def test_an_app_can_be_preset(world: World) -> None:
    """For people of a demonstration: password and authenticator app are known from the start, and set once."""
    login = FirstLogin(PASSWORD, temporary=False, totp_secret="a-secret-of-the-demo")
    made = await world.tenant(MfaPolicy.ALL, admin_login=login)
    realm = await world.platform.accounts.realm(made.tenant_id, SVC_IDENTITY)
    user = await realm.find_user("admin")
    assert user
    await set_first_login(realm, user["id"], login)
    kinds = sorted(c["type"] for c in await realm.credentials(user["id"]))
    assert kinds == ["otp", "password"]
    async with browser(made) as admin:
        admin.totp = login.totp_secret
        tokens = await admin.login("admin", PASSWORD)
        assert admin.trail == ["password", "otp"]
        assert (await world.loader.actor(tokens["access_token"])).session.mfa


async def test_tokens_say_little(world: World) -> None:
    """No role of a clinic, no name: what a token says can be read wherever it is logged."""
    made = await world.tenant(MfaPolicy.NONE)
    async with browser(made) as admin:
        tokens = await admin.login("admin", PASSWORD)
    payload = tokens["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert set(claims) == {
        *("iss", "sub", "sid", "azp", "aud", "typ", "iat", "exp", "jti", "auth_time", "acr", "amr"),
        *("tenant_id", "person_id", "scope"),
    }
    assert len(tokens["access_token"]) < 1000
    assert claims["exp"] - claims["iat"] == 300
