"""Logins by SAML without the broker, from the hospital's page to what the API lets them do."""

import asyncio
import base64
import datetime as dt
from urllib.parse import urlsplit

import httpx
import pytest
from lxml import etree
from sqlalchemy import delete, insert, update
from starlette.applications import Starlette

from domain.control import DomainEntry
from domain.direct_logins import DirectSession, KeyPurpose, SamlRequest, SigningKey
from domain.identity_providers import HeldAccount, IdentityProvider, ProviderTest, SignIn
from domain.organization import Tenant
from domain.people import Person
from identity.discovery import Homes
from identity.errors import MfaRequired, NotAdmitted
from identity.providers import activate, start_test, suspend
from identity.provisioning import deactivate_person
from identity.revocation import revoke_session, revoke_sessions, sessions_of
from identity.routes import routes
from identity.saml.documents import DSIG
from identity.sync import cell_session
from identity.tokens import MAX_BYTES
from tests.identity.browser import next_second
from tests.identity.direct.conftest import CALLBACK, HOME, PUBLIC, Hall, connected
from tests.identity.forge import Authority
from tests.identity.py_provider import NAMES, query_of
from tests.identity.saml.forge import response, signer

pytestmark = pytest.mark.anyio
TWO_FACTORS = "https://refeds.org/profile/mfa"


async def test_from_a_draft_to_somebodys_first_day(hall: Hall) -> None:
    assert (
        await hall.begin()
    ).status_code == 404  # a draft lets nobody as far as the hospital's page
    await hall.open()
    tokens, nora = await hall.come()
    assert [(g.role, g.source) for g in nora.grants] == [("nurse", "idp")]
    (person,) = await hall.rows(Person, id=nora.person_id)
    assert (person.user_name, person.email, person.source) == ("nora", "nora@corp.example", "idp")
    # She comes again, as herself, and holds what her groups give by now.
    hall.it.attributes["groups"] = ["choir"]
    _, again = await hall.come()
    assert (again.person_id, again.grants) == (nora.person_id, ())
    assert not await hall.house.stands(nora)
    log = await hall.rows(SignIn, person_id=nora.person_id)
    assert [entry.outcome for entry in log] == ["admitted"] * 2
    # Sessions are listed, and one that is ended is over with the next request, also for who would refresh it.
    async with cell_session(hall.cell, hall.tenant_id) as session:
        found = await sessions_of(session, hall.agent, nora.person_id)
        assert {one.sid for one in found} == {nora.session.sid, again.session.sid}
        await revoke_session(session, hall.agent, nora.person_id, nora.session.sid)
    with pytest.raises(NotAdmitted):
        await hall.loader.actor(tokens["access_token"], fresh=True)
    assert (await hall.refreshed(tokens["refresh_token"])).json() == {"error": "invalid_grant"}
    assert await hall.house.stands(again)


async def test_a_try_tells_what_is_wrong(hall: Hall) -> None:
    await hall.step(start_test)
    good = hall.it.signs
    hall.it.signs = signer("another")
    hall.it.knows((await hall.http.get(f"{hall.at}/metadata")).content)
    told = await hall.login()
    assert (told["error"], told["reason"]) == ("access_denied", "signature")
    (test,) = await hall.rows(ProviderTest)
    assert test.passed is False
    assert test.steps == [f"signature: failed. {told['error_description']}"]
    assert (await hall.provider()).state == "draft"
    hall.it.signs = good
    hall.it.knows((await hall.http.get(f"{hall.at}/metadata")).content)
    await hall.step(start_test)
    assert (await hall.login())["reason"] == "TESTED"
    assert (await hall.provider()).state == "tested"


async def test_people_who_cannot_be_told_are_held(hall: Hall) -> None:
    await hall.open()
    hall.it.attributes["mail"] = "nora@elsewhere.example"
    told = await hall.login()
    assert (told["error"], told["reason"]) == ("access_denied", "DOMAIN_NOT_PROVEN")
    (held,) = await hall.rows(HeldAccount)
    assert (held.subject, held.reason) == ("py-nora-1", "DOMAIN_NOT_PROVEN")
    assert not await hall.rows(DirectSession)


