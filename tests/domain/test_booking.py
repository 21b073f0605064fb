"""Booking as one statement: what it writes, what it refuses, and 300 people who want 15 slots."""

import asyncio
import datetime as dt
import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import aliased

from domain.appointments import (
    Appointment,
    AppointmentBlock,
    Booking,
    NotBookableHere,
    SlotTaken,
    book,
    booking_statement,
    booking_values,
)
from domain.audit import Agent, AuditEvent
from domain.errors import Invalid, NotFound
from domain.keys import IdempotencyKey, KeyReused
from domain.patients import Patient, PatientSite
from domain.practitioners import Practitioner
from tests import make
from tests.database import Database, sqlalchemy_url
from tests.domain.acting import Stage, acting, everything, sites, stage, units

pytestmark = pytest.mark.anyio

TOMORROW = make.NOW + dt.timedelta(days=1)


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


def anywhere(at: Stage) -> Select[Any]:
    """The admissible sites of somebody who may book in all of the health system."""
    return select(PatientSite).where(PatientSite.tenant_id == at.tenant_id)


def wanted(at: Stage, **values: Any) -> Booking:
    asked: dict[str, Any] = {
        "patient_id": at.patient.id,
        "practitioner_id": at.practitioner.id,
        "starts_at": TOMORROW,
        "minutes": 30,
        "reason": "Cough",
    }
    return Booking(**asked | values)


async def count(engine: AsyncEngine, at: Stage, model: type[Any]) -> int:
    async with acting(engine, at.tenant_id) as session:
        mine = select(func.count()).select_from(model).where(model.tenant_id == at.tenant_id)
        return int(await session.scalar(mine) or 0)


async def nothing_written(engine: AsyncEngine, at: Stage) -> bool:
    written = (Appointment, AppointmentBlock, AuditEvent, IdempotencyKey)
    return [await count(engine, at, model) for model in written] == [0] * 4


async def test_one_statement_writes_appointment_block_key_and_event(
    at: Stage, app_engine: AsyncEngine
) -> None:
    agent = at.agent
    async with acting(app_engine, at.tenant_id) as session:
        booked = await book(session, agent, at.clinic, wanted(at, key="k1"), anywhere(at))
    assert (booked.state, booked.version, booked.reason) == ("booked", 1, "Cough")
    assert booked.ends_at - booked.starts_at == dt.timedelta(minutes=30)
    assert (booked.clinic_id, booked.unit_id) == (at.clinic.id, at.clinic.id)
    async with acting(app_engine, at.tenant_id) as session:
        kept = (await session.scalars(select(AppointmentBlock))).one()
        assert kept.resource_id == at.practitioner.id
        assert (kept.block.lower, kept.block.upper) == (booked.starts_at, booked.ends_at)
        event = (await session.scalars(select(AuditEvent))).one()
        assert (event.action, event.outcome) == ("appointment:book", "done")
        assert event.subject_ids == [booked.id, at.patient.id]
        assert (event.person_id, event.request_id) == (at.person.id, agent.request_id)
        key = (await session.scalars(select(IdempotencyKey))).one()
        assert key.result_id == booked.id


async def test_a_repeat_answers_the_first_appointment_and_another_input_is_refused(
    at: Stage, app_engine: AsyncEngine
) -> None:
    ids = set()
    for _ in range(2):
        async with acting(app_engine, at.tenant_id) as session:
            asked = wanted(at, key="k")
            ids.add((await book(session, at.agent, at.clinic, asked, anywhere(at))).id)
    assert len(ids) == 1
    async with acting(app_engine, at.tenant_id) as session:
        other = wanted(at, key="k", minutes=45)
        with pytest.raises(KeyReused) as refused:
            await book(session, at.agent, at.clinic, other, anywhere(at))
    assert refused.value.code == "IDEMPOTENCY_KEY_REUSED"
    assert await count(app_engine, at, Appointment) == 1
    assert await count(app_engine, at, AuditEvent) == 1


async def test_a_repeat_at_the_same_moment_books_once(at: Stage, app_engine: AsyncEngine) -> None:
    async def request() -> uuid.UUID:
        async with acting(app_engine, at.tenant_id) as session:
            asked = wanted(at, key="twin")
            return (await book(session, at.agent, at.clinic, asked, anywhere(at))).id

    assert len(set(await asyncio.gather(*(request() for _ in range(4))))) == 1
    assert await count(app_engine, at, Appointment) == 1


