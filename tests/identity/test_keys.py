"""An issuer's keys come from one address, in bounds, and outlive an outage but not a day."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from identity.errors import IdentityUnavailable
from identity.keys import (
    AGAIN_WITHOUT_ANY,
    FRESH,
    MAX_BYTES,
    STALE,
    WITHIN,
    Announced,
    KeyCache,
)
from tests import web
from tests.identity.forge import Authority, Clock, KeyServer, served

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with served() as keys:
        yield keys


@pytest.fixture
def clock() -> Clock:
    return Clock(1000)


@pytest.fixture
async def cache(clock: Clock) -> AsyncIterator[KeyCache]:
    async with web.client() as client:
        yield KeyCache(client, clock=clock)


@pytest.fixture
def authority(server: KeyServer) -> Authority:
    authority = Authority(keys_url=server.url)
    server.body = authority.key_set()
    return authority


async def test_keys_are_fetched_once_and_then_known(
    cache: KeyCache, server: KeyServer, authority: Authority, clock: Clock
) -> None:
    first = await cache.key(server.url, authority.kid)
    assert first is not None
    assert first.as_dict(private=False)["x"] == authority.key.as_dict(private=False)["x"]
    clock.now += FRESH - 1
    assert await cache.key(server.url, authority.kid) is first
    assert server.asked == 1
    clock.now += 1
    assert await cache.key(server.url, authority.kid)
    assert server.asked == 2


async def test_many_requests_make_one_fetch(
    cache: KeyCache, server: KeyServer, authority: Authority
) -> None:
    server.delay = 0.05
    found = await asyncio.gather(*(cache.key(server.url, authority.kid) for _ in range(50)))
    assert all(found)
    assert server.asked == 1


async def test_a_rotation_under_load_refuses_nobody(
    cache: KeyCache, server: KeyServer, authority: Authority, clock: Clock
) -> None:
    """Right after the keys were fetched, too; tokens of the old key and of the new one come together."""
    assert await cache.key(server.url, authority.kid)
    old, new = (authority.key_set(kid=kid) for kid in (authority.kid, "key-2"))
    server.body = json.dumps({"keys": json.loads(old)["keys"] + json.loads(new)["keys"]}).encode()
    server.delay = 0.02
    clock.now += 1
    kids = (authority.kid, "key-2")
    assert all(await asyncio.gather(*(cache.key(server.url, kids[n % 2]) for n in range(200))))
    assert server.asked == 2


async def test_junk_costs_two_fetches_a_minute(
    cache: KeyCache, server: KeyServer, authority: Authority, clock: Clock
) -> None:
    assert await cache.key(server.url, authority.kid)
    for number in range(60):
        assert await cache.key(server.url, f"unknown-{number}") is None
        assert await cache.key(server.url, authority.kid)
        clock.now += 0.9
    assert server.asked == 2
    server.body = authority.key_set(kid="key-2")
    clock.now += WITHIN
    assert await cache.key(server.url, "key-2")
    assert server.asked == 3
    assert await cache.key(server.url, authority.kid) is None


async def test_an_outage_is_bridged_for_a_day(
    cache: KeyCache, server: KeyServer, authority: Authority, clock: Clock
) -> None:
    assert await cache.key(server.url, authority.kid)
    server.status = "503 Service Unavailable"
    clock.now += STALE - 1
    assert await cache.key(server.url, authority.kid)
    clock.now += 1
    with pytest.raises(IdentityUnavailable):
        await cache.key(server.url, authority.kid)
    server.status = "200 OK"
    clock.now += WITHIN
    assert await cache.key(server.url, authority.kid)


async def test_without_any_key_it_is_asked_again_soon(
    cache: KeyCache, server: KeyServer, authority: Authority, clock: Clock
) -> None:
    server.status = "500 Internal Server Error"
    for _ in range(3):
        with pytest.raises(IdentityUnavailable):
            await cache.key(server.url, authority.kid)
    assert server.asked == 1
    server.status = "200 OK"
    clock.now += AGAIN_WITHOUT_ANY
    assert await cache.key(server.url, authority.kid)


async def test_no_redirect_is_followed(cache: KeyCache, server: KeyServer) -> None:
    async with served() as elsewhere:
        elsewhere.body = Authority().key_set()
        server.status, server.head = "302 Found", f"location: {elsewhere.url}\r\n"
        with pytest.raises(IdentityUnavailable):
            await cache.key(server.url, "key-1")
        assert elsewhere.asked == 0


async def test_a_client_that_follows_redirects_is_refused() -> None:
    async with web.client(follow_redirects=True) as client:
        with pytest.raises(ValueError, match="redirect"):
            KeyCache(client)


async def test_nothing_listens(cache: KeyCache) -> None:
    with pytest.raises(IdentityUnavailable):
        await cache.key("http://127.0.0.1:9/certs", "key-1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": 5}',
        b'{"keys": null}',
        b"{" * 100,
        b"<html>",
        b"\xff\xfe",
        b" " * (MAX_BYTES + 1),
    ],
)
async def test_answers_that_are_no_key_set(cache: KeyCache, server: KeyServer, body: bytes) -> None:
    server.body = body
    with pytest.raises(IdentityUnavailable):
        await cache.key(server.url, "key-1")


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"use": None},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"crv": "P-384"},
        {"alg": "ECDH-ES"},
        {"kid": 5},
    ],
)
async def test_keys_that_are_not_for_signatures(
    cache: KeyCache, server: KeyServer, authority: Authority, changes: dict[str, object]
) -> None:
    other = json.loads(Authority(kid="good").key_set())["keys"]
    bad = json.loads(authority.key_set(**changes))["keys"]
    server.body = json.dumps({"keys": [*bad, *other, "junk"]}).encode()
    assert await cache.key(server.url, authority.kid) is None
    assert await cache.key(server.url, "good")


async def test_a_point_off_the_curve_spoils_the_set(
    cache: KeyCache, server: KeyServer, authority: Authority
) -> None:
    server.body = authority.key_set(x="AAAA")
    with pytest.raises(IdentityUnavailable):
        await cache.key(server.url, authority.kid)


async def test_issuers_do_not_share_keys(
    cache: KeyCache, server: KeyServer, authority: Authority
) -> None:
    async with served() as other:
        other.body = Authority(kid="of-another").key_set()
        assert await cache.key(other.url, "of-another")
        assert await cache.key(server.url, authority.kid)
        assert await cache.key(server.url, "of-another") is None


class Board:
    """What a worker has announced: a key set, and since when by the clock of whoever asks."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.told: Announced | None = None
        self.asked = 0

    def announce(self, body: bytes) -> None:
        self.told = body, self.clock.now

    async def __call__(self, url: str) -> Announced | None:
        self.asked += 1
        await asyncio.sleep(0.01)
        return self.told and (self.told[0], self.clock.now - self.told[1])