async def test_an_answer_is_taken_once_and_by_whom_it_was_asked_of(hall: Hall) -> None:
    await hall.open()
    form = await hall.answered()
    another = await connected(hall.cell, hall.keyring, hall.house, hall.it)
    astray = await hall.http.post(f"{hall.issuer}/{another}/acs", data=form)
    assert astray.json() == {"error": "SAML_REFUSED", "reason": "request"}
    answers = await asyncio.gather(*(hall.brought(form) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400]
    again = await hall.brought(form)
    assert (again.status_code, again.json()) == (
        400,
        {"error": "SAML_REFUSED", "reason": "request"},
    )
    # The same assertion for another request that waits: it does not answer that one.
    other = await hall.answered()
    told = await hall.brought({**other, "SAMLResponse": form["SAMLResponse"]})
    assert query_of(told.headers["location"])["reason"] == "request"
    # A request pays for one look: what was brought wrongly is not looked at again.
    assert (await hall.brought(other)).status_code == 400
    for state in ("", "_", "x", "_" + "0" * 32, other["RelayState"].upper(), "_" + "z" * 32):
        assert (await hall.brought({**other, "RelayState": state})).status_code == 400
    late = await hall.answered()
    for state in (late["RelayState"].upper(), late["RelayState"].replace("_", "x")):
        assert (await hall.brought({**late, "RelayState": state})).status_code == 400
    # One that has waited for more than ten minutes waits no more.
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    await hall.house.execute(update(SamlRequest).values(until=past))
    assert (await hall.brought(late)).status_code == 400
    (only,) = await hall.rows(DirectSession)
    assert only.name_id == "py-nora-1"


async def test_an_assertion_is_taken_once_whatever_it_answers(hall: Hall) -> None:
    """The request alone would hold replays off; this holds where a request were to be there twice."""
    await hall.open()
    form = await hall.answered()
    (request,) = await hall.rows(SamlRequest)
    assert (await hall.brought(form)).status_code == 303
    copied = {c.name: getattr(request, c.name) for c in SamlRequest.__table__.columns}
    await hall.save(SamlRequest(**copied))
    told = query_of((await hall.brought(form)).headers["location"])
    assert (told["error"], told["reason"]) == ("access_denied", "replayed")
    assert len(await hall.rows(DirectSession)) == 1


async def test_addresses_that_nobody_registered(hall: Hall) -> None:
    await hall.open()
    for changes in (
        {"redirect_uri": f"{CALLBACK}/more"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": ""},
        {"client_id": "other"},
        {"client_id": "admin-portal"},
        {"code_challenge": "short"},
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
        {"state": "s" * 501},
        {"state": "a\nb"},
    ):
        answer = await hall.begin(**changes)
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"}), changes
    assert not await hall.rows(SamlRequest)
    for path in (
        f"{hall.issuer}x/certs",
        f"{hall.issuer}/{hall.tenant_id}/metadata",
        f"{hall.issuer}/no-id/login",
    ):
        assert (await hall.http.get(path)).status_code == 404


async def test_what_is_too_large_or_no_form(hall: Hall) -> None:
    await hall.open()
    form = await hall.answered()
    large = await hall.brought({**form, "SAMLResponse": "A" * (256 * 1024)})
    assert large.status_code == 413
    twice = f"SAMLResponse=a&SAMLResponse=b&RelayState={form['RelayState']}"
    for body in (twice.encode(), b"\xff=1", b"&".join(b"a%d=1" % n for n in range(50)), b""):
        answer = await hall.http.post(f"{hall.at}/acs", content=body)
        assert answer.status_code == 400
    many = form | {f"a{n}": "1" for n in range(50)}
    assert (await hall.brought(many)).status_code == 400
    assert (await hall.brought(form)).status_code == 303  # none of these has used the request up


async def test_a_code_is_good_once_for_whoever_asked(hall: Hall) -> None:
    await hall.open()
    for changes in (
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "https://portal.example/other"},
        {"client_id": "admin-portal"},
        {"code": "no-code"},
        {"grant_type": "password"},
    ):
        told = await hall.login()
        answer = await hall.redeemed(told["code"], **changes)
        assert answer.status_code == 400, changes
    code = (await hall.login())["code"]
    wrong = await hall.redeemed(code.partition(".")[0] + ".other")
    assert wrong.status_code == 400
    tokens = (await hall.redeemed(code)).json()
    assert await hall.loader.actor(tokens["access_token"])
    # A code that comes again was stolen from somebody: the session is over.
    assert (await hall.redeemed(code)).json() == {"error": "invalid_grant"}
    with pytest.raises(NotAdmitted):
        await hall.loader.actor(tokens["access_token"], fresh=True)
    late = (await hall.login())["code"]
    past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2)
    await hall.house.execute(update(DirectSession).values(used_at=past))
    assert (await hall.redeemed(late)).status_code == 400


