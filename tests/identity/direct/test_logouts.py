"""Logging out of both: begun by the portal, begun by the provider."""

import asyncio
import secrets
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import update

from domain.direct_logins import DirectSession, SamlRequest
from domain.identity_providers import IdentityProvider
from domain.people import RevokedSession
from identity.errors import NotAdmitted
from identity.saml.messages import logout_request, logout_response, redirect
from identity.saml.parties import ServiceProvider
from tests.identity.direct.conftest import CALLBACK, HOME, Hall, connected
from tests.identity.py_provider import query_of
from tests.identity.saml import forge

pytestmark = pytest.mark.anyio


def leaving(tokens: dict[str, Any]) -> dict[str, str]:
    """What the portal sends of somebody who signs out."""
    return {
        "client_id": "portal",
        "refresh_token": tokens["refresh_token"],
        "post_logout_redirect_uri": HOME,
    }


async def test_begun_by_the_portal(hall: Hall) -> None:
    await hall.open()
    tokens, nora = await hall.come()
    form = leaving(tokens) | {"state": "bye"}
    for changes in ({"post_logout_redirect_uri": "https://evil.example/"}, {"client_id": "x"}):
        refused = await hall.http.post(f"{hall.issuer}/logout", data=form | changes)
        assert refused.status_code == 400
    assert await hall.house.stands(nora)
    answer = await hall.http.post(f"{hall.issuer}/logout", data=form)
    # Over here at once, whatever the provider does.
    assert not await hall.house.stands(nora)
    assert (await hall.refreshed(tokens["refresh_token"])).status_code == 400
    assert answer.headers["location"].startswith("https://login.corp.example/slo?")
    back = hall.it.logout(query_of(answer.headers["location"]))
    (ended,) = hall.it.ended
    assert ended.name_id.text == "py-nora-1"
    (kept,) = await hall.rows(DirectSession)
    assert [index.text for index in ended.session_index] == [kept.provider_session]
    home = await hall.http.get(back)
    assert (home.status_code, home.headers["location"]) == (303, f"{HOME}?state=bye")
    assert (await hall.http.get(back)).status_code == 400  # an answer is taken once
    # Whoever has no session (any more) is sent home, and learns nothing.
    again = await hall.http.post(f"{hall.issuer}/logout", data=form)
    assert again.headers["location"] == f"{HOME}?state=bye"


async def test_an_old_refresh_token_ends_the_session_here_and_asks_nothing_of_the_provider(
    hall: Hall,
) -> None:
    """Whoever brings one is not known to be who has the session, so nobody else's session there is ended by it."""
    await hall.open()
    tokens, nora = await hall.come()
    assert (await hall.refreshed(tokens["refresh_token"])).status_code == 200
    form = leaving(tokens)
    answer = await hall.http.post(f"{hall.issuer}/logout", data=form)
    assert answer.headers["location"] == HOME
    assert not await hall.house.stands(nora)
    assert not await hall.rows(SamlRequest)


async def test_begun_by_the_provider(hall: Hall) -> None:
    await hall.open()
    tokens, nora = await hall.come()
    _, other = await hall.come()
    indexes = {str(row.id): row.provider_session for row in await hall.rows(DirectSession)}
    to = f"{hall.at}/slo"
    entity = f"{hall.at}/metadata"
    sent = hall.it.end(to, entity, indexes[nora.session.sid])
    forged = sent.replace("RelayState=its-state", "RelayState=other")
    assert (await hall.http.get(forged)).json()["reason"] == "signature"
    assert await hall.house.stands(nora)
    answers = await asyncio.gather(hall.http.get(sent), hall.http.get(sent))
    (done,) = [answer for answer in answers if answer.status_code == 303]
    assert [a.json()["reason"] for a in answers if a is not done] == ["replayed"]
    told = query_of(done.headers["location"])
    assert told["RelayState"] == "its-state"
    assert hall.it.ended_there(told)
    assert not await hall.house.stands(nora)
    with pytest.raises(NotAdmitted):
        await hall.loader.actor(tokens["access_token"], fresh=True)
    assert await hall.house.stands(other)
    # Without an index: all of them.
    await hall.http.get(hall.it.end(to, entity, None))
    assert not await hall.house.stands(other)
    assert len(await hall.rows(RevokedSession)) == 2


