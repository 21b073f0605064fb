"""Webhooks to a real receiver on this machine: signed, to public addresses only, and never led elsewhere."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from domain.reminders import Endpoint, NotTaken, Refused
from identity import webhooks
from identity.webhooks import Webhooks, is_public, signature
from tests.identity.messages import ID, certificate, message
from tests.identity.receivers import free_port, hook

pytestmark = pytest.mark.anyio
KEY = b"k" * 32


def to(url: str) -> Any:
    return message(endpoint=Endpoint(url, KEY))


def test_the_signature_is_the_standards() -> None:
    """The example of Standard Webhooks' own libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_what_arrives_is_signed_and_a_repeat_is_known() -> None:
    clock = iter((1_000.9, 2_000.0))
    async with hook() as taken:
        sender = Webhooks(plain=True, clock=lambda: next(clock))
        for _ in range(2):
            await sender.send(to(f"http://localhost:{taken.port}/in?of=us"))
    assert taken.paths == ["/in?of=us"] * 2
    (head, body), (again, same) = taken.requests
    assert body == same
    assert head["webhook-id"] == again["webhook-id"] == f"msg_{ID.hex}"
    assert (head["webhook-timestamp"], again["webhook-timestamp"]) == ("1000", "2000")
    assert head["webhook-signature"] == signature(KEY, head["webhook-id"], 1000, body)
    assert head["webhook-signature"] != again["webhook-signature"]
    assert head["host"] == f"localhost:{taken.port}"
    told = json.loads(body)
    assert told["type"] == "appointment.reminder"
    assert set(told["data"]) == {
        *("reminder", "appointment", "patient", "startsAt", "zone", "language", "subject"),
        *("text", "phone"),
    }


PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
    "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001::1",
    "fec0::1", "::7f00:1", "::10.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]"]
)
async def test_nothing_goes_to_a_private_network(host: str, tmp_path: Path) -> None:
    """However the address is written."""
    theirs, ours = certificate(tmp_path)
    async with hook(theirs) as taken:
        for scheme in ("https", "http"):
            with pytest.raises(NotTaken):
                await Webhooks(tls=ours).send(to(f"{scheme}://{host}:{taken.port}/"))
    assert taken.requests == []


def meaning(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let `hooks.example` mean these; answers who asked."""
    loop, asked = asyncio.get_running_loop(), []
    known = loop.getaddrinfo

    async def look(host: Any, port: Any, **more: Any) -> Any:
        if host != "hooks.example":
            return await known(host, port, **more)
        asked.append(host)
        return [(2, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", look)
    return asked


async def test_one_private_address_among_public_ones_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meaning(monkeypatch, "8.8.8.8", "127.0.0.1")
    with pytest.raises(Refused):
        await Webhooks().send(to("https://hooks.example/"))


async def test_the_connection_goes_to_the_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Looked up once: a name that means something else the next time leads nowhere else. TLS still asks for the name."""
    asked = meaning(monkeypatch, "127.0.0.1")
    theirs, ours = certificate(tmp_path, "hooks.example")
    async with hook(theirs) as taken:
        await Webhooks(plain=True, tls=ours).send(to(f"https://hooks.example:{taken.port}/"))
        assert asked == ["hooks.example"]
        assert taken.requests[0][0]["host"] == f"hooks.example:{taken.port}"
        with pytest.raises(NotTaken):
            await Webhooks(plain=True, tls=ours).send(to(f"https://localhost:{taken.port}/"))
    assert len(taken.requests) == 1


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        ("500 Internal Server Error", False),
        ("404 Not Found", False),
        ("429 Too Many Requests", False),
        ("410 Gone", True),
        ("302 Found", False),
        ("307 Temporary Redirect", False),
    ],
)
async def test_only_success_is_taken_and_nobody_is_led_elsewhere(
    status: str, refused: bool
) -> None:
    async with hook() as taken:
        taken.status = status
        taken.more = f"location: http://localhost:{taken.port}/elsewhere\r\n"
        with pytest.raises(NotTaken) as told:
            await Webhooks(plain=True).send(to(f"http://localhost:{taken.port}/"))
    assert isinstance(told.value, Refused) is refused
    assert taken.paths == ["/"]


async def test_who_does_not_answer_in_time_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Left alone for a while, then tried by one; whoever answers again has everything again."""
    monkeypatch.setattr(webhooks, "SECONDS", 0.3)
    sender, silent = Webhooks(plain=True), asyncio.Event()
    async with hook() as taken:
        taken.silent = silent
        url = f"http://localhost:{taken.port}/"

        async def refused(times: int) -> None:
            answers = (sender.send(to(url)) for _ in range(times))
            told = await asyncio.gather(*answers, return_exceptions=True)
            assert [type(answer) for answer in told] == [NotTaken] * times

        await refused(1)
        await refused(20)
        assert len(taken.requests) == 1
        sender._resting[url] = 0.0  # it has rested
        await refused(20)
        assert len(taken.requests) == 2
        async with hook() as other:
            await sender.send(to(f"http://localhost:{other.port}/"))
        silent.set()
        sender._resting[url] = 0.0
        for _ in range(2):
            await sender.send(to(url))
        assert len(taken.requests) == 4


async def test_nobody_there_is_another_time() -> None:
    with pytest.raises(NotTaken) as told:
        await Webhooks(plain=True).send(to(f"http://localhost:{free_port()}/"))
    assert not isinstance(told.value, Refused)