async def test_a_refresh_token_is_good_once(hall: Hall) -> None:
    await hall.open()
    tokens, _ = await hall.come()
    first = tokens["refresh_token"]
    second = (await hall.refreshed(first)).json()
    nora = await hall.loader.actor(second["access_token"])
    third = (await hall.refreshed(second["refresh_token"])).json()
    assert (await hall.refreshed(first)).json() == {"error": "invalid_grant"}
    assert not await hall.house.stands(nora)
    assert (await hall.refreshed(third["refresh_token"])).status_code == 400
    for token in ("", "x", ".", f"{hall.tenant_id.hex}.x"):
        assert (await hall.refreshed(token)).status_code == 400


async def test_everything_that_shuts_somebody_out_ends_refreshing_too(hall: Hall) -> None:
    await hall.open()
    tokens, nora = await hall.come()
    async with cell_session(hall.cell, hall.tenant_id) as session:
        await revoke_sessions(session, hall.agent, nora.person_id)
    assert (await hall.refreshed(tokens["refresh_token"])).status_code == 400
    await next_second()
    # Left alone for longer than the health system allows, or beyond what a session lasts.
    tokens, _ = await hall.come()
    idle = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1801)
    await hall.house.execute(update(DirectSession).values(used_at=idle))
    assert (await hall.refreshed(tokens["refresh_token"])).status_code == 400
    tokens, _ = await hall.come()
    await hall.house.execute(update(DirectSession).values(ends_at=dt.datetime.now(dt.UTC)))
    assert (await hall.refreshed(tokens["refresh_token"])).status_code == 400
    # The provider is closed: with the next request, and for new logins.
    tokens, nora = await hall.come()
    await hall.step(suspend)
    assert not await hall.house.stands(nora)
    assert (await hall.refreshed(tokens["refresh_token"])).status_code == 400
    assert (await hall.begin()).status_code == 404
    await hall.step(activate)
    await next_second()
    tokens, nora = await hall.come()
    async with cell_session(hall.cell, hall.tenant_id) as session:
        await deactivate_person(session, hall.agent, nora.person_id)
    assert (await hall.refreshed(tokens["refresh_token"])).status_code == 400
    assert (await hall.login())["reason"] == "INACTIVE"
    await hall.house.touch_tenant(state="suspended")
    assert not await hall.house.stands(nora)


async def test_each_thing_that_a_session_hangs_on_ends_refreshing_by_itself(hall: Hall) -> None:
    """The commands that shut somebody out do several of these at once; here is one at a time."""
    await hall.open()
    tokens, nora = await hall.come()
    for row, closed in (
        (update(Person).where(Person.id == nora.person_id), {"active": False}),
        (update(Tenant).where(Tenant.tenant_id == hall.tenant_id), {"state": "suspended"}),
        (
            update(IdentityProvider).where(IdentityProvider.id == hall.provider_id),
            {"state": "suspended"},
        ),
    ):
        await hall.house.execute(row.values(**closed))
        assert (await hall.refreshed(tokens["refresh_token"])).status_code == 400, closed
        await hall.house.execute(row.values({n: v is False or "active" for n, v in closed.items()}))
        tokens = (await hall.refreshed(tokens["refresh_token"])).json()
        assert "access_token" in tokens, closed


async def test_a_provider_closed_while_somebody_logs_in_lets_them_in_no_more(hall: Hall) -> None:
    await hall.open()
    form = await hall.answered()
    code = (await hall.login())["code"]
    await hall.step(suspend)
    assert query_of((await hall.brought(form)).headers["location"])["reason"] == "PROVIDER_INACTIVE"
    assert (await hall.redeemed(code)).status_code == 400


