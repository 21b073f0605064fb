"""Booking through the API: exactly as many as there are slots, and everything that a booking checks."""

import asyncio
import datetime as dt
from collections import Counter
from typing import Any

import pytest

from tests import make
from tests.api.commands.cases import BY_MUTATION, Scene, booked
from tests.api.commands.office import Office, local, soon

pytestmark = pytest.mark.anyio

SLOTS, EACH = 15, 20


def scene(office: Office, place: str = "a") -> Scene:
    return Scene(office, office.here, place, office.here.person("front_desk@a"))


async def free(office: Office, at: Scene, given: dict[str, Any]) -> bool:
    """Whether the time can be booked now, by somebody who does."""
    patient = office.here.patient(at.place)
    answer = await office.do(
        at.asker, "bookAppointment", **given | {"patient": f"Patient:{patient.id}"}
    )
    return answer.outcome == "DONE"


async def test_300_at_once_on_15_slots_end_in_exactly_15(office: Office) -> None:
    doctor = office.here.doctor("a")
    desks = [office.here.person("front_desk@a", fresh=True) for _ in range(6)]
    patients = [office.here.patient("a") for _ in range(30)]
    start = soon(24 * 40)
    known = office.recorded()
    wanted = [
        office.do(
            desks[n % len(desks)],
            "bookAppointment",
            unit=office.here.unit("a"),
            patient=f"Patient:{patients[n % len(patients)].id}",
            practitioner=f"Practitioner:{doctor.id}",
            startsAt=(start + dt.timedelta(minutes=30 * (n % SLOTS))).isoformat(),
            minutes=30,
        )
        for n in range(SLOTS * EACH)
    ]
    answers = await asyncio.gather(*wanted)
    assert Counter(answer.outcome for answer in answers) == {
        "DONE": SLOTS,
        "SLOT_TAKEN": SLOTS * (EACH - 1),
    }
    rows = office.query("select starts_at from appointment where practitioner_id = %s", doctor.id)
    assert len({row["starts_at"] for row in rows}) == len(rows) == SLOTS
    blocks = office.query("select id from appointment_block where resource_id = %s", doctor.id)
    assert len(blocks) == SLOTS
    assert [e["action"] for e in office.events(known)] == ["appointment:book"] * SLOTS


async def test_overlap_is_refused_and_the_next_minute_is_free(office: Office) -> None:
    at = scene(office)
    given = booked(at)
    start = dt.datetime.fromisoformat(given["startsAt"])
    assert (await office.do(at.asker, "bookAppointment", **given)).outcome == "DONE"
    before = office.snapshot()
    for minutes in (0, 15, 29, -29, -15):
        other = given | {"startsAt": (start + dt.timedelta(minutes=minutes)).isoformat()}
        answer = await office.do(at.asker, "bookAppointment", **other)
        assert answer.user_error == {
            "code": "SLOT_TAKEN",
            "message": "This time is taken.",
            "path": ["startsAt"],
        }
    assert office.snapshot() == before
    for minutes in (30, -30):
        other = given | {"startsAt": (start + dt.timedelta(minutes=minutes)).isoformat()}
        assert (await office.do(at.asker, "bookAppointment", **other)).outcome == "DONE"


async def test_only_who_is_assigned_to_the_place_is_booked(office: Office) -> None:
    at = scene(office)
    elsewhere, unassigned = office.here.doctor("b"), office.here.doctor()
    retired = make.practitioner(office.here.tenant, active=False)
    resource = make.bookable(retired)
    office.here.save(retired, resource, make.assignment(resource, office.here.units["a"]))
    given, admin = booked(at), office.here.person("system_admin@system")
    before = office.snapshot()
    for doctor in (elsewhere, unassigned, retired):
        other = given | {"practitioner": f"Practitioner:{doctor.id}"}
        answer = await office.do(at.asker, "bookAppointment", **other)
        assert answer.outcome == "NOT_BOOKABLE_HERE"
        assert answer.user_error["path"] == ["practitioner"]
    for unit in ("system", "r"):
        answer = await office.do(
            admin, "bookAppointment", **given | {"unit": office.here.unit(unit)}
        )
        assert answer.outcome in {"NOT_A_CLINIC", "FORBIDDEN", "NOT_FOUND"}
    assert office.snapshot() == before


async def test_rooms_are_kept_too(office: Office) -> None:
    at = scene(office)
    room, far = make.bookable(office.here.tenant), make.bookable(office.here.tenant)
    office.here.save(
        room,
        far,
        make.assignment(room, office.here.units["a"]),
        make.assignment(far, office.here.units["b"]),
    )
    given = booked(at) | {"rooms": [f"BookableResource:{room.id}"]}
    other = booked(at) | {"startsAt": given["startsAt"], "rooms": given["rooms"]}
    assert (await office.do(at.asker, "bookAppointment", **given)).outcome == "DONE"
    before = office.snapshot()
    assert (await office.do(at.asker, "bookAppointment", **other)).outcome == "SLOT_TAKEN"
    wrong = other | {"rooms": [f"BookableResource:{far.id}"]}
    refused = await office.do(at.asker, "bookAppointment", **wrong)
    assert (refused.outcome, refused.user_error["path"]) == ("NOT_BOOKABLE_HERE", ["rooms"])
    many = other | {"rooms": given["rooms"] * 9}
    refused = await office.do(at.asker, "bookAppointment", **many)
    assert (refused.outcome, refused.user_error["path"]) == ("INVALID", ["rooms"])
    assert office.snapshot() == before


