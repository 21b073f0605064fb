"""Prepared operations answer what graphql-core's executor answers, which they go without."""

from typing import Any

import pytest
from graphql import parse

from api.http import documents
from api.plan.prepared import Prepared, prepare
from tests.api.http import tiny
from tests.api.http.tiny import SCHEMA, app, ask

pytestmark = pytest.mark.anyio

PREPARED: list[tuple[str, Any]] = [
    ("query($id: ID!) { patient(id: $id) { name sibling { name } } }", {"id": "7"}),
    ("query($id: ID!) { patient(id: $id) { name } }", {}),
    ("query($id: ID!) { patient(id: $id) { name } }", {"id": {"no": 1}}),
    ("query($id: ID! = 9) { patient(id: $id) { name } }", {"id": None}),
    ("query($id: ID! = 9) { patient(id: $id) { name } }", {}),
    ("{ patient(id: 3) { siblings(first: 1) { name } } }", None),
    ("query($n: Int = 1) { patient(id: 3) { siblings(first: $n) { name } } }", None),
    ("{ a: finished { name } b: patient(id: 1) { name } a: finished { name } }", None),
    ("query($n: Int) { finished(lines: $n) { name } }", {"n": None}),
    ("query($n: Int) { finished(lines: $n) { name } }", {}),
    ("query($n: Int) { finished(lines: $n) { name } }", {"n": 2}),
    ("query($n: Int! = 1) { finished(lines: $n) { name } }", {}),
    ("{ hidden { name } }", None),
    ("{ later }", None),
    ('{ a: fault(kind: "invalid") b: fault(kind: "not found") hidden { name } }', None),
    (
        "query { ...Both } fragment Both on Query { hidden { name } ... on Query { finished { name } } }",
        None,
    ),
    (
        "{ patient(id: 3) { ...F } patient(id: 3) { sibling { name } } } fragment F on Patient { name }",
        None,
    ),
    (
        "query($yes: Boolean!) { patient(id: 3) { name @skip(if: $yes) sibling { name } } }",
        {"yes": True},
    ),
]
NOT_PREPARED = [
    "{ __typename }",
    "{ hidden { name } __schema { queryType { name } } }",
    "query($yes: Boolean!) { hidden @skip(if: $yes) { name } finished { name } }",
    "query($yes: Boolean!) { ... @include(if: $yes) { hidden { name } } }",
    "query($yes: Boolean!) { ...F @include(if: $yes) } fragment F on Query { hidden { name } }",
    "query { ...F } fragment F on Query { hidden @skip(if: false) { name } }",
    '{ at(when: "2026-01-01T00:00:00Z") }',
    "subscription { count }",
]


def prepared(text: str) -> Prepared | None:
    document = parse(text)
    operation: Any = document.definitions[0]
    return prepare(SCHEMA._schema, document, operation, hide_suggestions=True)


@pytest.mark.parametrize(("text", "variables"), PREPARED)
async def test_the_answer_is_the_executors(
    text: str, variables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepared(text) is not None
    quickly = await ask(text, variables, app())
    monkeypatch.setattr(documents, "prepare", lambda *_, **__: None)
    slowly = await ask(text, variables, app())
    assert quickly.status_code == slowly.status_code
    assert quickly.json() == slowly.json()


@pytest.mark.parametrize("text", NOT_PREPARED)
def test_what_is_graphql_cores_alone(text: str) -> None:
    """Conditions on root fields, introspection, fields that must not be null, subscriptions."""
    assert prepared(text) is None


async def test_mutations_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when one of them fails."""
    text = 'mutation { a: rename(name: "a") { name } b: note(text: "stale") c: note(text: "c") }'
    tiny.RENAMED.clear()
    slowly = await ask(text)
    assert prepared('mutation { b: note(text: "stale") c: note(text: "c") }') is not None
    quickly = await ask('mutation { b: note(text: "stale") c: note(text: "c") }')
    assert tiny.RENAMED == ["a", "stale", "c", "stale", "c"]
    assert quickly.json()["data"] == {"b": None, "c": "c"}
    assert quickly.json()["errors"][0]["path"] == slowly.json()["errors"][0]["path"] == ["b"]