async def test_a_patient_who_is_not_visible_is_not_found(
    at: Stage, app_engine: AsyncEngine
) -> None:
    nobody = anywhere(at).where(PatientSite.unit_id == at.elsewhere.id)
    for asked, rows in (
        (wanted(at, patient_id=uuid.uuid4()), anywhere(at)),
        (wanted(at), nobody),
    ):
        async with acting(app_engine, at.tenant_id) as session:
            with pytest.raises(NotFound) as refused:
                await book(session, at.agent, at.clinic, asked, rows)
        assert refused.value.path == ("patientId",)
    async with acting(app_engine, at.tenant_id) as session:
        with pytest.raises(NotFound):
            await book(session, at.agent, at.elsewhere, wanted(at), anywhere(at))
    assert await nothing_written(app_engine, at)


async def test_only_practitioners_of_the_clinic_who_are_active_are_booked(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    async def refused_field(asked: Booking) -> tuple[str, ...]:
        async with acting(app_engine, at.tenant_id) as session:
            with pytest.raises(NotBookableHere) as refused:
                await book(session, at.agent, at.clinic, asked, anywhere(at))
        return refused.value.path

    assert await refused_field(wanted(at, practitioner_id=at.colleague.id)) == ("practitionerId",)
    assert await refused_field(wanted(at, practitioner_id=uuid.uuid4())) == ("practitionerId",)
    assert await refused_field(wanted(at, room_ids=(at.colleague.id,))) == ("roomIds",)
    with database.owner_engine.begin() as owner:
        owner.execute(
            update(Practitioner).where(Practitioner.id == at.practitioner.id).values(active=False)
        )
    assert await refused_field(wanted(at)) == ("practitionerId",)
    assert await nothing_written(app_engine, at)


async def test_somebody_of_one_department_is_booked_there_and_for_the_clinic_but_for_no_other(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    nurse, other = (
        make.practitioner(at.tree.tenant),
        make.unit(at.tree.tenant, at.clinic, "department"),
    )
    other.active = True
    resource = make.bookable(nurse)
    rows = [
        nurse,
        resource,
        make.assignment(resource, at.ward),
        other,
        make.site(at.patient, other),
    ]
    make.save(database, *rows)
    for hour, place in enumerate((at.ward, at.clinic)):
        async with acting(app_engine, at.tenant_id) as session:
            asked = wanted(
                at, practitioner_id=nurse.id, starts_at=TOMORROW + dt.timedelta(hours=hour)
            )
            assert (await book(session, at.agent, place, asked, anywhere(at))).unit_id == place.id
    async with acting(app_engine, at.tenant_id) as session:
        asked = wanted(at, practitioner_id=nurse.id, starts_at=TOMORROW + dt.timedelta(hours=5))
        with pytest.raises(NotBookableHere):
            await book(session, at.agent, other, asked, anywhere(at))


async def test_the_first_visit_to_a_department_makes_the_patient_seen_there(
    at: Stage, app_engine: AsyncEngine
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        booked = await book(session, at.agent, at.ward, wanted(at), anywhere(at))
        assert (booked.clinic_id, booked.unit_id) == (at.clinic.id, at.ward.id)
        assert [s.unit_id for s in await sites(session, at.patient)] == [at.clinic.id, at.ward.id]
    assert await count(app_engine, at, AuditEvent) == 1


@pytest.mark.parametrize(
    ("begins", "minutes", "free"),
    [(-30, 30, True), (30, 30, True), (0, 30, False), (-15, 30, False), (10, 5, False)],
)
async def test_slots_may_touch_but_not_overlap(
    at: Stage, app_engine: AsyncEngine, begins: int, minutes: int, free: bool
) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        await book(session, at.agent, at.clinic, wanted(at), anywhere(at))
    asked = wanted(at, starts_at=TOMORROW + dt.timedelta(minutes=begins), minutes=minutes)
    async with acting(app_engine, at.tenant_id) as session:
        if free:
            await book(session, at.agent, at.clinic, asked, anywhere(at))
            return
        with pytest.raises(SlotTaken):
            await book(session, at.agent, at.clinic, asked, anywhere(at))
        await session.rollback()
    assert await count(app_engine, at, AuditEvent) == 1


async def test_a_room_is_blocked_with_the_practitioner(
    at: Stage, app_engine: AsyncEngine, database: Database
) -> None:
    room, second = make.bookable(at.tree.tenant), make.practitioner(at.tree.tenant)
    resource = make.bookable(second)
    assigned = [make.assignment(room, at.clinic), make.assignment(resource, at.clinic)]
    make.save(database, room, second, resource, *assigned)
    async with acting(app_engine, at.tenant_id) as session:
        await book(session, at.agent, at.clinic, wanted(at, room_ids=(room.id,)), anywhere(at))
    assert await count(app_engine, at, AppointmentBlock) == 2
    async with acting(app_engine, at.tenant_id) as session:
        asked = wanted(at, practitioner_id=second.id, room_ids=(room.id,))
        with pytest.raises(SlotTaken):
            await book(session, at.agent, at.clinic, asked, anywhere(at))
        await session.rollback()
    async with acting(app_engine, at.tenant_id) as session:
        without = wanted(at, practitioner_id=second.id)
        await book(session, at.agent, at.clinic, without, anywhere(at))


@pytest.mark.parametrize(
    "values",
    [
        {"minutes": 4},
        {"minutes": 481},
        {"starts_at": make.NOW - dt.timedelta(minutes=16)},
        {"starts_at": make.NOW + dt.timedelta(days=732)},
        {"starts_at": dt.datetime(2026, 3, 3, 9)},  # noqa: DTZ001 - a time without offset is the case
        {"reason": "x" * 2001},
        {"reason": "bell \x07"},
        {"key": ""},
        {"room_ids": tuple(uuid.uuid4() for _ in range(9))},
    ],
)
def test_what_cannot_be_booked_at_all(at: Stage, values: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        booking_values(at.agent, at.clinic, wanted(at, **values))


def test_a_quarter_of_an_hour_late_is_still_in_time(at: Stage) -> None:
    late = wanted(at, starts_at=make.NOW - dt.timedelta(minutes=15))
    assert booking_values(at.agent, at.clinic, late)


async def test_row_level_security_stands_behind_the_statement(
    at: Stage, app_engine: AsyncEngine
) -> None:
    for narrower in ({"write_appointment": "{}"}, {"write_appointment": units(at.elsewhere)}):
        async with acting(app_engine, at.tenant_id, **narrower) as session:
            with pytest.raises(DBAPIError, match="row-level security"):
                await book(session, at.agent, at.clinic, wanted(at), anywhere(at))
            await session.rollback()
    assert await nothing_written(app_engine, at)


def test_the_statement_names_the_tenant_for_every_table_it_reads(at: Stage) -> None:
    parts = booking_statement(anywhere(at))
    whole = select(aliased(Appointment, parts.booked)).add_cte(*parts.effects())
    text = str(whole.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # no stub
    for alias in ("resource_assignment", "bookable_resource", "practitioner", "patient_site"):
        assert re.search(rf"\b{alias}\.tenant_id = ", text), alias
    assert text.count("INSERT INTO") == 4


async def test_three_hundred_people_and_fifteen_slots(
    at: Stage, database: Database, app_engine: AsyncEngine
) -> None:
    """Twenty people for each slot of one practitioner, each over a connection of their own, all at once."""
    crowd = [make.patient_at(at.tree.tenant, at.clinic) for _ in range(300)]
    make.save(database, *(row for rows in crowd for row in rows))
    parts = booking_statement(anywhere(at))
    answer = select(aliased(Appointment, parts.booked)).add_cte(*parts.effects())
    engine = create_async_engine(
        sqlalchemy_url(database.app_url), pool_size=20, max_overflow=0, pool_timeout=120
    )
    settings = select(
        *(func.set_config(name, value, True) for name, value in everything(at.tenant_id).items())
    )

    async def request(number: int, patient: Patient, agent: Agent) -> str:
        slot = TOMORROW + dt.timedelta(minutes=30 * (number % 15))
        asked = wanted(at, patient_id=patient.id, starts_at=slot, key=f"k{number}")
        try:
            async with engine.begin() as connection:
                await connection.execute(settings)
                values = booking_values(agent, at.clinic, asked)
                return "booked" if (await connection.execute(answer, values)).first() else "none"
        except DBAPIError as error:
            return str(getattr(error.orig, "sqlstate", ""))

    people = [rows[0] for rows in crowd]
    ended = await asyncio.gather(
        *(
            request(i, who, replace(at.agent, request_id=uuid.uuid4()))
            for i, who in enumerate(people)
            if isinstance(who, Patient)
        )
    )
    await engine.dispose()
    assert sorted(set(ended)) == ["23P01", "booked"]
    assert ended.count("booked") == 15
    assert await count(app_engine, at, Appointment) == 15
    assert await count(app_engine, at, AuditEvent) == 15
    assert await count(app_engine, at, IdempotencyKey) == 15


async def test_a_key_is_free_again_after_a_day(at: Stage, app_engine: AsyncEngine) -> None:
    async with acting(app_engine, at.tenant_id) as session:
        first = await book(session, at.agent, at.clinic, wanted(at, key="k"), anywhere(at))
        await session.execute(delete(IdempotencyKey).where(IdempotencyKey.result_id == first.id))
        asked = wanted(at, key="k", starts_at=TOMORROW + dt.timedelta(hours=1))
        assert (await book(session, at.agent, at.clinic, asked, anywhere(at))).id != first.id
