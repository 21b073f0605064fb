"""The gateway: one token for many calls, failures in our own terms, one event loop."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from identity.drift.settings import set_attribute
from identity.keycloak import Account, Keycloak, Realm
from identity.keycloak_failures import (
    Conflict,
    Denied,
    Invalid,
    KeycloakFailure,
    NotFound,
    Unavailable,
    failure,
)

pytestmark = pytest.mark.anyio

ACCOUNT = Account("svc", "the-secret")


class Peer:
    """A real HTTP server that answers as Keycloak does, or as told; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.status = 200
        self.lifetime = 60
        self.refuse_token = 0
        self.drop = False
        self.lose = 0  # so many answers, after the work was done
        self.free = asyncio.Event()  # no answer before it is set, but tokens
        self.free.set()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await self._one(line, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, path, _ = line.decode().split()
        length = 0
        while (header := await reader.readline()) != b"\r\n":
            name, _, value = header.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
        await reader.readexactly(length)
        kind = "token" if path.endswith("/token") else f"{method} {path.split('?')[0]}"
        self.asked[kind] += 1
        if self.drop and kind != "token":
            writer.close()
            raise ConnectionError
        if kind != "token":
            await self.free.wait()
        if self.lose and kind != "token":
            self.lose, self.status = self.lose - 1, 409
            writer.close()
            raise ConnectionError
        status, body = self._respond(kind)
        head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def _respond(self, kind: str) -> tuple[int, bytes]:
        if kind == "token":
            if self.status == 418:
                return 401, b'{"error": "invalid_client"}'
            token = {"access_token": "t", "expires_in": self.lifetime, "token_type": "Bearer"}
            return 200, json.dumps(token).encode()
        if self.refuse_token:
            self.refuse_token -= 1
            return 401, b"{}"
        if self.status != 200:
            return self.status, b'{"errorMessage": "nora.nurse exists"}'
        if kind == "POST /admin/realms":
            return 201, b""
        if kind.startswith("PUT "):
            return 204, b""
        return 200, b"[]" if kind.endswith("s") else b'{"realm": "o"}'


@asynccontextmanager
async def listening() -> AsyncIterator[Peer]:
    peer = Peer()
    server = await asyncio.start_server(peer.answer, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield peer


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with listening() as peer:
        yield peer


@pytest.fixture
async def realm(peer: Peer) -> AsyncIterator[Realm]:
    realm = Realm(peer.url, "oabcdefghijkl", ACCOUNT)
    yield realm
    await realm.close()


async def test_many_calls_get_one_token(realm: Realm, peer: Peer) -> None:
    await asyncio.gather(*(realm.read() for _ in range(50)))
    assert peer.asked["token"] == 1
    assert peer.asked["GET /admin/realms/oabcdefghijkl"] == 50


async def test_a_token_is_renewed_before_it_ends(realm: Realm, peer: Peer) -> None:
    peer.lifetime = 0
    await realm.read()
    await realm.read()
    assert peer.asked["token"] == 2


async def test_a_refused_token_is_renewed_but_not_by_everyone(realm: Realm, peer: Peer) -> None:
    await realm.read()
    peer.refuse_token = 1
    await realm.read()
    assert peer.asked["token"] == 2
    # Calls that were under way with the old token may each find the new one in place already.
    peer.refuse_token = 10
    await asyncio.gather(*(realm.read() for _ in range(10)), return_exceptions=True)
    assert peer.asked["token"] <= 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (403, Denied),
        (404, NotFound),
        (409, Conflict),
        (415, Invalid),
        (418, Denied),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_failures_are_named(
    realm: Realm, peer: Peer, status: int, kind: type[KeycloakFailure]
) -> None:
    peer.status = status
    with pytest.raises(kind) as failed:
        await realm.create_user({"username": "nora.nurse"})
    assert failed.value.call == "create user"
    assert "nora" not in str(failed.value)
    assert "the-secret" not in repr(failed.value)
    assert failed.value.__cause__ is None


def test_no_answer_at_all() -> None:
    assert isinstance(failure("read user", None), Unavailable)
    assert str(failure("read user", None)) == "Keycloak: read user was answered by nothing."


async def test_what_may_be_repeated_is_and_what_may_not_is_sent_once(
    realm: Realm, peer: Peer
) -> None:
    await realm.read()
    peer.drop = True
    with pytest.raises(Unavailable):
        await realm.create_user({"username": "nora"})
    assert peer.asked["POST /admin/realms/oabcdefghijkl/users"] == 1
    with pytest.raises(Unavailable):
        await realm.read()
    assert peer.asked["GET /admin/realms/oabcdefghijkl"] == 5


async def test_objects_are_not_shared_by_event_loops(realm: Realm) -> None:
    await realm.read()
    with pytest.raises(RuntimeError, match="one event loop"):
        await asyncio.to_thread(lambda: asyncio.run(realm.read()))


async def test_one_object_for_each_realm_and_account_and_not_too_many(peer: Peer) -> None:
    async with Keycloak(peer.url + "/", keep=2) as keycloak:
        first = await keycloak.realm("o1", ACCOUNT)
        assert await keycloak.realm("o1", ACCOUNT) is first
        assert await keycloak.realm("o1", Account("svc", "another")) is not first
        await keycloak.realm("o2", ACCOUNT)
        assert await keycloak.realm("o1", ACCOUNT) is not first
        assert keycloak.url == peer.url


def test_an_account_does_not_show_its_secret() -> None:
    assert "the-secret" not in repr(ACCOUNT)


async def test_a_realm_may_take_longer_to_make_than_other_calls(peer: Peer) -> None:
    realm = Realm(peer.url, "o1", ACCOUNT, timeout=httpx.Timeout(0.3), creating=httpx.Timeout(None))
    peer.free.clear()
    making = asyncio.create_task(realm.create({"realm": "o1"}))
    with pytest.raises(Unavailable):
        await realm.read()
    assert not making.done()
    peer.free.set()
    await making
    assert peer.asked["POST /admin/realms"] == 1
    await realm.close()


async def test_a_realm_whose_answer_was_lost_is_found_made(realm: Realm, peer: Peer) -> None:
    peer.lose = 1
    with pytest.raises(Conflict):
        await realm.create({"realm": "o1"})
    assert peer.asked["POST /admin/realms"] == 2


async def test_one_attribute_costs_one_read(peer: Peer, realm: Realm) -> None:
    """A change takes along what stands: the rules for passkeys, and here the other attributes."""
    await set_attribute(realm, "template_version", "4")
    at = "/admin/realms/oabcdefghijkl"
    assert (peer.asked[f"GET {at}"], peer.asked[f"PUT {at}"]) == (1, 1)
    await realm.update({"enabled": True})
    assert (peer.asked[f"GET {at}"], peer.asked[f"PUT {at}"]) == (2, 2)
