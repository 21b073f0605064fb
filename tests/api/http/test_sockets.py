"""The conversation over a websocket, word by word (PROTOCOL.md of graphql-ws), and who may begin one."""

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Any

import orjson
import pytest

from api.http import body
from api.http.sockets import OPERATIONS, Conversation
from api.live.feeds import Feeds
from api.live.presences import OF_PERSON, UNKNOWN, Presences
from authz.actor import Actor
from identity.errors import AccountHeld, Cause, MfaRequired, NotAdmitted, Refusal, TokenRefused
from tests.api.http.talk import INIT, Closed, Talk, connected, talking
from tests.api.http.tiny import ACTOR, OWN, RENAMED, SECRET, Everybody, anybody, app

pytestmark = pytest.mark.anyio
COUNT = "subscription { count }"
LONG = "subscription { count(until: 1000, pause: 0.01) }"


def told(message: Any) -> Any:
    return message["payload"]["data"]["count"]


async def test_a_subscription_from_its_first_to_its_last_word() -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe(COUNT)
        first, third = await talk.receive(), await talk.receive()
        assert (first["id"], first["type"], told(first)) == ("1", "next", 1)
        assert first["payload"]["extensions"] == {"cost": 1}
        assert told(third) == 3  # the second event shows its reader nothing
        assert await talk.receive() == {"id": "1", "type": "complete"}
        await talk.subscribe(COUNT)  # the id is free again
        assert told(await talk.receive()) == 1


@pytest.mark.parametrize(
    "query", ["{ finished { name } }", 'mutation { rename(name: "x") { name } }']
)
async def test_a_single_answer(query: str) -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe(query)
        answer = await talk.receive()
        assert answer["type"] == "next"
        assert answer["payload"]["data"]
        assert await talk.receive() == {"id": "1", "type": "complete"}


async def test_variables_and_the_name_of_an_operation() -> None:
    query = "query A { patient(id: 1) { name } } subscription B($n: Int!) { count(until: $n) }"
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe(query, operationName="B", variables={"n": 1})
        assert told(await talk.receive()) == 1
        assert (await talk.receive())["type"] == "complete"


async def test_a_client_that_has_heard_enough() -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe(LONG)
        await talk.receive()
        await talk.send({"id": "1", "type": "complete"})
        await asyncio.sleep(0.05)
        while not talk.heard.empty():
            await talk.receive()
        await asyncio.sleep(0.1)
        assert talk.heard.empty()
        await talk.subscribe(COUNT)
        assert told(await talk.receive()) == 1


async def test_ping_and_pong() -> None:
    async with connected(app()) as talk:
        await talk.send({"type": "ping", "payload": {"a": 1}})
        assert await talk.receive() == {"type": "pong"}
        await talk.let_in()
        await talk.send({"type": "pong"})
        await talk.send({"type": "ping"})
        assert await talk.receive() == {"type": "pong"}


MALFORMED: list[Any] = [
    "nothing", "[]", "null", "7", '"text"', "{}", '{"type": 7}', '{"type": "unheard of"}',
    '{"type": "connection_init", "payload": []}', '{"type": "ping", "payload": 1}',
    '{"type": "subscribe"}', '{"type": "subscribe", "id": 1, "payload": {"query": "{ a }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ a }"}}',
    '{"type": "subscribe", "id": ["x"], "payload": {"query": "{ a }"}}',
    '{"type": "subscribe", "id": "' + "x" * 129 + '", "payload": {"query": "{ a }"}}',
    '{"type": "subscribe", "id": "1"}', '{"type": "subscribe", "id": "1", "payload": {}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": 7}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": {}}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": {"a": '
    + "[" * 40 + "]" * 40 + "}}}",
    "[" * 5000 + "]" * 5000, '{"type": "complete"}', '{"type": "complete", "id": {}}',
]  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED, ids=range(len(MALFORMED)))
async def test_4400_for_what_is_no_message(message: str) -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.send(message)
        code, reason = await talk.closed()
        assert code == 4400
        assert 0 < len(reason.encode()) <= 123  # RFC 6455, section 5.5


