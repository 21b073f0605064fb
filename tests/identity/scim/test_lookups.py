"""What directories look people and groups up by: found by the short way as by any search."""

from typing import Any

import pytest

from identity.scim.kinds import KINDS
from identity.scim.lookups import ATTRIBUTES, found
from identity.scim.schemas import CLINICAL, ENTERPRISE
from identity.scim.units import Unit
from tests.identity.scim.conftest import PUBLIC, Corp

pytestmark = pytest.mark.anyio
NORA: dict[str, Any] = {
    "externalId": "E-1",
    "emails": [
        {"value": "Nora@corp.example", "type": "work"},
        {"value": "n@home.example", "type": "home"},
    ],
    ENTERPRISE: {"employeeNumber": "A7"},
}
USERS = (
    ("userName", "NORA", 1),
    ("USERNAME", "nora", 1),
    ("userName", "nobody", 0),
    ("externalId", "E-1", 1),
    ("externalId", "e-1", 0),
    ("emails.value", "nora@CORP.example", 1),
    ('emails[type eq "work"].value', "nora@corp.example", 1),
    ('emails[type eq "work"].value', "n@home.example", 0),
    ("emails.value", "no address", 0),
    (f"{ENTERPRISE}:employeeNumber", "a7", 1),
)  # fmt: skip
GROUPS = (("displayName", "WARD 3", 1), ("externalId", "g-1", 1), ("displayName", "Ward", 0))


async def looked_up(corp: Corp, kind: str, **query: str) -> list[dict[str, Any]] | None:
    unit = Unit(corp.served.pipeline, corp.tenant_id)
    return await found(unit, corp.tenant_id, KINDS[kind], query, f"{PUBLIC}{corp.base}")


async def test_both_ways_find_the_same(corp: Corp) -> None:
    nora = await corp.user("Nora", **NORA)
    await corp.group("Ward 3", nora["id"], externalId="g-1")
    for kind, asked in (("User", USERS), ("Group", GROUPS)):
        assert {path.lower() for path, *_ in asked} | {"emails.value"} >= set(ATTRIBUTES[kind])
        for path, value, number in asked:
            text = f'{path} eq "{value}"'
            short = await looked_up(corp, kind, filter=text)
            assert short is not None, text
            long = await corp.ask("POST", f"/{kind}s/.search", {"filter": text})
            assert short == long.json()["Resources"], text
            assert len(short) == number, text
            for without in ({}, {"excludedAttributes": KINDS[kind].relation}):
                answer = await corp.ask(
                    "GET", f"/{kind}s", params={"filter": text, "count": "100"} | without
                )
                told = await corp.ask(
                    "POST", f"/{kind}s/.search", {"filter": text, "count": 100} | without
                )
                assert (answer.status_code, answer.json()) == (200, told.json())


async def test_what_is_no_lookup_is_a_search(corp: Corp) -> None:
    for name in ("nora", "otto"):
        await corp.user(name, title="Nurse", **{ENTERPRISE: {"employeeNumber": "A7"}})
    same = f'{ENTERPRISE}:employeeNumber eq "A7"'
    one = {"filter": 'userName eq "nora"'}
    for query in (
        {"filter": 'title eq "Nurse"'},
        {"filter": f'{CLINICAL}:npi eq "1"'},
        {"filter": 'userName sw "nora"'},
        {"filter": 'userName eq "nora" or userName eq "otto"'},
        {"filter": 'userName eq "no\\"ra"'},
        {"filter": 'not (userName eq "nora")'},
        one | {"count": "0"},
        one | {"startIndex": "2"},
        one | {"attributes": "userName"},
        one | {"excludedAttributes": "title"},
        one | {"sortBy": "userName"},
        one | {"cursor": ""},
        {"filter": same, "count": "1"},
        {"filter": same, "count": "2"},
        {},
    ):
        assert await looked_up(corp, "User", **query) is None, query
    page = (await corp.ask("GET", "/Users", params={"filter": same, "count": "1"})).json()
    assert (page["totalResults"], page["itemsPerPage"]) == (2, 1)


async def test_a_lookup_sees_its_own_health_system_only(corp: Corp, other: Corp) -> None:
    await other.user("nora", **NORA)
    for path, value, _ in USERS:
        assert await looked_up(corp, "User", filter=f'{path} eq "{value}"') == []


async def test_a_value_that_no_text_has_is_refused(corp: Corp) -> None:
    answer = await corp.ask("GET", "/Users?filter=userName%20eq%20%22a%00%22")
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter")
