"""Hours and closures of somebody who is booked at several places of a clinic: they bind at all of them."""

import datetime as dt
from typing import Any

import pytest

from domain.practitioners import Practitioner
from tests import make
from tests.api.commands.diary import HOURS
from tests.api.commands.office import Office
from tests.api.commands.staff import do, refused

pytestmark = pytest.mark.anyio

DAYS = {"firstOn": "2029-12-24", "lastOn": "2029-12-26"}


def inputs(office: Office, whose: Practitioner, unit: str) -> list[tuple[str, dict[str, Any]]]:
    """Each way to change when somebody is booked, as asked for at a unit."""
    node = office.here.units[unit]
    day = dt.date(2029, 5, 1)
    rule, closure = make.rule(node, whose), make.closure(node, day, resource_id=whose.id)
    office.here.save(rule, closure)
    at = {"unit": office.here.unit(unit), "resource": f"Practitioner:{whose.id}"}
    return [
        ("addScheduleRule", at | {"hours": HOURS}),
        ("addScheduleClosure", at | DAYS),
        ("changeScheduleRule", {"id": f"ScheduleRule:{rule.id}", "version": 1, "hours": HOURS}),
        ("withdrawScheduleClosure", {"id": f"ScheduleClosure:{closure.id}", "version": 1}),
    ]


@pytest.mark.parametrize(
    ("asker", "unit", "places", "outcome"),
    [
        ("clinic_admin@a1", "a1", ("a1",), "DONE"),
        ("clinic_admin@a1", "a1", ("a1", "c1"), "DONE"),  # rules bind in one clinic
        ("clinic_admin@a1", "a1", ("a1", "a2"), "BOOKED_ELSEWHERE"),
        ("clinic_admin@a1", "a1", ("a2",), "BOOKED_ELSEWHERE"),
        ("clinic_admin@a1", "a1", ("a",), "BOOKED_ELSEWHERE"),
        ("clinic_admin@a", "a1", ("a1", "a2"), "DONE"),
        ("clinic_admin@a", "a", ("a",), "DONE"),
        ("regional_director@r", "a2", ("a1", "a2"), "DONE"),
    ],
    ids=str,
)
async def test_who_sets_hours_administers_all_places_that_they_bind(
    office: Office, asker: str, unit: str, places: tuple[str, ...], outcome: str
) -> None:
    who, whose = office.here.person(asker), office.here.doctor(*places)
    for mutation, input in inputs(office, whose, unit):
        if outcome == "DONE":
            assert (await do(office, who, mutation, **input)).outcome == "DONE"
        else:
            answer = await refused(office, who, mutation, **input)
            assert answer.error == {"code": "FORBIDDEN", "reason": outcome}


async def test_a_place_that_is_over_counts_no_more_and_one_to_come_does(office: Office) -> None:
    who = office.here.person("clinic_admin@a1")
    for since, outcome in ((None, "DONE"), (make.now() + dt.timedelta(days=9), "FORBIDDEN")):
        whose = office.here.doctor("a1")
        until = make.now() if since is None else None
        beside = make.assignment(make.bookable(whose), office.here.units["a2"])
        beside.valid_from, beside.valid_until = since, until
        office.here.save(beside)
        for mutation, input in inputs(office, whose, "a1"):
            answer = await (do if outcome == "DONE" else refused)(office, who, mutation, **input)
            assert answer.outcome == outcome


async def test_what_binds_a_place_itself_is_its_administrators(office: Office) -> None:
    """Hours of a department are for whoever has none of their own, wherever else these work."""
    office.here.doctor("a1", "a2")
    who, unit = office.here.person("clinic_admin@a1"), {"unit": office.here.unit("a1")}
    past = {"firstOn": "2029-12-24", "lastOn": "2029-12-24", "fromTime": "23:00:00"}
    made = await do(office, who, "addScheduleClosure", **unit | past)
    assert made.outcome == "DONE"
    taken = {"id": made.data["closure"]["id"], "version": 1}
    assert (await do(office, who, "withdrawScheduleClosure", **taken)).outcome == "DONE"
