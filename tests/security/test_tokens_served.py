"""Tokens at the served API: forged and misused ones open nothing, a rotation or an outage of the issuer refuses nobody who
is known, and whoever was cut off stays out whatever becomes of Redis."""

import asyncio
import hmac
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import insert

from domain.people import RevokedSession
from identity.keys import MOST, SECONDS
from tests import make
from tests.api.http.test_end_to_end import Desk, desk, sitting
from tests.database import Database
from tests.identity.forge import Authority, segment, served
from tests.identity.test_actors import opened

__all__ = ["desk"]  # a fixture
pytestmark = pytest.mark.anyio
ASK = "{ patients { nodes { id } } }"


def forgeries(desk: Desk) -> dict[str, str]:
    """What somebody sends who has no token, or one that was made for something else."""
    authority, token = desk.house.authority, desk.house.token
    now, genuine = int(time.time()), desk.house.token()
    head, content, signature = genuine.split(".")
    other, rsa = ECKey.generate_key("P-256"), RSAKey.generate_key(2048)
    claims = authority.claims(sub=desk.house.nurse.subject)
    public = authority.key.as_pem(private=False)
    by_secret = f"{segment(authority.header(alg='HS256'))}.{content}"
    subject = desk.house.nurse.subject

    def under(**header: Any) -> str:
        return authority.token(header, sub=subject)

    return {
        "nothing": "x",
        "no signature": f"{segment(authority.header(alg='none'))}.{content}.",
        "none with a signature": f"{segment(authority.header(alg='none'))}.{content}.{signature}",
        "by the public key": f"{by_secret}.{segment(hmac.digest(public, by_secret.encode(), 'sha256'))}",
        "by another key": authority.signed(authority.header(), claims, other),
        "by an RSA key": authority.signed(authority.header(alg="RS256"), claims, rsa),
        "another content": f"{head}.{segment(claims | {'sub': 'somebody'})}.{signature}",
        "cut": genuine[:-5],
        "too long": token(padding="x" * 20_000),
        "names its key's place": under(jku="http://127.0.0.1/mine"),
        "brings its key": under(jwk=other.as_dict(private=False)),
        "brings a certificate": under(x5c=["MII"]),
        "names a certificate's place": under(x5u="http://127.0.0.1/mine"),
        "demands what we do not know": under(crit=["exp"]),
        "no key id": under(kid=None),
        "another algorithm": under(alg="ES384"),
        "refresh token": token(typ="Refresh"),
        "ID token": token(typ="ID", aud="portal"),
        "ID token for the API": token(typ="ID"),
        "logout token": authority.logout_token(sub=subject, aud="api"),
        "its header alone": under(typ="logout+jwt"),
        "for somebody else": token(aud="account"),
        "of another client": token(azp="svc-identity"),
        "over": token(exp=now - 31),
        "without end": token(exp=None),
        "of tomorrow": token(iat=now + 3600),
        "not yet": token(nbf=now + 3600),
        "of another issuer": token(iss="http://127.0.0.1/realms/obbbbbbbbbbbb"),
        "an issuer nearly ours": token(iss=authority.issuer + "/"),
        "of another health system": token(tenant_id=str(uuid4())),
        "on behalf of somebody": token(act={"sub": "somebody"}),
        "a provider that is none": token(idp="corp"),
        "nobody": token(sub="nobody"),
        "no session": token(sid=None),
        "no login": token(auth_time=None),
    }


async def test_the_whole_matrix_of_forged_and_misused_tokens(desk: Desk) -> None:
    assert (await desk.ask(ASK)).status_code == 200
    answers = {}
    for name, forged in forgeries(desk).items():
        answer = await desk.ask(ASK, forged)
        assert answer.status_code == 401, name
        assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED", name
        assert "data" not in answer.json(), name
        answers[name] = answer.content
    assert len(set(answers.values())) == 1, "why is nobody's business"
    assert (await desk.ask(ASK)).status_code == 200


