"""One pass over a document finds what is too large, however small the text is."""

import contextlib
import gc
import time
from collections.abc import Callable

import pytest
from graphql import get_introspection_query, parse

from api.http.documents import Documents
from api.http.errors import Problem
from api.http.limits import CAP, SEALED, UNSIZED, WHOLE, Limits, Measure, Meter
from api.schema import build_schema
from tests.api.http.tiny import SCHEMA, ask, code

pytestmark = pytest.mark.anyio
CORE = SCHEMA._schema


def measure(text: str, **variables: object) -> Measure:
    document = parse(text)
    operation = document.definitions[0]
    return Meter(CORE, document, variables).operation(operation)  # type: ignore[arg-type]  # an operation


def bomb(fragments: int) -> str:
    """2^n fields in n small fragments."""
    parts = (f"fragment f{i} on Patient{{...f{i + 1} ...f{i + 1}}}" for i in range(fragments))
    last = f"fragment f{fragments} on Patient{{name}}"
    return "{patient(id:1){...f0}}" + "".join(parts) + last


def test_measures() -> None:
    found = measure(
        'query Q @a { p: patient(id: "1") @skip(if: false) { name ... @b { sibling { x: name } } } }'
    )
    assert found == Measure(
        depth=3, fields=4, root_fields=1, aliases=2, directives=3, cost=4, objects=2
    )


def test_cost_is_rows_times_columns() -> None:
    nested = "query($n: Int) { patient(id: 1) { siblings(first: %s) { name siblings { name } } } }"
    # 1 patient, n siblings of 2 columns + 1, each with the 20 of the schema's default of 2
    assert measure(nested % "5").cost == 1 + 5 * (1 + 1 + 20 * 2)
    assert measure(nested % "$n", n=7).cost == 1 + 7 * (1 + 1 + 20 * 2)
    assert measure(nested % "$n").cost == 1 + 20 * (1 + 1 + 20 * 2)
    assert measure(nested % "99999999999").cost >= CAP


def test_a_default_of_a_variable_is_a_page_size_too() -> None:
    nested = "query($n: Int! = %s) { patient(id: 1) { siblings(first: $n) { name } } }"
    assert measure(nested % "90").cost == 1 + 90 * 2
    assert measure(nested % "90", n=7).cost == 1 + 7 * 2
    assert measure(nested % "90", n=None).cost == 1 + 90 * 2
    assert measure(nested % "99999999999").cost >= CAP
    # An Int in a variable may be written as a float.
    assert measure(nested % "90", n=95.0).cost == 1 + 95 * 2


def test_what_a_list_without_a_page_size_and_a_sealed_text_cost() -> None:
    core = build_schema()._schema

    def cost(text: str) -> int:
        document = parse(text)
        return Meter(core, document, {}).operation(document.definitions[0]).cost  # type: ignore[arg-type]  # an operation

    assert cost("{ organization { id name } }") == WHOLE * 3
    assert cost('{ nodes(ids: ["a", "b"]) { id } }') == UNSIZED * 2
    notes = "{ encounters(first: 1) { nodes { notes(first: 7) { id %s } } } }"
    assert cost(notes % "body") - cost(notes % "") == 7 * SEALED


def test_introspection_is_within_the_limits() -> None:
    documents = Documents(build_schema()._schema, Limits(), open_=True)
    assert documents.find(get_introspection_query(), None).operation(None).kind == "query"


def test_a_bomb_is_measured_in_linear_time() -> None:
    def seconds(fragments: int) -> float:
        document = parse(bomb(fragments))
        best = 9.0
        for _ in range(5):
            started = time.thread_time()
            found = Meter(CORE, document, {}).operation(document.definitions[0])  # type: ignore[arg-type]  # an operation
            best = min(best, time.thread_time() - started)
        assert found.fields == CAP
        return best

    assert seconds(240) < 100 * seconds(30)  # 2^210 times as many fields


def refused(text: str, **limits: int) -> Problem:
    documents = Documents(CORE, Limits(**limits))
    with pytest.raises(Problem) as caught:
        documents.find(text, None)
    return caught.value


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (bomb(45), "fields"),
        ("{__typename}" + "fragment f on Query{__typename}" * 50, "definitions"),
        ("{patient(id:1){" + "sibling{" * 20 + "name" + "}" * 22, "depth"),
        ("{" + "sibling{" * 1900 + "name" + "}" * 1901, "tokens"),
        ("{" + " ".join(f"a{i}: __typename" for i in range(21)) + "}", "root_fields"),
        (
            "{patient(id:1){" + " ".join(f"a{i}: name" for i in range(61)) + "}}",
            "aliases",
        ),
        ("{patient(id:1){name" + " @include(if:true)" * 61 + "}}", "directives"),
        (
            "{patient(id:1){"
            + " ".join(f"a{i}: sibling{{sibling{{name}}}}" for i in range(50))
            + "}}",
            "objects",
        ),
        ("{patient(id:1){" + "name " * 5000 + "}}", "tokens"),
        ("{__typename" + "#\n" * 5000 + "}", "tokens"),
        ("{patient(id:1){siblings(first:100){siblings(first:100){siblings{name}}}}}", "cost"),
        ("{at(when:" + "[" * 1900 + "]" * 1900 + ")}", "tokens"),
        ("query" + "(" + "$a:" + "[" * 1000 + "Int" + "]" * 1000 + "){at(when:$a)}", "tokens"),
    ],
)
def test_each_limit(text: str, limit: str) -> None:
    problem = refused(text)
    assert problem.code.text == "OPERATION_TOO_COMPLEX"
    if limit != "tokens":
        assert problem.details["limit"] == limit


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "{patient(id:1){" + "sibling{" * n + "name" + "}" * n + "}}",
        lambda n: bomb(n),
        lambda n: "{" + "".join("...f " for _ in range(n)) + "}fragment f on Query{...f}",
        lambda n: "{" + "patient(id:1){name} " * n + "}",
        lambda n: (
            "{"
            + "".join(f"patient(id:1){{...f{i}}} " for i in range(n))
            + "}"
            + "".join(f"fragment f{i} on Patient{{name sibling{{...f{i + 1}}}}}" for i in range(n))
            + f"fragment f{n} on Patient{{name}}"
        ),
        lambda n: "query(" + "".join(f"$v{i}:Int " for i in range(n)) + "){__typename}",
        lambda n: "{at(when:{" + "".join(f"a{i}:1 " for i in range(n)) + "})}",
    ],
)
def test_no_small_document_takes_long(make: Callable[[int], str]) -> None:
    """Parsing, measuring and validating the worst of 256 KB ends soon, whatever comes out."""
    documents = Documents(CORE, Limits())
    gc.collect()
    gc.freeze()  # as a serving process does: what other tests hold is not looked through again
    for n in (10, 45, 400, 5000):
        started = time.process_time()
        with contextlib.suppress(Problem):
            documents.find(make(n)[: 256 * 1024], None)
        assert time.process_time() - started < 1


async def test_a_page_size_in_a_variable_counts() -> None:
    query = "query($n:Int!){patient(id:1){siblings(first:$n){siblings(first:$n){name}}}}"
    small = await ask(query, {"n": 10})
    assert small.json()["extensions"]["cost"] == 1 + 10 * (1 + 10 * 2)
    for size in (1000, 1000.0):
        large = await ask(query, {"n": size})
        assert code(large) == "OPERATION_TOO_COMPLEX"
        assert "data" not in large.json()
    # What stands in the document is refused with it.
    assert code(await ask(query.replace("Int!", "Int!=1000"))) == "OPERATION_TOO_COMPLEX"