async def test_tokens_are_verified_as_all_others_are(hall: Hall) -> None:
    await hall.open()
    tokens, nora = await hall.come()
    token = await hall.loader.tokens.verify(tokens["access_token"])
    assert token.issuer.direct
    assert (token.subject, token.provider) == (str(nora.person_id), hall.provider_id)
    assert len(tokens["access_token"]) < MAX_BYTES
    published = (await hall.http.get(f"{hall.issuer}/certs")).json()["keys"]
    assert [set(key) for key in published] == [{"kty", "crv", "x", "y", "kid", "use", "alg"}]
    # The same words by another key, under the issuer's name and the key's id.
    forger = Authority(issuer=hall.issuer, tenant_id=hall.tenant_id, kid=published[0]["kid"])
    claims = {"sub": str(nora.person_id), "idp": str(hall.provider_id), "sid": nora.session.sid}
    now = int(dt.datetime.now(dt.UTC).timestamp())
    with pytest.raises(Exception, match="Not authenticated"):
        await hall.loader.actor(forger.token(None, **claims, iat=now, exp=now + 300, auth_time=now))


async def test_who_proves_who_they_are_anew_and_where_a_session_ends_earlier(hall: Hall) -> None:
    await hall.open()
    await hall.login(prompt="login")
    assert hall.it.asked[-1].force_authn == "true"
    await hall.house.execute(update(Tenant).values(session_max=600, session_idle=60))
    await hall.login()
    last = (await hall.rows(DirectSession))[-1]
    assert last.ends_at - last.authenticated_at == dt.timedelta(seconds=600)
    assert hall.it.asked[-1].force_authn is None
    assert urlsplit(hall.it.asked[-1].destination).path == "/sso"


async def test_a_token_lasts_no_longer_than_its_session(hall: Hall) -> None:
    await hall.open()
    tokens, _ = await hall.come()
    ends = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=60)
    await hall.house.execute(update(DirectSession).values(ends_at=ends))
    renewed = (await hall.refreshed(tokens["refresh_token"])).json()["access_token"]
    token = await hall.loader.tokens.verify(renewed)
    assert token.expires_at == int(ends.timestamp())


async def test_a_provider_that_encrypts_for_the_certificate_of_our_metadata(hall: Hall) -> None:
    await hall.open()
    described = etree.fromstring((await hall.http.get(f"{hall.at}/metadata")).content)
    (text,) = described.iter(f"{DSIG}X509Certificate")
    hall.it.encrypts = f"-----BEGIN CERTIFICATE-----\n{text.text}\n-----END CERTIFICATE-----\n"
    form = await hall.answered()
    assert b"py-nora-1" not in base64.b64decode(form["SAMLResponse"])
    told = query_of((await hall.brought(form)).headers["location"])
    assert "code" in told, told
    # For another's it is as good as unread.
    hall.it.encrypts = signer("another").certificate
    assert (await hall.login())["reason"] == "encrypted"


async def test_keys_of_tokens_are_replaced_and_stay_published_for_a_while(hall: Hall) -> None:
    await hall.open()
    tokens, _ = await hall.come()

    async def published() -> list[str]:
        return [key["kid"] for key in (await hall.http.get(f"{hall.issuer}/certs")).json()["keys"]]

    async def renewed(days: int) -> dict[str, str]:
        """A refresh when the keys of tokens are so old."""
        made = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
        of_tokens = SigningKey.purpose == KeyPurpose.TOKENS
        await hall.house.execute(update(SigningKey).where(of_tokens).values(created_at=made))
        told: dict[str, str] = (await hall.refreshed(tokens["refresh_token"])).json()
        return told

    (first,) = await published()
    tokens = await renewed(89)
    assert await published() == [first]
    tokens = await renewed(91)
    second, *others = await published()
    assert others == [first]
    assert second != first
    assert await hall.loader.actor(tokens["access_token"])
    tokens = await renewed(93)
    assert first not in await published()


