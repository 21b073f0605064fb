"""How often directories may ask, counted for all processes; strangers use up nobody's share but their own."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from identity.scim import metrics
from identity.scim.limits import Limit, network_of
from identity.scim.refusals import Later
from identity.scim.tokens import revoke_token
from tests.database import Database
from tests.identity.scim.conftest import Corp, application, opened

pytestmark = pytest.mark.anyio


async def many(limit: Limit, number: int, tenant_id: Any) -> int:
    """How many of so many requests pass."""
    refused = []
    for _ in range(number):
        try:
            await limit.count(tenant_id)
        except Later as later:
            refused.append(later)
    assert all(later.status == 429 and later.seconds >= 1 for later in refused)
    return number - len(refused)


async def test_all_processes_count_together(redis_url: str) -> None:
    here, there = Limit(redis_url, 5), Limit(redis_url, 5)
    tenant, other = uuid4(), uuid4()
    assert await many(here, 3, tenant) == 3
    assert await many(there, 3, tenant) == 2
    assert await many(here, 1, other) == 1
    async with Redis.from_url(redis_url) as client:
        keys = [key.decode() async for key in client.scan_iter(f"caretree:scim*{tenant}*")]
        assert keys
        assert all([0 < await client.ttl(key) <= 30 for key in keys])
    await here.close()
    await there.close()


async def test_without_redis_each_process_counts_for_itself_and_asks_again_later(
    redis_url: str,
) -> None:
    now = [0.0]
    away = Limit("redis://127.0.0.1:1/0", 3, clock=lambda: now[0])
    tenant = uuid4()
    assert await many(away, 5, tenant) == 3
    back = Limit(redis_url, 3)
    away._shared, counts = back._shared, away._counts  # it is there again
    assert await many(away, 1, tenant) == 0, "it is left alone for a while"
    now[0] = 11
    assert await many(away, 5, tenant) == 3
    assert counts is not None
    await counts.close()
    await back.close()


@pytest.mark.parametrize("stops", [False, True])
async def test_a_redis_that_hangs_costs_one_wait(stops: bool) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 if stops else -1)
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    limit = Limit(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", 3)
    began = asyncio.get_running_loop().time()
    assert await many(limit, 20, uuid4()) == 3
    assert asyncio.get_running_loop().time() - began < 5
    await limit.close()
    server.close()


async def test_who_guesses_is_stopped_and_who_is_known_is_not(
    database: Database, app_engine: AsyncEngine, owner_engine: AsyncEngine, redis_url: str
) -> None:
    limit = Limit(redis_url, 1_000, strangers=4)
    async with opened(database, app_engine, owner_engine, limit) as corp:
        from_: Any = httpx.ASGITransport(
            application(corp.served), client=(f"10.9.{uuid4().int % 250}.7", 1)
        )
        async with httpx.AsyncClient(transport=from_, base_url="http://api") as http:
            known = {"authorization": f"Bearer {corp.token.text}"}

            async def ask(headers: dict[str, str], body: bytes = b"") -> int:
                answer = await http.post(f"{corp.base}/Users", headers=headers, content=body)
                return answer.status_code

            assert await ask(known, b"{") == 400
            guesses = [
                await ask({"authorization": f"Bearer scim_{n}"}, b"x" * 5_000_000) for n in range(6)
            ]
            # Not 413: the body of a stranger is not read.
            assert guesses == [401] * 4 + [429] * 2
            assert await ask(known, b"{") == 400
            # A token that ends is a stranger's from the next request on.
            async with corp.at_work() as (session, agent):
                await revoke_token(session, agent, corp.token.id)
            assert [await ask(known), await ask(known)] == [401, 429]
    await limit.close()


async def test_a_bulk_request_counts_its_operations(
    database: Database, app_engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    async with opened(database, app_engine, owner_engine, Limit(None, 5)) as corp:
        schema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
        one = b'{"\\u006dethod": "GET", "path": "/Users"}'
        body = b'{"schemas": ["%s"], "OPERATIONS": [%s]}' % (schema.encode(), b",".join([one] * 4))
        first = await corp.ask("POST", "/Bulk", body)
        assert first.status_code != 429
        assert (await corp.ask("POST", "/Bulk", body)).status_code == 429


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.7", "10.0.0.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", "none"),
        ("unix:", "none"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_metrics_have_slugs_and_outcomes_of_ours(corp: Corp) -> None:
    def counted(tenant: str, outcome: str) -> float:
        labels = {"tenant": tenant, "outcome": outcome}
        return REGISTRY.get_sample_value("caretree_scim_requests_total", labels) or 0

    metrics._known.clear()  # health systems of other tests have taken all labels by now
    nobody = counted("(none)", "UNAUTHENTICATED")
    await corp.user("nora")
    await corp.ask("POST", "/Users", {"userName": "nora"})
    await corp.http.get("/nobody-here-at-all/scim/v2/Users")
    assert (counted(corp.slug, "OK"), counted(corp.slug, "CONFLICT")) == (1, 1)
    assert counted("(none)", "UNAUTHENTICATED") == nobody + 1
    told = [
        sample.labels for family in REGISTRY.collect() for sample in family.samples
        if sample.name.startswith("caretree_scim")
    ]  # fmt: skip
    assert not any("nora" in str(labels) or "nobody-here" in str(labels) for labels in told)


def test_the_number_of_labels_is_bounded() -> None:
    slugs = {metrics._label(f"t{number}") for number in range(metrics.MOST + 50)}
    assert "(other)" in slugs
    assert len(slugs) <= metrics.MOST + 1
