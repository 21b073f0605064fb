"""From a signed token to rows of a real database, through the application as it is served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from api.app import create_app
from api.settings import Settings
from domain.control import TenantEntry
from domain.model import Base
from domain.patients import Patient
from tests import make
from tests.database import Database
from tests.identity.forge import KeyServer, served
from tests.identity.test_actors import House, opened
from tests.serving import serving

pytestmark = pytest.mark.anyio


@dataclass
class Desk:
    """The application, and a nurse of the first of two clinics with a patient each."""

    house: House
    http: httpx.AsyncClient
    here: Patient
    there: Patient
    keys: KeyServer

    async def ask(self, query: str, token: str | None = None, **variables: Any) -> httpx.Response:
        bearer = token or self.house.token()
        return await self.http.post(
            "/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {bearer}"},
        )

    async def patient(self, who: Patient) -> Any:
        query = "query($id: ID!) { patient(id: $id) { givenName birthDate } }"
        response = await self.ask(query, id=f"Patient:{who.id}")
        return response.json()["data"]["patient"]


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with sitting(database, tmp_path) as desk:
        yield desk


@asynccontextmanager
async def sitting(database: Database, place: Path, **more: Any) -> AsyncIterator[Desk]:
    """The application with these settings."""
    settings = Settings(
        database_url=SecretStr(database.app_url),
        key_file=place / "keys.json",
        connections=1,
        **more,
    )
    async with served() as keys, opened(database, keys) as house:
        system, clinics = house.tree.tenant, house.tree.clinics
        rows: list[list[Base]] = [make.patient_at(system, clinic) for clinic in clinics]
        make.save(database, *rows[0], *rows[1])
        app = create_app(settings)
        async with serving(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                here, there = rows[0][0], rows[1][0]
                assert isinstance(here, Patient)
                assert isinstance(there, Patient)
                yield Desk(house, http, here, there, keys)


async def test_a_nurse_sees_the_patients_of_her_clinic(desk: Desk) -> None:
    response = await desk.ask("{ patients { nodes { id mrn } } }")
    assert response.status_code == 200
    nodes = response.json()["data"]["patients"]["nodes"]
    assert [node["mrn"] for node in nodes] == [desk.here.mrn]
    assert response.json()["extensions"]["cost"] > 50


async def test_not_hers_is_not_there(desk: Desk) -> None:
    assert await desk.patient(desk.here) == {"givenName": "Lena", "birthDate": "1980-05-17"}
    assert await desk.patient(desk.there) is None
    missing = make.patient(desk.house.tree.tenant)
    foreign, absent = [
        await desk.ask("query($id: ID!) { patient(id: $id) { mrn } }", id=f"Patient:{who.id}")
        for who in (desk.there, missing)
    ]
    assert foreign.content == absent.content


async def test_what_her_role_does_not_open_is_masked(desk: Desk) -> None:
    query = "query($id: ID!) { patient(id: $id) { mrn invoices { id } maskedGroups } }"
    response = (await desk.ask(query, id=f"Patient:{desk.here.id}")).json()
    assert response["data"]["patient"]["invoices"] is None
    assert response["data"]["patient"]["maskedGroups"] == ["BILLING"]
    [masked] = response["extensions"]["masked"]
    assert masked["path"] == ["patient", "invoices"]
    assert (masked["group"], masked["reason"], masked["count"]) == ("BILLING", "NO_ROLE", 1)


async def refused(desk: Desk, token: str) -> bool:
    response = await desk.ask("{ patients { nodes { id } } }", token)
    return response.status_code == 401 and "data" not in response.json()


async def test_a_change_counts_for_the_next_request(desk: Desk) -> None:
    token = desk.house.token()
    assert not await refused(desk, token)
    await desk.house.touch_nurse(given_name="Nora")
    assert not await refused(desk, token)
    await desk.house.touch_nurse(active=False)
    assert await refused(desk, token)
    assert await refused(desk, desk.house.token(jti="2"))
    await desk.house.touch_nurse(active=True)
    assert not await refused(desk, token)
    await desk.house.touch_tenant(state="suspended")
    assert await refused(desk, token)


async def test_an_expired_or_forged_token_is_nobodys(desk: Desk) -> None:
    token = desk.house.token()
    assert not await refused(desk, token)
    head, content, signature = token.split(".")
    assert await refused(desk, f"{head}.{content}.{signature[::-1]}")
    assert await refused(desk, desk.house.token(exp=1, iat=0))
    assert await refused(desk, desk.house.token(aud="elsewhere"))
    assert not await refused(desk, token)


async def test_a_second_factor_is_asked_of_administrators(desk: Desk) -> None:
    tree, nurse = desk.house.tree, desk.house.nurse
    await desk.house.touch_tenant(mfa_policy="admins")
    assert not await refused(desk, desk.house.token())
    make.save(desk.house.database, make.grant(nurse, "clinic_admin", tree.clinics[1]))
    await desk.house.touch_nurse()
    weak = await desk.ask("{ patients { nodes { id } } }")
    assert weak.status_code == 401
    assert weak.json()["errors"][0]["extensions"] == {"code": "MFA_REQUIRED", "acrValues": "mfa"}
    assert 'acr_values="mfa"' in weak.headers["www-authenticate"]
    strong = await desk.ask("{ patients { nodes { id } } }", desk.house.token(amr=["pwd", "otp"]))
    assert len(strong.json()["data"]["patients"]["nodes"]) == 2


async def test_where_to_log_in(desk: Desk) -> None:
    issuer = desk.house.authority.issuer
    async with desk.house.owner.connect() as connection:
        found = select(TenantEntry.slug).where(TenantEntry.issuer == issuer)
        slug = await connection.scalar(found)
    response = await desk.http.get(f"/login/{slug}")
    assert response.json()["issuer"] == issuer
    assert response.headers["x-request-id"]
    assert response.headers.get_list("cache-control") == ["no-store"]
