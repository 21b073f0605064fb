"""Searches a page at a time: cursors (RFC 9865) over one type and over all, and what no cursor opens with."""

import datetime as dt
from typing import Any

import pytest

from identity.scim.protocol import Protocol
from identity.scim.schemas import PROVIDER
from identity.scim.tokens import bearer_of, make_token
from identity.scim.units import Unit
from tests.identity.scim.conftest import Corp, where

pytestmark = pytest.mark.anyio
USERS = "/Users"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"


async def walk(corp: Corp, path: str, **asked: Any) -> list[list[str]]:
    """The names on each page, forwards, after the way back has shown the same."""
    pages, cursors = [], [""]
    while True:
        body = {"schemas": [SEARCH], **asked, "cursor": cursors[-1]}
        answer = await corp.ask("POST", path, body)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert "startIndex" not in page
        pages.append(page)
        if "nextCursor" not in page:
            break
        cursors.append(page["nextCursor"])
    before = pages[-1]
    for page in reversed(pages[:-1]):
        body["cursor"] = before["previousCursor"]
        before = (await corp.ask("POST", path, body)).json()
        assert names(before) == names(page)
    assert "previousCursor" not in before
    return [names(page) for page in pages]


def names(page: dict[str, Any]) -> list[str]:
    return [r.get("userName") or r["displayName"] for r in page["Resources"]]


async def test_cursors_show_everybody_once_in_order(corp: Corp) -> None:
    for name, title in (("cora", "x"), ("anna", ""), ("bert", "X"), ("dora", "y"), ("emil", "")):
        await corp.user(name, **({"title": title} if title else {}))
    await corp.group("Berta's")
    by_title = {"sortBy": "title", "count": 2}
    rising = await walk(corp, f"{USERS}/.search", **by_title)
    assert rising == [["cora", "bert"], ["dora", "anna"], ["emil"]]
    falling = await walk(corp, f"{USERS}/.search", **by_title, sortOrder="descending")
    assert falling == [["emil", "anna"], ["dora", "bert"], ["cora"]]
    few = {"attributes": ["userName"], "filter": 'title pr and userName ne "dora"', "count": 1}
    assert await walk(corp, f"{USERS}/.search", **few) == [["cora"], ["bert"]]
    by_time = {"sortBy": "meta.created", "count": 4, "excludedAttributes": ["members"]}
    assert await walk(corp, "/.search", **by_time) == [
        ["cora", "anna", "bert", "dora"],
        ["emil", "Berta's"],
    ]


async def test_a_page_by_cursor_counts_once(corp: Corp) -> None:
    users = [await corp.user(name) for name in ("anna", "bert", "cora")]
    first = (await corp.ask("GET", "/Users", params={"cursor": "", "count": "1"})).json()
    assert (first["totalResults"], first["itemsPerPage"]) == (3, 1)
    assert (await corp.ask("DELETE", where(users[0]))).status_code == 204
    asked = {"cursor": first["nextCursor"], "count": "1"}
    second = (await corp.ask("GET", "/Users", params=asked)).json()
    assert (names(second), second.get("totalResults")) == (["bert"], None)
    both = {"cursor": "", "startIndex": "1"}
    answer = await corp.ask("GET", "/Users", params=both)
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")


async def test_a_cursor_opens_its_own_search_alone(corp: Corp, other: Corp) -> None:
    for name in ("anna", "bert"):
        await corp.user(name)
    asked = {"cursor": "", "count": "1", "sortBy": "meta.created"}
    cursor = (await corp.ask("GET", "/Users", params=asked)).json()["nextCursor"]
    assert (await corp.ask("GET", "/Users", params=asked | {"cursor": cursor})).status_code == 200
    async with corp.at_work() as (session, agent):
        second = await make_token(session, agent, "another")
    theirs = {"headers": {"authorization": f"Bearer {second.text}"}}
    turned = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    cases: list[tuple[Corp, str, dict[str, str], str, dict[str, Any]]] = [
        (corp, "/Users", {"cursor": turned}, "invalidCursor", {}),
        (corp, "/Users", {"cursor": "x"}, "invalidCursor", {}),
        (corp, "/Users", {"cursor": "é😀"}, "invalidCursor", {}),
        (corp, "/Users", {"cursor": cursor, "count": "2"}, "invalidCount", {}),
        (corp, "/Users", {"cursor": cursor, "sortBy": "userName"}, "invalidCursor", {}),
        (corp, "/Users", {"cursor": cursor, "filter": "active eq true"}, "invalidCursor", {}),
        (corp, "/Groups", {"cursor": cursor}, "invalidCursor", {}),
        (corp, "/", {"cursor": cursor}, "invalidCursor", {}),
        (corp, "/Users", {"cursor": cursor}, "invalidCursor", theirs),
        (other, "/Users", {"cursor": cursor}, "invalidCursor", {}),
    ]
    for who, path, more, kind, sent in cases:
        answer = await who.ask("GET", path, params=asked | more, **sent)
        assert (answer.status_code, answer.json()["scimType"]) == (400, kind), (more, answer.text)
        assert "Resources" not in answer.json()


async def test_a_position_that_somebody_made_up_is_refused(corp: Corp) -> None:
    """A directory knows its token, and could seal what it likes with it."""
    await corp.user("anna")
    unit = Unit(corp.served.pipeline, corp.tenant_id)
    bearer = await bearer_of(unit, f"Bearer {corp.token.text}", dt.datetime.now(dt.UTC))
    assert bearer is not None
    protocol = Protocol(bearer.secret)
    types = [protocol.get_resource_type("User")]
    with PROVIDER:
        asked, _ = protocol.read_search(types, {"cursor": "", "count": 1, "sortBy": "meta.created"})
        an_id = "00000000-0000-7000-8000-000000000000"
        made_up: list[Any] = [7, [], "x", {"a": 1}, [False, None], [1, None, an_id]]
        made_up += [
            [False, 7, an_id],
            [False, None, "x"],
            [False, "soon", an_id],
            [False, "\0", an_id],
        ]
        cursors = [protocol._seal(types, asked, position) for position in made_up]
    for cursor in cursors:
        params = {"cursor": cursor, "count": "1", "sortBy": "meta.created"}
        answer = await corp.ask("GET", "/Users", params=params)
        assert answer.status_code == 400, answer.text
        assert "Resources" not in answer.json()
