"""Whoever is cut off between the token and the commit has written nothing; who dies in the middle neither."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from domain.people import Person
from tests.api.commands.cases import CASES, Case, Scene
from tests.api.commands.office import Answer, Office, document

pytestmark = pytest.mark.anyio

of_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutation)
WAYS = ("inactive", "revoked", "logged out", "all tokens", "suspended")
REFUSED = ("UNAVAILABLE", "UNAUTHENTICATED")
"""Try again; or, where the loader has looked anew by then, the proof of nobody."""
of_ways = pytest.mark.parametrize("way", WAYS)


def cut(office: Office, way: str, who: Person, session: str) -> None:
    """Do to the person what a command of ours does: the versions rise."""
    touched = "update person set version = version + 1 where id = %s"
    if way == "inactive":
        office.change("update person set active = false where id = %s", who.id)
    elif way == "revoked":
        office.change("update role_grant set valid_until = now() where person_id = %s", who.id)
    elif way == "logged out":
        until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        text = "insert into revoked_session (tenant_id, sid, until) values (%s, %s, %s)"
        office.change(text, who.tenant_id, session, until)
        return
    elif way == "all tokens":
        later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        office.change("update person set tokens_valid_from = %s where id = %s", later, who.id)
    else:
        text = "update tenant set state = 'suspended', version = version + 1 where tenant_id = %s"
        office.change(text, who.tenant_id)
    office.change(touched, who.id)


def mend(office: Office, who: Person) -> None:
    """The health system of all the other tests goes on."""
    text = (
        "update tenant set state = 'active', version = version + 1"
        " where tenant_id = %s and state <> 'active'"
    )
    office.change(text, who.tenant_id)


@of_ways
@of_cases
async def test_before_the_command(office: Office, case: Case, way: str) -> None:
    """The actor is in memory, the database knows better."""
    who, session = office.there.person("clinic_admin@a", fresh=True), str(uuid.uuid4())
    given = case.given(Scene(office, office.there, "a", who))
    known = await office.ask(who, "{ patients(first: 1) { nodes { id } } }", sid=session)
    assert known.outcome == "DONE"
    cut(office, way, who, session)
    before = office.snapshot()
    try:
        answers = [
            await office.ask(who, *spoken(case, given), sid=session),
            await office.ask(who, *spoken(case, given), sid=session),
        ]
    finally:
        mend(office, who)
    assert answers[0].outcome in {"UNAUTHENTICATED", "FORBIDDEN", "NOT_FOUND"}
    assert answers[1].outcome == answers[0].outcome
    changed = {t for t, d in office.snapshot().items() if d != before[t]}
    assert changed <= {"tenant"}


def spoken(case: Case, given: dict[str, object]) -> tuple[str, dict[str, object]]:
    return document(case.mutation), {"input": given}


@asynccontextmanager
async def held_up(
    office: Office, case: Case, who: Person, session: str
) -> AsyncIterator[tuple["asyncio.Task[Answer]", int]]:
    """The command under way, all of it done but the record of it; and the backend that waits."""
    given = case.given(Scene(office, office.there, "a", who))
    await office.ask(who, "{ patients(first: 1) { nodes { id } } }", sid=session)
    with psycopg.connect(office.database.owner_url) as blocker:
        blocker.execute("lock table audit_event in share mode")
        task = asyncio.create_task(office.ask(who, *spoken(case, given), sid=session))
        try:
            yield task, await office.waiting()
        finally:
            blocker.rollback()
            await task


@of_cases
@pytest.mark.parametrize("way", ["inactive", "revoked", "logged out", "suspended"])
async def test_in_the_middle_of_the_command(office: Office, case: Case, way: str) -> None:
    who, session = office.there.person("clinic_admin@a", fresh=True), str(uuid.uuid4())
    async with held_up(office, case, who, session) as (task, _):
        cut(office, way, who, session)
        before = office.snapshot()
    mend(office, who)
    # Booking is one statement, undone by then: it is asked again of who they are now.
    anew = {"FORBIDDEN"} if case.mutation == "bookAppointment" and way == "revoked" else set()
    assert (await task).outcome in {*REFUSED, *anew}
    changed = {t for t, d in office.snapshot().items() if d != before[t]}
    assert changed <= {"tenant"}


@of_cases
async def test_a_connection_that_dies_leaves_nothing(office: Office, case: Case) -> None:
    who, session = office.there.person("clinic_admin@a"), str(uuid.uuid4())
    async with held_up(office, case, who, session) as (task, pid):
        before = office.snapshot()
        with psycopg.connect(office.database.url()) as administrator:
            administrator.execute("select pg_terminate_backend(%s)", [pid])
    assert (await task).outcome == "UNAVAILABLE"
    assert (await task).error["retryAfter"] > 0
    assert office.snapshot() == before
