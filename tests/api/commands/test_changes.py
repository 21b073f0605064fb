"""`appointmentChanged`: who is told what, and how soon nobody is told any more."""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware

from api.http.entrance import Entrance
from api.http.events import Events
from domain.people import Person
from tests import make
from tests.api.commands.cases import Scene, booked
from tests.api.commands.office import Office, System, soon
from tests.api.http.talk import Stream, streaming

pytestmark = pytest.mark.anyio
QUERY = """subscription($clinic: ID!) { appointmentChanged(clinic: $clinic) {
    kind appointment { id state reason unit { name } } } }"""
LISTENING = {"kind": "LISTENING", "appointment": None}
AT_ONCE = 1.0
"""Seconds in which whoever is cut off has lost what they had open."""


@asynccontextmanager
async def following(
    office: Office, who: Person, clinic: str, text: str = QUERY, **claims: Any
) -> AsyncIterator[Stream]:
    """What somebody is told of a clinic, by its opaque id."""
    system = office.here if who.tenant_id == office.here.tenant.tenant_id else office.there
    doors = Events(office.endpoint, lambda: office.wiring.presences)
    app = Starlette(middleware=[Middleware(Entrance, office.endpoint, doors)])
    body = orjson.dumps({"query": text, "variables": {"clinic": clinic}})
    token = f"Bearer {system.token(who, **claims)}"
    async with streaming(app, "", body=body, authorization=token) as stream:
        assert (await stream.start())[0] == 200
        yield stream


async def change(stream: Stream) -> Any:
    """The next change, whole."""
    name, data = await stream.event()
    assert name == "next"
    assert "errors" not in data, data
    return data["data"]["appointmentChanged"]


async def refusal(stream: Stream) -> str:
    """Why it ended."""
    (name, data), *rest = await stream.rest()
    assert (name, rest) == ("next", [("complete", None)])
    code: str = data["errors"][0]["extensions"]["code"]
    return code


def scene(office: Office, place: str = "a", system: System | None = None) -> Scene:
    whose = system or office.here
    return Scene(office, whose, place, whose.person("clinic_admin@a", "clinic_admin@b"))


async def book(at: Scene, **given: Any) -> str:
    await at.office.ask(at.asker, "{ __typename }")  # other tests change the health system
    answer = await at.office.do(at.asker, "bookAppointment", **booked(at) | given)
    found: str = answer.data["appointment"]["id"]
    return found


async def test_a_day_at_the_front_desk(office: Office) -> None:
    at, desk = scene(office), office.here.person("front_desk@a")
    async with following(office, desk, office.here.unit("a")) as stream:
        assert await change(stream) == LISTENING
        made = await book(at, reason="Cough")
        shown = {"id": made, "state": "BOOKED", "reason": "Cough", "unit": {"name": "a"}}
        assert await change(stream) == {"kind": "CHANGED", "appointment": shown}
        await office.do(desk, "checkInAppointment", id=made, version=1)
        assert (await change(stream))["appointment"]["state"] == "CHECKED_IN"
        other = await book(at)
        assert (await change(stream))["appointment"]["id"] == other
        times: dict[str, Any] = {"startsAt": soon(24 * 50).isoformat(), "minutes": 30}
        moved = await office.do(at.asker, "rescheduleAppointment", id=other, version=1, **times)
        new = moved.data["appointment"]["id"]
        told = [(await change(stream))["appointment"] for _ in range(2)]
        states = {one["id"]: one["state"] for one in told}
        assert states == {other: "CANCELLED", new: "BOOKED"}
        await office.do(at.asker, "cancelAppointment", id=new, version=1)
        assert (await change(stream))["appointment"]["state"] == "CANCELLED"


async def test_only_what_was_asked_for_is_answered(office: Office) -> None:
    text = "subscription($clinic: ID!) { a: appointmentChanged(clinic: $clinic) { __typename k: kind } }"
    at, desk = scene(office), office.here.person("front_desk@a")
    async with following(office, desk, office.here.unit("a"), text) as stream:
        told = [(await stream.event())[1]["data"]["a"]]
        await book(at)
        told.append((await stream.event())[1]["data"]["a"])
    kinds = ({"__typename": "AppointmentChange", "k": kind} for kind in ("LISTENING", "CHANGED"))
    assert told == list(kinds)