async def test_invented_key_ids_cost_the_issuer_two_questions_a_minute(desk: Desk) -> None:
    subject = desk.house.nurse.subject
    invented = [desk.house.authority.token({"kid": f"k{n}"}, sub=subject) for n in range(60)]
    genuine = [desk.house.token(jti=str(n)) for n in range(60)]
    assert (await desk.ask(ASK)).status_code == 200
    found = await asyncio.gather(*(desk.ask(ASK, token) for token in invented + genuine))
    assert [answer.status_code for answer in found] == [401] * 60 + [200] * 60
    assert desk.keys.asked <= MOST


async def test_a_rotation_under_load_fails_no_good_request(desk: Desk) -> None:
    old, subject = desk.house.authority, desk.house.nurse.subject
    new = Authority(old.issuer, old.tenant_id, kid="key-2", now=old.now)
    published = [json.loads(each.key_set())["keys"][0] for each in (old, new)]

    async def load(*of: Authority) -> list[int]:
        tokens = [
            of[n % len(of)].token(None, sub=subject, jti=f"{len(of)}-{n}") for n in range(100)
        ]
        return [a.status_code for a in await asyncio.gather(*(desk.ask(ASK, t) for t in tokens))]

    assert (await desk.ask(ASK)).status_code == 200
    before = asyncio.create_task(load(old))
    await asyncio.sleep(0.05)
    desk.keys.body = json.dumps({"keys": published}).encode()
    desk.keys.delay = 0.2  # everybody with the new key waits for one fetch
    assert await load(old, new) + await before == [200] * 200
    assert desk.keys.asked == MOST


async def test_an_issuer_that_is_away_refuses_nobody_who_is_known(
    database: Database, tmp_path: Path
) -> None:
    async with (
        served() as hanging,
        opened(database, hanging) as elsewhere,
        sitting(database, tmp_path) as desk,
    ):
        token = desk.house.token()
        assert (await desk.ask(ASK, token)).status_code == 200
        desk.keys.status, hanging.delay = "503 Service Unavailable", 60
        begun = time.monotonic()
        strangers = [
            asyncio.create_task(desk.ask("{ viewer { userName } }", elsewhere.token(jti=str(n))))
            for n in range(50)
        ]
        await asyncio.sleep(0.1)
        for n in range(20):  # those that are known, by new tokens too, and while others wait
            assert (await desk.ask(ASK, desk.house.token(jti=str(n)))).status_code == 200
        assert (await desk.ask(ASK, token)).status_code == 200
        assert not any(task.done() for task in strangers), "nobody waited for the one that hangs"
        for answer in await asyncio.gather(*strangers):
            assert answer.status_code == 503
            assert answer.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
            assert answer.headers["retry-after"]
        assert time.monotonic() - begun < 3 * SECONDS
        assert hanging.asked == 1, "one asks, the others wait for its answer"


async def test_whatever_becomes_of_redis_nobody_comes_back(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    """Fails as soon as being cut off is looked up anywhere but in the cell's tables."""
    of_our_own = httpx.URL(redis_url).copy_with(path="/9")
    for url in (str(of_our_own), "redis://127.0.0.1:9/0"):
        async with sitting(database, tmp_path, redis_url=SecretStr(url)) as desk:
            token, other = desk.house.token(), desk.house.token(sid="session-2")
            assert (await desk.ask(ASK, token)).status_code == 200
            ended = {"tenant_id": desk.house.nurse.tenant_id, "sid": "session-1"}
            await desk.house.execute(insert(RevokedSession).values(**ended, until=make.now()))
            assert (await desk.ask(ASK, token)).status_code == 401
            if url == str(of_our_own):
                async with Redis.from_url(url) as redis:
                    await redis.flushdb()
            for _ in range(3):
                assert (await desk.ask(ASK, token)).status_code == 401
            fresh = desk.house.token(jti="renewed")  # the session's, by a refresh token
            assert (await desk.ask(ASK, fresh)).status_code == 401
            assert (await desk.ask(ASK, other)).status_code == 200