async def test_4400_for_what_is_no_text() -> None:
    async with connected(app()) as talk:
        await talk.said.put({"type": "websocket.receive", "bytes": b"{}"})
        assert (await talk.closed())[0] == 4400


async def test_4401_before_one_is_let_in() -> None:
    async with connected(app()) as talk:
        await talk.subscribe(COUNT)
        assert await talk.closed() == (4401, "Unauthorized")


@pytest.mark.parametrize(
    "payload",
    [None, {}, {"authorization": ""}, {"authorization": "t"}, {"authorization": "Basic t"},
     {"authorization": 7}, {"authorization": ["Bearer t"]}, {"token": "t"}],
)  # fmt: skip
async def test_4403_without_a_token(payload: Any) -> None:
    async with connected(app()) as talk:
        await talk.send({"type": "connection_init", "payload": payload})
        assert await talk.closed() == (4403, "UNAUTHENTICATED")


async def test_a_token_in_the_address_or_a_header_is_none() -> None:
    async with connected(app(), authorization="Bearer t") as talk:
        await talk.send({"type": "connection_init"})
        assert await talk.closed() == (4403, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (TokenRefused(Refusal.EXPIRED), (4403, "UNAUTHENTICATED")),
        (NotAdmitted(), (4403, "UNAUTHENTICATED")),
        (MfaRequired(), (4403, "MFA_REQUIRED")),
        (AccountHeld(Cause.INACTIVE), (4403, "FORBIDDEN")),
        (TimeoutError(), (1013, "UNAVAILABLE")),
        (RuntimeError(SECRET), (1011, "INTERNAL")),
    ],
)
async def test_who_is_not_let_in(refusal: Exception, expected: tuple[int, str]) -> None:
    served = app()
    served.state.everybody.cut["t"] = refusal
    async with connected(served) as talk:
        await talk.send(INIT)
        assert await talk.closed() == expected


async def test_4406_for_another_protocol() -> None:
    async with talking(app(), "graphql-ws") as talk:
        assert await talk.receive() == {"type": "websocket.accept"}
        assert await talk.closed() == (4406, "Subprotocol not acceptable")


async def test_4408_for_who_says_nothing() -> None:
    async with connected(app(waits={"init": 0.05})) as talk:
        assert await talk.closed() == (4408, "Connection initialisation timeout")


async def test_4409_for_an_id_twice() -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe(LONG)
        await talk.subscribe(LONG)
        assert await talk.closed() == (4409, "Subscriber for 1 already exists")


async def test_4429_for_who_begins_twice() -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.send(INIT)
        assert await talk.closed() == (4429, "Too many initialisation requests")


async def test_1009_for_a_message_that_is_too_long() -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe("{ finished { name } }" + " " * body.MAX_BYTES)
        assert (await talk.closed())[0] == 1009


DOCUMENTS = [
    ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
    ("subscription {", "GRAPHQL_PARSE_FAILED"),
    ("subscription { count a: count }", "GRAPHQL_VALIDATION_FAILED"),  # one root field
    ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
    ("subscription { count(until: 2) @skip(if: true) }", "GRAPHQL_VALIDATION_FAILED"),
    ('subscription { count(until: "x") }', "GRAPHQL_VALIDATION_FAILED"),
    ("subscription($n: Int!) { count(until: $n) }", "BAD_USER_INPUT"),
    ("{ __schema { types { name } } }", "GRAPHQL_VALIDATION_FAILED"),
    ("{ patient(id: 1) {" + "sibling {" * 20 + "name" + "}" * 20 + "} }", "OPERATION_TOO_COMPLEX"),
    ("subscription { refused }", "FORBIDDEN"),
    ("subscription { refused(after: 0.02) }", "FORBIDDEN"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "code"), DOCUMENTS)
