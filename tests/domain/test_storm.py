"""Three hundred people at once over shared rooms and practitioners: plain bookings, holds, moves and series.

Each has a transaction of its own. Nothing overlaps, nobody is stuck, and whoever was told "booked" is booked.
"""

import asyncio
import datetime as dt
import random
import uuid
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from domain.appointments import (
    Appointment,
    Booking,
    Frequency,
    Recurrence,
    book,
    book_series,
    hold_time,
    reschedule,
)
from domain.constraints import refusals
from domain.errors import DomainError
from domain.patients import Patient, PatientSite
from tests import make
from tests.database import Database, sqlalchemy_url
from tests.domain.acting import Stage, acting, everything, stage

pytestmark = pytest.mark.anyio

PEOPLE, CONNECTIONS, DOCTORS, ROOMS, SLOTS = 300, 12, 4, 3, 8
FIRST = make.NOW + dt.timedelta(days=1)
REFUSED = {"SLOT_TAKEN", "SERIES_TAKEN"}
WEEKS = 3


class Clinic:
    """One clinic with some practitioners and rooms, its patients, and a visit of each of some to be moved."""

    def __init__(self, database: Database) -> None:
        self.at: Stage = stage(database)
        tree, node = self.at.tree, self.at.clinic
        doctors = [make.practitioner(tree.tenant) for _ in range(DOCTORS)]
        rooms = [make.bookable(tree.tenant) for _ in range(ROOMS)]
        resources = [*map(make.bookable, doctors), *rooms]
        crowd = [make.patient_at(tree.tenant, node) for _ in range(PEOPLE)]
        self.patients = [who for rows in crowd for who in rows if isinstance(who, Patient)]
        self.doctors, self.rooms = [d.id for d in doctors], [r.id for r in rooms]
        far = FIRST + dt.timedelta(days=200)
        self.old = [
            make.appointment(
                who, node, doctors[n % DOCTORS], starts_at=far + n * dt.timedelta(hours=1)
            )
            for n, who in enumerate(self.patients[: PEOPLE // 4])
        ]
        for visit in self.old:
            visit.version = 1
        make.save(database, *doctors, *resources)
        make.save(database, *(make.assignment(r, node) for r in resources))
        make.save(database, *(row for rows in crowd for row in rows))
        make.save(database, *self.old, *map(make.block, self.old))

    async def act(self, session: AsyncSession, n: int, pick: random.Random) -> list[uuid.UUID]:
        """What the n-th person wants; the ids of what was booked. Raises DomainError."""
        at, who = self.at, self.patients[n].id
        start = FIRST + dt.timedelta(minutes=30 * pick.randrange(SLOTS))
        rooms = tuple(pick.sample(self.rooms, pick.randrange(3)))
        visit = Booking(who, pick.choice(self.doctors), start, 30, room_ids=rooms)
        kind = n % 4
        if kind == 0:
            old = await session.get_one(Appointment, (at.tenant_id, self.old[n // 4].id))
            moved = await reschedule(
                session,
                at.agent,
                at.clinic,
                old,
                old.version,
                start,
                30,
                practitioner_id=visit.practitioner_id,
                room_ids=rooms,
            )
            return [moved.id]
        if kind == 1:
            return [(await hold_time(session, at.agent, at.clinic, visit, 10)).id]
        if kind == 2:
            weekly = Recurrence(Frequency.WEEKLY, 1, WEEKS)
            series = await book_series(session, at.agent, at.clinic, visit, weekly)
            made = select(Appointment.id).where(Appointment.series_id == series.id)
            return list(await session.scalars(made))
        sites = select(PatientSite).where(PatientSite.tenant_id == at.tenant_id)
        with refusals():
            return [(await book(session, at.agent, at.clinic, visit, sites)).id]


async def one(engine: AsyncEngine, clinic: Clinic, n: int) -> tuple[str, list[uuid.UUID]]:
    pick = random.Random(n)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        try:
            async with session.begin():
                for name, value in everything(clinic.at.tenant_id).items():
                    setting = text("select set_config(:n, :v, true)")
                    await session.execute(setting, {"n": name, "v": value})
                ids = await clinic.act(session, n, pick)
        except DomainError as refused:
            return refused.code, []
        except DBAPIError as error:
            return f"database {getattr(error.orig, 'sqlstate', error)}", []
    return "booked", ids


OVERLAPS = """
select count(*) from appointment_block a join appointment_block b
  on b.tenant_id = a.tenant_id and b.resource_id = a.resource_id and b.id > a.id and b.block && a.block
where a.tenant_id = :t and a.state in ('pending', 'booked') and b.state in ('pending', 'booked')
"""


async def test_300_at_once_over_shared_resources(database: Database) -> None:
    clinic = Clinic(database)
    engine = create_async_engine(
        sqlalchemy_url(database.app_url),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=300,
    )
    ended = await asyncio.gather(*(one(engine, clinic, n) for n in range(PEOPLE)))
    outcomes = Counter(outcome for outcome, _ in ended)
    assert outcomes["booked"] > DOCTORS
    assert set(outcomes) <= {"booked", *REFUSED}, outcomes
    told = {id_ for _, ids in ended for id_ in ids}
    async with acting(engine, clinic.at.tenant_id) as session:
        assert await session.scalar(text(OVERLAPS), {"t": clinic.at.tenant_id}) == 0
        rows: Any = await session.execute(
            select(Appointment.id, Appointment.state, Appointment.rescheduled_from_id)
        )
        kept = {row.id: row for row in rows}
        made = {i for i, r in kept.items() if r.state in ("booked", "pending")}
        old = {visit.id for visit in clinic.old}
        # What was promised is there, nothing else is, and of each moved visit exactly one is left.
        assert made - old == told
        replaced = {r.rescheduled_from_id for r in kept.values()} - {None}
        assert {i for i in old if kept[i].state == "cancelled"} == replaced
        blocks = text(
            "select count(*) from appointment a where tenant_id = :t and not exists (select from"
            " appointment_block b where b.tenant_id = a.tenant_id and b.appointment_id = a.id"
            " and b.resource_id = a.practitioner_id and b.state = a.state)"
        )
        assert await session.scalar(blocks, {"t": clinic.at.tenant_id}) == 0
    await engine.dispose()
