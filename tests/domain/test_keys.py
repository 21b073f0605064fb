"""Idempotency keys and gapless series, over several connections at once."""

import asyncio
import hashlib
import uuid
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Invalid
from domain.keys import IdempotencyKey, KeyReused, claim, forget, next_number
from domain.model import new_id
from tests import make
from tests.database import Database
from tests.domain.acting import Stage, acting, stage

pytestmark = pytest.mark.anyio
ONE, OTHER = (hashlib.sha256(text).digest() for text in (b"one", b"other"))


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


async def test_a_repeat_is_told_the_first_result(at: Stage, app_engine: AsyncEngine) -> None:
    first = new_id()
    async with acting(app_engine, at.tenant_id) as session:
        assert await claim(session, at.agent, "sign", "k", ONE, first) is None
    async with acting(app_engine, at.tenant_id) as session:
        assert await claim(session, at.agent, "sign", "k", ONE, new_id()) == first
        assert await claim(session, at.agent, "start", "k", OTHER, new_id()) is None
        with pytest.raises(KeyReused):
            await claim(session, at.agent, "sign", "k", OTHER, new_id())


async def test_a_key_is_a_persons_own(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    other = make.person(at.tree.tenant)
    make.save(database, other)
    async with acting(app_engine, at.tenant_id) as session:
        for agent in (at.agent, replace(at.agent, person_id=other.id)):
            assert await claim(session, agent, "sign", "k", ONE, new_id()) is None
        with pytest.raises(Invalid):
            await claim(session, replace(at.agent, person_id=None), "sign", "k", ONE, new_id())
        for key in ("", "k" * 201):
            with pytest.raises(Invalid):
                await claim(session, at.agent, "sign", key, ONE, new_id())


async def test_requests_at_one_moment_wait_for_the_first(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async def request() -> uuid.UUID:
        async with acting(app_engine, at.tenant_id) as session:
            mine = new_id()
            earlier = await claim(session, at.agent, "sign", "k", ONE, mine)
            await asyncio.sleep(0.05)
            return earlier or mine

    assert len(set(await asyncio.gather(*(request() for _ in range(4))))) == 1


async def test_a_failed_request_leaves_its_key_free(at: Stage, app_engine: AsyncEngine) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        await claim(session, at.agent, "sign", "k", ONE, new_id())
        await session.rollback()
    async with acting(app_engine, at.tenant_id) as session:
        assert await claim(session, at.agent, "sign", "k", OTHER, new_id()) is None


async def test_keys_are_forgotten_after_a_day(at: Stage, app_engine: AsyncEngine) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        await claim(session, at.agent, "sign", "old", ONE, new_id())
        await claim(session, at.at(hours=2), "sign", "young", ONE, new_id())
        await forget(session, at.at(hours=24, minutes=1))
        kept = await session.scalars(select(IdempotencyKey.key))
        assert kept.all() == ["young"]


async def test_a_series_has_no_gaps_and_each_health_system_its_own(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    other = stage(database)

    async def take(of: Stage, *, fail: bool) -> int:
        async with acting(app_engine, of.tenant_id) as session:
            number = await next_number(session, of.agent, "mrn")
            if fail:
                await session.rollback()
            return number

    await asyncio.gather(*(take(at, fail=n % 2 == 0) for n in range(8)))
    assert [await take(at, fail=False), await take(other, fail=False)] == [5, 1]