async def test_what_is_wrong_with_an_operation_ends_it_alone(query: str, code: str) -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe(query)
        answer = await talk.receive()
        assert (answer["id"], answer["type"]) == ("1", "error")
        (error,) = answer["payload"]
        assert error["extensions"]["code"] == code
        await talk.subscribe(COUNT)
        assert told(await talk.receive()) == 1


async def test_an_event_that_fails_is_told_and_the_next_one_comes() -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        await talk.subscribe("subscription { count(since: 7, until: 10) }")
        renewed, failed, next_, last = [await talk.receive() for _ in range(4)]
        assert told(renewed) == 7  # for an actor who had changed, it ran again
        (error,) = failed["payload"]["errors"]
        assert error["extensions"]["code"] == "INTERNAL"
        assert SECRET not in orjson.dumps(failed).decode()
        assert told(next_) == 9
        assert told(last) == 10


async def test_one_connection_has_a_bounded_number_of_operations() -> None:
    async with connected(app()) as talk:
        await talk.let_in()
        for number in range(OPERATIONS):
            await talk.subscribe("subscription { count(pause: 60) }", str(number))
        await talk.subscribe(COUNT, "more")
        answer = await talk.receive()
        assert (answer["id"], answer["type"]) == ("more", "error")
        assert answer["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        await talk.send({"id": "0", "type": "complete"})
        await talk.subscribe(COUNT, "more")
        assert told(await talk.receive()) == 1


async def test_what_was_refused_or_never_begun_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a connection could fill the process with what it asks for beyond its operations."""
    began: list[Conversation] = []
    made = Conversation.__init__

    def kept(self: Conversation, *given: Any) -> None:
        made(self, *given)
        began.append(self)

    monkeypatch.setattr(Conversation, "__init__", kept)
    async with connected(app()) as talk:
        await talk.let_in()
        for number in range(OPERATIONS):
            await talk.subscribe("subscription { count(pause: 60) }", str(number))
        for number in range(OPERATIONS):
            await talk.subscribe(COUNT, f"more {number}")
        await talk.send({"id": "0", "type": "complete"})
        for number in range(OPERATIONS):
            await talk.subscribe(COUNT, f"never {number}")
            await talk.send({"id": f"never {number}", "type": "complete"})
        for _ in range(OPERATIONS):
            assert (await talk.receive())["type"] == "error"
        await talk.send({"type": "ping"})
        while (await talk.receive())["type"] != "pong":
            pass
        assert len(began[0].asked) <= 1


@pytest.mark.parametrize(
    "query", ['mutation { rename(name: "late") { name } }', "{ patient(id: 1) { name } }", COUNT]
)
async def test_nothing_is_run_for_whom_time_has_put_out(query: str) -> None:
    """Also before anybody has looked who still stands: by HTTP they would not have come in."""
    over = replace(ACTOR, valid_until=dt.datetime.now(dt.UTC))
    asked: list[str] = []

    async def once(bearer: str, *, fresh: bool = False) -> Actor:
        asked.append(bearer)
        if len(asked) > 1:
            raise TokenRefused(Refusal.EXPIRED)
        return over

    before = list(RENAMED)
    async with connected(app(once)) as talk:
        await talk.let_in()
        await talk.subscribe(query)
        assert await talk.closed() == (4403, "UNAUTHENTICATED")
    assert before == RENAMED


ORIGINS = [
    ({}, True), ({"origin": OWN}, True), ({"origin": "https://portal.test"}, True),
    ({"origin": "https://evil.test"}, False), ({"origin": "null"}, False), ({"origin": ""}, False),
    ({"origin": "https://portal.test.evil.test"}, False), ({"origin": "http://portal.test"}, False),
    ({"origin": "https://portal.test:8443"}, False), ({"origin": "HTTPS://portal.test"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "may"), ORIGINS)
async def test_only_pages_of_the_list_may_connect(headers: dict[str, str], may: bool) -> None:
    async with talking(app(origins=("https://portal.test",)), **headers) as talk:
        answer = await talk.receive()
        assert answer["type"] == ("websocket.accept" if may else "websocket.http.response.start")
        assert may or answer["status"] == 403


async def test_elsewhere_nothing_is_to_be_had() -> None:
    async with talking(app(), path="/other") as talk:
        with pytest.raises(Closed):
            await talk.receive()


def limited(most: int, look: float = 60) -> Presences:
    return Presences(Everybody(anybody), Feeds(""), most, look=look)


async def test_a_full_process_takes_no_more() -> None:
    served = app(presences=limited(1))
    async with connected(served), talking(served) as second:
        answer = await second.receive()
        assert (answer["type"], answer["status"]) == ("websocket.http.response.start", 503)
    async with connected(served):
        pass  # the place is free again


async def test_a_person_has_a_bounded_number_of_connections() -> None:
    served = app(presences=limited(100))
    talks: list[Any] = [connected(served) for _ in range(OF_PERSON + 1)]
    opened: list[Talk] = [await talk.__aenter__() for talk in talks]
    for talk in opened[:-1]:
        await talk.let_in()
    await opened[-1].send(INIT)
    assert await opened[-1].closed() == (1013, "RATE_LIMITED")
    for talk in talks:
        await talk.__aexit__(None, None, None)
    async with connected(served) as again:
        await again.let_in()


async def test_one_network_has_a_bounded_number_of_those_who_say_nothing() -> None:
    served = app(presences=limited(1000))
    talks: list[Any] = [connected(served) for _ in range(UNKNOWN)]
    opened: list[Talk] = [await talk.__aenter__() for talk in talks]
    async with talking(served) as late:
        assert (await late.receive())["status"] == 429
    async with talking(served, client="10.0.0.9") as elsewhere:
        assert (await elsewhere.receive())["type"] == "websocket.accept"
    await opened[0].let_in()  # who has said who they are leaves a place to somebody else
    async with connected(served) as again:
        await again.let_in()
    for talk in talks:
        await talk.__aexit__(None, None, None)
    assert not served.state.presences._unknown


async def test_who_does_not_read_is_left() -> None:
    served = app(waits={"patience": 0.05})
    async with connected(served) as talk:
        await talk.let_in()
        await talk.subscribe(LONG)
        await talk.receive()
        talk.stuck.set()
        await asyncio.sleep(0.3)
        assert not served.state.presences._present


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [(NotAdmitted(), (4403, "UNAUTHENTICATED")), (MfaRequired(), (4403, "MFA_REQUIRED"))],
)
async def test_who_is_cut_off_is_closed(refusal: Exception, expected: tuple[int, str]) -> None:
    served = app()
    async with connected(served) as talk:
        await talk.let_in()
        await talk.subscribe("subscription { count(pause: 60) }")
        served.state.everybody.cut["t"] = refusal
        await served.state.presences.look()
        assert await talk.closed() == expected


async def test_who_is_cut_off_is_told_no_event() -> None:
    """Before any look at who still stands: each event asks."""

    async def once(bearer: str, *, fresh: bool = False) -> Any:
        if fresh:
            raise NotAdmitted()
        return await anybody(bearer)

    async with connected(app(once)) as talk:
        await talk.let_in()
        await talk.subscribe("subscription { count(since: 6, until: 9) }")
        assert told(await talk.receive()) == 6
        assert await talk.closed() == (4403, "UNAUTHENTICATED")


async def test_1001_when_the_server_ends() -> None:
    served = app()
    async with connected(served) as talk:
        await talk.let_in()
        await talk.subscribe("subscription { count(pause: 60) }")
        await served.state.presences.leave()
        assert await talk.closed() == (1001, "Going away")
        async with talking(served) as late:
            assert (await late.receive())["status"] == 503


async def test_what_is_over_holds_nothing() -> None:
    served = app()
    async with connected(served) as talk:
        await talk.let_in()
        await talk.subscribe(LONG)
        await talk.receive()
    presences = served.state.presences
    assert not presences._present
    assert not presences._of_person
    assert presences._places == 0
