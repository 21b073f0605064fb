"""What is answered at the addresses of an issuer of ours where something else than a refusal went wrong."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from domain.database import engine
from identity.direct import routes as direct
from identity.direct.keys import own_key_set
from identity.direct.logins import Desk
from identity.direct.routes import Counter
from identity.errors import IdentityUnavailable
from identity.registry import Registry
from tests.identity.direct.conftest import CALLBACK, PUBLIC, Hall

pytestmark = pytest.mark.anyio
AWAY = "postgresql://nobody:x@127.0.0.1:9/none"


async def test_without_the_registry_or_the_cell_nothing_is_said_either_way(hall: Hall) -> None:
    nowhere = engine(AWAY, application="test-away", size=1)
    counter = Counter(Registry(nowhere, PUBLIC), _desk(hall), PUBLIC)
    transport = httpx.ASGITransport(Starlette(routes=direct.routes(lambda: counter)))
    async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as http:
        for path in (f"{hall.issuer}/certs", f"{hall.at}/login"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()) == (503, {"error": "UNAVAILABLE"})
    with pytest.raises(IdentityUnavailable):
        await own_key_set(nowhere, hall.tenant_id)
    await nowhere.dispose()


def _desk(hall: Hall) -> Desk:
    return Desk(hall.cell, hall.keyring, {"portal": (CALLBACK,)})


async def test_a_form_that_does_not_end(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"SAMLResponse="
        await asyncio.sleep(5)

    async with asyncio.timeout(3):
        answer = await hall.http.post(f"{hall.at}/acs", content=slow())
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


async def test_a_portal_that_sends_no_state_is_told_none(hall: Hall) -> None:
    await hall.open()
    told = await hall.login(state="")
    assert set(told) == {"code", "iss"}
