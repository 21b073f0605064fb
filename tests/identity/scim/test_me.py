"""`/Me`: somebody who has logged in reads what the directory says of them, and changes nothing."""

import time
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest

from tests import web
from tests.identity.forge import Authority, served
from tests.identity.scim.conftest import PUBLIC, Corp, application, directories, where

pytestmark = pytest.mark.anyio


async def test_the_alias_stands_for_whoever_the_token_is_of(corp: Corp, other: Corp) -> None:
    nora = await corp.user("nora", title="Nurse")
    subject = str(uuid4())
    person = UUID(nora["id"])
    await corp.write(
        "update person set subject = :s where tenant_id = :t and id = :p", s=subject, p=person
    )
    async with served() as keys, web.client() as http:
        base = keys.url.removesuffix("/certs")
        issuer = f"{base}/realms/{uuid4().hex}"
        authority = Authority(issuer, corp.tenant_id, now=lambda: int(time.time()))
        keys.body = authority.key_set()
        await corp.write("update control.tenant set issuer = :i where id = :t", i=issuer)
        await corp.write(
            "update control.identity_cluster set url = :u where id ="
            " (select identity_cluster_id from control.tenant where id = :t)",
            u=base,
        )
        doors = directories(corp.app, corp.served.pipeline, http=http)
        door = replace(
            corp,
            http=httpx.AsyncClient(
                transport=httpx.ASGITransport(application(doors)), base_url="http://api"
            ),
        )
        mine = {"headers": {"authorization": f"Bearer {authority.token(None, sub=subject)}"}}
        read = await door.ask("GET", "/Me", **mine)
        assert (read.status_code, read.json()["userName"]) == (200, "nora"), read.text
        assert read.headers["location"] == PUBLIC + corp.base + where(nora)
        assert read.headers["etag"] == read.json()["meta"]["version"]
        titled = await door.ask("GET", "/Me", params={"attributes": "title"}, **mine)
        assert (titled.json()["title"], titled.json().get("userName")) == ("Nurse", None)
        for method, body in (("PUT", {"userName": "x1"}), ("PATCH", {}), ("DELETE", None)):
            assert (await door.ask(method, "/Me", body, **mine)).status_code == 403
        assert (await door.ask("GET", where(nora), **mine)).status_code == 401
        there = await door.http.get(f"{other.base}/Me", headers=mine["headers"])
        assert there.status_code == 401
        forged = {"headers": {"authorization": mine["headers"]["authorization"][:-6] + "AAAAAA"}}
        assert (await door.ask("GET", "/Me", **forged)).status_code == 401
        assert (
            await corp.patch(where(nora), {"op": "replace", "value": {"active": False}})
        ).status_code == 200
        assert (await door.ask("GET", "/Me", **mine)).status_code == 401
        assert (await door.ask("GET", "/Me")).status_code == 501, "a directory's token is nobody's"
        await door.http.aclose()
