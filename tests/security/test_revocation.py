"""Whoever is shut out is told so by the next answer, also where that answer needs no row of the database."""

import pytest
from sqlalchemy import insert

from domain.people import RevokedSession
from tests import make
from tests.api.http.test_end_to_end import Desk, desk

__all__ = ["desk"]  # a fixture
pytestmark = pytest.mark.anyio

WITHOUT_ROWS = (
    "{ __typename }",
    "{ viewer { userName grants { role unitName } } }",
    '{ viewer { permissions(node: "OrgUnit:0190f3d0-0000-7000-8000-000000000000") } }',
    "{ invoices { nodes { id } } }",  # a nurse has none to ask for
    "{ nodes(ids: []) { id } }",
    '{ patient(id: "nothing") { id } }',
    '{ patients(after: "nothing") { nodes { id } } }',
    "{ patients(first: 101) { nodes { id } } }",
    "mutation { __typename }",
    'mutation { bookAppointment(input: {unit: "", patient: "", practitioner: "", startsAt:'
    ' "2030-01-01T09:00:00Z", minutes: 30}) { userErrors { code } } }',  # refused before any row
)


async def refused(desk: Desk, query: str, token: str) -> bool:
    answer = await desk.ask(query, token)
    return answer.status_code == 401 and "data" not in answer.json()


@pytest.mark.parametrize("query", WITHOUT_ROWS)
async def test_a_query_without_rows_asks_whether_its_actor_still_stands(
    desk: Desk, query: str
) -> None:
    token = desk.house.token()
    assert not await refused(desk, query, token)
    await desk.house.touch_nurse(active=False)
    assert await refused(desk, query, token)
    await desk.house.touch_nurse(active=True)
    assert not await refused(desk, query, token)
    await desk.house.touch_tenant(state="suspended")
    assert await refused(desk, query, token)
    await desk.house.touch_tenant(state="active")
    assert not await refused(desk, query, token)
    ended = {"tenant_id": desk.house.nurse.tenant_id, "sid": "session-1", "until": make.now()}
    await desk.house.execute(insert(RevokedSession).values(**ended))
    assert await refused(desk, query, token)


async def test_a_new_role_shows_in_the_next_answer(desk: Desk) -> None:
    token, tree = desk.house.token(), desk.house.tree
    query = "{ viewer { grants { role } } }"
    held = (await desk.ask(query, token)).json()["data"]["viewer"]["grants"]
    assert held == [{"role": "nurse"}]
    make.save(desk.house.database, make.grant(desk.house.nurse, "biller", tree.clinics[1]))
    await desk.house.touch_nurse()
    held = (await desk.ask(query, token)).json()["data"]["viewer"]["grants"]
    assert sorted(g["role"] for g in held) == ["biller", "nurse"]