@pytest.fixture
async def board(clock: Clock) -> Board:
    return Board(clock)


@pytest.fixture
async def hearing(clock: Clock, board: Board) -> AsyncIterator[KeyCache]:
    async with web.client() as client:
        yield KeyCache(client, announced=board, clock=clock)


async def test_who_invents_key_ids_keeps_nobody_out_when_a_key_is_rotated(
    hearing: KeyCache, server: KeyServer, authority: Authority, clock: Clock, board: Board
) -> None:
    assert await hearing.key(server.url, authority.kid)
    clock.now += 5
    for number in range(20):
        clock.now += 0.01
        assert await hearing.key(server.url, f"unknown-{number}") is None
    assert (server.asked, board.asked) == (2, 1), "both are spent, and nothing was announced"
    server.body = authority.key_set(kid="key-2")
    clock.now += 2
    board.announce(server.body)
    # Everybody who has a new token waits for one look.
    assert all(await asyncio.gather(*(hearing.key(server.url, "key-2") for _ in range(50))))
    assert (server.asked, board.asked) == (2, 2)
    assert await hearing.key(server.url, authority.kid) is None, "the old one is gone"
    # Junk goes on: a look each second, and no fetch but two a minute.
    for number in range(60):
        clock.now += 0.5
        assert await hearing.key(server.url, f"invented-{number}") is None
        assert await hearing.key(server.url, "key-2")
    assert server.asked == 2
    assert board.asked <= 2 + 30


async def test_what_was_announced_before_the_last_fetch_is_over(
    hearing: KeyCache, server: KeyServer, authority: Authority, clock: Clock, board: Board
) -> None:
    """A key that was removed since does not come back by a worker that is away."""
    board.announce(authority.key_set(kid="stolen"))
    clock.now += 1
    assert await hearing.key(server.url, authority.kid)
    clock.now += 5
    for _ in range(3):
        assert await hearing.key(server.url, "stolen") is None
        clock.now += 1
    assert board.asked
    board.announce(b"no key set")
    assert await hearing.key(server.url, "stolen") is None
    assert await hearing.key(server.url, authority.kid)


async def test_announcements_that_cannot_be_read_change_nothing(
    server: KeyServer, authority: Authority, clock: Clock
) -> None:
    async def away(_: str) -> Announced | None:
        raise IdentityUnavailable("The key set")

    async with web.client() as client:
        cache = KeyCache(client, announced=away, clock=clock)
        assert await cache.key(server.url, authority.kid)
        for _ in range(3):
            assert await cache.key(server.url, "unknown") is None
        assert await cache.key(server.url, authority.kid)
