"""Every command in the session that the API gives it: the policy of the role, its walls, and nothing else opened.

`also` is what a caller opens beside the permission's own table; the docstrings of the commands name it ("Writes …").
"""

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from authz.actor import Actor
from authz.guard import GuardedSession, guarded_session
from domain import appointments, conditions, encounters, notes, observations
from domain.appointments import Appointment
from domain.billing import ChargeItem, Posting, issue_invoice, record_payment, reverse
from domain.encounters import Encounter
from domain.errors import NotFound
from domain.keys import claim
from domain.model import new_id
from domain.notes import NoteKind, Text
from domain.organization import OrgUnit, add_unit, close_unit
from domain.patients import (
    Demographics,
    Patient,
    PatientSite,
    add_site,
    admit,
    register,
    update_demographics,
)
from tests import make
from tests.authz import world
from tests.database import Database
from tests.domain.acting import Stage, acting, stage
from tests.domain.acting import sites as sites_seen
from tests.domain.test_chart import HYPERTENSION, PULSE
from tests.domain.test_patients import LENA, SEALER

pytestmark = pytest.mark.anyio


@pytest.fixture
def at(database: Database) -> Stage:
    return stage(database)


def somebody(at: Stage, role: str, node: OrgUnit) -> Actor:
    """The person at work in one role at one node."""
    found = world.actor(world.tree_of(at.tree), (role, node.id), person_id=at.person.id)
    return replace(found, practitioner_id=at.practitioner.id)


@asynccontextmanager
async def working(
    engine: AsyncEngine, at: Stage, role: str, node: OrgUnit
) -> AsyncIterator[GuardedSession]:
    async with guarded_session(engine, somebody(at, role, node)) as session:
        yield session
        await session.commit()


async def seen(session: GuardedSession, at: Stage) -> tuple[Patient, list[PatientSite]]:
    """The patient and the sites, as far as the actor sees them."""
    patient = await session.get_one(Patient, {"tenant_id": at.tenant_id, "id": at.patient.id})
    sites = await session.scalars(
        select(PatientSite).where(PatientSite.patient_id == at.patient.id)
    )
    return patient, list(sites)


async def units_of(engine: AsyncEngine, at: Stage) -> set[uuid.UUID]:
    """Where the patient is seen, whoever looks."""
    async with acting(engine, at.tenant_id) as session:
        return {site.unit_id for site in await sites_seen(session, at.patient)}


async def found(session: GuardedSession, model: type[Any], at: Stage, row: Any) -> Any:
    return await session.get_one(model, {"tenant_id": at.tenant_id, "id": row.id})


@pytest.mark.parametrize("role", ["front_desk", "provider", "clinic_admin"])
async def test_patients(at: Stage, app_engine: AsyncEngine, role: str) -> None:
    async with working(app_engine, at, role, at.clinic) as session:
        await session.allow("patient:create")
        assert await claim(session, at.agent, "registerPatient", "k", b"h", new_id()) is None
        made = await register(session, at.agent, SEALER, at.ward, LENA)
        assert made.version == 1
    async with working(app_engine, at, role, at.clinic) as session:
        patient, sites = await seen(session, at)
        await session.require("patient:update", (patient, sites))
        change: Demographics = {"family_name": "Weber"}
        changed = await update_demographics(session, at.agent, SEALER, patient, 1, change)
        assert changed.family_key == "weber"
    async with working(app_engine, at, role, at.clinic) as session:
        patient, _ = await seen(session, at)
        await session.allow("patient:add_site")
        await add_site(session, at.agent, patient, at.ward)
    assert await units_of(app_engine, at) == {at.clinic.id, at.ward.id}
    async with working(app_engine, at, role, at.elsewhere) as session:
        await session.allow("patient:admit")
        born = dt.date(1980, 5, 17)
        one = await admit(session, at.agent, at.elsewhere, at.patient.mrn, born, "Weber")
        assert one.given_name == "Lena"


@pytest.mark.parametrize("role", ["nurse", "provider", "clinic_admin"])
@pytest.mark.parametrize("of_ward", [False, True])
async def test_visits(
    at: Stage, app_engine: AsyncEngine, database: Database, role: str, of_ward: bool
) -> None:
    booked = make.appointment(at.patient, at.clinic, at.practitioner)
    place = at.ward if of_ward else at.clinic
    make.save(database, booked, make.block(booked))
    async with working(app_engine, at, role, at.clinic) as session:
        await session.allow("encounter:start", ("patient", "appointment"))
        kept = None if of_ward else await found(session, Appointment, at, booked)
        begun = await encounters.start(session, at.agent, place, at.patient.id, appointment=kept)
    node = at.clinic if role == "clinic_admin" else place
    async with working(app_engine, at, role, node) as session:
        visit = await found(session, Encounter, at, begun)
        await session.allow("note:write_draft")
        draft = await notes.write_draft(
            session, at.agent, SEALER, visit, NoteKind.NURSING, Text("BP taken")
        )
        await session.allow("note:sign")
        signed = await notes.sign(session, at.agent, draft, 1)
        assert signed.state == "signed"
        await session.allow("observation:record")
        await observations.record(session, at.agent, visit, [PULSE])
        if role != "nurse":
            await session.allow("condition:record")
            await conditions.record(session, at.agent, visit, HYPERTENSION)
            await session.require("encounter:finish", visit)
            done = await encounters.finish(session, at.at(hours=1), visit, 1)
            assert done.state == "finished"


