"""The endpoint: who is let in, in which form answers come, and that nothing of ours shows in an error."""

import asyncio
from typing import Any

import httpx
import pytest

from api.context import Masked
from api.http.documents import Operation
from api.http.errors import Code, Problem
from api.http.graphql import Hooks
from authz.actor import Actor
from identity.errors import IdentityUnavailable, MfaRequired, NotAdmitted, Refusal, TokenRefused
from tests.api.http import tiny
from tests.api.http.tiny import SECRET, anybody, app, ask, client, code

pytestmark = pytest.mark.anyio
SPEC = "application/graphql-response+json"
GOOD = b'{"query":"{__typename}"}'


async def test_an_answer() -> None:
    response = await ask("query($id: ID!) { patient(id: $id) { name } }", {"id": "7"})
    assert response.status_code == 200
    assert response.json() == {
        "data": {"patient": {"name": "Patient 7"}},
        "extensions": {"cost": 2},
    }


async def test_finished_json_is_passed_through() -> None:
    response = await ask("{ a: finished { name } patient(id: 1) { name } }")
    assert response.json()["data"] == {
        "a": {"name": "from SQL"},
        "patient": {"name": "Patient 1"},
    }


async def test_what_is_hidden_is_summed_up() -> None:
    response = await ask("{ hidden { name } }")
    assert response.json()["extensions"]["masked"] == [
        {"path": ["hidden", "name"], "group": "CLINICAL", "reason": "NO_ROLE", "count": 3}
    ]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        (SPEC, SPEC),
        (f"{SPEC}, application/json;q=0.9", SPEC),
        (f"application/json, {SPEC}", SPEC),
        (f"{SPEC};q=0.5, application/json", "application/json"),
        (f"{SPEC}; charset=utf-8", SPEC),
        (f"{SPEC};q=0, */*", "application/json"),
        (f"{SPEC};q=nonsense, application/json", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)
