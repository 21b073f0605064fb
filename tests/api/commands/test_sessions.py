"""Sessions are shown to whose they are and to who manages them, and ended one by one or all at once."""

import datetime as dt
import time
import uuid
from typing import Any

import pytest

from api.plan.mapping import instant
from domain.people import Person
from tests import make
from tests.api.commands.office import Answer, Office
from tests.api.commands.staff import newcomer, waiting

pytestmark = pytest.mark.anyio
LIST = "query($person: ID) { sessions(person: $person) { id client startedAt current } }"
END = "mutation($input: EndSessionInput!) { endSession(input: $input) { person { id } userErrors { code } } }"
OUT = "mutation($input: SignOutInput!) { signOut(input: $input) { person { id } userErrors { code } } }"


def sid() -> str:
    return str(uuid.uuid4())


async def come(office: Office, who: Person, session: str, **claims: Any) -> Answer:
    return await office.ask(who, "{ viewer { userName } }", sid=session, **claims)


async def sessions(
    office: Office, who: Person, session: str, of: Person | None = None
) -> list[dict[str, Any]] | None:
    variables = {"person": f"Person:{of.id}"} if of else {}
    answer = await office.ask(who, LIST, variables, sid=session)
    assert answer.outcome == "DONE", answer.body
    found: list[dict[str, Any]] | None = answer.data
    return found


async def test_ones_own_sessions(office: Office) -> None:
    who, first, second = newcomer(office, "nurse@a"), sid(), sid()
    begun = int(time.time()) - 600
    await come(office, who, first, auth_time=begun)
    found = await sessions(office, who, second)
    assert found is not None
    assert [one["current"] for one in found] == [True, False]
    assert {one["client"] for one in found} == {"portal"}
    assert found[1]["startedAt"] == instant(dt.datetime.fromtimestamp(begun, dt.UTC))
    await come(office, who, first)
    assert len(await sessions(office, who, second) or ()) == 2


async def test_one_session_ends_and_the_others_go_on(office: Office) -> None:
    who, here, lost = newcomer(office, "nurse@a"), sid(), sid()
    await come(office, who, lost)
    (other,) = [one for one in await sessions(office, who, here) or () if not one["current"]]
    ended = await office.ask(who, END, {"input": {"id": other["id"]}}, sid=here)
    assert ended.data == {"person": {"id": f"Person:{who.id}"}, "userErrors": []}
    assert (await come(office, who, lost)).outcome == "UNAUTHENTICATED"
    assert (await come(office, who, here)).outcome == "DONE"
    assert [one["current"] for one in await sessions(office, who, here) or ()] == [True]
    assert (await waiting(office))[-1] == ("identity:end_session", str(who.id))
    again = await office.ask(who, END, {"input": {"id": other["id"]}}, sid=here)
    assert again.outcome == "DONE"


async def test_ones_present_session_ends_too(office: Office) -> None:
    who, here, other = newcomer(office, "nurse@a"), sid(), sid()
    await come(office, who, other)
    (present,) = [one for one in await sessions(office, who, here) or () if one["current"]]
    ended = await office.ask(who, END, {"input": {"id": present["id"]}}, sid=here)
    assert ended.outcome == "DONE"
    assert (await come(office, who, here)).outcome == "UNAUTHENTICATED"
    assert (await come(office, who, other)).outcome == "DONE"


async def test_signing_out_ends_all_of_them(office: Office) -> None:
    who, here, other = newcomer(office, "nurse@a"), sid(), sid()
    await come(office, who, other)
    known = office.recorded()
    done = await office.ask(who, OUT, {"input": {"person": f"Person:{who.id}"}}, sid=here)
    assert done.outcome == "DONE", done.body
    before = int(time.time()) - 60  # tokens that are as old as the sessions
    for session in (here, other, sid()):
        assert (await come(office, who, session, iat=before)).outcome == "UNAUTHENTICATED"
    (event,) = office.events(known)
    assert (event["action"], event["subject_ids"]) == ("person:manage", [who.id])
    assert (await waiting(office))[-1] == ("identity:end_sessions", str(who.id))
    later = int(time.time()) + 2
    assert (await come(office, who, sid(), iat=later)).outcome == "DONE", "who logs in anew is in"


@pytest.mark.parametrize(
    ("asker", "held", "outcome"),
    [
        ("clinic_admin@a", "nurse@a", "DONE"),
        ("system_admin@system", "nurse@b", "DONE"),
        ("clinic_admin@a", "nurse@b", "FORBIDDEN"),
        ("clinic_admin@a", "regional_director@r", "FORBIDDEN"),
        ("nurse@a", "nurse@a1", "FORBIDDEN"),
        ("auditor@system", "nurse@a", "FORBIDDEN"),
    ],
)
async def test_who_ends_whose(office: Office, asker: str, held: str, outcome: str) -> None:
    who, whom, session = office.here.person(asker), newcomer(office, held), sid()
    await come(office, whom, session)
    mine = sid()
    shown = await sessions(office, who, mine, whom)
    assert (shown is not None) == (outcome == "DONE")
    (row,) = office.query("select id from login_session where person_id = %s", whom.id)
    ended = await office.ask(who, END, {"input": {"id": f"LoginSession:{row['id']}"}}, sid=mine)
    assert ended.outcome == ("DONE" if outcome == "DONE" else "NOT_FOUND")
    cut = (await come(office, whom, session)).outcome == "UNAUTHENTICATED"
    assert cut == (outcome == "DONE")
    out = await office.ask(who, OUT, {"input": {"person": f"Person:{whom.id}"}}, sid=mine)
    assert out.outcome == outcome
    before = int(time.time()) - 60
    cut = (await come(office, whom, sid(), iat=before)).outcome == "UNAUTHENTICATED"
    assert cut == (outcome == "DONE")


async def test_another_health_system_has_none(office: Office) -> None:
    who, mine = office.here.person("system_admin@system"), sid()
    there, session = office.there.person("nurse@a", fresh=True), sid()
    await come(office, there, session)
    assert await sessions(office, who, mine, there) is None
    (row,) = office.query("select id from login_session where person_id = %s", there.id)
    ended = await office.ask(who, END, {"input": {"id": f"LoginSession:{row['id']}"}}, sid=mine)
    assert ended.outcome == "NOT_FOUND"
    out = await office.ask(who, OUT, {"input": {"person": f"Person:{there.id}"}}, sid=mine)
    assert out.outcome == "NOT_FOUND"
    assert (await come(office, there, session)).outcome == "DONE"


async def test_who_is_not_let_in_leaves_no_session(office: Office) -> None:
    who = make.person(office.here.tenant, active=False)
    office.here.save(who)
    assert (await come(office, who, sid())).outcome == "UNAUTHENTICATED"
    assert office.query("select 1 from login_session where person_id = %s", who.id) == []