@pytest.mark.parametrize("role", ["front_desk", "provider", "clinic_admin"])
async def test_appointments(
    at: Stage, app_engine: AsyncEngine, database: Database, role: str
) -> None:
    booked = make.appointment(at.patient, at.clinic, at.practitioner)
    make.save(database, booked, make.block(booked))
    async with working(app_engine, at, role, at.clinic) as session:
        row = await found(session, Appointment, at, booked)
        await session.require("appointment:reschedule", row)
        later = make.NOW + dt.timedelta(minutes=10)
        fresh = await appointments.reschedule(session, at.agent, at.clinic, row, 1, later, 30)
    async with working(app_engine, at, role, at.clinic) as session:
        row = await found(session, Appointment, at, fresh)
        await session.require("appointment:check_in", row)
        here = await appointments.check_in(session, at.agent, row, 1)
        await session.require("appointment:cancel", here)
        await appointments.cancel(session, at.agent, here, 2, "left")


async def test_why_nothing_was_booked(at: Stage, app_engine: AsyncEngine) -> None:
    asked = appointments.Booking(at.patient.id, at.practitioner.id, make.NOW, 30, key="k")
    async with working(app_engine, at, "front_desk", at.clinic) as session:
        await session.allow("appointment:book", ("patient",))
        assert await appointments.settle(session, at.agent, at.ward, asked) is None
        other = replace(asked, practitioner_id=at.colleague.id)
        with pytest.raises(appointments.NotBookableHere):
            await appointments.settle(session, at.agent, at.ward, other)
        nobody = replace(asked, patient_id=new_id())
        with pytest.raises(NotFound):
            await appointments.settle(session, at.agent, at.ward, nobody)
    assert await units_of(app_engine, at) == {at.clinic.id, at.ward.id}


@pytest.mark.parametrize("role", ["front_desk", "biller", "clinic_admin"])
async def test_payments(at: Stage, app_engine: AsyncEngine, database: Database, role: str) -> None:
    bill = make.invoice(at.patient, at.clinic)
    make.save(database, bill, make.invoice_line(bill))
    async with working(app_engine, at, role, at.clinic) as session:
        await session.allow("payment:record", ("patient",))
        paid = await record_payment(
            session, at.agent, at.clinic, at.patient.id, Decimal("120.00"), "USD"
        )
        assert paid.amount_minor == 12_000
    async with working(app_engine, at, role, at.clinic) as session:
        await session.allow("payment:record", ("patient",))
        at_ward = await record_payment(
            session, at.agent, at.ward, at.patient.id, Decimal(1), "USD", unapplied=True
        )
        assert at_ward.unit_id == at.ward.id


@pytest.mark.parametrize("role", ["biller", "clinic_admin"])
async def test_bills(at: Stage, app_engine: AsyncEngine, database: Database, role: str) -> None:
    charge, other = make.charge(at.patient, at.clinic), make.person(at.tree.tenant)
    paid = make.posting(at.patient, at.clinic, recorded_by=other.id)
    make.save(database, charge, other, paid)
    async with working(app_engine, at, role, at.clinic) as session:
        await session.allow("invoice:issue", ("charge",))
        row = await found(session, ChargeItem, at, charge)
        issued = await issue_invoice(session, at.agent, at.clinic, at.patient.id, [row])
        assert issued.number == 1
    async with working(app_engine, at, role, at.clinic) as session:
        posted = await found(session, Posting, at, paid)
        await session.allow("posting:correct")
        assert (await reverse(session, at.agent, posted)).amount_minor == -5_000


async def test_units(at: Stage, app_engine: AsyncEngine) -> None:
    async with working(app_engine, at, "system_admin", at.tree.root) as session:
        await session.allow("org_unit:create")
        region = await found(session, OrgUnit, at, at.tree.regions[0])
        clinic = await add_unit(session, at.agent, region, "New", zone="UTC")
        await session.allow("org_unit:close")
        closed = await close_unit(session, at.agent, clinic, 1)
        assert not closed.active