async def test_each_is_shown_what_their_role_opens(office: Office) -> None:
    at, viewer = scene(office), office.here.person("system_viewer@system")
    async with following(office, viewer, office.here.unit("a")) as stream:
        await change(stream)
        await book(at, reason="Cough")
        _, told = await stream.event()
    assert told["data"]["appointmentChanged"]["appointment"]["reason"] is None
    (masked,) = told["extensions"]["masked"]
    assert masked["path"] == ["appointmentChanged", "appointment", "reason"]


async def test_another_clinic_or_health_system_is_not_told(office: Office) -> None:
    admin = office.here.person("regional_director@r")
    async with following(office, admin, office.here.unit("a")) as stream:
        await change(stream)
        await book(scene(office, "b"))
        await book(scene(office, "a", office.there))
        made = await book(scene(office))
        assert (await change(stream))["appointment"]["id"] == made


async def test_a_department_is_told_of_its_own(office: Office) -> None:
    nurse = office.here.person("nurse@a1")
    async with following(office, nurse, office.here.unit("a")) as stream:
        await change(stream)
        await book(scene(office, "a2"))
        await book(scene(office, "a"))
        made = await book(scene(office, "a1"))
        assert (await change(stream))["appointment"]["id"] == made


async def test_what_nobody_may_see_is_not_told_of(office: Office) -> None:
    at, desk = scene(office), office.here.person("front_desk@a")
    secret = at.appointment()
    office.change(
        "update patient set sensitivity = 1 where tenant_id = %s and id = %s",
        secret.tenant_id,
        secret.patient_id,
    )
    held = office.query("select sensitivity from appointment where id = %s", secret.id)
    assert held == [{"sensitivity": 1}]
    async with following(office, desk, office.here.unit("a")) as stream:
        await change(stream)
        with office.here.engine.begin() as connection:
            text = "select set_config('app.tenant', %s, true), tell(%s, 'appointment', %s, %s)"
            tenant, ids = secret.tenant_id, (secret.clinic_id, secret.id)
            connection.exec_driver_sql(text, (str(tenant), tenant, *ids))
        made = await book(at)
        assert (await change(stream))["appointment"]["id"] == made


@pytest.mark.parametrize(
    ("held", "clinic", "code"),
    [
        ("biller@a", "a", "FORBIDDEN"),
        ("front_desk@b", "a", "FORBIDDEN"),
        ("privacy_officer@system", "a", "FORBIDDEN"),
        ("clinic_admin@a", "r", "BAD_USER_INPUT"),
        ("clinic_admin@a", "a1", "BAD_USER_INPUT"),
        ("clinic_admin@a", "", "NOT_FOUND"),
        ("clinic_admin@a", "there", "NOT_FOUND"),
    ],
)
async def test_who_may_not_follow(office: Office, held: str, clinic: str, code: str) -> None:
    units = {"there": office.there.unit("a"), "": f"OrgUnit:{uuid.uuid4()}"}
    node = units.get(clinic) or office.here.unit(clinic)
    async with following(office, office.here.person(held), node) as stream:
        assert await refusal(stream) == code


CUTS = {
    "grant revoked": ("update role_grant set valid_until = now() where person_id = %(who)s", "FORBIDDEN"),
    "disabled": ("update person set active = false where id = %(who)s", "UNAUTHENTICATED"),
    "signed out": (
        "update person set tokens_valid_from = now() + interval '2 seconds' where id = %(who)s",
        "UNAUTHENTICATED",
    ),
    "session ended": (
        "insert into revoked_session (tenant_id, sid, until)"
        " select tenant_id, %(sid)s, now() + interval '1 hour' from person where id = %(who)s",
        "UNAUTHENTICATED",
    ),
    "suspended": (
        "update tenant set state = 'suspended', version = version + 1"
        " where tenant_id = (select tenant_id from person where id = %(who)s)",
        "UNAUTHENTICATED",
    ),
    "second factor": (
        "update tenant set mfa_policy = 'all', version = version + 1"
        " where tenant_id = (select tenant_id from person where id = %(who)s)",
        "MFA_REQUIRED",
    ),
}  # fmt: skip


def cut(office: Office, text: str, who: Person, sid: str) -> None:
    office.owner.execute(text, {"who": who.id, "sid": sid})
    if "person" in text.split(" where ")[0] or "role_grant" in text:
        office.change("update person set version = version + 1 where id = %s", who.id)


def mend(office: Office, who: Person) -> None:
    text = "update tenant set state = 'active', mfa_policy = 'none', version = version + 1 where tenant_id = %s"
    office.change(text, who.tenant_id)