async def test_cancelling_frees_the_time(office: Office) -> None:
    at = scene(office)
    given = booked(at)
    made = (await office.do(at.asker, "bookAppointment", **given)).data["appointment"]["id"]
    assert not await free(office, at, given)
    answer = await office.do(at.asker, "cancelAppointment", "state", id=made, version=1)
    assert answer.data["appointment"]["state"].upper() == "CANCELLED"
    assert await free(office, at, given)


async def test_moving_links_both_and_frees_the_old_time(office: Office) -> None:
    at = scene(office)
    given, later = booked(at), soon(24 * 60).isoformat()
    old = (await office.do(at.asker, "bookAppointment", **given)).data["appointment"]["id"]
    moved = await office.do(
        at.asker, "rescheduleAppointment", id=old, version=1, startsAt=later, minutes=45
    )
    new = moved.data["appointment"]["id"]
    text = "select id, state, rescheduled_from_id as source, reason from appointment where id = any(%s)"
    rows = {row["id"]: row for row in office.query(text, [local(old), local(new)])}
    assert rows[local(old)]["state"] == "cancelled"
    assert (rows[local(new)]["state"], rows[local(new)]["source"]) == ("booked", local(old))
    assert rows[local(new)]["reason"] == rows[local(old)]["reason"]
    assert await free(office, at, given)
    assert not await free(office, at, given | {"startsAt": later})


async def test_a_move_to_a_taken_time_changes_nothing(office: Office) -> None:
    at = scene(office)
    first, second = booked(at), booked(at)
    second["practitioner"] = first["practitioner"]
    await office.do(at.asker, "bookAppointment", **first)
    old = (await office.do(at.asker, "bookAppointment", **second)).data["appointment"]["id"]
    before = office.snapshot()
    refused = await office.do(
        at.asker,
        "rescheduleAppointment",
        id=old,
        version=1,
        startsAt=first["startsAt"],
        minutes=30,
    )
    assert (refused.outcome, refused.user_error["path"]) == ("SLOT_TAKEN", ["startsAt"])
    assert office.snapshot() == before


@pytest.mark.parametrize("mutation", ["bookAppointment", "startEncounter", "recordPayment"])
async def test_the_first_visit_to_a_department_is_on_record(office: Office, mutation: str) -> None:
    admin = office.here.person("clinic_admin@a")
    patient = office.here.patient("a")
    given = BY_MUTATION[mutation].given(Scene(office, office.here, "a1", admin))
    given |= {"patient": f"Patient:{patient.id}"}
    answer = await office.do(admin, mutation, **given)
    assert answer.outcome == "DONE"
    rows = office.query("select unit_id from patient_site where patient_id = %s", patient.id)
    assert {row["unit_id"] for row in rows} == {office.here.units[p].id for p in ("a", "a1")}


async def test_a_refused_booking_shows_the_patient_to_no_department(office: Office) -> None:
    """The slot is taken: then the department, too, has not seen the patient."""
    at = scene(office, "a1")
    given = booked(at)
    assert (await office.do(at.asker, "bookAppointment", **given)).outcome == "DONE"
    given["patient"] = f"Patient:{office.here.patient('a').id}"
    before = office.snapshot()
    assert (await office.do(at.asker, "bookAppointment", **given)).outcome == "SLOT_TAKEN"
    assert office.snapshot() == before


async def test_what_is_written_within_one_booking(office: Office) -> None:
    """Settings, the statement, the stamp: one unit and nothing else."""
    at = scene(office)
    given = booked(at)
    await office.do(at.asker, "bookAppointment", **booked(at))
    sent: list[tuple[Any, ...]] = []
    unit = office.wiring.pipeline.unit

    def recorded(settings: Any, *statements: Any, **more: Any) -> Any:
        sent.append(statements)
        return unit(settings, *statements, **more)

    object.__setattr__(office.wiring.pipeline, "unit", recorded)
    try:
        answer = await office.do(at.asker, "bookAppointment", "patient { familyName }", **given)
    finally:
        object.__delattr__(office.wiring.pipeline, "unit")
    assert answer.outcome == "DONE"
    ((data, stamped),) = sent
    assert "INSERT INTO appointment" in data.sql
    assert "1 / count(*)" in stamped.sql


async def test_the_rooms_are_told_by_the_booking_and_stay_with_a_move(office: Office) -> None:
    at = scene(office)
    rooms = [make.bookable(office.here.tenant, kind) for kind in ("room", "device")]
    office.here.save(*rooms, *(make.assignment(r, office.here.units["a"]) for r in rooms))
    ids = sorted(f"BookableResource:{room.id}" for room in rooms)
    first, other = booked(at) | {"rooms": ids}, booked(at)
    select = "resources { id kind } rescheduledFrom { resources { id } }"

    def told(answer: Any) -> list[str]:
        return sorted(kept["id"] for kept in answer.data["appointment"]["resources"])

    made = await office.do(at.asker, "bookAppointment", select, **first)
    assert told(made) == ids
    assert told(await office.do(at.asker, "bookAppointment", select, **other)) == []
    old = made.data["appointment"]["id"]
    later = soon(24 * 61).isoformat()
    asked = {"id": old, "version": 1, "startsAt": later, "minutes": 30}
    moved = await office.do(at.asker, "rescheduleAppointment", select, **asked)
    assert told(moved) == ids
    assert len(moved.data["appointment"]["rescheduledFrom"]["resources"]) == 2
    taken = booked(at) | {"startsAt": later, "rooms": ids[:1]}
    assert (await office.do(at.asker, "bookAppointment", **taken)).outcome == "SLOT_TAKEN"
