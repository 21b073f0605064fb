"""Answers as server-sent events (PROTOCOL.md of graphql-sse, distinct connections mode)."""

import asyncio
from typing import Any

import orjson
import pytest

from api.http.graphql import Hooks
from api.live.feeds import Feeds
from api.live.presences import Presences
from identity.errors import MfaRequired, NotAdmitted
from tests.api.http.talk import Stream, streaming
from tests.api.http.test_sockets import DOCUMENTS
from tests.api.http.tiny import SECRET, Everybody, anybody, app, ask, code

pytestmark = pytest.mark.anyio
COMPLETE = ("complete", None)


async def events(stream: Stream) -> list[Any]:
    """The data of all events; the last one says that it was."""
    status, headers = await stream.start()
    assert status == 200
    assert headers["content-type"] == "text/event-stream"
    found = await stream.rest()
    assert found[-1] == COMPLETE
    assert {name for name, _ in found[:-1]} <= {"next"}
    return [data for _, data in found[:-1]]


async def test_a_subscription_from_its_first_event_to_its_end() -> None:
    async with streaming(app(), "subscription { count(until: 4) }") as stream:
        found = await events(stream)
    assert [one["data"] for one in found] == [{"count": 1}, {"count": 3}, {"count": 4}]
    assert found[0]["extensions"] == {"cost": 1}


async def test_nothing_on_the_way_keeps_it_back() -> None:
    async with streaming(app(), "subscription { count }") as stream:
        _, headers = await stream.start()
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-length" not in headers


@pytest.mark.parametrize(
    "query", ["{ finished { name } }", 'mutation { rename(name: "x") { name } }']
)
async def test_a_single_answer(query: str) -> None:
    async with streaming(app(), query) as stream:
        (answer,) = await events(stream)
    assert answer["data"]


@pytest.mark.parametrize(("query", "expected"), DOCUMENTS)
async def test_what_is_wrong_with_an_operation_is_an_event(query: str, expected: str) -> None:
    async with streaming(app(), query) as stream:
        (answer,) = await events(stream)
    assert "data" not in answer
    assert answer["errors"][0]["extensions"]["code"] == expected


