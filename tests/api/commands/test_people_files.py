"""People given as a table: looked at without a trace, made all of them or nobody, judged as one by one."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from identity.people_files import MOST_LINES
from tests.api.commands.office import Office, opened
from tests.api.commands.staff import admin, refused, waiting
from tests.database import Database

pytestmark = pytest.mark.anyio
HEAD = "login,given_name,family_name,email,role,region,clinic,department\n"
TABLE = HEAD + (
    "nina@x.example,Nina,Neu,,nurse,r,a,\n"
    "nina@x.example,,,,front_desk,r,b,\n"
    ",Olaf,Ohne,olaf@x.example,,,,\n"
)


@pytest.fixture
async def office(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """Two health systems of its own: people who came are no other test's."""
    async with opened(database, redis_url, tmp_path) as made:
        yield made


async def imported(office: Office, who: Any, table: str, **more: Any) -> Any:
    """What an import of people answers."""
    text = (
        "mutation($input: ImportPeopleInput!) { importPeople(input: $input) { orgUnit { id }"
        " made given known problems { line code column } userErrors { code } } }"
    )
    answer = await office.ask(who, text, {"input": {"table": table} | more})
    return answer.body["data"]["importPeople"]


def counts(answer: Any) -> tuple[int, int, int]:
    return answer["made"], answer["given"], answer["known"]


def wrong(answer: Any) -> list[tuple[int, str]]:
    return [(problem["line"], problem["code"]) for problem in answer["problems"]]


async def test_a_table_is_looked_at_then_made_in_one_go_or_not_at_all(office: Office) -> None:
    who = admin(office)
    before, jobs = office.snapshot(), await waiting(office)
    dry = await imported(office, who, TABLE)
    assert (counts(dry), dry["problems"]) == ((2, 2, 0), [])
    bad = await imported(office, who, TABLE + "x@x.example,X,Y,,nurse,r,nowhere,\n", dryRun=False)
    assert bad["problems"] == [{"line": 5, "code": "UNIT_UNKNOWN", "column": "clinic"}]
    assert office.snapshot() == before
    assert await waiting(office) == jobs
    done = await imported(office, who, TABLE, dryRun=False, idempotencyKey="table")
    assert (counts(done), done["problems"]) == ((2, 2, 0), [])
    rows = office.query(
        "select p.user_name as n, p.source as s, g.role as r, u.name as u from person p"
        " left join role_grant g on g.tenant_id = p.tenant_id and g.person_id = p.id"
        " left join org_unit u on u.tenant_id = p.tenant_id and u.id = g.unit_id"
        " where p.tenant_id = %s and p.user_name like '%%@x.example' order by 1, 3",
        office.here.tenant.tenant_id,
    )
    assert [tuple(row.values()) for row in rows] == [
        ("nina@x.example", "local", "front_desk", "b"),
        ("nina@x.example", "local", "nurse", "a"),
        ("olaf@x.example", "local", None, None),
    ]
    assert len(await waiting(office)) > len(jobs)
    again = await imported(office, who, TABLE, dryRun=False, idempotencyKey="table")
    assert again["made"] is None
    known = await imported(office, who, TABLE + "nina@x.example,,,,biller,r,b,\n", dryRun=False)
    assert (counts(known), known["problems"]) == ((0, 1, 2), [])


async def test_each_line_is_judged_as_one_by_one(office: Office) -> None:
    """Who administers a clinic makes its people, and nobody above or beside it; who administers none, nobody."""
    mine = HEAD + "c@x.example,C,C,,nurse,r,a,\n"
    clinic = office.here.person("clinic_admin@a")
    assert counts(await imported(office, clinic, mine)) == (1, 1, 0)
    for line, code in (
        ("d@x.example,D,D,,nurse,r,b,\n", "FORBIDDEN"),
        ("d@x.example,D,D,,regional_director,r,,\n", "FORBIDDEN"),
        ("d@x.example,D,D,,,,,\n", "FORBIDDEN"),
    ):
        assert wrong(await imported(office, clinic, mine + line, dryRun=False)) == [(3, code)]
    top = admin(office)
    for line, code in (
        ("d@x.example,D,D,,auditor,,,\n", "NEEDS_APPROVAL"),
        ("d@x.example,D,D,,regional_director,r,a,\n", "ROLE_DOES_NOT_FIT"),
        (f"{top.user_name},,,,nurse,r,a,\n", "TO_ONESELF"),
    ):
        before = office.snapshot()
        assert wrong(await imported(office, top, mine + line, dryRun=False)) == [(3, code)], line
        assert office.snapshot() == before
    for role in ("nurse@a", "provider@a", "biller@system", "auditor@system"):
        who = office.here.person(role)
        answer = await refused(office, who, "importPeople", table=mine, dryRun=False)
        assert answer.outcome == "FORBIDDEN", role


async def test_nobody_gets_the_roles_of_another_with_the_same_login(office: Office) -> None:
    there = office.here.person("nurse@c", fresh=True)
    line = f"{there.user_name},Somebody,Else,,biller,r,a,\n"
    answer = await imported(office, admin(office), HEAD + line, dryRun=False)
    assert answer["problems"] == [{"line": 2, "code": "LOGIN_TAKEN", "column": "given_name"}]


async def test_as_many_as_may_come_at_once_are_made_in_time(office: Office) -> None:
    rows = "".join(f"p{n}@x.example,P,Number {n},,nurse,r,a,\n" for n in range(MOST_LINES))
    began = time.process_time()
    done = await imported(office, admin(office), HEAD + rows, dryRun=False)
    assert counts(done) == (MOST_LINES, MOST_LINES, 0)
    assert time.process_time() - began < 5  # of the ten seconds that a request may take
