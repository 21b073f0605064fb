"""A taken time: other times are told, an expired hold is none, and what is told can be booked."""

import datetime as dt
from typing import Any

import pytest

from tests import make
from tests.api.commands.cases import Scene, booked
from tests.api.commands.office import Answer, Office, local, soon

pytestmark = pytest.mark.anyio

TEXT = """mutation($input: %sInput!) { %s(input: $input) { appointment { id state }
  userErrors { __typename code path ... on SlotTaken { alternatives { startsAt endsAt } } } } }"""


def scene(office: Office) -> Scene:
    return Scene(office, office.here, "a", office.here.person("front_desk@a"))


async def ask(at: Scene, mutation: str, given: dict[str, Any]) -> Answer:
    named = mutation[0].upper() + mutation[1:]
    return await at.office.ask(at.asker, TEXT % (named, mutation), {"input": given})


def times(answer: Answer) -> list[str]:
    (error,) = answer.data["userErrors"]
    assert (error["__typename"], error["code"]) == ("SlotTaken", "SLOT_TAKEN")
    return [slot["startsAt"] for slot in error["alternatives"]]


@pytest.mark.parametrize("mutation", ["bookAppointment", "holdAppointment"])
async def test_the_nearest_open_slots_are_told_and_can_be_booked(
    office: Office, mutation: str
) -> None:
    at = scene(office)
    given = booked(at)
    doctor = local(given["practitioner"])
    every_day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    rule = make.rule(at.unit, weekdays=every_day, opens=dt.time(0), closes=dt.time(0))
    rule.resource_id = doctor
    at.system.save(rule)
    start = dt.datetime.fromisoformat(given["startsAt"])
    assert (await ask(at, "bookAppointment", given)).outcome == "DONE"
    before = office.snapshot()
    offered = times(await ask(at, mutation, given))
    assert office.snapshot() == before
    apart = [(dt.datetime.fromisoformat(t) - start) / dt.timedelta(minutes=30) for t in offered]
    assert sorted(map(abs, apart)) == [1, 1, 2, 2, 3]
    assert apart == sorted(apart)
    for other in offered:
        assert (await ask(at, "bookAppointment", given | {"startsAt": other})).outcome == "DONE"


async def test_without_rules_the_free_times_around_it_are_told(office: Office) -> None:
    at = scene(office)
    given = booked(at)
    assert (await ask(at, "bookAppointment", given)).outcome == "DONE"
    offered = times(await ask(at, "bookAppointment", given))
    assert len(offered) == 5
    for other in offered[:1]:
        assert (await ask(at, "bookAppointment", given | {"startsAt": other})).outcome == "DONE"


async def test_a_move_tells_other_times_too(office: Office) -> None:
    at = scene(office)
    first, second = booked(at), booked(at)
    second["practitioner"] = first["practitioner"]
    await ask(at, "bookAppointment", first)
    old = (await ask(at, "bookAppointment", second)).data["appointment"]["id"]
    wanted = {"id": old, "version": 1, "startsAt": first["startsAt"], "minutes": 30}
    before = office.snapshot()
    assert times(await ask(at, "rescheduleAppointment", wanted))
    assert office.snapshot() == before


async def test_an_expired_hold_is_booked_over_before_anybody_sweeps(office: Office) -> None:
    at = scene(office)
    given = booked(at)
    held = await ask(at, "holdAppointment", given | {"holdMinutes": 1})
    assert held.data["appointment"]["state"] == "PENDING"
    assert times(await ask(at, "bookAppointment", given))
    expired = "update appointment set expires_at = now() - interval '1 second' where id = %s"
    office.change(expired, local(held.data["appointment"]["id"]))
    assert (await ask(at, "bookAppointment", given)).outcome == "DONE"
    rows = office.query(
        "select state from appointment where practitioner_id = %s order by created_at",
        local(given["practitioner"]),
    )
    assert [row["state"] for row in rows] == ["cancelled", "booked"]
    late = {"id": held.data["appointment"]["id"], "version": 2}
    answer = await office.do(at.asker, "confirmAppointment", **late)
    assert answer.outcome == "ILLEGAL_STATE"


async def test_a_hold_defers_its_end(office: Office) -> None:
    at = scene(office)
    count = (
        "select count(*) as n from procrastinate_jobs where task_name = 'calendar:release_holds'"
    )
    before = office.query(count)[0]["n"]
    await ask(at, "holdAppointment", booked(at))
    assert office.query(count)[0]["n"] == before + 1


async def test_links_of_a_move_read_both_ways(office: Office) -> None:
    at = scene(office)
    old = (await ask(at, "bookAppointment", booked(at))).data["appointment"]["id"]
    moved = await office.do(
        at.asker,
        "rescheduleAppointment",
        "rescheduledFrom { id state rescheduledTo { id } }",
        id=old,
        version=1,
        startsAt=soon(24 * 90).isoformat(),
        minutes=30,
    )
    made = moved.data["appointment"]
    assert made["rescheduledFrom"]["id"] == old
    assert made["rescheduledFrom"]["rescheduledTo"]["id"] == made["id"]
