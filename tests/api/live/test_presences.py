"""Who is connected: how many may be, whose actor is looked after, and that a look that fails ends nobody's connection."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest

from api.live.feeds import Feeds
from api.live.presences import AT_ONCE, LOOK, Full, Leaving, Presences
from authz.actor import Actor
from domain.model import new_id
from domain.pipeline import Unavailable
from identity.errors import IdentityUnavailable, NotAdmitted
from tests.api.http.tiny import ACTOR, FRESH, actor

pytestmark = pytest.mark.anyio


class Actors:
    """Answers what a test says."""

    def __init__(self) -> None:
        self.fallen_: list[int] | Exception = []
        self.asked: list[int] = []
        self.renewed: Actor | Exception = FRESH

    async def fallen(self, actors: Sequence[Actor]) -> list[int]:
        self.asked.append(len(actors))
        if isinstance(self.fallen_, Exception):
            raise self.fallen_
        return self.fallen_

    async def actor(self, bearer: str, *, fresh: bool = False) -> Actor:
        assert fresh
        if isinstance(self.renewed, Exception):
            raise self.renewed
        return self.renewed


@pytest.fixture
def actors() -> Actors:
    return Actors()


@pytest.fixture
def presences(actors: Actors) -> Presences:
    return Presences(actors, Feeds(""), 3)


async def test_whose_actor_stands_stays(presences: Presences) -> None:
    with presences.enter("t", ACTOR) as presence:
        await presences.look()
        assert presence.actor is ACTOR
        assert not presence.ended.done()


async def test_whose_actor_has_changed_goes_on_as_the_new_one(
    presences: Presences, actors: Actors
) -> None:
    with presences.enter("t", ACTOR) as one, presences.enter("u", ACTOR) as other:
        actors.fallen_ = [0]
        await presences.look()
        assert {one.actor, other.actor} == {ACTOR, FRESH}


async def test_who_is_refused_is_ended(presences: Presences, actors: Actors) -> None:
    with presences.enter("t", ACTOR) as presence:
        actors.fallen_, actors.renewed = [0], NotAdmitted()
        await presences.look()
        assert presence.ended.result() is actors.renewed
        await presences.look()  # and once only


async def test_whose_time_is_over_is_asked_anew(presences: Presences, actors: Actors) -> None:
    """Also while the database is away: that a token has run out is known without it."""
    over = replace(ACTOR, valid_until=dt.datetime.now(dt.UTC))
    with presences.enter("t", over) as presence:
        actors.fallen_, actors.renewed = Unavailable(), NotAdmitted()
        await presences.look()
        assert presence.ended.result() is actors.renewed


@pytest.mark.parametrize("away", [Unavailable(), IdentityUnavailable("the registry")])
async def test_who_cannot_be_judged_now_is_looked_at_again(
    presences: Presences, actors: Actors, away: Exception
) -> None:
    with presences.enter("t", ACTOR) as presence:
        actors.fallen_, actors.renewed = [0], away
        await presences.look()
        assert not presence.ended.done()
        actors.renewed = NotAdmitted()
        await presences.look()
        assert presence.ended.done()


async def test_many_are_asked_about_in_parts(presences: Presences, actors: Actors) -> None:
    with ExitStack() as inside:
        for _ in range(AT_ONCE + 1):
            colleague = replace(ACTOR, person_id=new_id())
            inside.enter_context(presences.enter("t", colleague))
        inside.enter_context(presences.enter("t", actor(1)))  # of another health system
        await presences.look()
    assert sorted(actors.asked) == [1, 1, AT_ONCE]


async def test_it_looks_all_the_time(presences: Presences, actors: Actors) -> None:
    presences._look = 0.01
    with presences.enter("t", ACTOR) as presence:
        watching = asyncio.create_task(presences.watch())
        await asyncio.sleep(0.05)
        actors.fallen_, actors.renewed = [0], NotAdmitted()
        async with asyncio.timeout(1):
            assert await presence.ended is actors.renewed
        watching.cancel()
    assert LOOK < 1, "within a second whoever is cut off has lost what they had open"


async def test_what_is_told_is_looked_at_at_once(presences: Presences, actors: Actors) -> None:
    presences._look = 60
    with (
        presences.enter("t", ACTOR) as one,
        presences.enter("t", actor(1)) as elsewhere,
    ):
        watching = asyncio.create_task(presences.watch())
        await asyncio.sleep(0.01)
        actors.fallen_, actors.renewed = [0], NotAdmitted()
        presences.told(ACTOR.tenant_id)
        async with asyncio.timeout(1):
            assert await one.ended is actors.renewed
        assert not elsewhere.ended.done(), "nothing was told of that health system"
        presences.told(None)  # a gap: nobody knows what was told
        async with asyncio.timeout(1):
            assert await elsewhere.ended is actors.renewed
        watching.cancel()


async def test_a_fault_is_not_the_last_look(presences: Presences, actors: Actors) -> None:
    presences._look = 0.01
    with presences.enter("t", ACTOR) as presence:
        actors.fallen_ = RuntimeError()
        watching = asyncio.create_task(presences.watch())
        await asyncio.sleep(0.05)
        assert not presence.ended.done()
        actors.fallen_, actors.renewed = [0], RuntimeError()
        async with asyncio.timeout(1):
            assert await presence.ended is actors.renewed, "nobody vouches for them"
        watching.cancel()


async def test_places_are_bounded_and_given_back(presences: Presences) -> None:
    for _ in range(2):
        with ExitStack() as places:
            for _ in range(3):
                places.enter_context(presences.place())
            with pytest.raises(Full):
                places.enter_context(presences.place())


async def test_who_leaves_waits_for_the_last_one(presences: Presences) -> None:
    with presences.place(), presences.enter("t", ACTOR) as presence:
        leaving = asyncio.create_task(presences.leave())
        assert isinstance(await presence.ended, Leaving)
        assert not leaving.done()
        with pytest.raises(Leaving), presences.place():
            raise AssertionError("nobody enters any more")
        with pytest.raises(Leaving), presences.enter("t", ACTOR):
            raise AssertionError("nobody enters any more")
    await asyncio.wait_for(leaving, 1)


async def test_who_does_not_go_is_not_waited_for(presences: Presences) -> None:
    with presences.place():
        await asyncio.wait_for(presences.leave(patience=0.05), 1)
