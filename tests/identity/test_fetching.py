"""What a customer's address offers is fetched from the internet only, and only from there."""

import httpx
import pytest

from identity.fetching import Resolve, fetched
from identity.metadata import MAX_BYTES, MetadataRefused
from tests.identity.forge import served

pytestmark = pytest.mark.anyio

URL = "https://login.corp.example/metadata"


class Wire(httpx.AsyncBaseTransport):
    """A connection that answers by itself, and tells where it would have gone."""

    def __init__(self, status: int = 200, body: bytes = b"told") -> None:
        self.asked: list[httpx.Request] = []
        self.status, self.body = status, body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, content=self.body, headers={"location": "/elsewhere"})


def known_as(*addresses: str) -> Resolve:
    async def look(host: str, port: int) -> list[str]:
        assert (host, port) == ("login.corp.example", 443)
        return list(addresses)

    return look


async def test_the_connection_goes_to_the_address_that_was_looked_at() -> None:
    wire = Wire()
    found = await fetched(URL, resolver=known_as("93.184.216.34"), transport=wire)
    assert found == "told"
    (request,) = wire.asked
    assert request.url.host == "93.184.216.34"
    assert request.headers["host"] == "login.corp.example"
    assert request.extensions["sni_hostname"] == "login.corp.example"


@pytest.mark.parametrize(
    "inside",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.9", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fc00::7"),
        *("::ffff:10.0.0.1", "2002:a00:1::1", "ff02::1", "fec0::1", "64:ff9b::a00:1", "::a00:1"),
    ],
)
async def test_a_name_that_leads_inside_is_not_followed(inside: str) -> None:
    wire = Wire()
    for names in ((inside,), ("93.184.216.34", inside)):
        with pytest.raises(MetadataRefused, match="inside a network"):
            await fetched(URL, resolver=known_as(*names), transport=wire)
    assert wire.asked == []


@pytest.mark.parametrize("status", [204, 301, 302, 401, 404, 500])
async def test_only_what_is_there_itself_is_taken(status: int) -> None:
    wire = Wire(status)
    with pytest.raises(MetadataRefused, match=str(status)):
        await fetched(URL, resolver=known_as("93.184.216.34"), transport=wire)
    assert len(wire.asked) == 1


async def test_what_is_too_long_or_no_text_is_refused() -> None:
    for body in (b"x" * (MAX_BYTES + 1), b"\xff\xfe\xfd"):
        with pytest.raises(MetadataRefused):
            await fetched(URL, resolver=known_as("93.184.216.34"), transport=Wire(body=body))


@pytest.mark.parametrize(
    "url",
    [
        *("http://login.corp.example/metadata", "file:///etc/hostname", "https://10.0.0.1/"),
        *("ftp://login.corp.example/", "https://localhost/", "gopher://login.corp.example/", ""),
    ],
)
async def test_what_is_no_address_is_not_asked(url: str) -> None:
    wire = Wire()
    with pytest.raises(MetadataRefused):
        await fetched(url, transport=wire)
    assert wire.asked == []


async def test_this_machine_only_for_development() -> None:
    async with served() as server:
        server.body = b"told"
        assert await fetched(server.url, loopback=True) == "told"
        with pytest.raises(MetadataRefused):
            await fetched(server.url)
        assert server.asked == 1


async def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(MetadataRefused):
        await fetched(URL, resolver=known_as(), transport=Wire())
