"""All checks of scim2-tester, through the product's routes."""

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx
from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_tester import Status, check_server

from identity.scim.schemas import CLINICAL
from tests.database import Database
from tests.identity.scim.conftest import opened


def test_every_check_of_the_tester(database: Database) -> None:
    app, owner = database.async_engine("caretree_app"), database.async_engine("caretree_owner")
    with asyncio.Runner() as runner:
        entered = opened(database, app, owner)
        corp = runner.run(entered.__aenter__())
        runner.run(corp.release())  # the tester deletes more people than leave in a day

        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            """The routes as a WSGI application: the tester is no coroutine."""
            path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
            body = environ["wsgi.input"].read()
            names = {"CONTENT_TYPE": "content-type", "HTTP_ACCEPT": "accept"}
            names |= {"HTTP_IF_MATCH": "if-match", "HTTP_IF_NONE_MATCH": "if-none-match"}
            headers = {ours: environ[sent] for sent, ours in names.items() if environ.get(sent)}
            headers["authorization"] = f"Bearer {corp.token.text}"
            url = httpx.URL(path=path, query=query.encode())
            said: httpx.Response = runner.run(
                corp.http.request(environ["REQUEST_METHOD"], url, content=body, headers=headers)
            )
            start(f"{said.status_code} x", list(said.headers.items()))
            return [said.content]

        client = WSGISCIMClient(answer, base_url=f"https://api.example{corp.base}")
        results = check_server(client)
        runner.run(entered.__aexit__(None, None, None))
        runner.run(app.dispose())
        runner.run(owner.dispose())
    bad = [
        f"{r.title} {r.resource_type or ''}: {r.reason}"
        for r in results
        if r.status not in (Status.SUCCESS, Status.ACCEPTABLE, Status.COMPLIANT)
    ]
    # The tester adds the whole extension, then a second code to its list, and takes the list of two for a wrong
    # answer; "add" to a list adds (RFC 7644, section 3.5.2.1).
    assert len(bad) == 1, "\n".join(bad)
    assert bad[0].startswith("check_add_attribute User: PATCH modify() returned unexpected value")
    assert f"{CLINICAL}:facilityCodes" in bad[0]
    assert len(results) >= 100