async def test_the_form_that_the_client_prefers(accept: str, media: str) -> None:
    response = await ask("{__typename}", accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{media}; charset=utf-8"


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", f"{SPEC};charset=utf-16"])
async def test_another_form_is_not_acceptable(accept: str) -> None:
    assert (await ask("{__typename}", accept=accept)).status_code == 406


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_only_post(method: str) -> None:
    async with client() as http:
        response = await http.request(method, "/graphql?query={__typename}")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("{ patient(id: 1) }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ nope a b c }", "GRAPHQL_VALIDATION_FAILED"),
        ("fragment f on Query { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ("type Query { a: Int }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { ticks }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query B { __typename }", "BAD_USER_INPUT"),
        ("query($id: ID!) { patient(id: $id) { name } }", "BAD_USER_INPUT"),
        ('{ at(when: "yesterday") }', "GRAPHQL_VALIDATION_FAILED"),
        ("{ at(when: 17) }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_refused_documents_have_one_error_and_no_data(query: str, found: str) -> None:
    new, old = await ask(query, accept=SPEC), await ask(query, accept="application/json")
    assert (new.status_code, old.status_code) == (400, 200)
    assert new.content == old.content
    assert "data" not in new.json()
    assert code(new) == found
    assert "ISO" not in new.text
    assert "fromisoformat" not in new.text


async def test_bad_variables_say_nothing_of_python() -> None:
    response = await ask("query($w: DateTime!) { at(when: $w) }", {"w": "yesterday"}, accept=SPEC)
    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert error["message"] == "Variable '$w' has invalid value."
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}
    plain = await ask("query($id: ID!) { patient(id: $id) { name } }", {"id": {}}, accept=SPEC)
    assert "ID cannot represent" in plain.json()["errors"][0]["message"]


async def test_an_operation_is_chosen_by_name() -> None:
    async with client() as http:
        body = {"query": "query A { a: __typename } query B { b: __typename }"}
        chosen = await http.post("/graphql", json=body | {"operationName": "B"})
        other = await http.post("/graphql", json=body | {"operationName": "C"})
    assert chosen.json()["data"] == {"b": "Query"}
    assert code(other) == "BAD_USER_INPUT"


async def test_documents_by_id() -> None:
    served = app(trusted={"sha256:1": "{ __typename }"})
    async with client(served) as http:
        known = await http.post("/graphql", json={"documentId": "sha256:1"})
        unknown = await http.post("/graphql", json={"documentId": "sha256:2"})
    assert known.json()["data"] == {"__typename": "Query"}
    assert code(unknown) == "PERSISTED_QUERY_NOT_FOUND"


INTROSPECTION = "{ __schema { types { name } } }"


async def test_production_tells_nothing_of_the_schema() -> None:
    assert code(await ask(INTROSPECTION)) == "GRAPHQL_VALIDATION_FAILED"
    assert code(await ask('{ __type(name: "Query") { name } }')) == "GRAPHQL_VALIDATION_FAILED"
    assert "patient" not in (await ask("{ patien }")).text
    assert "name" not in (await ask("{ patient(id: 1) { nam } }")).json()["errors"][0]["message"]
    async with client(accept="text/html") as http:
        assert (await http.get("/graphql")).status_code == 405


async def test_development_does() -> None:
    served = app(open_=True, page="<html>GraphiQL</html>")
    assert "data" in (await ask(INTROSPECTION, served=served)).json()
    assert "Did you mean" in (await ask("{ patien }", served=served)).text
    async with client(served, accept="text/html") as http:
        page = await http.get("/graphql")
    assert page.text == "<html>GraphiQL</html>"
    assert "content-security-policy" not in page.headers


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("python", "INTERNAL"),
        ("key", "INTERNAL"),
        ("database", "INTERNAL"),
        ("timeout", "UNAVAILABLE"),
        ("lost", "UNAVAILABLE"),
        ("not found", "NOT_FOUND"),
        ("forbidden", "FORBIDDEN"),
        ("stale version", "CONFLICT"),
        ("invalid", "BAD_USER_INPUT"),
    ],
)
async def test_errors_of_fields(
    kind: str, found: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    response = await ask(f'{{ fault(kind: "{kind}") __typename }}')
    assert response.status_code == 200
    assert response.json()["data"] == {"fault": None, "__typename": "Query"}
    assert code(response) == found
    logged = "".join(capsys.readouterr()) + caplog.text
    for text in (response.text, logged):
        for leak in (SECRET, "Jane", "could not read", "Traceback", "RuntimeError: "):
            assert leak not in text
    extensions = response.json()["errors"][0]["extensions"]
    if found == "INTERNAL":
        assert extensions["requestId"] == response.headers["x-request-id"]
        assert extensions["requestId"] in logged
    else:
        assert "internal_error" not in logged


async def test_details_that_help() -> None:
    def extensions(response: httpx.Response) -> Any:
        return response.json()["errors"][0]["extensions"]

    stale = extensions(await ask('{ fault(kind: "stale version") }'))
    assert stale == {"code": "CONFLICT", "currentVersion": 7}
    forbidden = extensions(await ask('{ fault(kind: "forbidden") }'))
    assert forbidden == {"code": "FORBIDDEN", "reason": "NO_ROLE"}
    invalid = extensions(await ask('{ fault(kind: "invalid") }'))
    assert invalid == {"code": "BAD_USER_INPUT", "reason": "INVALID", "input": ["first"]}


async def test_null_for_non_null_is_a_fault_of_ours() -> None:
    response = await ask("{ nullForNonNull }")
    assert response.json()["data"] is None
    assert code(response) == "INTERNAL"
    assert "non-nullable" not in response.text


@pytest.mark.parametrize(
    "header",
    ["", "Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "t", "Token t"],
)
async def test_without_a_token(header: str) -> None:
    response = await ask("{ nope", authorization=header)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert code(response) == "UNAUTHENTICATED"


async def test_two_tokens_are_none() -> None:
    async with client() as http:
        headers = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
        response = await http.post("/graphql", content=GOOD, headers=headers)
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("error", "status", "found"),
    [
        (TokenRefused(Refusal.SIGNATURE), 401, "UNAUTHENTICATED"),
        (NotAdmitted(), 401, "UNAUTHENTICATED"),
        (MfaRequired(), 401, "MFA_REQUIRED"),
        (IdentityUnavailable("The registry"), 503, "UNAVAILABLE"),
        (RuntimeError(SECRET), 500, "INTERNAL"),
    ],
)
async def test_who_is_not_let_in(error: Exception, status: int, found: str) -> None:
    async def nobody(bearer: str, *, fresh: bool = False) -> Actor:
        raise error

    response = await ask("{ nope", served=app(nobody))
    assert (response.status_code, code(response)) == (status, found)
    assert SECRET not in response.text
    if found == "MFA_REQUIRED":
        assert response.json()["errors"][0]["extensions"]["acrValues"] == "mfa"
        assert 'acr_values="mfa"' in response.headers["www-authenticate"]
    if found == "UNAVAILABLE":
        assert response.headers["retry-after"] == "2"


async def test_refusals_of_tokens_look_the_same() -> None:
    async def nobody(bearer: str, *, fresh: bool = False) -> Actor:
        raise TokenRefused(Refusal.EXPIRED)

    refused = await ask("{__typename}", served=app(nobody))
    absent = await ask("{__typename}", authorization="")
    assert refused.content == absent.content


async def test_a_query_is_asked_again_for_an_actor_who_has_changed() -> None:
    response = await ask("{ fresh hidden { name } }")
    assert response.json()["data"] == {"fresh": "fresh", "hidden": None}
    assert response.json()["extensions"]["masked"][0]["count"] == 3


async def test_a_query_is_asked_again_when_its_connection_dies() -> None:
    tiny.LOST.clear()
    response = await ask("{ lostOnce }")
    assert response.json()["data"] == {"lostOnce": "found"}
    assert len(tiny.LOST) == 2


async def test_a_mutation_is_asked_again_where_none_of_its_commands_has_begun() -> None:
    tiny.RENAMED.clear()
    response = await ask('mutation { a: move(to: "a") b: move(to: "b") }')
    assert response.json()["data"] == {"a": "a", "b": "b"}
    assert list("abab") == tiny.RENAMED


@pytest.mark.parametrize(
    ("document", "done"),
    [
        ('{ a: move(to: "a") b: note(text: "b") }', {"a": None, "b": "b"}),
        ('{ a: note(text: "a") b: move(to: "b") }', {"a": "a", "b": None}),
        ('{ a: move(to: "a", begun: true) }', {"a": None}),
    ],
)
async def test_one_that_may_have_left_something_is_not(document: str, done: dict[str, Any]) -> None:
    tiny.RENAMED.clear()
    response = await ask(f"mutation {document}")
    assert response.json()["data"] == done
    assert code(response) == "UNAVAILABLE"
    assert list(done) == tiny.RENAMED


async def test_one_that_was_lost_never_is() -> None:
    tiny.RENAMED.clear()
    response = await ask('mutation { rename(name: "lost") { name } }')
    assert code(response) == "UNAVAILABLE"
    assert tiny.RENAMED == ["lost"]


async def test_hooks_stand_around_an_operation() -> None:
    seen: list[Any] = []

    async def before(actor: Actor, cost: int) -> None:
        seen.append((actor.user_name, cost))

    async def after(
        actor: Actor, operation: Operation, ids: list[bytes], masked: list[Masked]
    ) -> None:
        await asyncio.sleep(0.01)
        seen.append((operation.kind, ids, masked))

    served = app(hooks=Hooks(before, after))
    await ask("{ hidden { name } }", served=served)
    masked = [(("hidden", "name"), "CLINICAL", 2), (("hidden", "name"), "CLINICAL", 1)]
    assert seen == [("pat", 2), ("query", [], masked)]


async def test_no_answer_without_its_hooks() -> None:
    async def limited(_actor: Actor, _cost: int) -> None:
        raise Problem(Code.RATE_LIMITED, "Too much at once.", retryAfter=1)

    async def unwritten(*_: object) -> None:
        raise RuntimeError("the audit writer is dead")

    tiny.RENAMED.clear()
    refused = await ask('mutation { rename(name: "a") { name } }', served=app(hooks=Hooks(limited)))
    assert (refused.status_code, code(refused)) == (429, "RATE_LIMITED")
    assert tiny.RENAMED == []
    lost = await ask("{ __typename }", served=app(hooks=Hooks(None, unwritten)))
    assert (lost.status_code, code(lost)) == (500, "INTERNAL")
    assert "data" not in lost.json()


async def test_an_operation_has_a_deadline() -> None:
    response = await ask("{ slow(seconds: 5) }", served=app(deadline=0.05))
    assert (response.status_code, code(response)) == (503, "UNAVAILABLE")


async def test_headers_of_every_answer() -> None:
    for response in (await ask("{__typename}"), await ask("{"), await ask("{", authorization="")):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-request-id"]
    async with client() as http:
        unknown = await http.get("/nowhere")
    assert unknown.status_code == 404
    assert unknown.headers["x-request-id"]


async def test_no_other_origin_by_default() -> None:
    assert (
        "access-control-allow-origin" not in (await ask("{__typename}", origin="http://a")).headers
    )


async def test_origins_of_the_allow_list() -> None:
    served = app(origins=("https://portal.example",))
    allowed = await ask("{__typename}", served=served, origin="https://portal.example")
    assert allowed.headers["access-control-allow-origin"] == "https://portal.example"
    assert "access-control-allow-credentials" not in allowed.headers
    for origin in ("https://evil.example", "null", "https://portal.example.evil.example"):
        refused = await ask("{__typename}", served=served, origin=origin)
        assert "access-control-allow-origin" not in refused.headers
    async with client(served) as http:
        asked = {"origin": "https://portal.example", "access-control-request-method": "POST"}
        preflight = await http.options("/graphql", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-methods"] == "GET, POST"


async def test_requests_at_once_do_not_mix() -> None:
    query = "query($id: ID!) { patient(id: $id) { name } }"
    served = app()
    found = await asyncio.gather(*(ask(query, {"id": str(n)}, served) for n in range(50)))
    names = [response.json()["data"]["patient"]["name"] for response in found]
    assert names == [f"Patient {n}" for n in range(50)]


async def test_tokens_reach_only_who_judges_them() -> None:
    given: list[str] = []

    async def judge(bearer: str, *, fresh: bool = False) -> Actor:
        given.append(bearer)
        return await anybody(bearer)

    await ask("{__typename}", served=app(judge), authorization="bearer  a.b.c ")
    assert given == ["a.b.c"]


async def test_what_a_scalar_says_of_a_literal_is_cut() -> None:
    [error] = (await ask('{ at(when: "2026-02-30T00:00:00Z") }')).json()["errors"]
    assert error["message"] == "Value cannot represent a DateTime."
    [error] = (await ask("query($x: Int) { __typename }")).json()["errors"]
    assert error["message"] == "Variable '$x' is never used."