async def test_a_provider_behind_the_broker_is_not_spoken_with(hall: Hall) -> None:
    await hall.open()
    form = await hall.answered()
    await hall.house.execute(
        update(IdentityProvider).where(IdentityProvider.id == hall.provider_id).values(direct=False)
    )
    assert (await hall.begin()).status_code == 404
    assert (await hall.brought(form)).status_code == 404
    assert (await hall.http.get(f"{hall.at}/metadata")).status_code == 404


async def test_a_session_ends_when_the_provider_wants_it_to(hall: Hall) -> None:
    await hall.open()
    form = await hall.answered()
    ends = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=90)
    said = response(
        by=hall.it.signs,
        request=form["RelayState"],
        bearer_request=form["RelayState"],
        destination=f"{hall.at}/acs",
        recipient=f"{hall.at}/acs",
        audiences=((f"{hall.at}/metadata",),),
        issuer=hall.it.entity_id,
        message_issuer=hall.it.entity_id,
        attributes=tuple(
            (NAMES[ours], (told,))
            for ours, told in {
                "userName": "nora",
                "givenName": "Nora",
                "familyName": "Corp",
                "email": "nora@corp.example",
            }.items()
        ),
        session=f'SessionIndex="s-1" SessionNotOnOrAfter="{ends:%Y-%m-%dT%H:%M:%SZ}"',
    )
    told = query_of((await hall.brought({**form, "SAMLResponse": said})).headers["location"])
    assert "code" in told, told
    (session,) = await hall.rows(DirectSession)
    assert session.ends_at == ends


async def test_a_portal_learns_where_a_domain_logs_in(hall: Hall) -> None:
    name = f"d{hall.tenant_id.hex}.example"
    listed = {"domain": name, "tenant_id": hall.tenant_id, "direct": True}
    entry = insert(DomainEntry).values(**listed, identity_provider_id=hall.provider_id)
    await hall.house.execute(entry)
    homes = Homes(hall.cell, PUBLIC)
    doors = type("Doors", (), {"homes": homes})()
    transport = httpx.ASGITransport(Starlette(routes=routes(lambda: doors)))
    async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as http:
        told = (await http.get(f"/login-of-domain/{name}")).json()
        unknown = (await http.get("/login-of-domain/nobody.example")).json()
    assert set(unknown) == set(told)
    assert told["issuer"] == hall.issuer
    assert told["authorizationEndpoint"] == f"{hall.at}/login"
    assert told["tokenEndpoint"] == f"{hall.issuer}/token"
    assert told["endSessionEndpoint"] == f"{hall.issuer}/logout"
    await hall.house.execute(delete(DomainEntry).where(DomainEntry.domain == name))


async def test_a_second_factor_is_the_providers_to_show_where_its_word_is_taken(hall: Hall) -> None:
    await hall.open()
    tokens, _ = await hall.come()
    await hall.house.touch_tenant(mfa_policy="all")
    with pytest.raises(MfaRequired):
        await hall.loader.actor(tokens["access_token"], fresh=True)
    # Nobody's word is taken yet: the portal learns that stepping up leads nowhere.
    unmet = query_of((await hall.begin(acr_values="mfa")).headers["location"])
    assert (unmet["error"], unmet["state"]) == ("unmet_authentication_requirements", "the-state")
    mine = IdentityProvider.tenant_id == hall.tenant_id
    named = update(IdentityProvider).where(mine).values(mfa_contexts=[TWO_FACTORS, "mfa"])
    await hall.house.execute(named)
    await hall.house.touch_tenant()
    # A login that shows one factor is still one that shows one factor.
    told = await hall.login(acr_values="mfa")
    asked = hall.it.asked[-1].requested_authn_context.authn_context_class_ref
    assert [one.text for one in asked] == [TWO_FACTORS]
    with pytest.raises(MfaRequired):
        await hall.loader.actor((await hall.redeemed(told["code"])).json()["access_token"])
    admin = {"client_id": "admin-portal", "redirect_uri": f"{HOME}admin"}
    refused = await hall.brought(await hall.answered(**admin))
    assert query_of(refused.headers["location"])["reason"] == "MFA_REQUIRED"
    hall.it.context = TWO_FACTORS
    _, nora = await hall.come()
    assert nora.session.mfa
    into = await hall.brought(await hall.answered(**admin))
    assert "code" in query_of(into.headers["location"])
