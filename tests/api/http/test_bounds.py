"""What clients send takes a bounded share of memory, and each person a bounded share of the processor."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from api.http.documents import Documents
from api.http.limits import Limits
from api.plan.kept import Kept
from api.rates import RateLimited, Tally
from domain.model import new_id
from tests.api.http.tiny import SCHEMA, app, ask, client, code

CORE = SCHEMA._schema
FREE = Limits(
    tokens=4_000, fields=10**6, aliases=10**6, root_fields=10**6, cost=10**9, objects=10**6
)


def wide(i: int, size: int = 50) -> str:
    """A document of its own, as many short tokens as fit into one."""
    return "{" + " ".join(f"a{i}_{n}:__typename" for n in range(size)) + "}"


def long(i: int, size: int = 40_000) -> str:
    """A document of its own with few tokens and a long text."""
    return f'{{patient(id:"{i}{"x" * size}"){{name}}}}'


def sized(i: int) -> str:
    """A document of its own whose cost depends on many variables."""
    names = [f"$v{i}_{n}" for n in range(6)]
    fields = " ".join(f"s{n}:siblings(first:{v}){{name}}" for n, v in enumerate(names))
    return f"query({','.join(f'{v}:Int!' for v in names)}){{patient(id:1){{{fields}}}}}"


@pytest.mark.parametrize("make", [wide, long, sized], ids=["tokens", "text", "variables"])
def test_kept_documents_are_bounded_in_bytes(make: Callable[[int], str]) -> None:
    most = 1024 * 1024
    documents = Documents(CORE, FREE, most=most)
    documents.find("{__typename}", None)  # what is made once for a schema is not counted
    gc.collect()
    tracemalloc.start()
    for i in range(14):
        found = documents.find(make(i), None).operation(None)
        for n in range(64):
            documents.cost(found, dict.fromkeys(found.sizes, 257 + n))
    del found
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1 < len(documents.kept) < 14
    assert documents.kept.weight <= most
    assert held < most


def test_what_is_used_most_stays() -> None:
    documents = Documents(CORE, FREE, most=2**20)
    used = documents.find("{__typename}", None)
    for i in range(50):
        documents.find(wide(i, 30), None)
        assert documents.find("{__typename}", None) is used
    first = documents.find(wide(0, 30), None)
    assert documents.find(wide(0, 30), None) is first


def test_a_memory_gives_back_what_leaves_it() -> None:
    kept: Kept[str, int] = Kept(80)
    for name in "abcdefghi":
        kept.keep(name, 1, 10)
    assert (kept.weight, len(kept), kept.get("a")) == (80, 8, None)
    kept.keep("b", 2, 5)
    assert (kept.weight, kept.get("b")) == (75, 2)
    kept.keep("b", 3, 11)  # more than an eighth: gone, and nobody else
    assert (kept.weight, len(kept), kept.get("b")) == (70, 7, None)
    kept.get("c")
    kept.keep("j", 1, 10)
    kept.keep("k", 1, 10)
    assert kept.get("c") == 1
    assert kept.get("d") is None


@pytest.mark.anyio
async def test_new_documents_are_rationed_by_person_and_known_ones_are_not() -> None:
    served = app(compiling=Tally(1e-9, clock=lambda: 75.0), trusted={"t": "{ t: __typename }"})
    assert (await ask("{ a: __typename }", served=served)).status_code == 200
    for text in ("{ b: __typename }", "{", "{ nope }"):
        refused = await ask(text, served=served, accept="application/graphql-response+json")
        assert (refused.status_code, code(refused)) == (429, "RATE_LIMITED")
        assert refused.json()["errors"][0]["extensions"]["retryAfter"] == 45
        assert refused.headers["retry-after"] == "45"
    assert (await ask("{ a: __typename }", served=served)).status_code == 200
    async with client(served) as http:
        trusted = await http.post("/graphql", json={"documentId": "t"})
    assert trusted.json()["data"] == {"t": "Query"}


@pytest.mark.anyio
async def test_refused_documents_count_as_well() -> None:
    served = app(compiling=Tally(1e-9, clock=lambda: 75.0))
    assert code(await ask("{ nope }", served=served)) == "GRAPHQL_VALIDATION_FAILED"
    assert code(await ask("{ nope }", served=served)) == "RATE_LIMITED"


def test_a_share_is_each_persons_own_and_new_each_minute() -> None:
    now = [61.0]
    tally = Tally(2, clock=lambda: now[0])
    one, other = (new_id(), new_id()), (new_id(), new_id())
    for _ in range(2):
        tally.check(one)
        tally.add(one)
    with pytest.raises(RateLimited) as refused:
        tally.check(one)
    assert refused.value.retry_after == 59
    with pytest.raises(RateLimited), tally.spending(one):
        pytest.fail("nothing is done for who has used up the share")
    tally.check(other)
    now[0] = 120.0
    tally.check(one)
