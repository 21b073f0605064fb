"""What a stream is told: each row that has changed, once, in order; and to begin anew where something may be missing."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from api.live.feeds import Feed, Feeds, TooSlow
from domain.changes import channel
from domain.pipeline import Unavailable
from tests.database import Database

pytestmark = pytest.mark.anyio
ROWS = [uuid.UUID(int=n) for n in range(10)]


class Refused(Exception):
    """The judge's."""


def nothing() -> None:
    """Nobody has anything against it."""


async def following(feed: Feed, number: int) -> list[uuid.UUID | None]:
    async with asyncio.timeout(5):
        return [await anext(feed) for _ in range(number)]


async def test_it_begins_with_a_gap_and_goes_on_in_order() -> None:
    feed = Feed(nothing)
    for row in (ROWS[2], ROWS[1], ROWS[2]):
        feed.told(row)
    assert await following(feed, 3) == [None, ROWS[2], ROWS[1]]
    feed.told(ROWS[2])
    assert await following(feed, 1) == [ROWS[2]]


async def test_a_gap_makes_up_for_what_waits() -> None:
    feed = Feed(nothing)
    await following(feed, 1)
    feed.told(ROWS[0])
    feed.missed()
    feed.told(ROWS[1])
    assert await following(feed, 2) == [None, ROWS[1]]


async def test_it_holds_a_bounded_number_of_rows() -> None:
    feed = Feed(nothing, most=3)
    for row in ROWS[:3] + ROWS[:3]:
        feed.told(row)
    assert await following(feed, 4) == [None, *ROWS[:3]]
    for row in ROWS[:4]:
        feed.told(row)
    with pytest.raises(TooSlow):
        await anext(feed)


async def test_the_judge_is_asked_before_each_and_when_woken() -> None:
    refused = False

    def judge() -> None:
        if refused:
            raise Refused()

    feed = Feed(judge)
    feed.told(ROWS[0])
    await following(feed, 1)
    refused = True
    with pytest.raises(Refused):
        await anext(feed)
    refused = False
    await following(feed, 1)
    waiting = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0.01)
    refused = True
    feed.wake()
    with pytest.raises(Refused):
        await waiting


@pytest.fixture
async def feeds(database: Database) -> AsyncIterator[Feeds]:
    made = Feeds(database.app_url)
    await made.listener.start()
    for _ in range(1000):
        if made.listener.connected:
            break
        await asyncio.sleep(0.01)
    yield made
    await made.listener.stop()


@pytest.fixture
def teller(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


def tell(teller: psycopg.Connection, tenant: uuid.UUID, subject: str, *ids: uuid.UUID) -> None:
    with teller.transaction():
        teller.execute("select set_config('app.tenant', %s, true)", [str(tenant)])
        teller.execute("select tell(%s, %s, %s, %s)", [tenant, subject, *ids])


async def test_what_is_committed_from_now_on_is_heard(
    feeds: Feeds, teller: psycopg.Connection
) -> None:
    tenant, clinic = uuid.uuid4(), uuid.uuid4()
    async with feeds.open(tenant, "appointment", clinic, nothing) as feed:
        tell(teller, tenant, "appointment", clinic, ROWS[0])
        assert await following(feed, 2) == [None, ROWS[0]]
        async with feeds.open(tenant, "appointment", clinic, nothing) as second:
            tell(teller, tenant, "appointment", clinic, ROWS[1])
            assert await following(second, 2) == [None, ROWS[1]]
        tell(teller, tenant, "appointment", clinic, ROWS[2])
        assert await following(feed, 2) == [ROWS[1], ROWS[2]]
    assert not feeds._open
    assert not feeds._channels
    assert not feeds.listener._channels


async def test_another_clinic_subject_or_health_system_is_not(
    feeds: Feeds, teller: psycopg.Connection
) -> None:
    tenant, other, clinic, beside = (uuid.uuid4() for _ in range(4))
    async with (
        feeds.open(tenant, "appointment", clinic, nothing) as feed,
        feeds.open(other, "appointment", beside, nothing),
    ):
        await following(feed, 1)
        tell(teller, tenant, "appointment", beside, ROWS[0])
        tell(teller, tenant, "patient", clinic, ROWS[1])
        tell(teller, other, "appointment", clinic, ROWS[2])
        tell(teller, tenant, "appointment", clinic, ROWS[3])
        assert await following(feed, 1) == [ROWS[3]]


async def test_nonsense_is_not_heard_and_ends_nothing(
    feeds: Feeds, teller: psycopg.Connection
) -> None:
    tenant, clinic = uuid.uuid4(), uuid.uuid4()
    async with feeds.open(tenant, "appointment", clinic, nothing) as feed:
        await following(feed, 1)
        for payload in ("", "appointment", "appointment x y", f"appointment {clinic} {clinic} 1"):
            teller.execute("select pg_notify(%s, %s)", [channel(tenant), payload])
        tell(teller, tenant, "appointment", clinic, ROWS[4])
        assert await following(feed, 1) == [ROWS[4]]


def kill(database: Database, query: str) -> None:
    """End the connection whose last statement this was."""
    text = "select pg_terminate_backend(pid) from pg_stat_activity where query = %s"
    with psycopg.connect(database.url()) as administrator:
        assert len(administrator.execute(text, [query]).fetchall()) == 1


async def test_a_lost_connection_is_made_anew_and_the_gap_is_told(
    feeds: Feeds, teller: psycopg.Connection, database: Database
) -> None:
    tenant, clinic = uuid.uuid4(), uuid.uuid4()
    async with feeds.open(tenant, "appointment", clinic, nothing) as feed:
        await following(feed, 1)
        for _ in range(3):
            kill(database, f'listen "{channel(tenant)}"')
            assert await following(feed, 1) == [None]
            tell(teller, tenant, "appointment", clinic, ROWS[5])
            assert await following(feed, 1) == [ROWS[5]]


async def test_without_a_connection_nobody_is_promised_anything() -> None:
    feeds = Feeds("host=127.0.0.1 port=1 connect_timeout=1")
    await feeds.listener.start()
    with pytest.raises(Unavailable):
        async with feeds.open(ROWS[0], "appointment", ROWS[1], nothing):
            raise AssertionError("nothing is heard")
    assert not feeds._open
    await feeds.listener.stop()


async def test_many_open_and_close_at_once(feeds: Feeds, teller: psycopg.Connection) -> None:
    tenant, clinic = uuid.uuid4(), uuid.uuid4()

    async def one(number: int) -> list[uuid.UUID | None]:
        async with feeds.open(tenant, "appointment", clinic, nothing) as feed:
            await asyncio.sleep(0.001 * (number % 7))
            tell(teller, tenant, "appointment", clinic, ROWS[number % 10])
            return await following(feed, 2)

    for round_ in range(4):
        found = await asyncio.gather(*(one(n + round_) for n in range(10)))
        assert all(first is None and second is not None for first, second in found)
    assert not feeds.listener._channels