@pytest.mark.parametrize("way", CUTS)
async def test_who_is_cut_off_loses_what_they_have_open(office: Office, way: str) -> None:
    """Also when nothing happens at the clinic."""
    text, code = CUTS[way]
    who, sid = office.there.person("front_desk@a", fresh=True), str(uuid.uuid4())
    # Without a second factor, and in a health system that asks for none.
    login: dict[str, Any] = {"amr": ["pwd"], "acr": "1"} if way == "second factor" else {}
    claims = {"sub": who.subject, "sid": sid} | login
    token = office.there.authority.token(None, **claims)
    async with following(office, who, office.there.unit("a"), sid=sid) as stream:
        await change(stream)
        (presence,) = (p for p in office.wiring.presences._present if p.actor.person_id == who.id)
        presence.token = token
        begun = time.perf_counter()
        cut(office, text, who, sid)
        try:
            assert await refusal(stream) == code
            assert time.perf_counter() - begun < AT_ONCE
        finally:
            mend(office, who)


@pytest.mark.parametrize("way", ["grant revoked", "disabled", "session ended", "suspended"])
async def test_nothing_is_told_between_the_cut_and_the_end(office: Office, way: str) -> None:
    """What happens at once after the cut, before anybody has looked, is not theirs to hear of."""
    text, code = CUTS[way]
    who, sid = office.there.person("front_desk@a", fresh=True), str(uuid.uuid4())
    at = scene(office, system=office.there)
    visits = [at.appointment() for _ in range(3)]
    async with following(office, who, office.there.unit("a"), sid=sid) as stream:
        await change(stream)
        cut(office, text, who, sid)
        for visit in visits:
            with office.there.engine.begin() as connection:
                told = "select set_config('app.tenant', %s, true), tell(%s, 'appointment', %s, %s)"
                ids = (visit.tenant_id, visit.clinic_id, visit.id)
                connection.exec_driver_sql(told, (str(visit.tenant_id), *ids))
        try:
            assert await refusal(stream) == code
        finally:
            mend(office, who)


async def test_a_grant_that_runs_out_ends_it(office: Office) -> None:
    who = make.person(office.there.tenant)
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1.5)
    grant = make.grant(who, "front_desk", office.there.units["a"], valid_until=until)
    office.there.save(who, grant)
    async with following(office, who, office.there.unit("a")) as stream:
        await change(stream)
        assert await refusal(stream) == "FORBIDDEN"
    assert dt.timedelta() <= dt.datetime.now(dt.UTC) - until < dt.timedelta(seconds=AT_ONCE)


async def test_a_token_that_runs_out_ends_it(office: Office) -> None:
    who = office.there.person("front_desk@a")
    expired = int(time.time()) - 28  # half a minute is for clocks that differ
    async with following(office, who, office.there.unit("a"), exp=expired) as stream:
        await change(stream)
        assert await refusal(stream) == "UNAUTHENTICATED"
    assert time.time() - expired < 30 + AT_ONCE


async def test_who_gains_a_role_goes_on_with_it(office: Office) -> None:
    who = office.there.person("nurse@a1", fresh=True)
    at = scene(office, system=office.there)
    async with following(office, who, office.there.unit("a")) as stream:
        await change(stream)
        office.there.save(make.grant(who, "nurse", office.there.units["a"]))
        office.change("update person set version = version + 1 where id = %s", who.id)
        made = await book(at)
        assert (await change(stream))["appointment"]["id"] == made


async def test_after_a_gap_it_begins_anew(office: Office) -> None:
    at, desk = scene(office), office.here.person("front_desk@a")
    async with following(office, desk, office.here.unit("a")) as stream:
        assert await change(stream) == LISTENING
        office.wiring.presences._feeds._missed()
        assert await change(stream) == LISTENING
        made = await book(at)
        assert (await change(stream))["appointment"]["id"] == made


async def test_everybody_at_a_clinic_is_told(office: Office) -> None:
    at, desk = scene(office), office.here.person("front_desk@a")
    nurse = office.here.person("nurse@a")
    unit = office.here.unit("a")
    async with following(office, desk, unit) as one, following(office, nurse, unit) as two:
        await asyncio.gather(change(one), change(two))
        made = await book(at)
        told = await asyncio.gather(change(one), change(two))
        assert [t["appointment"]["id"] for t in told] == [made, made]
