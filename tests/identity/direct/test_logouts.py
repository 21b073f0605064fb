"""Logging out of both: begun by the portal, begun by the provider."""

import asyncio

import pytest

from domain.direct_logins import DirectSession, SamlRequest
from domain.people import RevokedSession
from identity.errors import NotAdmitted
from tests.identity.direct.conftest import CALLBACK, HOME, Hall
from tests.identity.py_provider import query_of

pytestmark = pytest.mark.anyio


async def test_begun_by_the_portal(hall: Hall) -> None:
    await hall.open()
    tokens, nora = await hall.come()
    form = {
        "client_id": "portal",
        "refresh_token": tokens["refresh_token"],
        "post_logout_redirect_uri": HOME,
        "state": "bye",
    }
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


async def test_an_answer_to_a_login_ends_no_logout_and_the_other_way_round(hall: Hall) -> None:
    await hall.open()
    form = await hall.answered()
    (request,) = await hall.rows(SamlRequest)
    tokens, _ = await hall.come()
    leaving = {
        "client_id": "portal",
        "refresh_token": tokens["refresh_token"],
        "post_logout_redirect_uri": CALLBACK,
    }
    answer = await hall.http.post(f"{hall.issuer}/logout", data=leaving)
    asked = query_of(answer.headers["location"])
    assert (await hall.brought({**form, "RelayState": asked["RelayState"]})).status_code == 400
    assert await hall.rows(SamlRequest, id=request.id)