async def test_an_event_that_fails_is_told_and_the_next_one_comes() -> None:
    async with streaming(app(), "subscription { count(since: 7, until: 9) }") as stream:
        renewed, failed, last = await events(stream)
    assert (renewed["data"], last["data"]) == ({"count": 7}, {"count": 9})
    assert failed["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert SECRET not in orjson.dumps(failed).decode()


async def test_json_of_several_lines_is_one() -> None:
    """PostgreSQL breaks lines between the parts of what it makes; a line of an event is a field."""
    async with streaming(app(), "{ finished(lines: 3) { name } }") as stream:
        (answer,) = await events(stream)
    assert answer["data"] == {"finished": {"name": "from SQL"}}


REFUSED: list[tuple[dict[str, str], bytes | None, int, str]] = [
    ({"authorization": "Basic t"}, None, 401, "UNAUTHENTICATED"),
    ({"content-type": "text/plain"}, None, 415, "BAD_USER_INPUT"),
    ({"content-length": "99999999"}, None, 413, "BAD_USER_INPUT"),
    ({}, b"[]", 400, "BAD_USER_INPUT"),
    ({}, b"{", 400, "BAD_USER_INPUT"),
    ({}, b"{}", 400, "BAD_USER_INPUT"),
]


@pytest.mark.parametrize(("headers", "body", "status", "expected"), REFUSED)
async def test_what_is_no_request_gets_no_stream(
    headers: dict[str, str], body: bytes | None, status: int, expected: str
) -> None:
    async with streaming(app(), "subscription { count }", body=body, **headers) as stream:
        assert (await stream.start())[0] == status
        message = await stream.heard.get()
        (error,) = orjson.loads(message["body"])["errors"]
        assert error["extensions"]["code"] == expected


@pytest.mark.parametrize(
    "accept",
    ["application/json", "application/graphql-response+json", "*/*", "",
     "application/json, text/event-stream", "text/event-stream;q=0.5, application/json"],
)  # fmt: skip
async def test_a_subscription_needs_a_stream(accept: str) -> None:
    answer = await ask("subscription { count }", accept=accept)
    assert answer.status_code == 406
    assert code(answer) == "BAD_USER_INPUT"


@pytest.mark.parametrize("accept", ["application/json, text/event-stream", "*/*", "text/html"])
async def test_who_takes_json_gets_json(accept: str) -> None:
    answer = await ask("{ finished { name } }", accept=accept)
    assert answer.headers["content-type"].startswith("application/json")


async def test_a_silence_is_broken() -> None:
    served = app(waits={"beat": 0.02})
    async with streaming(served, "subscription { count(pause: 0.1, until: 1) }") as stream:
        await stream.start()
        found = await stream.rest()
    assert [name for name, _ in found if name] == ["next", "complete"]
    assert [name for name, _ in found][:2] == ["", ""]


async def test_a_client_that_is_gone_leaves_nothing() -> None:
    served = app()
    async with streaming(served, "subscription { count(pause: 60) }") as stream:
        await stream.start()
        assert len(served.state.presences._present) == 1
    assert not served.state.presences._present
    assert served.state.presences._places == 0


async def test_who_does_not_read_is_left() -> None:
    served = app(waits={"patience": 0.05})
    async with streaming(served, "subscription { count(until: 1000, pause: 0.01) }") as stream:
        await stream.start()
        stream.stuck.set()
        await asyncio.sleep(0.4)
        assert not served.state.presences._present


@pytest.mark.parametrize(
    ("refusal", "expected"), [(NotAdmitted(), "UNAUTHENTICATED"), (MfaRequired(), "MFA_REQUIRED")]
)
async def test_who_is_cut_off_is_told_so_and_no_more(refusal: Exception, expected: str) -> None:
    served = app()
    async with streaming(served, "subscription { count(pause: 60) }") as stream:
        await stream.start()
        served.state.everybody.cut["t"] = refusal
        await served.state.presences.look()
        (name, data), *rest = await stream.rest()
    assert (name, data["errors"][0]["extensions"]["code"]) == ("next", expected)
    assert rest == [COMPLETE]


async def test_when_the_server_ends() -> None:
    served = app()
    async with streaming(served, "subscription { count(pause: 60) }") as stream:
        await stream.start()
        await served.state.presences.leave()
        (_, data), *rest = await stream.rest()
    assert data["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert rest == [COMPLETE]
    async with streaming(served, "subscription { count }") as late:
        assert (await late.start())[0] == 503


async def test_only_so_many_events_are_read_at_a_time() -> None:
    """However many follow: what they are told must not stand before everybody's requests."""
    served = app()
    served.state.presences._turns = asyncio.Semaphore(1)
    reading = most = 0

    async def counting(*_: Any) -> None:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        await asyncio.sleep(0.005)
        reading -= 1

    served = app(hooks=Hooks(before=counting), presences=served.state.presences)
    streams: list[Any] = [streaming(served, "subscription { count(until: 4) }") for _ in range(5)]
    opened: list[Stream] = [await stream.__aenter__() for stream in streams]
    found = await asyncio.gather(*(events(stream) for stream in opened))
    for stream in streams:
        await stream.__aexit__(None, None, None)
    assert {len(one) for one in found} == {3}
    assert most == 1


async def test_a_full_process_takes_no_more() -> None:
    served = app(presences=Presences(Everybody(anybody), Feeds(""), 1))
    async with streaming(served, "subscription { count(pause: 60) }") as stream:
        await stream.start()
        async with streaming(served, "subscription { count }") as second:
            status, headers = await second.start()
            assert status == 503
            assert headers["retry-after"]