async def test_a_provider_ends_nobody_but_whom_it_names(hall: Hall) -> None:
    await hall.open()
    _, nora = await hall.come()
    (row,) = await hall.rows(DirectSession)
    it = ServiceProvider(hall.it.entity_id, "", "")
    another = await connected(hall.cell, hall.keyring, hall.house, hall.it)

    async def ended(name_id: str, index: str | None, at: str) -> int:
        to, own = f"{at}/slo", f"_their-{secrets.token_hex(4)}"
        message = logout_request(
            it, to, own, hall.agent.now, name_id=name_id, name_format=None, index=index
        )
        return (
            await hall.http.get(redirect(to, "SAMLRequest", message, hall.it.signs.key))
        ).status_code

    for index in (None, row.provider_session):
        assert await ended("py-otto-1", index, hall.at) == 303
        assert await ended("py-nora-1", index, f"{hall.issuer}/{another}") == 303
    assert await ended("py-nora-1", "another-session", hall.at) == 303
    assert await hall.house.stands(nora)
    assert await ended("py-nora-1", row.provider_session, hall.at) == 303
    assert not await hall.house.stands(nora)


async def test_an_answer_to_a_login_ends_no_logout_and_the_other_way_round(hall: Hall) -> None:
    await hall.open()
    form = await hall.answered()
    (request,) = await hall.rows(SamlRequest)
    tokens, _ = await hall.come()
    out = leaving(tokens) | {"post_logout_redirect_uri": CALLBACK}
    answer = await hall.http.post(f"{hall.issuer}/logout", data=out)
    asked = query_of(answer.headers["location"])
    assert (await hall.brought({**form, "RelayState": asked["RelayState"]})).status_code == 400
    assert await hall.rows(SamlRequest, id=request.id)
    # An answer to a logout that names the login which waits: it still waits.
    it = ServiceProvider(hall.it.entity_id, "", "")
    to, mine = f"{hall.at}/slo", f"_{request.id.hex}"
    message = logout_response(it, to, "_their-2", mine, hall.agent.now)
    sent = await hall.http.get(redirect(to, "SAMLResponse", message, hall.it.signs.key))
    assert sent.json() == {"error": "SAML_REFUSED", "reason": "request"}
    assert (await hall.brought(form)).status_code == 303


async def test_a_provider_that_takes_no_logouts_and_asks_for_them_by_post(hall: Hall) -> None:
    await hall.open()
    await hall.house.execute(
        update(IdentityProvider)
        .where(IdentityProvider.tenant_id == hall.tenant_id)
        .values(endpoints={"single_sign_on_redirect": "https://login.corp.example/sso"})
    )
    tokens, nora = await hall.come()
    it = ServiceProvider(hall.it.entity_id, "", "")
    asked: dict[str, Any] = {"name_id": "py-nora-1", "name_format": None, "index": None}
    message = logout_request(it, f"{hall.at}/slo", "_their-1", hall.agent.now, **asked)
    root = etree.fromstring(message)
    unsigned = await hall.http.post(f"{hall.at}/slo", data={"SAMLRequest": forge.posted(root)})
    assert unsigned.json() == {"error": "SAML_REFUSED", "reason": "signature"}
    assert await hall.house.stands(nora)
    forge.sign(root, hall.it.signs)
    answer = await hall.http.post(f"{hall.at}/slo", data={"SAMLRequest": forge.posted(root)})
    assert answer.status_code == 204  # it has nowhere to be answered
    assert not await hall.house.stands(nora)
    tokens, nora = await hall.come()
    form = leaving(tokens)
    home = await hall.http.post(f"{hall.issuer}/logout", data=form)
    assert home.headers["location"] == HOME
    assert not await hall.house.stands(nora)
